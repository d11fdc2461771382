//! Keys of both types: what is one, and what signs with which.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::*;

/// The key and the signature of example C of the conformance notes: seed 40..5f.
const PRIVATE: &str =
    "whsk_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8lQ7kv8QlVEUdq3INp223ckzZloRl43aFATuEGbKlVnQ==";
const PUBLIC: &str = "whpk_JUO5L/EJVRFHatyDadtt3JM2ZaEZeN2hQE7hBmypVZ0=";
const SHARED: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn seed() -> [u8; 32] {
    std::array::from_fn(|index| 0x40 + u8::try_from(index).unwrap())
}

fn parsed(text: &str, expires_at_s: Option<i64>) -> Result<SigningKey, SignError> {
    SigningKey::new(Secret::new(text), expires_at_s)
}

#[test]
fn what_is_no_private_key_is_refused_and_never_taken_for_a_text() {
    let of = |bytes: &[u8]| format!("whsk_{}", STANDARD.encode(bytes));
    let other_half = [&seed()[..], &[7; 32]].concat();
    for text in [
        "whsk_".to_owned(),
        "whsk_***".to_owned(),
        of(&[1; 31]),
        of(&[1; 33]),
        of(&[1; 63]),
        of(&[1; 65]),
        of(&other_half),
        PRIVATE.replace("whsk_", "whsk_ "),
    ] {
        let refused = parsed(&text, None).unwrap_err();
        assert_eq!(refused, SignError::BadPrivateKey, "{text}");
        assert_eq!(refused.code(), "bad_key");
    }
    assert_eq!(parsed(PUBLIC, None).unwrap_err(), SignError::PublicKey);
}

#[test]
fn both_forms_of_a_private_key_are_the_same_key_and_show_its_public_half_alone() {
    let long = private_key_text(&seed()).unwrap();
    assert_eq!(long.expose(), PRIVATE);
    let short = format!("whsk_{}", STANDARD.encode(seed()));
    for text in [PRIVATE, &short] {
        let key = parsed(text, None).unwrap();
        assert_eq!(key.public_key().unwrap(), PUBLIC);
        assert_eq!(public_key_of(text).unwrap(), PUBLIC);
        assert_eq!(key.secret_type(), SecretType::Ed25519);
        assert!(!format!("{key:?}").contains("QEFC"));
    }
    for text in [SHARED, PUBLIC, "whsk_QEFC", "whsk_", ""] {
        assert_eq!(public_key_of(text), None, "{text}");
    }
}

#[test]
fn the_worked_example_with_a_private_key_is_exact() {
    let body = br#"{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1f81eb52-5198-4599-803e-771906343485"}}"#;
    let keys = [PRIVATE, SHARED].map(key);
    let value = standard_webhooks(
        keys.iter(),
        "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
        1_674_087_231,
        body,
    );
    assert_eq!(
        value.unwrap(),
        "v1a,qmBbIasCbReIZtNnnRiVMoks+pjyrfuPeJFROBcMRHZ5V74+F0n8ilibWyRJTr9ELh8Fpv53hZfmXekRV3WRCw== \
         v1,4PMU5Dl90B4kgwxDpwuMZ/cnZ5ztf+Y+kviYQD66rJg="
    );
}

#[test]
fn a_private_key_never_keys_a_mac() {
    let (target, body, none) = (target(), Bytes::from_static(b"{}"), Vec::new());
    let out = outgoing(&target, &none, &body);
    for mode in [Mode::Simple, Mode::Advanced] {
        let alone = sign(&out, &of_format(Format::Both), mode, &[key(PRIVATE)], 1);
        assert_eq!(alone.unwrap_err(), SignError::NoSecret);
        // Beside a shared secret it changes nothing in Convoy's header.
        let both = [key(SHARED), key(PRIVATE)];
        let signed = sign(&out, &of_format(Format::Both), mode, &both, 1).unwrap();
        let shared = convoy(&Scheme::default(), mode, &[key(SHARED)], &body, 1).unwrap();
        assert_eq!(signed.headers().get(CONVOY_HEADER).unwrap(), shared);
        let standard = signed.headers().get("webhook-signature").unwrap();
        let entries: Vec<_> = standard.to_str().unwrap().split(' ').collect();
        assert!(
            matches!(entries[..], [new, old] if new.starts_with("v1a,") && old.starts_with("v1,")),
            "newest first: {entries:?}"
        );
    }
}

#[test]
fn keys_have_to_fit_the_signatures_of_their_project() {
    type Texts = &'static [(&'static str, Option<i64>)];
    const END: Option<i64> = Some(1_000);
    let cases: [(Format, Texts, Option<&str>); 9] = [
        (Format::Convoy, &[("any text", None)], None),
        (
            Format::StandardWebhooks,
            &[("any text", None)],
            Some("bad_key"),
        ),
        (Format::StandardWebhooks, &[(PRIVATE, None)], None),
        (
            Format::StandardWebhooks,
            &[(SHARED, END), (PRIVATE, None)],
            None,
        ),
        (Format::Convoy, &[(PRIVATE, None)], Some("no_shared_secret")),
        (Format::Both, &[(PRIVATE, None)], Some("no_shared_secret")),
        (
            Format::Both,
            &[(SHARED, END), (PRIVATE, None)],
            Some("no_shared_secret"),
        ),
        (Format::Both, &[(SHARED, None), (PRIVATE, None)], None),
        (
            Format::Both,
            &[("any text", None), (PRIVATE, None)],
            Some("bad_key"),
        ),
    ];
    for (format, texts, expected) in cases {
        let keys: Vec<_> = texts
            .iter()
            .map(|(text, end)| parsed(text, *end).unwrap())
            .collect();
        let code = of_format(format)
            .check_keys(&keys)
            .err()
            .map(|error| error.code());
        assert_eq!(code, expected, "{format:?} {texts:?}");
    }
    for (format, is_fine) in [
        (Format::Convoy, false),
        (Format::Both, false),
        (Format::StandardWebhooks, true),
    ] {
        let scheme = Scheme::try_from(Settings {
            format,
            secret_type: SecretType::Ed25519,
            ..Settings::default()
        });
        assert_eq!(scheme.is_ok(), is_fine);
    }
}

proptest! {
    #[test]
    fn the_public_half_verifies_what_was_signed_and_nothing_else(
        seed in any::<[u8; 32]>(), body in proptest::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, bit in 0..8,
    ) {
        let key = SigningKey::new(private_key_text(&seed).unwrap(), None).unwrap();
        let public = STANDARD.decode(&key.public_key().unwrap()["whpk_".len()..]).unwrap();
        let value = standard_webhooks(std::iter::once(&key), "id", 5, &body).unwrap();
        let signature = STANDARD.decode(&value.to_str().unwrap()["v1a,".len()..]).unwrap();
        let mut message = [b"id.5.", &body[..]].concat();
        let public = UnparsedPublicKey::new(&ED25519, public);
        prop_assert!(public.verify(&message, &signature).is_ok());
        let at = at.index(message.len());
        message[at] ^= 1_u8 << bit;
        prop_assert!(public.verify(&message, &signature).is_err());
    }
}
