//! Random ids of configuration objects, from the system's generator: they cannot be guessed.

use outrider_webhook::id::Uid;

const MASK_CHARACTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const MASK_LENGTH: usize = 16;

/// A ULID of this moment.
pub(crate) fn new_uid(now_ms: i64) -> Uid {
    let ms = u128::try_from(now_ms).unwrap_or(0) & ((1 << 48) - 1);
    Uid::from_bits((ms << 80) | (rand::random::<u128>() >> 48))
}

/// The mask of a source: 16 letters and digits.
pub(crate) fn new_mask() -> String {
    let mut mask = String::with_capacity(MASK_LENGTH);
    while mask.len() < MASK_LENGTH {
        // Values above 61 are drawn again, so that all characters are equally likely.
        if let Some(character) = MASK_CHARACTERS.get(usize::from(rand::random::<u8>() & 63)) {
            mask.push(char::from(*character));
        }
    }
    mask
}
