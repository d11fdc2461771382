//! Everything random that the control plane makes up: ids and masks. The only file of this crate
//! that asks for chance.

use outrider_webhook::id::Uid;
use rand::RngExt;
use rand::distr::Alphanumeric;

/// Characters of a made-up mask, as Convoy's.
const MASK_CHARACTERS: usize = 16;

/// A new id: a ULID of this moment, Unix milliseconds, and 80 random bits.
pub(crate) fn uid(now_ms: i64) -> Uid {
    let ms = u128::try_from(now_ms.clamp(0, (1 << 48) - 1)).unwrap_or(0);
    let random: u128 = rand::random::<u128>() >> 48;
    Uid::from_bits((ms << 80) | random)
}

/// A new mask: 16 letters and digits, 95 random bits.
pub(crate) fn mask() -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(MASK_CHARACTERS)
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_time_and_differ() {
        let (a, b) = (uid(1_767_225_600_000), uid(1_767_225_600_000));
        assert_ne!(a, b);
        assert_eq!(a.bits() >> 80, 1_767_225_600_000);
        assert_eq!(uid(-1).bits() >> 80, 0);
    }

    #[test]
    fn masks_are_sixteen_letters_and_digits() {
        let mask = mask();
        assert!(
            mask.len() == 16 && mask.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{mask}"
        );
    }
}
