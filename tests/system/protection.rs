//! Who may send, and how often: decided from the head alone, for the instance, a project, a
//! source, a key and an address.

use http::Method;
use serde_json::{Value, json};

use super::harness::{API_KEY, Api, OUTGOING, Outrider, RawClient, Reply, Resources, Setup};

/// Fills so slowly that no token comes back during a test.
fn rate(count: u32) -> Value {
    json!({"count": count, "duration": 86_400})
}

async fn through_api() -> (Outrider, Api) {
    let outrider = Setup::through_api().start().await;
    let api = outrider.admin_api();
    (outrider, api)
}

/// A call of a source, without its body when `is_head_only`.
async fn call(outrider: &Outrider, mask: &str, lines: &str, is_head_only: bool) -> Reply {
    let mut client = RawClient::connect(outrider.public()).await;
    let head = format!(
        "POST /ingest/{mask} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n{lines}\r\n"
    );
    client.write(head).await;
    if !is_head_only {
        client.write("{}").await;
    }
    client.read_reply().await
}

fn assert_refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status.as_u16(), reply.code()), (status, code));
}

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    let value = reply.headers.get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

/// An event for nobody in the file's outgoing project.
async fn publish(outrider: &Outrider, call: &str, event: &Value) -> Reply {
    outrider.client().publish(call, event).await.unwrap()
}

fn fanout() -> Value {
    json!({"owner_id": "nobody", "event_type": "a", "data": {}})
}

#[tokio::test]
async fn addresses_are_refused_before_the_body_by_source_project_and_instance() {
    let (outrider, mut api) = through_api().await;
    let mut project = api.make_project("p", "incoming", &json!({})).await;
    let denied = json!({"deny_cidrs": ["127.0.0.0/8"], "allow_cidrs": ["127.0.0.1"]});
    let (uid, mask) = project.make_source("denied", &denied).await;
    assert_refused(
        &call(&outrider, &mask, "", true).await,
        403,
        "address_denied",
    );
    let elsewhere = json!({"allow_cidrs": ["192.0.2.0/24", "::/0"]});
    let (_, mask) = project.make_source("elsewhere", &elsewhere).await;
    assert_refused(
        &call(&outrider, &mask, "", true).await,
        403,
        "address_denied",
    );
    // Nobody is believed who he says he is, unless a setting says so.
    let lie = "X-Forwarded-For: 192.0.2.1\r\n";
    assert_refused(
        &call(&outrider, &mask, lie, true).await,
        403,
        "address_denied",
    );
    let (_, mask) = project
        .make_source("here", &json!({"allow_cidrs": ["::ffff:127.0.0.0/104"]}))
        .await;
    assert_eq!(call(&outrider, &mask, "", false).await.status, 200);
    let shown = project.get(&format!("/sources/{uid}")).await.data(200);
    assert_eq!(shown["deny_cidrs"], denied["deny_cidrs"]);
    let bad = json!({"name": "bad", "type": "http", "verifier": {"type": "noop"}, "deny_cidrs": ["10.0.0.0/40"]});
    let refusal = project.post("/sources", &bad).await.refusal(400);
    assert!(refusal.contains("deny_cidrs[0]"), "{refusal}");

    let closed = json!({"ingest_deny_cidrs": ["127.0.0.1/32"]});
    let mut project = api.make_project("closed", "incoming", &closed).await;
    let (_, mask) = project.make_source("any", &json!({})).await;
    assert_refused(
        &call(&outrider, &mask, "", true).await,
        403,
        "address_denied",
    );

    let resources = Resources::outgoing(&[]);
    let closed = Setup::new(&resources).env("OUTRIDER__INTAKE__DENY_CIDRS", "[127.0.0.0/8]");
    let closed = closed.start().await;
    let reply = publish(&closed, "/fanout", &fanout()).await;
    assert_refused(&reply, 403, "address_denied");
    let health = super::harness::get(closed.public(), "/healthz").await;
    assert_eq!(health.unwrap().status, 200, "it is about events");
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_address_it_names_counts() {
    let outrider = Setup::through_api()
        .env(
            "OUTRIDER__INTAKE__TRUSTED_PROXIES",
            "[127.0.0.1, 10.0.0.0/8]",
        )
        .start()
        .await;
    let mut api = outrider.admin_api();
    let mut project = api.make_project("p", "incoming", &json!({})).await;
    let allowed = json!({"allow_cidrs": ["192.0.2.0/24"]});
    let (_, mask) = project.make_source("s", &allowed).await;
    for (forwarded, status) in [
        ("192.0.2.1", 200),
        ("198.51.100.1, 192.0.2.1, 10.0.0.1", 200),
        ("192.0.2.1, 198.51.100.1", 403),
        ("192.0.2.1, nonsense", 403),
    ] {
        let lines = format!("X-Forwarded-For: {forwarded}\r\n");
        let reply = call(&outrider, &mask, &lines, false).await;
        assert_eq!(reply.status, status, "{forwarded}");
    }
    assert_eq!(call(&outrider, &mask, "", false).await.status, 403);
}

#[tokio::test]
async fn a_source_takes_its_rate_and_a_new_configuration_gives_no_fresh_one() {
    let (outrider, mut api) = through_api().await;
    let mut project = api.make_project("p", "incoming", &json!({})).await;
    let (uid, mask) = project
        .make_source("s", &json!({"rate_limit": rate(2)}))
        .await;
    let reply = call(&outrider, &mask, "", false).await;
    assert_eq!(reply.status, 200);
    assert_eq!(header(&reply, "ratelimit"), "\"source\";r=1;t=43200");
    assert_eq!(header(&reply, "ratelimit-policy"), "\"source\";q=2;w=86400");
    assert_eq!(call(&outrider, &mask, "", false).await.status, 200);
    let renamed = json!({"name": "t", "type": "http"});
    let changed = project.put(&format!("/sources/{uid}"), &renamed).await;
    assert_eq!(changed.data(202)["rate_limit"], rate(2));
    let reply = call(&outrider, &mask, "", true).await;
    assert_refused(&reply, 429, "rate_limited");
    assert_eq!(reply.json()["message"], "exceeded rate limit");
    assert_eq!(header(&reply, "x-ratelimit-limit"), "2");
    assert_eq!(header(&reply, "x-ratelimit-remaining"), "0");
    let wait: u32 = header(&reply, "retry-after").parse().unwrap();
    assert!((1..=43_200).contains(&wait), "{wait}");
    let reset: u32 = header(&reply, "x-ratelimit-reset").parse().unwrap();
    assert!((wait..=86_400).contains(&reset), "{reset}");
    let limited = "outrider_ingest_rate_limited_total";
    assert_eq!(outrider.metric(limited, &["limit=\"source\""]).await, 1.0);
    // Another source has its own.
    let (_, other) = project
        .make_source("o", &json!({"rate_limit": rate(1)}))
        .await;
    assert_eq!(call(&outrider, &other, "", false).await.status, 200);
    assert_refused(
        &call(&outrider, &other, "", true).await,
        429,
        "rate_limited",
    );
}

#[tokio::test]
async fn a_project_and_an_address_take_their_rates() {
    let (outrider, mut api) = through_api().await;
    let limited = json!({"ingest_rate_limit": rate(1)});
    let mut project = api.make_project("p", "incoming", &limited).await;
    let config = api
        .call(
            Method::GET,
            &format!("/api/v1/projects/{}", project.project()),
            None,
        )
        .await
        .data(200);
    assert_eq!(config["config"]["ingest_rate_limit"], rate(1));
    let (_, one) = project.make_source("one", &json!({})).await;
    let (_, two) = project.make_source("two", &json!({})).await;
    assert_eq!(call(&outrider, &one, "", false).await.status, 200);
    let reply = call(&outrider, &two, "", true).await;
    assert_refused(&reply, 429, "rate_limited");
    assert!(header(&reply, "ratelimit").starts_with("\"project\";r=0;"));

    let resources = Resources::outgoing(&[]);
    let outrider = Setup::new(&resources)
        .env(
            "OUTRIDER__INTAKE__RATE_LIMIT_PER_ADDRESS",
            "{count: 1, duration: 86400}",
        )
        .start()
        .await;
    let path = format!("/api/v1/projects/{OUTGOING}/events");
    let guess = [("authorization", "Bearer guess")];
    let reply = outrider.client().post(&path, &guess, "").await.unwrap();
    assert_eq!(reply.status, 401, "a guess counts, too");
    let reply = publish(&outrider, "/fanout", &fanout()).await;
    assert_refused(&reply, 429, "rate_limited");
    assert_eq!(
        header(&reply, "ratelimit-policy"),
        "",
        "a stranger is told little"
    );
    assert_ne!(header(&reply, "retry-after"), "");
}

#[tokio::test]
async fn a_key_takes_its_rate_and_each_event_of_a_batch_a_token() {
    let limited = Resources::outgoing(&[]).each_key("rate_limit", rate(3));
    let outrider = Setup::new(&limited).start().await;
    let item = json!({"owner_id": "nobody", "event_type": "a", "data": {}});
    let broken = json!({"owner_id": "nobody", "data": {}});
    let batch = json!({"events": [item, broken, item, item, item]});
    let reply = publish(&outrider, "/batch", &batch).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let statuses: Vec<u64> = reply.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [201, 400, 201, 201, 429]);
    assert_eq!(reply.json()["data"][4]["code"], "rate_limited");
    let head = RawClient::publish_head("Content-Length: 10\r\n");
    assert!(head.contains(API_KEY));
    let mut client = RawClient::connect(outrider.public()).await;
    client.write(head).await;
    let reply = client.read_reply().await;
    assert_refused(&reply, 429, "rate_limited");
    assert!(header(&reply, "ratelimit").starts_with("\"api_key\";r=0;"));
}
