use super::super::jwk::Jwk;
use super::*;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use std::collections::BTreeMap;

const URL: &str = "https://login.example.com/token";

fn client(proof: Proof) -> Client {
    Client::new(settings(proof), b"identity")
}

fn settings(proof: Proof) -> Settings {
    Settings {
        url: TargetUrl::parse(URL).unwrap(),
        url_text: URL.into(),
        client_id: "me & co".into(),
        proof,
        scope: None,
        audience: None,
        fields: Fields::default(),
        unit: ExpiryUnit::Seconds,
    }
}

fn in_body() -> Client {
    client(Proof::SecretInBody(Secret::new("hunter2")))
}

fn form(request: &TokenRequest) -> BTreeMap<String, String> {
    form_urlencoded::parse(request.body.as_bytes())
        .into_owned()
        .collect()
}

#[test]
fn a_secret_goes_where_it_was_asked_for_and_nowhere_else() {
    let request = in_body().request(0, 0).unwrap();
    assert!(request.authorization.is_none());
    let expected = [
        ("grant_type", "client_credentials"),
        ("client_id", "me & co"),
        ("client_secret", "hunter2"),
    ];
    assert_eq!(
        form(&request),
        expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    );
    let basic = client(Proof::SecretInHeader(Secret::new("a b:c")));
    let request = basic.request(0, 0).unwrap();
    let value = request.authorization.as_ref().unwrap();
    let sent = STANDARD.decode(value.to_str().unwrap().strip_prefix("Basic ").unwrap());
    assert_eq!(sent.unwrap(), b"me+%26+co:a+b%3Ac");
    assert!(value.is_sensitive());
    assert_eq!(form(&request).len(), 1);
    let both = Settings {
        scope: Some("read write".into()),
        audience: Some("https://api.example.com".into()),
        ..settings(Proof::SecretInHeader(Secret::new("s")))
    };
    let sent = form(&Client::new(both, b"").request(0, 0).unwrap());
    assert_eq!(sent["scope"], "read write");
    assert_eq!(sent["audience"], "https://api.example.com");
}

#[test]
fn an_assertion_says_who_for_whom_and_until_when() {
    let d = Secret::new("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let jwk = Jwk {
        kty: "OKP",
        crv: "Ed25519",
        x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        d: Some(&d),
        ..Jwk::default()
    };
    for (issuer, subject, expected) in [
        (None, None, ["me & co", "me & co"]),
        (Some("i".into()), Some("s".into()), ["i", "s"]),
    ] {
        let proof = Proof::Assertion {
            key: Box::new(AssertionKey::new(&jwk, None).unwrap()),
            issuer,
            subject,
        };
        let sent = form(&client(proof).request(1_000, 7).unwrap());
        assert_eq!(sent["client_assertion_type"], ASSERTION_TYPE);
        assert_eq!(sent["client_id"], "me & co");
        let claims = sent["client_assertion"].split('.').nth(1).unwrap();
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let [iss, sub] = expected;
        assert_eq!(
            claims,
            json!({"iss": iss, "sub": sub, "aud": URL, "iat": 1_000, "exp": 1_300, "jti": "00000000000000000000000000000007"})
        );
    }
}

#[test]
fn an_answer_without_a_usable_token_is_none() {
    for (body, expected) in [
        ("", TokenError::NotJson),
        ("<html>", TokenError::NotJson),
        ("[1]", TokenError::NotJson),
        ("{}", TokenError::NoToken),
        (r#"{"error":"invalid_client"}"#, TokenError::NoToken),
        (r#"{"access_token":""}"#, TokenError::NoToken),
        (r#"{"access_token":7}"#, TokenError::NoToken),
        (r#"{"access_token":"a b"}"#, TokenError::BadToken),
        (r#"{"access_token":"a\r\nx: y"}"#, TokenError::BadToken),
        (
            r#"{"access_token":"a","token_type":"b c"}"#,
            TokenError::BadToken,
        ),
        (r#"{"access_token":"é"}"#, TokenError::BadToken),
    ] {
        assert_eq!(
            in_body().read(body.as_bytes()).err(),
            Some(expected),
            "{body}"
        );
    }
    let long = json!({"access_token": "x".repeat(TOKEN_BYTES_MAX)}).to_string();
    assert_eq!(
        in_body().read(long.as_bytes()).err(),
        Some(TokenError::BadToken)
    );
}

#[test]
fn a_token_is_sent_with_its_type_for_as_long_as_it_says() {
    let s = Duration::from_secs;
    for (more, value, lifetime) in [
        (json!({}), "Bearer t", LIFETIME_UNKNOWN),
        (
            json!({"token_type": "bearer", "expires_in": 3600}),
            "Bearer t",
            s(3600),
        ),
        (
            json!({"token_type": "DPoP", "expires_in": "60"}),
            "DPoP t",
            s(60),
        ),
        (json!({"expires_in": 0}), "Bearer t", LIFETIME_UNKNOWN),
        (json!({"expires_in": -5}), "Bearer t", LIFETIME_UNKNOWN),
        (json!({"expires_in": "NaN"}), "Bearer t", LIFETIME_UNKNOWN),
        (json!({"expires_in": "soon"}), "Bearer t", LIFETIME_UNKNOWN),
        (json!({"expires_in": "inf"}), "Bearer t", LIFETIME_MAX),
        (json!({"expires_in": 1e300}), "Bearer t", LIFETIME_MAX),
    ] {
        let mut answer = json!({"access_token": "t"});
        answer
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let token = in_body().read(answer.to_string().as_bytes()).unwrap();
        assert_eq!(
            (token.value.to_str().unwrap(), token.lifetime),
            (value, lifetime),
            "{answer}"
        );
        assert!(token.value.is_sensitive());
    }
}

#[test]
fn an_answer_may_name_and_count_in_its_own_way() {
    for (word, seconds) in [("seconds", 90), ("minutes", 5_400), ("hours", 86_400)] {
        let own = Settings {
            fields: Fields {
                access_token: "key".into(),
                token_type: "kind".into(),
                expires_in: "ttl".into(),
            },
            unit: ExpiryUnit::of_word(word).unwrap(),
            ..settings(Proof::SecretInBody(Secret::new("s")))
        };
        let answer = br#"{"key":"t","kind":"Key","ttl":90,"access_token":"other"}"#;
        let token = Client::new(own, b"").read(answer).unwrap();
        assert_eq!(token.value, "Key t");
        assert_eq!(token.lifetime, Duration::from_secs(seconds), "{word}");
    }
    let said = json!(1_500);
    assert_eq!(
        lifetime(Some(&said), ExpiryUnit::Milliseconds),
        Duration::from_millis(1_500)
    );
    assert!(
        ExpiryUnit::WORDS
            .iter()
            .all(|word| ExpiryUnit::of_word(word).is_some())
    );
}

proptest! {
    /// Whatever a token endpoint answers, nothing panics, and what is sent is a header's value.
    #[test]
    fn any_answer_is_a_token_or_none(token in ".{0,40}", kind in ".{0,10}", lives in prop::num::f64::ANY) {
        let answer = json!({"access_token": token, "token_type": kind, "expires_in": lives}).to_string();
        if let Ok(read) = in_body().read(answer.as_bytes()) {
            prop_assert!(read.lifetime > Duration::ZERO || lives < 1e-8);
            prop_assert!(read.lifetime <= LIFETIME_MAX);
            prop_assert!(read.value.as_bytes().ends_with(token.as_bytes()));
        }
    }
}

#[test]
fn of_a_refusal_a_known_code_is_passed_on_alone() {
    for (body, code) in [
        ("", None),
        ("no", None),
        ("[]", None),
        (r#"{"error": 5}"#, None),
        (r#"{"error": "hunter2"}"#, None),
        (r#"{"error": "invalid_client "}"#, None),
        (
            r#"{"error": "invalid_client", "error_description": "hunter2"}"#,
            Some("invalid_client"),
        ),
    ] {
        assert_eq!(error_code(body.as_bytes()), code, "{body}");
    }
}

#[test]
fn who_it_is_decides_whose_token_it_gets_and_nothing_is_printed() {
    let [a, b] = [b"a", b"b"].map(|identity| {
        Client::new(
            settings(Proof::SecretInBody(Secret::new("hunter2"))),
            identity,
        )
    });
    assert_ne!(a.fingerprint(), b.fingerprint());
    assert_eq!(format!("{a:?}"), "Client(me & co, ***)");
}
