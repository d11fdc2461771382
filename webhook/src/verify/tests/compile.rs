//! What a preset or a source's settings can get wrong.

use super::*;

fn error(
    json: &str,
    secrets: &[&str],
    params: &BTreeMap<String, ParamSpec>,
    public_url: Option<&str>,
) -> CompileError {
    let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
    Verifier::compile(&spec(json), &secrets, params, public_url).unwrap_err()
}

/// The Stripe preset with one piece of its text replaced.
fn altered(from: &str, to: &str) -> String {
    assert!(STRIPE.contains(from), "{from}");
    STRIPE.replacen(from, to, 1)
}

#[test]
fn settings_without_effect_or_meaning_are_refused() {
    let pairs = r#""format": "pairs", "pair_separator": ",", "key_separator": "=""#;
    for (json, field) in [
        (altered(pairs, r#""format": "plain""#), "timestamp.source"),
        (
            altered(pairs, r#""format": "plain", "prefix": "a""#),
            "signature.prefix",
        ),
        (
            altered(pairs, r#""format": "prefixed""#),
            "signature.prefix",
        ),
        (
            altered(r#""pair_separator": ",""#, r#""pair_separator": ", ""#),
            "signature.pair_separator",
        ),
        (
            altered(r#""pair_separator": ",","#, ""),
            "signature.pair_separator",
        ),
        (
            altered(r#""key_separator": "=""#, r#""key_separator": ",""#),
            "signature.key_separator",
        ),
        (
            altered(r#""label": "v1","#, ""),
            "signature.schemes[0].label",
        ),
        (
            altered(r#""encoding": "hex""#, r#""encoding": "text""#),
            "signature.schemes[0].encoding",
        ),
        (
            altered("Stripe-Signature", "Stripe Signature"),
            "signature.source",
        ),
        (altered("{timestamp}.{body}", "{body}{body}"), "signed"),
        (
            altered("{timestamp}.{body}", "{secret}{body}"),
            "signature.schemes[0].algorithm",
        ),
        (
            altered("hmac-sha256", "sha256"),
            "signature.schemes[0].algorithm",
        ),
        (altered("{timestamp}.{body}", "constant"), "signed"),
        (altered("{body}", "{bodyy}"), "signed"),
        (altered("{body}", "{body:x}"), "signed"),
        (altered("{body}", "{header}"), "signed"),
        (altered("{body}", "{body"), "signed"),
        (altered("hmac-sha256", "equal"), "signed"),
        (altered(r#""{timestamp}.{body}""#, "[]"), "signed"),
        (altered(r#""{timestamp}.{body}""#, "null"), "signed"),
        (
            altered(r#""signed":"#, r#""reject_status": 200, "signed":"#),
            "reject_status",
        ),
    ] {
        let error = error(&json, &["k"], &BTreeMap::new(), None);
        assert!(
            matches!(&error, CompileError::Invalid { field: named, .. } if named == field),
            "{error}: {json}"
        );
    }
}

#[test]
fn unknown_names_are_refused_with_the_names_that_exist() {
    for (from, to, field) in [
        ("hmac-sha256", "hmac-md5", "signature.schemes[0].algorithm"),
        (r#""hex""#, r#""base32""#, "signature.schemes[0].encoding"),
        ("utf8", "utf16", "signature.schemes[0].key"),
    ] {
        let error = error(&altered(from, to), &["k"], &BTreeMap::new(), None);
        assert!(
            matches!(&error, CompileError::Unknown { field: named, .. } if named == field),
            "{error}"
        );
    }
    for json in [
        altered(r#""signed""#, r#""singed""#),
        altered(r#""label""#, r#""lable""#),
        altered(r#""in": "pair""#, r#""in": "pear""#),
        altered(r#""past": 300,"#, ""),
        altered(r#""past": 300"#, r#""past": -1"#),
        altered(r#""format": "unix""#, r#""format": "iso""#),
    ] {
        assert!(serde_json::from_str::<PresetSpec>(&json).is_err(), "{json}");
    }
}

#[test]
fn secrets_and_parameters_are_checked() {
    let none = BTreeMap::new();
    assert_eq!(error(STRIPE, &[], &none, None), CompileError::NoSecret);
    assert_eq!(
        error(STRIPE, &["a", ""], &none, None),
        CompileError::EmptySecret { index: 1 }
    );
    assert_eq!(
        error(STRIPE, &["a"; 17], &none, None),
        CompileError::TooManySecrets { count: 17 }
    );
    assert_eq!(
        error(STRIPE, &["a"], &params(&[("x", "1")]), None),
        CompileError::UnknownParam { name: "x".into() }
    );
    assert_eq!(
        error(&altered("{timestamp}", "{param:x}"), &["a"], &none, None),
        CompileError::MissingParam {
            field: "signed".into(),
            name: "x".into()
        }
    );
    assert_eq!(
        error(&altered("{body}", "{url}"), &["a"], &none, None),
        CompileError::PublicUrlMissing {
            field: "signed".into()
        }
    );
    assert!(matches!(
        error(STRIPE, &["a"], &none, Some("h.example")),
        CompileError::PublicUrl { .. }
    ));

    let secrets = [Secret::new("k")];
    let error = Verifier::compile(builtin("none").unwrap(), &secrets, &none, None).unwrap_err();
    assert!(matches!(error, CompileError::Invalid { field, .. } if field == "secrets"));
    let error = Verifier::compile(builtin("hmac").unwrap(), &secrets, &none, None).unwrap_err();
    assert_eq!(
        error,
        CompileError::MissingParam {
            field: "signature.source".into(),
            name: "header".into()
        }
    );
}

#[test]
fn a_static_credential_in_numbered_headers_is_refused() {
    let json = r#"{ "signature": {
        "source": { "in": "header_prefix", "name": "X-Key-" }, "format": "plain",
        "schemes": [{ "algorithm": "equal", "encoding": "text", "key": "utf8" }]
    } }"#;
    let error = error(json, &["k"], &BTreeMap::new(), None);
    assert!(
        matches!(error, CompileError::Unsupported { field, .. } if field == "signature.source")
    );
}

#[test]
fn every_builtin_file_is_read_under_its_own_name_and_compiles() {
    assert!(builtin("acme").is_none());
    assert_eq!(
        builtin_names().count(),
        crate::verify::preset::BUILTIN.len()
    );
    for name in builtin_names() {
        let preset = builtin(name).unwrap();
        assert_eq!(preset.name, name);
        assert!(!preset.description.is_empty());
        let secrets = [Secret::new("k")];
        let required = preset
            .params
            .iter()
            .filter(|(_, default)| default.is_none());
        let mut params: BTreeMap<String, ParamSpec> = required
            .map(|(name, _)| (name.clone(), ParamSpec::Text("X-Given".to_owned())))
            .collect();
        let takes_secrets = !["none", "aws_sns", "paypal"].contains(&name);
        let secrets = if takes_secrets { &secrets[..] } else { &[] };
        let url = Some("https://h.example/in");
        Verifier::compile(preset, secrets, &params, url)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Some((param, _)) = params.pop_first() {
            let error = Verifier::compile(preset, secrets, &params, url).unwrap_err();
            assert!(
                matches!(&error, CompileError::MissingParam { name, .. } if *name == param),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn the_hmac_preset_and_convoys_verifier_agree() {
    for (hash, encoding) in [
        ("SHA256", "hex"),
        ("SHA512", "base64"),
        ("SHA1", "hex"),
        ("SHA384", "base64"),
    ] {
        let secrets = [Secret::new("k")];
        let by_params = params(&[
            ("header", "X-Sig"),
            ("hash", hash),
            ("encoding", encoding),
            ("prefix", "p="),
        ]);
        let by_params =
            Verifier::compile(builtin("hmac").unwrap(), &secrets, &by_params, None).unwrap();
        let convoy = compile(
            &PresetSpec::generic_hmac("X-Sig", hash, encoding).with_prefix("p="),
            &["k"],
        );
        let signature = properties::sign(hash, encoding, "k", b"{}");
        let good = request(&[("x-sig", &format!("p={signature}"))], b"{}");
        let bare = request(&[("x-sig", &signature)], b"{}");
        for verifier in [&by_params, &convoy] {
            assert_eq!(code(verifier, &good), "ok", "{hash} {encoding}");
            assert_eq!(code(verifier, &bare), "malformed_signature");
        }
        let plain = compile(
            &PresetSpec::generic_hmac("X-Sig", hash, encoding).with_prefix(""),
            &["k"],
        );
        assert_eq!(code(&plain, &bare), "ok");
    }
    let unknown = PresetSpec::generic_hmac("X-Sig", "MD5", "hex");
    let error =
        Verifier::compile(&unknown, &[Secret::new("k")], &BTreeMap::new(), None).unwrap_err();
    assert!(matches!(error, CompileError::Unknown { value, .. } if value == "hmac-md5"));
}
