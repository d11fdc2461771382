//! Everything random that the control plane makes up: ids, masks, secrets and keys. The only file
//! of this crate that asks for chance.

use outrider_webhook::id::Uid;
use outrider_webhook::secret::Secret;
use outrider_webhook::sign;
use rand::RngExt;
use rand::distr::Alphanumeric;
use zeroize::Zeroizing;

/// Characters of a made-up mask, as Convoy's.
const MASK_CHARACTERS: usize = 16;
/// Characters of a made-up endpoint secret, as Convoy's: 148 random bits.
const SECRET_CHARACTERS: usize = 25;
/// Characters of a made-up Standard Webhooks secret after its prefix.
const STANDARD_SECRET_CHARACTERS: usize = 32;
/// Characters of the two random parts of an API key, as Convoy's.
const KEY_CHARACTERS: [usize; 2] = [16, 64];

/// A new id: a ULID of this moment, Unix milliseconds, and 80 random bits.
pub(crate) fn uid(now_ms: i64) -> Uid {
    let ms = u128::try_from(now_ms.clamp(0, (1 << 48) - 1)).unwrap_or(0);
    let random: u128 = rand::random::<u128>() >> 48;
    Uid::from_bits((ms << 80) | random)
}

/// A new id of a request: 26 characters as of a uid, all of it random.
pub(crate) fn request_id() -> String {
    Uid::from_bits(rand::random()).to_string()
}

/// A new mask: 16 letters and digits, 95 random bits.
pub(crate) fn mask() -> String {
    alphanumeric(MASK_CHARACTERS)
}

/// A new endpoint secret: 25 letters and digits.
pub(crate) fn secret() -> Secret {
    Secret::new(alphanumeric(SECRET_CHARACTERS))
}

/// A new endpoint secret of the form that Standard Webhooks demands. Letters and digits are base64
/// as well: 32 of them are 24 bytes, the least that is allowed, of 190 random bits.
pub(crate) fn standard_secret() -> Secret {
    Secret::new(format!(
        "whsec_{}",
        alphanumeric(STANDARD_SECRET_CHARACTERS)
    ))
}

/// A new private key of an endpoint: an Ed25519 key pair out of 256 random bits.
pub(crate) fn private_key() -> Secret {
    let seed = Zeroizing::new(rand::random::<[u8; 32]>());
    // Any 32 bytes are a seed; a shared secret would be refused where this one is wanted.
    sign::private_key_text(&seed).unwrap_or_else(standard_secret)
}

/// A new API key: `CO.`, 16 letters and digits, a dot, and 64 more of them.
pub(crate) fn api_key() -> Secret {
    let [first, second] = KEY_CHARACTERS.map(alphanumeric);
    Secret::new(format!("CO.{first}.{second}"))
}

/// Whether a text could be one that [`api_key`] made.
pub(crate) fn is_api_key(text: &str) -> bool {
    let mut parts = text.split('.');
    let mut is_part = |characters: usize| {
        parts.next().is_some_and(|part| {
            part.len() == characters && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
    };
    let [first, second] = KEY_CHARACTERS;
    text.starts_with("CO.")
        && is_part(2)
        && is_part(first)
        && is_part(second)
        && parts.next().is_none()
}

fn alphanumeric(characters: usize) -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(characters)
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
    fn masks_and_secrets_are_letters_and_digits() {
        for (text, characters) in [(mask(), 16), (secret().expose().to_owned(), 25)] {
            assert_eq!(text.len(), characters);
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
    }

    #[test]
    fn keys_are_told_from_other_texts() {
        let key = api_key();
        let key = key.expose();
        assert!(is_api_key(key) && key.len() == 84);
        for other in [
            "",
            "CO..",
            &key[1..],
            &key[..83],
            &format!("{key}.x"),
            &format!("{key}\n"),
            &key.replace("CO.", "XX."),
        ] {
            assert!(!is_api_key(other), "{other}");
        }
    }
}
