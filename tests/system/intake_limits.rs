//! Requests that are too large, ambiguous or malformed: refused while reading, and the next
//! request is served as if nothing had happened.

use serde_json::json;

use super::harness::{
    DEADLINE, Framing, Outrider, RawClient, Receiver, Reply, Resources, Setup, get, github, uid,
};

const SECRET: &str = "shared-with-the-customer";
/// The default limit of a body is 50 KiB.
const TOO_LARGE: usize = 60 * 1024;

async fn start(receiver: &Receiver) -> Outrider {
    Setup::new(&Resources::outgoing_to(receiver, SECRET))
        .start()
        .await
}

fn event(padding: usize) -> Vec<u8> {
    let data = json!({"padding": "x".repeat(padding)});
    json!({"endpoint_id": uid(1), "event_type": "a", "data": data})
        .to_string()
        .into_bytes()
}

/// Refused with this code, in words that say what the limit is or what is wrong.
fn assert_refused(reply: &Reply, status: u16, code: &str, says: &str) {
    let message = reply.refusal(status);
    assert_eq!(reply.code(), code, "{message}");
    assert!(message.contains(says), "{says:?} is not in {message:?}");
}

/// The gateway still takes and delivers an event, and it is the first one the receiver sees.
async fn assert_nothing_came_of_it(outrider: &Outrider, receiver: &Receiver) {
    assert_eq!(receiver.connections(), 0);
    let uid = outrider
        .client()
        .publish_to(&uid(1), "a", json!({"n": 1}))
        .await
        .unwrap()
        .event_uid();
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(
        (received.len(), received[0].webhook_id()),
        (1, uid.as_str())
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_declared_or_chunked() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    for framing in [Framing::Length, Framing::Chunked] {
        let mut client = RawClient::connect(outrider.public()).await;
        client.publish("", framing, &event(TOO_LARGE)).await;
        let reply = client.read_reply().await;
        assert_refused(&reply, 413, "body_too_large", "at most 51200 bytes");
    }
    // A length alone is enough: nobody waits for the bytes.
    let mut client = RawClient::connect(outrider.public()).await;
    client
        .write(RawClient::publish_head("Content-Length: 9999999999\r\n"))
        .await;
    let reply = client.read_reply().await;
    assert_refused(&reply, 413, "body_too_large", "at most 51200 bytes");
    assert_nothing_came_of_it(&outrider, &receiver).await;
}

#[tokio::test]
async fn a_webhook_over_the_limit_of_its_project_is_413_before_it_is_verified() {
    let receiver = Receiver::start().await;
    let outrider =
        Setup::new(&Resources::incoming("secret", &[]).config("max_payload_read_size", 1024))
            .start()
            .await;
    let _ = receiver;
    let mut client = outrider.client();
    let large = vec![b'x'; 1025];
    let reply = client
        .github("push", &github("secret", &large), large.clone().into())
        .await
        .unwrap();
    assert_refused(&reply, 413, "body_too_large", "at most 1024 bytes");
    let fitting = large[..1024].to_vec();
    let reply = client
        .github("push", &github("secret", &fitting), fitting.into())
        .await
        .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn two_framings_in_one_request_are_400() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let body = String::from_utf8(event(1)).unwrap();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let length = body.len();
    let framings = [
        (
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
            "ambiguous_framing",
            "Content-Length and Transfer-Encoding",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n".to_owned(),
            "ambiguous_framing",
            "Content-Length and Transfer-Encoding",
        ),
        (
            format!("Content-Length: {length}\r\nContent-Length: 5\r\n"),
            "malformed_request",
            "framing is ambiguous",
        ),
    ];
    for (framing, code, says) in framings {
        let mut client = RawClient::connect(outrider.public()).await;
        client.write(RawClient::publish_head(&framing)).await;
        client.write(&chunked).await;
        let reply = client.read_reply().await;
        assert_refused(&reply, 400, code, says);
    }
    assert_nothing_came_of_it(&outrider, &receiver).await;
}

#[tokio::test]
async fn malformed_requests_are_400() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    for (body, says) in [
        (r#"{"endpoint_id": "#, "JSON (at character 16)"),
        ("", "must not be empty"),
        ("null", "must be a JSON object"),
        ("[1,2", "badly-formed JSON"),
        (r#"{"data": {"a": 1}} trailing"#, "JSON (at character 20)"),
        ("\u{0}", "JSON (at character 1)"),
    ] {
        let mut client = RawClient::connect(outrider.public()).await;
        client.publish("", Framing::Length, body.as_bytes()).await;
        let reply = client.read_reply().await;
        assert_refused(&reply, 400, "invalid_event", says);
    }
    let mut client = RawClient::connect(outrider.public()).await;
    client.write("POST\r\nthis is not HTTP\r\n\r\n").await;
    let reply = client.read_reply().await;
    assert_refused(&reply, 400, "malformed_request", "head is malformed");
    assert_nothing_came_of_it(&outrider, &receiver).await;
}

#[tokio::test]
async fn a_body_that_is_not_json_by_its_content_type_is_415() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let headers = [
        ("authorization", "Bearer x"),
        ("content-type", "text/plain"),
    ];
    let path = "/api/v1/projects/01JQ0000000000000000000001/events";
    // Who may not publish learns nothing about what may be published.
    assert_eq!(
        outrider
            .client()
            .post(path, &headers, "{}")
            .await
            .unwrap()
            .status,
        401
    );
    let authorization = format!("Bearer {}", super::harness::API_KEY);
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "text/plain"),
    ];
    assert_eq!(
        outrider
            .client()
            .post(path, &headers, "{}")
            .await
            .unwrap()
            .status,
        415
    );
    assert_nothing_came_of_it(&outrider, &receiver).await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_json() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    for path in ["/", "/ingest", "/apis/v1/projects", "/nothing/here"] {
        let reply = get(outrider.public(), path).await.unwrap();
        assert!(reply.status.is_client_error(), "{path}: {}", reply.status);
        assert_eq!(reply.json()["status"], false, "{path}");
    }
    assert_eq!(
        get(outrider.public(), "/healthz").await.unwrap().status,
        200
    );
    assert_nothing_came_of_it(&outrider, &receiver).await;
}

#[tokio::test]
async fn a_client_that_expects_100_continue_is_told_to_go_on() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let body = event(10);
    let mut client = RawClient::connect(outrider.public()).await;
    let head = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len());
    client.write(RawClient::publish_head(&head)).await;
    assert_eq!(client.read_status().await, 100);
    client.write(&body).await;
    assert_eq!(client.read_status().await, 201);
    receiver.wait_for(1, DEADLINE).await;
    // And it is not told to go on with a body that will be refused.
    let mut client = RawClient::connect(outrider.public()).await;
    client
        .write(RawClient::publish_head(
            "Content-Length: 99999999\r\nExpect: 100-continue\r\n",
        ))
        .await;
    assert_eq!(client.read_status().await, 413);
}

#[tokio::test]
async fn what_is_not_http_is_refused_without_a_panic_and_without_quoting_it_in_the_log() {
    let receiver = Receiver::start().await;
    let mut outrider = Setup::new(&Resources::outgoing_to(&receiver, SECRET))
        .env("RUST_LOG", "debug")
        .start()
        .await;
    for head in [
        "\0garbage\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: x\r\nbad header line\r\n\r\n".to_owned(),
        RawClient::publish_head("").replace("Host:", "Ho st:"),
    ] {
        let mut client = RawClient::connect(outrider.public()).await;
        client.write(&head).await;
        let reply = client.read_reply().await;
        assert_refused(&reply, 400, "malformed_request", "head is malformed");
    }
    assert_nothing_came_of_it(&outrider, &receiver).await;
    assert_eq!(outrider.terminate().await, Some(0));
    let log = outrider.stderr();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains(super::harness::API_KEY), "{log}");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let body = vec![b'x'; 200 * 1024];
    for path in ["/ingest/unknown", "/nothing/here"] {
        let mut client = RawClient::connect(outrider.public()).await;
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        client.write(head).await;
        client.write(&body).await;
        assert_eq!(client.read_status().await, 404, "{path}");
    }
    assert_nothing_came_of_it(&outrider, &receiver).await;
}

#[tokio::test]
async fn codings_that_are_not_understood_and_a_missing_host_are_refused() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let coding = (
        501,
        "unsupported_coding",
        "only one `Transfer-Encoding: chunked`",
    );
    for (head, (status, code, says)) in [
        ("Host: x\r\nTransfer-Encoding: gzip, chunked\r\n", coding),
        (
            "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            coding,
        ),
        (
            "Content-Length: 0\r\n",
            (400, "missing_host", "Host header"),
        ),
    ] {
        let mut client = RawClient::connect(outrider.public()).await;
        client
            .write(format!("POST /ingest/x HTTP/1.1\r\n{head}\r\n"))
            .await;
        let reply = client.read_reply().await;
        assert_refused(&reply, status, code, says);
    }
    assert_nothing_came_of_it(&outrider, &receiver).await;
}

#[tokio::test]
async fn a_head_over_its_limits_is_431_and_says_which() {
    let receiver = Receiver::start().await;
    let outrider = Setup::new(&Resources::outgoing_to(&receiver, SECRET))
        .env("OUTRIDER__INTAKE__HEADER_BYTES_MAX", "4096")
        .env("OUTRIDER__INTAKE__HEADERS_MAX", "50")
        .start()
        .await;
    let long = format!("X-Long: {}\r\n", "a".repeat(4096));
    let many: String = (0..50).map(|n| format!("X-Many-{n}: a\r\n")).collect();
    for more in [long, many] {
        let mut client = RawClient::connect(outrider.public()).await;
        let head = format!("Content-Length: 0\r\n{more}");
        client.write(RawClient::publish_head(&head)).await;
        let reply = client.read_reply().await;
        assert_refused(
            &reply,
            431,
            "head_too_large",
            "at most 4096 bytes and 50 headers",
        );
    }
    assert_nothing_came_of_it(&outrider, &receiver).await;
}

#[tokio::test]
async fn an_http_1_0_client_gets_its_answer_and_the_end_of_the_connection() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = RawClient::connect(outrider.public()).await;
    client.write("GET /healthz HTTP/1.0\r\n\r\n").await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1."), "{answer}");
    assert!(answer.ends_with("\"data\":null}"), "{answer}");
}

#[tokio::test]
async fn a_client_that_drips_is_cut_in_its_head_and_in_its_body() {
    let receiver = Receiver::start().await;
    let outrider = Setup::new(&Resources::outgoing_to(&receiver, SECRET))
        .env("OUTRIDER__INTAKE__HEAD_TIMEOUT_MS", "300")
        .env("OUTRIDER__INTAKE__BODY_TIMEOUT_MS", "400")
        .start()
        .await;
    let drip = async |start: String, piece: &'static str| {
        let mut client = RawClient::connect(outrider.public()).await;
        client.write(start).await;
        client.drip_until_answered(piece).await
    };
    let head = "POST /ingest/x HTTP/1.1\r\nHost: x\r\nX-Long: ".to_owned();
    let reply = drip(head, "a").await;
    assert_refused(&reply, 408, "head_timeout", "head took longer than 300 ms");
    let body = RawClient::publish_head("Content-Length: 1000\r\n");
    let reply = drip(body, " ").await;
    assert_refused(&reply, 408, "body_timeout", "body took longer than 400 ms");
    assert_nothing_came_of_it(&outrider, &receiver).await;
}
