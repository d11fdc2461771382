//! Clients that are slow, silent or too many: each is cut or refused, with a code and a count,
//! and the others do not notice.

use serde_json::json;

use super::harness::{
    DEADLINE, Outrider, RawClient, Receiver, Reply, Resources, Setup, uid, until,
};

const SECRET: &str = "shared-with-the-customer";
const NEVER_MS: &str = "600000";

async fn start(limits: &[(&str, &str)]) -> (Receiver, Outrider) {
    let receiver = Receiver::start().await;
    let mut setup = Setup::new(&Resources::outgoing_to(&receiver, SECRET));
    for (name, value) in limits {
        setup = setup.env(&format!("OUTRIDER__INTAKE__{name}"), value);
    }
    (receiver, setup.start().await)
}

/// A publishing call, whole.
fn request(lines: &str) -> String {
    let body = json!({"endpoint_id": uid(1), "event_type": "a", "data": {}}).to_string();
    let head = RawClient::publish_head(&format!("Content-Length: {}\r\n{lines}", body.len()));
    head + &body
}

fn assert_refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status.as_u16(), reply.code()), (status, code));
}

/// An event is still taken, and the refusals are counted.
async fn assert_served(outrider: &Outrider, code: &str, times: f64) {
    let reply = outrider.client().publish_to(&uid(1), "a", json!({})).await;
    reply.unwrap().event_uid();
    let label = format!("result=\"{code}\"");
    let name = "outrider_ingest_requests_total";
    outrider
        .wait_for_metric(name, &[&label], times, DEADLINE)
        .await;
}

#[tokio::test]
async fn a_head_that_drips_is_cut_on_a_new_and_on_a_used_connection() {
    let limits = [("HEAD_TIMEOUT_MS", "300"), ("KEEPALIVE_MS", NEVER_MS)];
    let (_receiver, outrider) = start(&limits).await;
    let mut new = RawClient::connect(outrider.public()).await;
    new.write("POST / HTTP/1.1\r\nX: ").await;
    assert_refused(&new.drip_until_answered("a").await, 408, "head_timeout");
    let mut used = RawClient::connect(outrider.public()).await;
    used.write(request("")).await;
    used.read_reply().await.event_uid();
    used.write("P").await;
    assert_refused(&used.drip_until_answered("O").await, 408, "head_timeout");
    assert_served(&outrider, "head_timeout", 2.0).await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_ends() {
    let (_receiver, outrider) = start(&[("HEAD_TIMEOUT_MS", "300")]).await;
    let mut silent = RawClient::connect(outrider.public()).await;
    let reply = silent.read_reply().await;
    assert_refused(&reply, 408, "head_timeout");
    let (_receiver, outrider) = start(&[("KEEPALIVE_MS", "300")]).await;
    let mut idle = RawClient::connect(outrider.public()).await;
    idle.write(request("")).await;
    idle.read_reply().await.event_uid();
    assert_eq!(idle.read_to_end().await, "", "closed without a word");
}

#[tokio::test]
async fn a_body_that_does_not_end_is_cut() {
    let (_receiver, outrider) = start(&[("BODY_TIMEOUT_MS", "400")]).await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (lines, start, piece) in [
        ("Content-Length: 1000\r\n", "", " "),
        (chunked, "3e8\r\n", " "),
        (chunked, "", "1\r\n \r\n"),
        (chunked, "0\r\nX: ", "a"),
    ] {
        let mut client = RawClient::connect(outrider.public()).await;
        client.write(RawClient::publish_head(lines)).await;
        client.write(start).await;
        let reply = client.drip_until_answered(piece).await;
        assert_refused(&reply, 408, "body_timeout");
    }
    assert_served(&outrider, "body_timeout", 4.0).await;
}

#[tokio::test]
async fn a_body_below_the_least_rate_is_cut() {
    let limits = [
        ("BODY_TIMEOUT_MS", NEVER_MS),
        ("BODY_BYTES_PER_S_MIN", "1000"),
    ];
    let (_receiver, outrider) = start(&limits).await;
    let mut client = RawClient::connect(outrider.public()).await;
    client
        .write(RawClient::publish_head("Content-Length: 50000\r\n"))
        .await;
    let reply = client.drip_until_answered(" ").await;
    assert_refused(&reply, 408, "body_too_slow");
    assert_served(&outrider, "body_too_slow", 1.0).await;
}

#[tokio::test]
async fn connections_beyond_the_caps_are_told_so_and_a_place_that_is_left_is_taken() {
    for (in_all, of_one, code) in [
        ("3", "100", "too_many_connections"),
        ("100", "3", "too_many_connections_of_address"),
    ] {
        let limits = [
            ("CONNECTIONS_MAX", in_all),
            ("CONNECTIONS_PER_ADDRESS_MAX", of_one),
        ];
        let (_receiver, outrider) = start(&limits).await;
        // The gateway's own probe at its start may still be there.
        let open = "outrider_ingest_connections_open";
        until("no connection", DEADLINE, async || {
            (outrider.metric(open, &[]).await == 0.0).then_some(())
        })
        .await;
        let mut held = Vec::new();
        for _ in 0..3 {
            let mut client = RawClient::connect(outrider.public()).await;
            client.write(request("")).await;
            client.read_reply().await.event_uid();
            held.push(client);
        }
        let mut refused = RawClient::connect(outrider.public()).await;
        let reply = refused.read_reply().await;
        assert_refused(&reply, 503, code);
        assert_eq!(reply.headers["retry-after"], "1");
        let label = format!("reason=\"{code}\"");
        let counted = "outrider_ingest_connections_refused_total";
        outrider
            .wait_for_metric(counted, &[&label], 1.0, DEADLINE)
            .await;
        held.pop();
        until("the place is free", DEADLINE, async || {
            let reply = outrider.client().publish_to(&uid(1), "a", json!({})).await;
            reply.is_ok_and(|reply| reply.status == 201).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_last_request() {
    let (_receiver, outrider) = start(&[("REQUESTS_PER_CONNECTION_MAX", "2")]).await;
    let mut client = RawClient::connect(outrider.public()).await;
    client.write(request("")).await;
    let reply = client.read_reply().await;
    assert_ne!(reply.headers["connection"], "close");
    client.write(request("")).await;
    let reply = client.read_reply().await;
    assert_eq!(reply.headers["connection"], "close");
    assert_eq!(client.read_to_end().await, "");
}
