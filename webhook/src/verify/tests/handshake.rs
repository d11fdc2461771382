//! Handshakes that the vectors do not have, and what a preset of a handshake can get wrong.

use super::*;

/// The answer's status and body, or the code of the refusal; `-` when it is no handshake.
fn answer(verifier: &Verifier, request: &RawEvent) -> String {
    let reading = verifier.read(request);
    let Some(handshake) = verifier.handshake(&reading) else {
        return "-".to_owned();
    };
    if handshake.is_signed()
        && let Err(error) = verifier.check(&reading, NOW_S, None)
    {
        return error.code().to_owned();
    }
    match handshake.answer(&reading) {
        Ok(answer) => format!(
            "{} {}",
            answer.status.as_u16(),
            String::from_utf8_lossy(&answer.body)
        ),
        Err(error) => error.code().to_owned(),
    }
}

fn asked(method: Method, query: &str, headers: &[(&'static str, &str)], body: &[u8]) -> RawEvent {
    let mut event = request(headers, body);
    event.method = method;
    event.query = query.to_owned();
    event
}

#[test]
fn a_crc_that_could_be_an_event_is_not_signed() {
    let twitter = compile(builtin("twitter").unwrap(), &["k"]);
    let ask = |query: &str| answer(&twitter, &asked(Method::GET, query, &[], b""));
    let long = format!("crc_token={}", "a".repeat(257));
    for query in [
        "crc_token=",
        "crc_token=%7B%22a%22:1%7D",
        "crc_token=%20%5B1%5D",
        "crc_token=a%3D1%26b",
        // JSON to whoever skips the mark; a compressed body; a multipart one.
        "crc_token=%EF%BB%BF%7B%22a%22:1%7D",
        "crc_token=%1F%8B%08%00%00%00%00%00",
        "crc_token=--b%0D%0A",
        "crc_token=a&crc_token=b",
        long.as_str(),
    ] {
        assert_eq!(ask(query), "malformed_challenge", "{query}");
    }
    assert_eq!(ask("other=1"), "-");
    assert!(ask("crc_token=abc").starts_with(r#"200 {"response_token":"sha256="#));
    assert!(twitter.has_handshake(&Method::GET) && !twitter.has_handshake(&Method::POST));
}

#[test]
fn a_body_whose_mac_anybody_can_have_is_no_event() {
    let twitter = compile(builtin("twitter").unwrap(), &["k"]);
    let given = answer(&twitter, &asked(Method::GET, "crc_token=forged", &[], b""));
    let given: serde_json::Value = serde_json::from_str(&given["200 ".len()..]).unwrap();
    let signature = given["response_token"].as_str().unwrap();
    let forged = request(&[("x-twitter-webhooks-signature", signature)], b"forged");
    let refused = twitter.verify(&forged, NOW_S).unwrap_err();
    assert_eq!(refused.code(), "signature_mismatch");
}

#[test]
fn a_token_is_compared_and_its_parameter_must_be_given() {
    let preset = builtin("meta").unwrap();
    let secrets = [Secret::new("k")];
    for (params, field) in [
        (params(&[]), "challenges[0].require"),
        (params(&[("verify_token", "")]), "challenges[0].require"),
    ] {
        let error = Verifier::compile(preset, &secrets, &params, None).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("`{field}`")),
            "{error}"
        );
    }
    let params = params(&[("verify_token", "mine")]);
    let meta = Verifier::compile(preset, &secrets, &params, None).unwrap();
    for (query, expected) in [
        (
            "hub.mode=subscribe&hub.challenge=1",
            "challenge_token_mismatch",
        ),
        (
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=",
            "challenge_token_mismatch",
        ),
        (
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=mine&hub.verify_token=x",
            "challenge_token_mismatch",
        ),
        (
            "hub.mode=subscribe&hub.challenge=1&hub.challenge=2&hub.verify_token=mine",
            "malformed_challenge",
        ),
        (
            "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=mine",
            "-",
        ),
        (
            "hub.mode=subscribe&hub.challenge=%3Cb%3E&hub.verify_token=mine",
            "200 <b>",
        ),
    ] {
        assert_eq!(
            answer(&meta, &asked(Method::GET, query, &[], b"")),
            expected,
            "{query}"
        );
    }
}

#[test]
fn cloudevents_grants_the_listed_origins_only() {
    let secrets = [Secret::new("k")];
    let origins = |origins: &[&str]| {
        let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let params = BTreeMap::from([("allowed_origins".to_owned(), ParamSpec::List(origins))]);
        Verifier::compile(builtin("cloudevents").unwrap(), &secrets, &params, None).unwrap()
    };
    let ask = |verifier: &Verifier, origin: &str| {
        let headers = [("webhook-request-origin", origin)];
        answer(verifier, &asked(Method::OPTIONS, "", &headers, b""))
    };
    let listed = origins(&["events.example.com"]);
    assert_eq!(ask(&listed, "evil.example"), "value_not_allowed");
    assert_eq!(ask(&listed, "Events.example.com"), "200 ");
    assert_eq!(
        ask(&origins(&[]), "events.example.com"),
        "value_not_allowed"
    );
    assert_eq!(ask(&origins(&["*"]), "any.example"), "200 ");
    assert_eq!(answer(&listed, &asked(Method::OPTIONS, "", &[], b"")), "-");

    let event = asked(
        Method::OPTIONS,
        "",
        &[("webhook-request-origin", "events.example.com")],
        b"",
    );
    let reading = listed.read(&event);
    let handshake = listed.handshake(&reading).unwrap();
    assert_eq!(handshake.reject_status(), 405);
    let headers = handshake.answer(&reading).unwrap().headers;
    let shown: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            ("allow", "POST, OPTIONS"),
            ("webhook-allowed-origin", "events.example.com"),
            ("webhook-allowed-rate", "*"),
        ]
    );
}

#[test]
fn pings_of_activations_are_answered_and_events_are_not_taken_for_them() {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let woo = compile(builtin("woocommerce").unwrap(), &["k"]);
    let post = |verifier: &Verifier, headers: &[(&'static str, &str)], body: &[u8]| {
        answer(verifier, &asked(Method::POST, "", headers, body))
    };
    assert_eq!(post(&woo, &[form], b"webhook_id=7"), "200 ");
    assert_eq!(post(&woo, &[], b"webhook_id=7"), "-");
    let signed = [form, ("x-wc-webhook-signature", "AAAA")];
    assert_eq!(post(&woo, &signed, b"webhook_id=7"), "-");

    let xero = compile(builtin("xero").unwrap(), &["k"]);
    let sign = |body: &[u8]| {
        base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            hmac_sha256("k", body),
        )
    };
    for (body, expected) in [
        (&br#"{"events":[],"entropy":"a"}"#[..], "200 "),
        (br#"{"events":[{}]}"#, "-"),
        (br#"{"events":{}}"#, "-"),
        (b"{}", "-"),
        (b"", "-"),
    ] {
        assert_eq!(
            post(&xero, &[("x-xero-signature", &sign(body))], body),
            expected
        );
    }
    let forged = [("x-xero-signature", sign(b"other"))];
    let forged = [(forged[0].0, forged[0].1.as_str())];
    assert_eq!(
        post(&xero, &forged, br#"{"events":[]}"#),
        "signature_mismatch"
    );

    let intercom = compile(builtin("intercom").unwrap(), &["k"]);
    assert_eq!(
        answer(&intercom, &asked(Method::HEAD, "", &[], b"")),
        "200 "
    );
    assert_eq!(
        post(&intercom, &[], br#"{"topic":"ping"}"#),
        "missing_signature"
    );
}

#[test]
fn what_a_handshake_gives_back_stays_inside_its_json_string() {
    let json = STRIPE.replacen(
        '{',
        r#"{ "challenges": [{
            "when": { "method": "GET", "query_present": ["c"] },
            "respond": { "status": 201, "body": { "a": ["{query_param:c}", 1, null], "b": "x" } }
        }],"#,
        1,
    );
    let verifier = compile(&spec(&json), &["k"]);
    let ask = |query: &str| answer(&verifier, &asked(Method::GET, query, &[], b""));
    assert_eq!(ask("c=%22%5D%0A"), r#"201 {"a":["\"]\n",1,null],"b":"x"}"#);
    assert_eq!(ask("c=%ff"), "malformed_challenge");
    assert_eq!(
        answer(&verifier, &asked(Method::HEAD, "c=1", &[], b"")),
        "-"
    );
}

#[test]
fn handshakes_that_would_give_something_away_are_refused() {
    let with =
        |challenge: &str| STRIPE.replacen('{', &format!(r#"{{ "challenges": [{challenge}],"#), 1);
    let respond = r#""respond": { "status": 200 }"#;
    let get = r#""when": { "method": "GET" }"#;
    let many = vec![format!("{{ {get}, {respond} }}"); 17].join(",");
    let answering = |body: &str| {
        format!(r#"{{ "when": {{ "method": "GET", "query_present": ["q"] }}, "respond": {body} }}"#)
    };
    for (challenge, field) in [
        (many, "challenges"),
        (
            format!(r#"{{ "when": {{ "method": "PUT" }}, {respond} }}"#),
            "challenges[0].when",
        ),
        (
            format!(r#"{{ "when": {{ "method": "POST" }}, {respond} }}"#),
            "challenges[0].when",
        ),
        (
            format!(
                r#"{{ {get}, {respond}, "action": {{ "http_get": "{{query_param:q}}", "scheme": "https", "hosts": ["h"] }} }}"#
            ),
            "challenges[0].action",
        ),
        (
            format!(
                r#"{{ {get}, {respond}, "verify": "signature", "action": {{ "http_get": "{{query_param:q}}", "scheme": "http", "hosts": ["h"] }} }}"#
            ),
            "challenges[0].action",
        ),
        (
            format!(
                r#"{{ {get}, {respond}, "require": {{ "query_regex": {{ "q": "[a-z]+" }} }} }}"#
            ),
            "challenges[0].require",
        ),
        (
            format!(r#"{{ {get}, {respond}, "reject_status": 200 }}"#),
            "challenges[0].reject_status",
        ),
        (
            answering(r#"{ "status": 302 }"#),
            "challenges[0].respond.status",
        ),
        (
            answering(r#"{ "status": 204, "body": "x" }"#),
            "challenges[0].respond.body",
        ),
        (
            answering(
                r#"{ "status": 200, "content_type": "text/html", "body": "{query_param:q}" }"#,
            ),
            "challenges[0].respond.content_type",
        ),
        (
            answering(r#"{ "status": 200, "headers": { "Set-Cookie": "{query_param:q}" } }"#),
            "challenges[0].respond.headers.Set-Cookie",
        ),
        (
            answering(r#"{ "status": 200, "body": "{secret}" }"#),
            "challenges[0].respond.body",
        ),
        (
            answering(r#"{ "status": 200, "body": "{mac:hmac-sha256:hex:body}" }"#),
            "challenges[0].respond.body",
        ),
        (
            answering(
                r#"{ "status": 200, "body": "{mac:hmac-sha256:hex:mac:hmac-sha1:hex:query_param:q}" }"#,
            ),
            "challenges[0].respond.body",
        ),
        (
            answering(r#"{ "status": 200, "body": "{mac:sha256:hex:query_param:q}" }"#),
            "challenges[0].respond.body",
        ),
        (
            answering(r#"{ "status": 200, "body": "{mac:hmac-sha256:text:query_param:q}" }"#),
            "challenges[0].respond.body",
        ),
    ] {
        let secrets = [Secret::new("k")];
        let error = Verifier::compile(&spec(&with(&challenge)), &secrets, &BTreeMap::new(), None)
            .unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("`{field}`: ")),
            "{error}: {challenge}"
        );
    }
    let unsigned = r#"{ "signature": null, "challenges": [{
        "when": { "method": "GET" }, "verify": "signature", "respond": { "status": 200 } }] }"#;
    let error = Verifier::compile(&spec(unsigned), &[], &BTreeMap::new(), None).unwrap_err();
    assert!(
        error.to_string().starts_with("`challenges[0].verify`"),
        "{error}"
    );
}
