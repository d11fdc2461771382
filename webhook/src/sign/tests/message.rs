//! RFC 9421 and RFC 9530: their own examples, and what a project may ask for.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use http::uri::PathAndQuery;

use super::super::message::{Component, Where, base, content_digest, inner_list, lines};
use super::*;

/// Key of RFC 9421 appendix B.1.5, `test-shared-secret`.
const RFC_SHARED: &str =
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
/// Member `d` of the key of RFC 9421 appendix B.1.4, `test-key-ed25519`, and its member `x`.
const RFC_ED25519: [&str; 2] = [
    "n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU",
    "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs",
];
/// The secrets, the id and the body of the worked example: bytes 00..1f, and the seed 40..5f.
const WHSEC: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const WHSK: &str = "whsk_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=";
const BODY: &[u8] = br#"{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1f81eb52-5198-4599-803e-771906343485"}}"#;

fn message(components: &[&str], expires_in_s: Option<u32>, tag: Option<&str>) -> MessageSignature {
    MessageSignature::compile(components, expires_in_s, tag).unwrap()
}

fn scheme(message: MessageSignature) -> Scheme {
    Scheme::try_from(Settings {
        format: Format::Custom,
        message: Some(message),
        ..Settings::default()
    })
    .unwrap()
}

fn field(name: &'static str) -> Component {
    Component::Field(HeaderName::from_static(name))
}

/// The request `test-request` of RFC 9421 appendix B.2.
fn rfc_headers() -> HeaderMap {
    HeaderMap::from_iter([
        named("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        named("content-type", "application/json"),
        named("content-length", "18"),
    ])
}

fn rfc_base(components: &[Component], key_id: &str) -> String {
    let target = TargetUrl::parse("https://example.com/foo").unwrap();
    let to = Where {
        target: &target,
        path_and_query: &PathAndQuery::from_static("/foo?param=Value&Pet=dog"),
    };
    let covered = lines(components, &rfc_headers(), to).unwrap();
    let list = inner_list(components);
    base(
        &covered,
        &format!("{list};created=1618884473;keyid=\"{key_id}\""),
    )
}

#[test]
fn appendix_b_2_5_with_a_shared_secret_is_exact() {
    let components = [field("date"), Component::Authority, field("content-type")];
    let base = rfc_base(&components, "test-shared-secret");
    assert_eq!(
        base,
        "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@authority\": example.com\n\"content-type\": application/json\n\
         \"@signature-params\": (\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\""
    );
    assert_eq!(
        key(RFC_SHARED).sign_message(&base).unwrap(),
        "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="
    );
}

#[test]
fn appendix_b_2_6_with_ed25519_is_exact() {
    let components = [
        field("date"),
        Component::Method,
        Component::Path,
        Component::Authority,
        field("content-type"),
        field("content-length"),
    ];
    let base = rfc_base(&components, "test-key-ed25519");
    let halves = RFC_ED25519.map(|half| URL_SAFE_NO_PAD.decode(half).unwrap());
    let private = format!("whsk_{}", STANDARD.encode(halves.concat()));
    assert_eq!(
        key(&private).sign_message(&base).unwrap(),
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    );
}

/// RFC 9421 section 2.2, and RFC 9530 appendix D for the digest.
#[test]
fn derived_components_and_the_digest_are_those_of_the_rfcs() {
    let target = TargetUrl::parse("https://WWW.Example.com:443/path").unwrap();
    for (path_and_query, expected) in [
        (
            "/path?param=value",
            "\"@method\": POST\n\"@target-uri\": https://www.example.com/path?param=value\n\
             \"@authority\": www.example.com\n\"@scheme\": https\n\"@request-target\": /path?param=value\n\
             \"@path\": /path\n\"@query\": ?param=value\n",
        ),
        (
            "/",
            "\"@method\": POST\n\"@target-uri\": https://www.example.com/\n\"@authority\": www.example.com\n\
             \"@scheme\": https\n\"@request-target\": /\n\"@path\": /\n\"@query\": ?\n",
        ),
    ] {
        let path_and_query: PathAndQuery = path_and_query.parse().unwrap();
        let all = [
            Component::Method,
            Component::TargetUri,
            Component::Authority,
            Component::Scheme,
            Component::RequestTarget,
            Component::Path,
            Component::Query,
        ];
        let to = Where {
            target: &target,
            path_and_query: &path_and_query,
        };
        assert_eq!(lines(&all, &HeaderMap::new(), to).unwrap(), expected);
    }
    assert_eq!(
        content_digest(b"{\"hello\": \"world\"}").unwrap(),
        "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
    );
    // Several lines of a field are one value (RFC 9421 section 2.1).
    let mut headers = HeaderMap::new();
    headers.append("x-a", HeaderValue::from_static(" one "));
    headers.append("x-a", HeaderValue::from_static("two"));
    let path_and_query = PathAndQuery::from_static("/");
    let to = Where {
        target: &target,
        path_and_query: &path_and_query,
    };
    assert_eq!(
        lines(&[field("x-a")], &headers, to).unwrap(),
        "\"x-a\": one, two\n"
    );
    assert!(lines(&[field("x-b")], &headers, to).is_err());
}

/// What is signed of a delivery to `https://example.com/hooks/in`.
fn delivered(message: MessageSignature, keys: &[SigningKey], headers: &HeaderList) -> HeaderMap {
    let target = Arc::new(TargetUrl::parse("https://example.com/hooks/in").unwrap());
    let body = Bytes::from_static(BODY);
    let out = outgoing(&target, headers, &body);
    let signed = sign(&out, &scheme(message), Mode::Advanced, keys, 1_674_087_231).unwrap();
    signed.headers().clone()
}

#[test]
fn the_worked_examples_are_exact_but_for_the_id() {
    // The message id of the examples is no uid of ours, so the base is made by hand.
    let target = TargetUrl::parse("https://example.com/hooks/in").unwrap();
    let path_and_query = PathAndQuery::from_static("/hooks/in");
    let mut headers = HeaderMap::from_iter([
        named("content-type", "application/json"),
        named("webhook-id", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"),
    ]);
    let keys = [key(WHSK).with_id("wh-ed-1"), key(WHSEC).with_id("wh-key-1")];
    let to = Where {
        target: &target,
        path_and_query: &path_and_query,
    };
    message(&[], None, None)
        .sign(&mut headers, to, BODY, (&keys, 1_674_087_231))
        .unwrap();
    let list = r#"("@method" "@target-uri" "content-digest" "content-type" "webhook-id");created=1674087231"#;
    assert_eq!(
        headers.get("content-digest").unwrap(),
        "sha-256=:/9Xw7VIos1g5HG90094S9LA8b0kuv6whXGs91yIMvjM=:"
    );
    assert_eq!(
        headers.get("signature-input").unwrap().to_str().unwrap(),
        format!(
            "sig1={list};keyid=\"wh-key-1\";alg=\"hmac-sha256\", sig2={list};keyid=\"wh-ed-1\";alg=\"ed25519\""
        )
    );
    assert_eq!(
        headers.get("signature").unwrap(),
        "sig1=:dkM6osHPMQ7scZdjyiw1rEwcLd/loViihijgNEZxwcU=:, \
         sig2=:DSsR2IHpYzW6q01LFCqadvxTGrOsyknIao+0pYxFU7mdR97Wh6clXiMzy6rkJjEPyke2aft6cdHhv9JRsXGvBQ==:"
    );
}

#[test]
fn components_that_a_delivery_may_not_have_are_refused() {
    for (components, tag, says) in [
        (&["@method"][..], None, "must have `content-digest`"),
        (
            &["@status", "content-digest"],
            None,
            "`@status` is no component",
        ),
        (
            &["@query-param", "content-digest"],
            None,
            "`@query-param` is no component",
        ),
        (
            &["Content-Digest"],
            None,
            "`Content-Digest` is no component",
        ),
        (
            &["content-digest", "x-mine"],
            None,
            "`x-mine` is no component",
        ),
        (
            &["content-digest", "@path", "@path"],
            None,
            "`@path` is listed twice",
        ),
        (&[], Some(""), "from 1 to 64"),
        (&[], Some("a\"b"), "from 1 to 64"),
        (&[], Some("a\\b"), "from 1 to 64"),
        (&[], Some("é"), "from 1 to 64"),
    ] {
        let refused = MessageSignature::compile(components, None, tag).unwrap_err();
        assert!(
            refused.to_string().contains(says),
            "{components:?}: {refused}"
        );
    }
    assert!(MessageSignature::compile(&[], None, Some(&"x".repeat(65))).is_err());
}

#[test]
fn its_headers_are_taken_and_an_event_cannot_bring_them() {
    for name in ["signature", "signature-input", "content-digest"] {
        let name = HeaderName::from_static(name);
        let convoys = |message| {
            Scheme::try_from(Settings {
                header: name.clone(),
                message,
                ..Settings::default()
            })
        };
        assert!(
            convoys(None).is_ok(),
            "a legacy format may be called {name}"
        );
        let refused = convoys(Some(message(&[], None, None))).unwrap_err();
        assert_eq!(refused.code(), "reserved_header", "{name}");
        let taken = scheme(message(&[], None, None)).check_free(&name);
        assert_eq!(taken.unwrap_err().code(), "reserved_header", "{name}");
    }
    let forged = vec![
        named("signature", "sig1=:forged:"),
        named("signature-input", "sig1=();forged"),
        named("content-digest", "sha-256=:forged:"),
    ];
    let headers = delivered(
        message(&[], None, None),
        &[key(WHSEC).with_id("k")],
        &forged,
    );
    assert!(!format!("{headers:?}").contains("forged"));
    for name in ["signature", "signature-input", "content-digest"] {
        assert_eq!(headers.get_all(name).iter().count(), 1, "{name}");
    }
}

#[test]
fn a_signature_has_an_end_and_a_tag_where_they_are_wanted_and_ended_keys_sign_nothing() {
    let ended = SigningKey::new(Secret::new(WHSK), Some(1_674_087_231)).unwrap();
    let keys = [key(WHSEC).with_id("one"), ended.with_id("two")];
    let headers = delivered(
        message(&["content-digest"], Some(300), Some("shop")),
        &keys,
        &Vec::new(),
    );
    assert_eq!(
        headers.get("signature-input").unwrap(),
        "sig1=(\"content-digest\");created=1674087231;expires=1674087531;keyid=\"one\";alg=\"hmac-sha256\";tag=\"shop\""
    );
    let scheme = scheme(message(&[], None, None));
    let code = |keys: &[SigningKey]| scheme.check_keys(keys).err().map(|error| error.code());
    assert_eq!(code(&[key("any text").with_id("k")]), Some("bad_key"));
    assert_eq!(code(&[key(WHSEC)]), Some("bad_key_id"));
    assert_eq!(code(&[key(WHSEC).with_id("a\"b")]), Some("bad_key_id"));
    assert_eq!(code(&[key(WHSEC).with_id("Schlüssel")]), Some("bad_key_id"));
    assert_eq!(code(&[key(WHSK).with_id("k")]), None);
}

/// The bytes of a base are ASCII (RFC 9421 section 2.5), and those of a header need not be.
#[test]
fn a_covered_value_that_is_not_ascii_is_refused_and_not_signed_otherwise() {
    let (target, body, none) = (target(), Bytes::from_static(b"{}"), Vec::new());
    let out = || Outgoing {
        content_type: HeaderValue::from_bytes(b"text/\xff").unwrap(),
        ..outgoing(&target, &none, &body)
    };
    let keys = [key(WHSEC).with_id("k")];
    let signed = |components| {
        let scheme = scheme(message(components, None, None));
        sign(&out(), &scheme, Mode::Advanced, &keys, 1).map(|_| ())
    };
    assert_eq!(signed(&[]).unwrap_err().code(), "bad_header");
    assert!(signed(&["content-digest"]).is_ok());
}
