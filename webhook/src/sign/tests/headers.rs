//! Headers of other systems: what can be written, and that their receivers verify it. Those are
//! the presets with which we verify the systems themselves, so neither side knows the other.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};

use super::*;
use crate::event::RawEvent;
use crate::verify::{Verifier, builtin};

const NOW_S: i64 = 1_760_000_000;
const WHSEC: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn rule<'a>(name: &'static str, value: &'a str) -> HeaderRule<'a> {
    HeaderRule {
        name: HeaderName::from_static(name),
        value,
        entry: None,
        separator: None,
        signed: None,
        hash: None,
        encoding: None,
        key: None,
    }
}

fn compiled(rule: HeaderRule<'_>) -> SignatureHeader {
    SignatureHeader::compile(rule).unwrap()
}

fn custom(headers: Vec<SignatureHeader>) -> Result<Scheme, SignError> {
    Scheme::try_from(Settings {
        format: Format::Custom,
        headers,
        ..Settings::default()
    })
}

#[test]
fn what_cannot_be_filled_in_or_has_no_effect_is_named() {
    let long = "x".repeat(1025);
    let sixteen = "-".repeat(17);
    let plain = || rule("x-a", "{signature}");
    let list = || rule("x-a", "{signatures}");
    let fixed = || rule("x-a", "{timestamp}");
    let cases = [
        (rule("x-a", ""), "value", "must be from 1 to 1024 bytes"),
        (rule("x-a", &long), "value", "must be from 1 to 1024 bytes"),
        (rule("x-a", "é{signature}"), "value", "printable ASCII"),
        (
            rule("x-a", "{signature}\r\nx-b: 1"),
            "value",
            "printable ASCII",
        ),
        (rule("x-a", " {signature}"), "value", "printable ASCII"),
        (rule("x-a", "{signature"), "value", "brace"),
        (rule("x-a", "signature}"), "value", "brace"),
        (rule("x-a", "{{signature}}"), "value", "brace"),
        (
            rule("x-a", "{body}"),
            "value",
            "`{body}` cannot stand here, only `{signature}`, `{signatures}`, `{timestamp}`, `{id}`",
        ),
        (
            rule("x-a", "{signature}{signature}"),
            "value",
            "exactly once",
        ),
        (
            rule("x-a", "{signature}{signatures}"),
            "value",
            "exactly once",
        ),
        (
            HeaderRule {
                signed: Some("{timestamp}"),
                ..plain()
            },
            "signed",
            "must have `{body}` exactly once",
        ),
        (
            HeaderRule {
                signed: Some("{body}{body}"),
                ..plain()
            },
            "signed",
            "must have `{body}` exactly once",
        ),
        (
            HeaderRule {
                signed: Some("{body}{secret}"),
                ..plain()
            },
            "signed",
            "`{secret}` cannot stand here",
        ),
        (
            HeaderRule {
                entry: Some("{signature}"),
                ..plain()
            },
            "entry",
            "no effect",
        ),
        (
            HeaderRule {
                separator: Some(","),
                ..plain()
            },
            "separator",
            "no effect",
        ),
        (
            HeaderRule {
                entry: Some("v1="),
                ..list()
            },
            "entry",
            "exactly once",
        ),
        (
            HeaderRule {
                entry: Some("{id}={signature}"),
                ..list()
            },
            "entry",
            "`{id}` cannot stand here",
        ),
        (
            HeaderRule {
                separator: Some(""),
                ..list()
            },
            "separator",
            "from 1 to 16 bytes",
        ),
        (
            HeaderRule {
                separator: Some(&sixteen),
                ..list()
            },
            "separator",
            "from 1 to 16 bytes",
        ),
        (
            HeaderRule {
                separator: Some("\n"),
                ..list()
            },
            "separator",
            "from 1 to 16 bytes",
        ),
        (
            HeaderRule {
                signed: Some("{body}"),
                ..fixed()
            },
            "signed",
            "no effect",
        ),
        (
            HeaderRule {
                hash: Some(Hash::Sha1),
                ..fixed()
            },
            "hash",
            "no effect",
        ),
        (
            HeaderRule {
                encoding: Some(Encoding::Hex),
                ..fixed()
            },
            "encoding",
            "no effect",
        ),
        (
            HeaderRule {
                key: Some(KeyForm::Utf8),
                ..fixed()
            },
            "key",
            "no effect",
        ),
    ];
    for (rule, field, says) in cases {
        let what = format!("{rule:?}");
        let refused = SignatureHeader::compile(rule).expect_err(&what);
        assert_eq!(refused.field, field, "{what}");
        assert!(refused.to_string().contains(says), "{what}: {refused}");
    }
}

#[test]
fn no_header_takes_the_place_of_another() {
    let signed = |name| compiled(rule(name, "{signature}"));
    for name in [
        "webhook-id",
        "webhook-signature",
        "content-type",
        "content-encoding",
        "host",
        "content-length",
        "x-convoy-event-id",
    ] {
        assert_eq!(
            custom(vec![signed(name)]).unwrap_err().code(),
            "reserved_header",
            "{name}"
        );
    }
    let twice = custom(vec![signed("x-a"), signed("x-a")]);
    assert_eq!(twice.unwrap_err().code(), "repeated_header");
    let convoys = |format| {
        Scheme::try_from(Settings {
            format,
            headers: vec![signed("x-convoy-signature")],
            ..Settings::default()
        })
    };
    assert_eq!(convoys(Format::Both).unwrap_err().code(), "repeated_header");
    assert!(convoys(Format::StandardWebhooks).is_ok());
    // Nor is anything sent without a signature.
    for headers in [vec![], vec![compiled(rule("x-time", "{timestamp}"))]] {
        assert_eq!(custom(headers).unwrap_err().code(), "no_scheme");
    }
    let scheme = custom(vec![signed("x-a")]).unwrap();
    let taken = scheme.check_free(&HeaderName::from_static("x-a"));
    assert_eq!(taken.unwrap_err().code(), "reserved_header");
}

#[test]
fn an_event_cannot_bring_a_header_of_the_project() {
    let scheme = custom(vec![compiled(rule("x-a", "{signature}"))]).unwrap();
    let (target, body) = (target(), Bytes::from_static(b"{}"));
    let headers = vec![named("x-a", "forged"), named("x-a", "again")];
    let signed = sign(
        &outgoing(&target, &headers, &body),
        &scheme,
        Mode::Advanced,
        &[key("k")],
        NOW_S,
    );
    let signed = signed.unwrap();
    let values: Vec<_> = signed.headers().get_all("x-a").iter().collect();
    assert_eq!(values.len(), 1);
    assert!(!format!("{values:?}").contains("forged"));
    assert!(!signed.headers().contains_key("x-convoy-signature"));
    assert!(!signed.headers().contains_key("webhook-signature"));
}

#[test]
fn keys_that_cannot_sign_such_a_header_are_refused_or_hold_the_delivery() {
    let private = private_key_text(&[7; 32]).unwrap();
    let private = || SigningKey::new(private.clone(), None).unwrap();
    let of = |form| {
        let header = HeaderRule {
            key: Some(form),
            ..rule("x-a", "{signatures}")
        };
        custom(vec![compiled(header)]).unwrap()
    };
    let code =
        |form, keys: &[SigningKey]| of(form).check_keys(keys).err().map(|error| error.code());
    assert_eq!(code(KeyForm::Utf8, &[key("k")]), None);
    assert_eq!(code(KeyForm::Whsec, &[key("k")]), Some("bad_key"));
    assert_eq!(code(KeyForm::Whsec, &[key(WHSEC)]), None);
    assert_eq!(code(KeyForm::Utf8, &[private()]), Some("no_shared_secret"));
    let (target, body, none) = (target(), Bytes::from_static(b"{}"), Vec::new());
    let refused = sign(
        &outgoing(&target, &none, &body),
        &of(KeyForm::Utf8),
        Mode::Advanced,
        &[private()],
        1,
    );
    assert_eq!(refused.unwrap_err(), SignError::NoSecret);
}

/// A legacy format, and the preset that verifies it.
struct Legacy {
    preset: &'static str,
    params: &'static [(&'static str, &'static str)],
    public_url: Option<&'static str>,
    secrets: [&'static str; 2],
    headers: Vec<SignatureHeader>,
    /// Whether every live secret signs.
    has_all: bool,
}

fn legacies() -> Vec<Legacy> {
    let legacy = |preset, headers| Legacy {
        preset,
        params: &[],
        public_url: None,
        secrets: ["old-secret", "new-secret"],
        headers,
        has_all: false,
    };
    let base64 = Some(Encoding::Base64);
    let stripe = HeaderRule {
        entry: Some("v1={signature}"),
        signed: Some("{timestamp}.{body}"),
        ..rule("stripe-signature", "t={timestamp},{signatures}")
    };
    let slack = HeaderRule {
        signed: Some("v0:{timestamp}:{body}"),
        ..rule("x-slack-signature", "v0={signature}")
    };
    let svix = HeaderRule {
        entry: Some("v1,{signature}"),
        separator: Some(" "),
        signed: Some("{id}.{timestamp}.{body}"),
        encoding: base64,
        key: Some(KeyForm::Whsec),
        ..rule("svix-signature", "{signatures}")
    };
    let pagerduty = HeaderRule {
        entry: Some("v1={signature}"),
        ..rule("x-pagerduty-signature", "{signatures}")
    };
    vec![
        Legacy {
            has_all: true,
            ..legacy("stripe", vec![compiled(stripe)])
        },
        legacy(
            "slack",
            vec![
                compiled(slack),
                compiled(rule("x-slack-request-timestamp", "{timestamp}")),
            ],
        ),
        Legacy {
            secrets: [WHSEC, "whsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7"],
            has_all: true,
            ..legacy(
                "svix",
                vec![
                    compiled(rule("svix-id", "{id}")),
                    compiled(rule("svix-timestamp", "{timestamp}")),
                    compiled(svix),
                ],
            )
        },
        Legacy {
            has_all: true,
            ..legacy("pagerduty", vec![compiled(pagerduty)])
        },
        legacy(
            "github",
            vec![compiled(rule("x-hub-signature-256", "sha256={signature}"))],
        ),
        legacy(
            "github_sha1_legacy",
            vec![compiled(HeaderRule {
                hash: Some(Hash::Sha1),
                ..rule("x-hub-signature", "sha1={signature}")
            })],
        ),
        legacy(
            "shopify",
            vec![compiled(HeaderRule {
                encoding: base64,
                ..rule("x-shopify-hmac-sha256", "{signature}")
            })],
        ),
        legacy(
            "paystack",
            vec![compiled(HeaderRule {
                hash: Some(Hash::Sha512),
                ..rule("x-paystack-signature", "{signature}")
            })],
        ),
        Legacy {
            public_url: Some("https://hooks.example.com/in"),
            ..legacy(
                "square",
                vec![compiled(HeaderRule {
                    encoding: base64,
                    signed: Some("{url}{body}"),
                    ..rule("x-square-hmacsha256-signature", "{signature}")
                })],
            )
        },
    ]
}

impl Legacy {
    fn verifier(&self, secret: &str) -> Verifier {
        let spec = builtin(self.preset).unwrap();
        let params = self.params.iter();
        let params: BTreeMap<_, _> = params
            .map(|(name, value)| {
                (
                    (*name).to_owned(),
                    crate::verify::ParamSpec::Text((*value).to_owned()),
                )
            })
            .collect();
        Verifier::compile(spec, &[Secret::new(secret)], &params, self.public_url).unwrap()
    }

    /// What a receiver gets of a delivery that was signed with both secrets.
    fn delivered(&self, body: &Bytes) -> RawEvent {
        let scheme = custom(self.headers.clone()).unwrap();
        let keys = self.secrets.map(key);
        scheme.check_keys(&keys).unwrap();
        let (target, none) = (target(), Vec::new());
        let signed = sign(
            &outgoing(&target, &none, body),
            &scheme,
            Mode::Advanced,
            &keys,
            NOW_S,
        );
        let parts = signed.unwrap().into_parts();
        let headers: HeaderMap = parts.headers;
        RawEvent {
            method: Method::POST,
            path: parts.path_and_query.path().to_owned(),
            query: parts.path_and_query.query().unwrap_or_default().to_owned(),
            headers,
            body: parts.body,
            received_ms: NOW_S * 1000,
        }
    }
}

#[test]
fn receivers_of_other_systems_verify_what_is_sent() {
    let body = Bytes::from_static("{\"type\":\"a\",\"id\":\"1\",\"name\":\"Zoë\"}".as_bytes());
    for legacy in legacies() {
        let what = legacy.preset;
        let mut got = legacy.delivered(&body);
        let [old, new] = legacy.secrets;
        assert!(
            legacy.verifier(new).verify(&got, NOW_S).is_ok(),
            "{what}: {got:?}"
        );
        assert_eq!(
            legacy.verifier(old).verify(&got, NOW_S).is_ok(),
            legacy.has_all,
            "{what}"
        );
        got.body = Bytes::from_static(b"{}");
        assert!(legacy.verifier(new).verify(&got, NOW_S).is_err(), "{what}");
    }
}

#[test]
fn several_secrets_stand_newest_first_and_the_newest_alone_where_one_is_wanted() {
    let body = Bytes::from_static(b"{}");
    let end = |at| SigningKey::new(Secret::new("ended"), Some(at)).unwrap();
    let keys = [key("old"), end(NOW_S), key("new"), end(NOW_S + 1)];
    let (target, none) = (target(), Vec::new());
    let headers = vec![
        compiled(rule("x-all", "{signatures}")),
        compiled(rule("x-one", "{signature}")),
    ];
    let signed = sign(
        &outgoing(&target, &none, &body),
        &custom(headers).unwrap(),
        Mode::Simple,
        &keys,
        NOW_S,
    );
    let signed = signed.unwrap();
    for (value, is_single) in [("{signature}", true), ("{signatures}", false)] {
        let scheme = custom(vec![compiled(rule("x-a", value))]).unwrap();
        assert_eq!(scheme.is_by_newest_only(Mode::Advanced), is_single);
    }
    assert!(Scheme::default().is_by_newest_only(Mode::Simple));
    assert!(!Scheme::default().is_by_newest_only(Mode::Advanced));
    assert!(!of_format(Format::StandardWebhooks).is_by_newest_only(Mode::Simple));
    let text = |name: &str| {
        signed
            .headers()
            .get(name)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let mac = |secret| convoy(&Scheme::default(), Mode::Simple, &[key(secret)], &body, 1).unwrap();
    let expected = ["ended", "new", "old"].map(|secret| mac(secret).to_str().unwrap().to_owned());
    assert_eq!(text("x-all"), expected.join(","));
    assert_eq!(text("x-one"), expected[0]);
}

proptest! {
    #[test]
    fn whatever_compiles_makes_a_header(value in "[ -~]{0,20}\\{signatures?\\}[ -~]{0,20}", entry in "[ -~]{0,9}", separator in "[ -~]{0,18}") {
        let entry = format!("{entry}{{signature}}");
        let rule = HeaderRule { entry: Some(&entry), separator: Some(&separator), ..rule("x-a", &value) };
        if let Ok(header) = SignatureHeader::compile(rule) {
            let (target, body, none) = (target(), Bytes::from_static(b"{}"), Vec::new());
            let scheme = custom(vec![header]).unwrap();
            let signed = sign(&outgoing(&target, &none, &body), &scheme, Mode::Simple, &[key("a"), key("b")], 1);
            prop_assert!(signed.unwrap().headers().contains_key("x-a"));
        }
    }
}
