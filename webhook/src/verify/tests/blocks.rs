//! Building blocks in combinations that no published vector has.

use super::*;

const ADYEN_KEY: &str = "19C1B321900A9EF9FDCE34AD9E05167AEBA87ABCD86AE70D165645E009659355";

fn each(items: &str) -> String {
    format!(r#"{{"notificationItems":{items}}}"#)
}

#[test]
fn an_array_that_is_none_empty_or_too_long_is_malformed() {
    let adyen = compile(builtin("adyen").unwrap(), &[ADYEN_KEY]);
    let many = format!("[{}]", vec!["{}"; 101].join(","));
    for items in ["{}", "[]", "1", "null", many.as_str()] {
        assert_eq!(
            code(&adyen, &request(&[], each(items).as_bytes())),
            "malformed_body",
            "{items}"
        );
    }
    let twice = r#"{"notificationItems":[{}],"notificationItems":[{}]}"#;
    assert_eq!(
        code(&adyen, &request(&[], twice.as_bytes())),
        "malformed_body"
    );
    assert_eq!(
        code(&adyen, &request(&[], each("[{}]").as_bytes())),
        "missing_signature"
    );
}

#[test]
fn a_json_value_given_twice_or_that_is_no_scalar_is_never_signed() {
    let json = r#"{
        "signature": { "source": { "in": "json", "pointer": "/sig" }, "format": "plain",
            "schemes": [{ "algorithm": "hmac-sha256", "encoding": "hex", "key": "utf8" }] },
        "signed": "{json:/a}"
    }"#;
    let verifier = compile(&spec(json), &["k"]);
    let signature = hex::encode(hmac_sha256("k", b"1.0"));
    let empty = hex::encode(hmac_sha256("k", b""));
    for (body, expected) in [
        (
            format!(r#"{{"sig":"{signature}","a":1.0,"a":2}}"#),
            "malformed_body",
        ),
        (
            format!(r#"{{"sig":"{signature}","a":[1.0]}}"#),
            "malformed_body",
        ),
        (
            format!(r#"{{"sig":["{signature}"],"a":1.0}}"#),
            "malformed_signature",
        ),
        (
            format!(r#"{{"sig":"{signature}","sig":"","a":1.0}}"#),
            "malformed_signature",
        ),
        (
            format!(r#"{{"sig":"{signature}","a":1}}"#),
            "signature_mismatch",
        ),
        (r#"{"sig":null,"a":1.0}"#.to_owned(), "missing_signature"),
        (format!(r#"{{"sig":"{signature}","a":1.0}}"#), "ok"),
        (format!(r#"{{"sig":"{signature}","a":"1.0"}}"#), "ok"),
        (format!(r#"{{"sig":"{empty}","a":null}}"#), "ok"),
        (format!(r#"{{"sig":"{empty}"}}"#), "ok"),
    ] {
        assert_eq!(
            code(&verifier, &request(&[], body.as_bytes())),
            expected,
            "{body}"
        );
    }
}

#[test]
fn the_label_of_elsewhere_chooses_one_scheme() {
    let json = r#"{
        "signature": { "source": { "in": "header", "name": "X-Sig" }, "format": "plain",
            "label_from": { "in": "header", "name": "X-Version" },
            "schemes": [
                { "label": "1", "algorithm": "hmac-sha1", "encoding": "hex", "key": "utf8" },
                { "label": "2", "algorithm": "hmac-sha256", "encoding": "hex", "key": "utf8" }
            ] },
        "signed": "{body}"
    }"#;
    let verifier = compile(&spec(json), &["k"]);
    let signature = hex::encode(hmac_sha256("k", b"{}"));
    for (version, expected) in [
        ("", "unsupported_algorithm"),
        ("3", "unsupported_algorithm"),
        ("1", "signature_mismatch"),
        ("2", "ok"),
    ] {
        let headers = [("x-sig", signature.as_str()), ("x-version", version)];
        assert_eq!(
            code(&verifier, &request(&headers, b"{}")),
            expected,
            "{version}"
        );
    }
    let twice = [
        ("x-sig", signature.as_str()),
        ("x-version", "2"),
        ("x-version", "2"),
    ];
    assert_eq!(
        code(&verifier, &request(&twice, b"{}")),
        "unsupported_algorithm"
    );
}

#[test]
fn many_public_key_signatures_are_not_tried_one_by_one() {
    let key = "whpk_Vn29QYVXDEGUjXrX8fQXqJalQTw3dpH2MEnnM/z/VbM=";
    let verifier = compile(builtin("standardwebhooks").unwrap(), &[key]);
    let one = format!("v1a,{}", "A".repeat(86) + "==");
    for (count, expected) in [(8, "signature_mismatch"), (9, "malformed_signature")] {
        let header = vec![one.as_str(); count].join(" ");
        let headers = [
            ("webhook-id", "a"),
            ("webhook-timestamp", "1760000000"),
            ("webhook-signature", header.as_str()),
        ];
        assert_eq!(
            code(&verifier, &request(&headers, b"{}")),
            expected,
            "{count}"
        );
    }
    // A shared secret is no public key, and the other way round.
    let headers = [
        ("webhook-id", "a"),
        ("webhook-timestamp", "1760000000"),
        ("webhook-signature", one.as_str()),
    ];
    let shared = compile(
        builtin("standardwebhooks").unwrap(),
        &["whsec_c2VjcmV0c2VjcmV0c2VjcmV0"],
    );
    assert_eq!(code(&shared, &request(&headers, b"{}")), "bad_key");
    assert!(verifier.has_usable_key() && shared.has_usable_key());
}

#[test]
fn nothing_is_fetched_for_a_request_that_fails_without_a_key() {
    let topics = BTreeMap::from([(
        "topic_arns".to_owned(),
        ParamSpec::List(vec!["arn:a".to_owned(), "arn:b".to_owned()]),
    )]);
    let sns = Verifier::compile(builtin("aws_sns").unwrap(), &[], &topics, None).unwrap();
    let body = |topic: &str, url: &str, signature: &str| {
        format!(
            r#"{{"Type":"Notification","TopicArn":"{topic}","SigningCertURL":"{url}","SignatureVersion":"2","Signature":"{signature}"}}"#
        )
    };
    let good = "https://sns.us-east-1.amazonaws.com/x.pem";
    for (body, expected) in [
        ("[]".to_owned(), "missing_signature"),
        (body("arn:c", good, "AAAA"), "value_not_allowed"),
        (
            body("arn:b", "https://evil.example/x.pem", "AAAA"),
            "untrusted_cert_url",
        ),
        (
            // A bucket with the name `sns`, which need not be of SNS.
            body(
                "arn:b",
                "https://sns.s3-us-west-2.amazonaws.com/x.pem",
                "AAAA",
            ),
            "untrusted_cert_url",
        ),
        (body("arn:b", good, "!"), "-"),
        (body("arn:b", good, "AAAA"), "host any"),
    ] {
        let event = request(&[], body.as_bytes());
        let outcome = match sns.certificate_need(&sns.read(&event), NOW_S) {
            Ok(None) => "-",
            Ok(Some(need)) => {
                assert_eq!(need.url.to_string(), good);
                assert_eq!((need.trust, need.names.len()), (TrustSpec::Host, 0));
                "host any"
            }
            Err(error) => error.code(),
        };
        assert_eq!(outcome, expected, "{body}");
        let is_unavailable = code(&sns, &event) == "certificate_unavailable";
        assert_eq!(is_unavailable, outcome == "host any", "{body}");
    }
    let github = compile(builtin("github").unwrap(), &["k"]);
    let event = request(&[], b"");
    assert!(
        github
            .certificate_need(&github.read(&event), NOW_S)
            .unwrap()
            .is_none()
    );
}

#[test]
fn the_delivery_id_is_all_of_its_places_or_nothing() {
    let github = compile(builtin("github").unwrap(), &["k"]);
    let id = |verifier: &Verifier, event: &RawEvent| verifier.delivery_id(&verifier.read(event));
    assert!(github.has_delivery_id() && !Verifier::none().has_delivery_id());
    assert_eq!(id(&github, &request(&[], b"")), None);
    assert_eq!(
        id(&github, &request(&[("x-github-delivery", "a")], b"")).unwrap(),
        [Box::from(&b"a"[..])]
    );
    let twice = [("x-github-delivery", "a"), ("x-github-delivery", "b")];
    assert_eq!(id(&github, &request(&twice, b"")), None);

    let events = compile(builtin("cloudevents").unwrap(), &["k"]);
    let half = [("ce-id", "1")];
    assert_eq!(id(&events, &request(&half, b"")), None);
    let both = [("ce-id", "1"), ("ce-source", "/s")];
    let both = id(&events, &request(&both, b"")).unwrap();
    assert_eq!(both, [Box::from(&b"/s"[..]), Box::from(&b"1"[..])]);
}

#[test]
fn the_first_place_with_a_value_is_the_event_type() {
    let slack = compile(builtin("slack").unwrap(), &["k"]);
    for (body, expected) in [
        ("", None),
        ("{}", None),
        (r#"{"type":"a"}"#, Some("a")),
        (r#"{"type":"a","event":{"type":"b"}}"#, Some("b")),
        (r#"{"type":"a","event":{"type":{}}}"#, None),
        (r#"{"type":7}"#, Some("7")),
    ] {
        assert_eq!(
            slack.event_type(&request(&[], body.as_bytes())).as_deref(),
            expected,
            "{body}"
        );
    }
}

#[test]
fn a_preset_survives_being_written_and_read_again() {
    for name in builtin_names() {
        let preset = builtin(name).unwrap();
        let text = serde_json::to_string(preset).unwrap();
        assert_eq!(
            serde_json::from_str::<PresetSpec>(&text).unwrap(),
            *preset,
            "{name}"
        );
    }
}

#[test]
fn settings_of_certificates_and_labels_without_effect_are_refused() {
    let of = |signature: &str, rest: &str| {
        format!(
            r#"{{ "signature": {{ "source": {{ "in": "header", "name": "s" }}, "format": "plain", {signature} }}, "signed": "{{body}}" {rest} }}"#
        )
    };
    let scheme = |fields: &str| {
        format!(
            r#""schemes": [{{ "algorithm": "rsa-pkcs1-sha256", "encoding": "base64", "key": "x509_url" {fields} }}]"#
        )
    };
    let url = r#", "key_source": { "in": "header", "name": "u" }"#;
    let check = r#", "checks": [{ "type": "url_allowed", "source": { "in": "header", "name": "u" }, "scheme": "https", "hosts": ["h"] }]"#;
    let spki = |algorithm: &str, key: &str| {
        format!(
            r#""schemes": [{{ "algorithm": "{algorithm}", "encoding": "hex", "key": "{key}" }}]"#
        )
    };
    let labelled = r#""label_from": { "in": "header", "name": "l" }, "schemes": [
        { "label": "1", "algorithm": "hmac-sha1", "encoding": "hex", "key": "utf8" },
        { "label": "1", "algorithm": "hmac-sha256", "encoding": "hex", "key": "utf8" }]"#;
    for (json, field) in [
        (of(&scheme(""), check), "signature.schemes[0].key_source"),
        (of(&scheme(url), ""), "signature.schemes[0].key_source"),
        (
            of(
                &scheme(url),
                r#", "checks": [{ "type": "url_allowed", "source": { "in": "header", "name": "other" }, "scheme": "https", "hosts": ["h"] }]"#,
            ),
            "signature.schemes[0].key_source",
        ),
        (
            of(
                &scheme(&format!(r#"{url}, "certificate": {{ "names": ["a*.b"] }}"#)),
                check,
            ),
            "signature.schemes[0].certificate.names",
        ),
        (
            of(&scheme(url), &format!(r#", "each": "/a" {check}"#)),
            "signature.schemes[0].key_source",
        ),
        (of(&scheme(url), check), "secrets"),
        (
            of(&spki("hmac-sha256", "spki"), ""),
            "signature.schemes[0].key",
        ),
        (of(&spki("ed25519", "utf8"), ""), "signature.schemes[0].key"),
        (
            of(&spki("hmac-sha256", "x509_url"), ""),
            "signature.schemes[0].key",
        ),
        (of(labelled, ""), "signature.schemes"),
        (
            of(
                r#""schemes": [{ "algorithm": "hmac-sha1", "encoding": "hex", "key": "utf8", "certificate": {} }]"#,
                "",
            ),
            "signature.schemes[0].certificate",
        ),
    ] {
        let secrets = [Secret::new("k")];
        let error = Verifier::compile(&spec(&json), &secrets, &BTreeMap::new(), None).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("`{field}`: ")),
            "{error}: {json}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bodies_are_refused_by_every_preset_without_panic(
        body in r#"\{"(signature|Signature|type|notificationItems|Type|event)":(\[\{?|\{)?"?[a-zA-Z0-9:,{}\[\]"\\]{0,40}|\PC{0,40}"#,
        is_form: bool, get: bool, query in "(crc_token|bt_challenge|challenge|hub.mode)=[a-f0-9%&=]{0,30}",
    ) {
        let content_type = if is_form { "application/x-www-form-urlencoded" } else { "application/json" };
        let mut event = request(&[("content-type", content_type)], body.as_bytes());
        event.query = query;
        if get {
            event.method = Method::GET;
        }
        for name in ["adyen", "mailgun", "mailgun_form", "slack", "discord", "linear", "twilio", "twitter", "dropbox", "xero", "woocommerce"] {
            let secrets = [Secret::new(ADYEN_KEY)];
            let url = Some("https://h.example/in");
            let verifier = Verifier::compile(builtin(name).unwrap(), &secrets, &BTreeMap::new(), url).unwrap();
            let reading = verifier.read(&event);
            let _ = (verifier.event_type_of(&reading), verifier.delivery_id(&reading));
            let _ = verifier.handshake(&reading).map(|handshake| handshake.answer(&reading));
            proptest::prop_assert!(verifier.check(&reading, NOW_S, None).is_err());
        }
    }
}

#[test]
fn the_documentation_lists_every_preset() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sources.md");
    let page = std::fs::read_to_string(path).unwrap();
    let listed: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, _)| name)
        .take_while(|name| *name != "each")
        .collect();
    assert_eq!(listed, builtin_names().collect::<Vec<_>>());
}
