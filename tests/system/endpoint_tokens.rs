//! Tokens of OAuth 2.0: fetched, used, renewed, and nothing sent without one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

use super::endpoint_authentication::attempt_of;
use super::harness::{
    Api, DEADLINE, Fault, Outrider, Received, Receiver, Setup, TokenEndpoint, until,
};

/// The key of RFC 8037, appendix A.1.
const KEY_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const KEY_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// A gateway with an outgoing project that tries again after a second.
async fn start() -> (Outrider, Api) {
    let outrider = Setup::through_api().start().await;
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 5});
    let mut admin = outrider.admin_api();
    let project = admin
        .make_project("shop", "outgoing", &json!({"strategy": strategy}))
        .await;
    (outrider, project)
}

/// Fields of an endpoint that gets its tokens there.
fn client(endpoint: &TokenEndpoint, more: Value) -> Value {
    let mut client = json!({"url": endpoint.url(), "client_id": "me"});
    client
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({"authentication": {"type": "oauth2", "oauth2": client}, "http_timeout": 10})
}

fn shared(endpoint: &TokenEndpoint) -> Value {
    client(
        endpoint,
        json!({"authentication_type": "shared_secret", "client_secret": "hunter2"}),
    )
}

/// Hands out `t1`, `t2` and so on.
fn numbered(number: usize) -> (u16, Value) {
    (
        200,
        json!({"access_token": format!("t{number}"), "expires_in": 3600}),
    )
}

/// Refuses the token `t1`.
fn refuses_the_first(request: &Received) -> Fault {
    match request.header("authorization") {
        "Bearer t1" => Fault::Status(401),
        _ => Fault::None,
    }
}

fn tokens_of(receiver: &Receiver) -> Vec<String> {
    let received = receiver.received();
    received
        .iter()
        .map(|one| one.header("authorization").to_owned())
        .collect()
}

#[tokio::test]
async fn a_token_is_fetched_as_the_client_says_and_kept() {
    let (receiver, endpoint) = (
        Receiver::start().await,
        TokenEndpoint::start(numbered).await,
    );
    let (outrider, mut project) = start().await;
    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": KEY_X, "d": KEY_D});
    for (n, more) in [
        json!({"authentication_type": "shared_secret", "client_secret": "hunter2", "scope": "hooks"}),
        json!({"authentication_type": "client_secret_basic", "client_secret": "hunter2", "audience": "them"}),
        json!({"authentication_type": "client_assertion", "signing_key": key, "issuer": "us"}),
    ].into_iter().enumerate() {
        let name = format!("e{n}");
        let endpoint = project.make_endpoint(&name, &receiver.url("/"), &client(&endpoint, more)).await;
        for _ in 0..3 {
            let event = project.publish(&endpoint, "a", &json!(n)).await;
            let attempt = attempt_of(&mut project, &event, "Success").await;
            assert_eq!(attempt["request_http_header"]["authorization"], "***");
        }
    }
    let token = |n| format!("Bearer t{n}");
    assert_eq!(tokens_of(&receiver), [1, 1, 1, 2, 2, 2, 3, 3, 3].map(token));
    let asked = endpoint.asked();
    let [body, header, assertion] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(
        (&*body.form["client_secret"], &*body.form["scope"]),
        ("hunter2", "hooks")
    );
    assert_eq!(body.authorization, "");
    assert_eq!(header.authorization, "Basic bWU6aHVudGVyMg==");
    assert_eq!((header.form.len(), &*header.form["audience"]), (2, "them"));
    let (signed, signature) = assertion.form["client_assertion"].rsplit_once('.').unwrap();
    let decoded = |text| URL_SAFE_NO_PAD.decode(text).unwrap();
    let public = UnparsedPublicKey::new(&ED25519, decoded(KEY_X));
    public
        .verify(signed.as_bytes(), &decoded(signature))
        .unwrap();
    let claims: Value =
        serde_json::from_slice(&decoded(signed.split_once('.').unwrap().1)).unwrap();
    assert_eq!(
        (&claims["iss"], &claims["sub"], &claims["aud"]),
        (&json!("us"), &json!("me"), &json!(endpoint.url()))
    );
    for secret in ["hunter2", KEY_D, "Bearer"] {
        let dump = outrider.admin_page("/config_dump").await;
        assert!(!dump.contains(secret), "{dump}");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_within_the_attempt() {
    let receiver = Receiver::with(refuses_the_first).await;
    let endpoint = TokenEndpoint::start(numbered).await;
    let (_outrider, mut project) = start().await;
    let target = project
        .make_endpoint("e", &receiver.url("/"), &shared(&endpoint))
        .await;
    let event = project.publish(&target, "a", &json!(1)).await;
    let attempt = attempt_of(&mut project, &event, "Success").await;
    assert_eq!(attempt["attempt"], 1);
    assert_eq!(tokens_of(&receiver), ["Bearer t1", "Bearer t2"]);
    let event = project.publish(&target, "a", &json!(2)).await;
    project.delivery(&event, "Success").await;
    assert_eq!((endpoint.asked().len(), receiver.received().len()), (2, 3));
}

#[tokio::test]
async fn one_that_takes_no_token_is_asked_twice_an_attempt_and_no_more() {
    let receiver = Receiver::with(|_| Fault::Status(401)).await;
    let endpoint = TokenEndpoint::start(numbered).await;
    let (_outrider, mut project) = start().await;
    let mut more = shared(&endpoint);
    more["strategy"] = json!({"type": "linear", "duration": 1, "retry_count": 1});
    let target = project.make_endpoint("e", &receiver.url("/"), &more).await;
    let event = project.publish(&target, "a", &json!(1)).await;
    let attempt = attempt_of(&mut project, &event, "Failure").await;
    assert_eq!(
        (&attempt["error_class"], &attempt["response_flags"]),
        (&json!("http_4xx"), &json!("URX"))
    );
    assert_eq!(tokens_of(&receiver), ["Bearer t1", "Bearer t2"]);
}

#[tokio::test]
async fn what_may_arrive_once_is_not_sent_again_with_another_token() {
    let receiver = Receiver::with(refuses_the_first).await;
    let endpoint = TokenEndpoint::start(numbered).await;
    let (_outrider, mut project) = start().await;
    let target = project
        .make_endpoint("e", &receiver.url("/"), &shared(&endpoint))
        .await;
    let once = json!({"name": "once", "endpoint_id": target, "delivery_mode": "at_most_once"});
    project.post("/subscriptions", &once).await.uid();
    let event = project.publish(&target, "a", &json!(1)).await;
    let ended = project.delivery(&event, "Failure").await;
    assert_eq!(ended["description"], "refused");
    // The next event has another token all the same.
    let event = project.publish(&target, "a", &json!(2)).await;
    project.delivery(&event, "Success").await;
    assert_eq!(tokens_of(&receiver), ["Bearer t1", "Bearer t2"]);
}

#[tokio::test]
async fn nothing_is_sent_without_a_token_and_the_delivery_is_tried_again() {
    let receiver = Receiver::start().await;
    let endpoint = TokenEndpoint::start(|number| match number {
        1 => (503, json!({"error": "temporarily_unavailable"})),
        2 => (200, json!({"token": "elsewhere"})),
        number => numbered(number),
    })
    .await;
    let (_outrider, mut project) = start().await;
    let target = project
        .make_endpoint("e", &receiver.url("/"), &shared(&endpoint))
        .await;
    let event = project.publish(&target, "a", &json!(1)).await;
    let done = project.delivery(&event, "Success").await;
    assert_eq!(done["metadata"]["num_trials"], 3);
    assert_eq!(tokens_of(&receiver), ["Bearer t3"]);
    let path = format!(
        "/eventdeliveries/{}/deliveryattempts",
        done["uid"].as_str().unwrap()
    );
    let attempts = until("all attempts are there", DEADLINE, async || {
        let attempts = project
            .get(&path)
            .await
            .data(200)
            .as_array()
            .unwrap()
            .clone();
        (attempts.len() == 3).then_some(attempts)
    })
    .await;
    for attempt in attempts.iter().filter(|attempt| attempt["status"] == false) {
        assert_eq!(attempt["error_class"], "auth_unavailable", "{attempt}");
        assert_eq!(attempt["response_flags"], "UAEX");
        assert_eq!(
            (
                &attempt["request_http_header"],
                &attempt["destination_address"]
            ),
            (&json!({}), &Value::Null)
        );
        assert_eq!(attempt["counts"], true);
    }
}
