//! Requests that two parsers could read in two ways, on raw sockets. Each has one expected
//! answer; behind each refused one comes a whole valid request, which must make no event.

use serde_json::json;

use super::harness::{API_KEY, OUTGOING, Outrider, RawClient, Receiver, Resources, Setup, uid};

const SECRET: &str = "shared-with-the-customer";

/// A request, and what it is to be answered.
struct Case {
    what: &'static str,
    request: Vec<u8>,
    status: u16,
    code: &'static str,
}

fn case(what: &'static str, status: u16, code: &'static str, request: impl Into<Vec<u8>>) -> Case {
    Case {
        what,
        request: request.into(),
        status,
        code,
    }
}

fn body() -> String {
    json!({"endpoint_id": uid(1), "event_type": "a", "data": {"n": 1}}).to_string()
}

/// A publishing call with these header lines, and this behind its head.
fn post(lines: &str, behind: &str) -> String {
    format!("{}{behind}", RawClient::publish_head(lines))
}

/// A publishing call without a fault.
fn valid() -> String {
    let body = body();
    post(&format!("Content-Length: {}\r\n", body.len()), &body)
}

/// A body in one chunk, and its end.
fn chunked() -> String {
    format!("{}0\r\n\r\n", chunk(&body()))
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// A publishing call with this request line.
fn line(line: &str) -> String {
    let behind = RawClient::publish_head("");
    let (_, rest) = behind.split_once("\r\n").unwrap();
    format!("{line}\r\n{rest}")
}

/// Heads whose framing is said twice, in words of its own, or not to be counted on.
fn framings() -> Vec<Case> {
    let length = body().len();
    let both = |lines: &str| post(lines, &chunked());
    let coding = |value: &str| post(&format!("Transfer-Encoding: {value}\r\n"), &chunked());
    let number = |value: &str| post(&format!("Content-Length: {value}\r\n"), &body());
    let (ambiguous, malformed, unknown) = (
        "ambiguous_framing",
        "malformed_request",
        "unsupported_coding",
    );
    vec![
        case(
            "CL.TE",
            400,
            ambiguous,
            both(&format!(
                "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"
            )),
        ),
        case(
            "TE.CL",
            400,
            ambiguous,
            both("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        ),
        case(
            "CL.TE, unknown coding",
            400,
            ambiguous,
            both("Content-Length: 4\r\nTransfer-Encoding: x\r\n"),
        ),
        case("TE xchunked", 501, unknown, coding("xchunked")),
        case(
            "TE list, chunked last",
            501,
            unknown,
            coding("identity, chunked"),
        ),
        case(
            "TE list, chunked first",
            501,
            unknown,
            coding("chunked, identity"),
        ),
        case("TE quoted", 501, unknown, coding("\"chunked\"")),
        case(
            "TE twice",
            501,
            unknown,
            coding("chunked\r\nTransfer-Encoding: chunked"),
        ),
        case(
            "TE.TE",
            501,
            unknown,
            coding("chunked\r\nTransfer-Encoding: x"),
        ),
        case("TE behind a control", 400, malformed, coding("\x0bchunked")),
        case(
            "TE in a folded line",
            400,
            malformed,
            coding("\r\n chunked"),
        ),
        case(
            "TE with a blank before the colon",
            400,
            malformed,
            both("Transfer-Encoding : chunked\r\n"),
        ),
        case(
            "TE behind a blank",
            400,
            malformed,
            both(" Transfer-Encoding: chunked\r\n"),
        ),
        case(
            "TE behind a bare LF",
            400,
            malformed,
            both("X: a\nTransfer-Encoding: chunked\r\n"),
        ),
        case(
            "TE behind a bare CR",
            400,
            malformed,
            both("X: a\rTransfer-Encoding: chunked\r\n"),
        ),
        case(
            "TE in HTTP/1.0",
            400,
            malformed,
            coding("chunked").replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
        case(
            "CL twice, different",
            400,
            malformed,
            number(&format!("{length}\r\nContent-Length: 3")),
        ),
        case(
            "CL twice, the same",
            400,
            malformed,
            number(&format!("{length}\r\nContent-Length: {length}")),
        ),
        case(
            "CL list",
            400,
            malformed,
            number(&format!("{length}, {length}")),
        ),
        case(
            "CL with a sign",
            400,
            malformed,
            number(&format!("+{length}")),
        ),
        case("CL negative", 400, malformed, number("-1")),
        case("CL in hex", 400, malformed, number("0x10")),
        case(
            "CL too large for a number",
            400,
            malformed,
            number("18446744073709551617"),
        ),
        case("CL empty", 400, malformed, number("")),
    ]
}

/// Bodies in chunks that are none.
fn bodies() -> Vec<Case> {
    let data = body();
    let size = data.len();
    let chunks = |body: String| post("Transfer-Encoding: chunked\r\n", &body);
    let bad = |what, body| case(what, 400, "malformed_body", chunks(body));
    vec![
        bad(
            "chunk size with 0x",
            format!("0x{size:x}\r\n{data}\r\n0\r\n\r\n"),
        ),
        bad("chunk size empty", format!("{}\r\n\r\n", chunk(&data))),
        bad(
            "chunk size with a blank",
            format!("{size:x} \r\n{data}\r\n0\r\n\r\n"),
        ),
        bad(
            "chunk size negative",
            format!("-{size:x}\r\n{data}\r\n0\r\n\r\n"),
        ),
        bad(
            "chunk size too large",
            format!("ffffffffffffffff\r\n{data}\r\n0\r\n\r\n"),
        ),
        bad(
            "chunk size with zeros for ever",
            format!("{}\r\n", "0".repeat(4096)),
        ),
        bad(
            "chunk size before a bare LF",
            format!("{size:x}\n{data}\r\n0\r\n\r\n"),
        ),
        bad(
            "chunk extension with a bare LF",
            format!("{size:x};\nx\r\n{data}\r\n0\r\n\r\n"),
        ),
        bad(
            "chunk extension for ever",
            format!("{size:x};{}", "x".repeat(4096)),
        ),
        bad(
            "chunk data longer than its size",
            format!("2\r\n{data}\r\n0\r\n\r\n"),
        ),
        bad(
            "chunk data before a bare LF",
            format!("{size:x}\r\n{data}\n0\r\n\r\n"),
        ),
        bad(
            "last chunk before a bare LF",
            format!("{}0\n\n", chunk(&data)),
        ),
        bad(
            "trailer without a colon",
            format!("{}0\r\nX\r\n\r\n", chunk(&data)),
        ),
        bad(
            "trailer before a bare LF",
            format!("{}0\r\nX: a\n\r\n", chunk(&data)),
        ),
    ]
}

/// Heads that are no heads of ours.
fn heads() -> Vec<Case> {
    let path = format!("/api/v1/projects/{OUTGOING}/events");
    let head = |lines: &str| {
        post(
            &format!("Content-Length: {}\r\n{lines}", body().len()),
            &body(),
        )
    };
    let malformed = "malformed_request";
    let no_host = format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer {API_KEY}\r\n\r\n");
    vec![
        case("folded line", 400, malformed, head("X: a\r\n b\r\n")),
        case("NUL in a value", 400, malformed, head("X: a\0b\r\n")),
        case("NUL in a name", 400, malformed, head("X\0: a\r\n")),
        case(
            "NUL in the path",
            400,
            malformed,
            line(&format!("POST {path}\0 HTTP/1.1")),
        ),
        case("line without a colon", 400, malformed, head("X\r\n")),
        case("two hosts", 400, malformed, head("Host: other.test\r\n")),
        case("no host", 400, "missing_host", no_host),
        case(
            "absolute form",
            400,
            "bad_target",
            line(&format!("POST http://other.test{path} HTTP/1.1")),
        ),
        case(
            "asterisk form",
            400,
            "bad_target",
            line("OPTIONS * HTTP/1.1"),
        ),
        case(
            "CONNECT",
            400,
            "bad_target",
            line("CONNECT other.test:443 HTTP/1.1"),
        ),
        case(
            "blanks in the request line",
            400,
            malformed,
            line(&format!("POST  {path} HTTP/1.1")),
        ),
        case("HTTP/0.9", 400, malformed, format!("GET {path}\r\n")),
        case(
            "HTTP/1.2",
            505,
            "http_version",
            line(&format!("POST {path} HTTP/1.2")),
        ),
        case(
            "HTTP/2 without TLS",
            505,
            "http_version",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ),
        case(
            "TLS on the plain port",
            400,
            "tls_on_plain_port",
            b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        ),
        case(
            "request line too long",
            414,
            "uri_too_long",
            line(&format!("POST {path}?{} HTTP/1.1", "x".repeat(9000))),
        ),
        case(
            "request line without an end",
            414,
            "uri_too_long",
            "P".repeat(9000),
        ),
        case(
            "too many headers",
            431,
            "head_too_large",
            head(&"X: a\r\n".repeat(100)),
        ),
        case(
            "head too large",
            431,
            "head_too_large",
            head(&format!("X: {}\r\n", "x".repeat(40_000))),
        ),
        case(
            "unknown expectation",
            417,
            "expectation_failed",
            head("Expect: 200-ok\r\n"),
        ),
    ]
}

async fn start() -> (Receiver, Outrider) {
    let receiver = Receiver::start().await;
    let setup = Setup::new(&Resources::outgoing_to(&receiver, SECRET));
    let outrider = setup.start().await;
    (receiver, outrider)
}

async fn events(outrider: &Outrider) -> f64 {
    outrider.metric("outrider_events_routed_total", &[]).await
}

#[tokio::test]
async fn each_request_that_could_be_read_in_two_ways_is_refused_and_hides_no_other() {
    let (receiver, outrider) = start().await;
    let cases: Vec<Case> = [framings(), bodies(), heads()]
        .into_iter()
        .flatten()
        .collect();
    assert!(cases.len() >= 25);
    let hidden = valid();
    for case in cases {
        let mut client = RawClient::connect(outrider.public()).await;
        let request = [&case.request[..], hidden.as_bytes()].concat();
        client.write(&request).await;
        let said = client.read_to_end().await;
        let head = said.split("\r\n\r\n").next().unwrap();
        let status = format!("HTTP/1.1 {} ", case.status);
        assert!(head.starts_with(&status), "{}: {said}", case.what);
        let code = format!("x-outrider-error: {}", case.code);
        assert!(head.contains(&code), "{}: {said}", case.what);
        let answers = said.to_lowercase().matches("x-request-id:").count();
        assert_eq!(answers, 1, "{}: {said}", case.what);
    }
    assert_eq!(events(&outrider).await, 0.0);
    assert_eq!(receiver.connections(), 0);
    let reply = outrider.client().publish_to(&uid(1), "a", json!({})).await;
    reply.unwrap().event_uid();
}

#[tokio::test]
async fn what_has_one_meaning_makes_one_event() {
    let (_receiver, outrider) = start().await;
    let data = body();
    let inner = valid().replace('"', "'");
    let hiding = json!({"endpoint_id": uid(1), "event_type": "a", "data": inner}).to_string();
    let sized =
        |lines: &str, body: &str| post(&format!("Content-Length: {}\r\n{lines}", body.len()), body);
    let extended = format!(
        "{:x};x=y\r\n{data}\r\n0;z\r\nX-Trailer: a\r\n\r\n",
        data.len()
    );
    let close = "Connection: close\r\n";
    let cases = [
        ("a length", sized(close, &data)),
        (
            "chunks",
            post(
                &format!("Transfer-Encoding: chunked\r\n{close}"),
                &chunked(),
            ),
        ),
        (
            "extensions and a trailer",
            post(&format!("Transfer-Encoding: Chunked\r\n{close}"), &extended),
        ),
        ("a request inside of a body", sized(close, &hiding)),
        ("a request behind a body", format!("{}{}", valid(), valid())),
        (
            "a request behind chunks",
            format!(
                "{}{}",
                post("Transfer-Encoding: chunked\r\n", &chunked()),
                valid()
            ),
        ),
        (
            "an empty line before it",
            format!("\r\n{}", sized(close, &data)),
        ),
        (
            "an upgrade nobody wants",
            sized(
                "Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
                &data,
            ),
        ),
        (
            "HTTP/1.0",
            sized("", &data).replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
        (
            "an expectation",
            sized(&format!("Expect: 100-continue\r\n{close}"), &data),
        ),
        ("a half-closed connection", sized("", &data)),
    ];
    for (count, (what, request)) in cases.into_iter().enumerate() {
        let mut client = RawClient::connect(outrider.public()).await;
        client.write(&request).await;
        if what == "a half-closed connection" {
            client.finish().await;
        }
        let said = client.read_to_end().await;
        assert_eq!(
            said.matches(" 201 Created\r\n").count(),
            1,
            "{what}: {said}"
        );
        let answers = if what == "an expectation" { 2 } else { 1 };
        assert_eq!(said.matches("HTTP/1.").count(), answers, "{what}: {said}");
        let expected = f64::from(u32::try_from(count + 1).unwrap());
        assert_eq!(events(&outrider).await, expected, "{what}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_makes_no_event() {
    let (_receiver, outrider) = start().await;
    let data = body();
    let more = data.len() + 1;
    for request in [
        post(&format!("Content-Length: {more}\r\n"), &data),
        post("Transfer-Encoding: chunked\r\n", &chunk(&data)),
        post(
            "Transfer-Encoding: chunked\r\n",
            &format!("{}0\r\n", chunk(&data)),
        ),
        RawClient::publish_head("Content-Length: 5\r\n"),
    ] {
        let mut client = RawClient::connect(outrider.public()).await;
        client.write(&request).await;
        client.finish().await;
        let said = client.read_to_end().await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
        assert!(said.contains("x-outrider-error: malformed_body"), "{said}");
    }
    assert_eq!(events(&outrider).await, 0.0);
}
