//! What is passed on, and how it comes back.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::support::{Gateway, Upstream, exchange, free_address, read_head, read_until};

const EVENTS: &str = "/api/v1/projects/P1/events";

fn get(path: &str) -> http::request::Builder {
    Request::get(path)
}

fn empty(request: http::request::Builder) -> Request<Full<Bytes>> {
    request.body(Full::default()).unwrap()
}

type Seen = Arc<Mutex<Vec<Request<Bytes>>>>;

/// A control plane on hyper that keeps what it got and answers with the body of the request.
async fn echo() -> (Upstream, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let upstream = Upstream::start(move |stream| {
        let kept = Arc::clone(&kept);
        let service = service_fn(move |request: Request<Incoming>| {
            let kept = Arc::clone(&kept);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                kept.lock()
                    .unwrap()
                    .push(Request::from_parts(head, body.clone()));
                let answer = Response::builder()
                    .status(StatusCode::CREATED)
                    .header("x-convoy-version", "2025-11-24")
                    .header("x-request-id", "of the control plane")
                    .header("set-cookie", "a=1")
                    .header("set-cookie", "b=2")
                    .header("connection", "x-secret-hop")
                    .header("x-secret-hop", "1")
                    .header("keep-alive", "timeout=5");
                Ok::<_, Infallible>(answer.body(Full::new(body)).unwrap())
            }
        });
        let connection = hyper::server::conn::http1::Builder::new();
        async move {
            let _ = connection
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    (upstream, seen)
}

fn take(seen: &Seen) -> Request<Bytes> {
    let mut seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

#[tokio::test]
async fn method_path_query_headers_and_body_arrive_as_they_were() {
    let (upstream, seen) = echo().await;
    let gateway = Gateway::start(upstream.address).await;
    let mut client = gateway.client().await;
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    for (method, path) in [
        (Method::PUT, "/api/v1/projects/P1?a=1&a=%20&b="),
        (Method::DELETE, "/portal-api/x"),
        (Method::POST, "/api/v1/projects/P1/events/batchreplay"),
        (Method::GET, "/ui/x.js?v=1"),
    ] {
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header("authorization", "Bearer x")
            .header("content-type", "application/json")
            .header("te", "trailers")
            .header("connection", "x-mine")
            .header("x-mine", "1")
            .header("upgrade", "websocket")
            .header("x-forwarded-for", "192.0.2.1");
        let reply = client
            .send(request.body(Full::new(body.clone())).unwrap())
            .await
            .unwrap();
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
        assert!(reply.body == body);

        let got = take(&seen);
        assert_eq!(
            (got.method(), got.uri().to_string()),
            (&method, path.to_owned())
        );
        assert!(got.body() == &body);
        let header = |name: &str| got.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("host"), Some(&*upstream.address.to_string()));
        assert_eq!(header("authorization"), Some("Bearer x"));
        assert_eq!(header("content-length"), Some("1048576"));
        assert_eq!(header("x-forwarded-for"), Some("192.0.2.1, 127.0.0.1"));
        assert_eq!(header("x-forwarded-host"), Some("gateway.test"));
        assert_eq!(header("x-forwarded-proto"), Some("http"));
        for name in ["te", "connection", "x-mine", "upgrade", "transfer-encoding"] {
            assert_eq!(header(name), None, "{name}");
        }

        assert_eq!(reply.header("x-convoy-version"), "2025-11-24");
        assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(reply.header("connection"), "keep-alive");
        for name in ["x-secret-hop", "keep-alive", "transfer-encoding"] {
            assert_eq!(reply.header(name), "", "{name}");
        }
    }
    assert_eq!(upstream.accepted(), 1, "connections are kept");
    gateway.wait_for_passed_on("passed", 4).await;
}

#[tokio::test]
async fn a_chunked_body_stays_one_also_with_a_get() {
    let (upstream, seen) = echo().await;
    let gateway = Gateway::start(upstream.address).await;
    for method in ["GET", "POST"] {
        let mut client = gateway.raw().await;
        let request = format!(
            "{method} /api HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
        );
        let reply = exchange(&mut client, &request).await;
        assert!(
            reply.starts_with("HTTP/1.1 201") && reply.ends_with("\r\n\r\nabcde"),
            "{reply}"
        );
        let got = take(&seen);
        assert_eq!(got.headers()["transfer-encoding"], "chunked");
        assert_eq!(got.body(), "abcde");
    }
}

#[tokio::test]
async fn a_large_answer_is_unchanged_with_and_without_a_length() {
    let body: Bytes = (0..10 << 20)
        .map(|index: u32| u8::try_from(index % 251).unwrap())
        .collect::<Vec<_>>()
        .into();
    for has_length in [true, false] {
        let sent = body.clone();
        let upstream = Upstream::start(move |mut stream| {
            let sent = sent.clone();
            async move {
                read_head(&mut stream).await;
                let frame = match has_length {
                    true => format!("content-length: {}", sent.len()),
                    false => "connection: close".to_owned(),
                };
                let head = format!("HTTP/1.1 200 OK\r\n{frame}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(&sent).await.unwrap();
            }
        })
        .await;
        let gateway = Gateway::start(upstream.address).await;
        let mut client = gateway.client().await;
        let reply = client.send(empty(get("/ui/large"))).await.unwrap();
        assert!(reply.body == body, "{} bytes", reply.body.len());
        let expected = if has_length { "10485760" } else { "" };
        assert_eq!(reply.header("content-length"), expected);
        assert_eq!(
            client.send(empty(get("/healthz"))).await.unwrap().status,
            200
        );
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    for (method, answer, length) in [
        ("HEAD", "200 OK\r\ncontent-length: 5", Some("5")),
        ("HEAD", "200 OK\r\ntransfer-encoding: chunked", None),
        ("GET", "304 Not Modified\r\ncontent-length: 5", Some("5")),
        ("GET", "204 No Content", None),
    ] {
        let upstream = Upstream::answering(format!("HTTP/1.1 {answer}\r\n\r\n")).await;
        let gateway = Gateway::start(upstream.address).await;
        let mut client = gateway.raw().await;
        let request = format!("{method} /ui HTTP/1.1\r\nHost: x\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await.to_lowercase();
        let found = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(found, length, "{answer} {head}");
        assert!(!head.contains("transfer-encoding"), "{answer} {head}");
        // What comes next on the connection is the next answer, and no rest of this one.
        let next = exchange(
            &mut client,
            "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(next.starts_with("HTTP/1.1 200"), "{answer} {next}");
    }
}

#[tokio::test]
async fn trailers_of_an_answer_are_dropped() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                  2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n";
    let upstream = Upstream::answering(answer).await;
    let gateway = Gateway::start(upstream.address).await;
    let mut client = gateway.raw().await;
    let reply = exchange(
        &mut client,
        "GET /ui HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(reply.ends_with("\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "{reply}");
    assert!(!reply.contains("trailer"), "{reply}");
}

#[tokio::test]
async fn parts_of_an_answer_arrive_when_they_are_written() {
    let upstream = Upstream::start(|mut stream| async move {
        read_head(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        std::future::pending().await
    })
    .await;
    let gateway = Gateway::start(upstream.address).await;
    let mut client = gateway.raw().await;
    client
        .write_all(b"GET /ui/live HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut client, "1\r\na\r\n").await;
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_length() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let upstream = Upstream::answering(answer).await;
    let gateway = Gateway::start(upstream.address).await;
    let mut client = gateway.raw().await;
    let reply = exchange(&mut client, "GET /ui HTTP/1.0\r\n\r\n").await;
    assert!(
        reply.to_lowercase().contains("content-length: 2\r\n") && reply.ends_with("\r\n\r\nok"),
        "{reply}"
    );
}

#[tokio::test]
async fn paths_of_nobody_are_404() {
    let gateway = Gateway::start(free_address()).await;
    for path in ["/", "/apis", "/uis/x", "/nothing/here", "/ingest"] {
        let reply = gateway.get(path).await;
        assert_eq!(
            (reply.status.as_u16(), reply.code()),
            (404, "no_route"),
            "{path}"
        );
        assert_eq!(reply.json()["status"], false);
    }
    assert_eq!(gateway.counted("control", "passed"), 0);
}

#[tokio::test]
async fn events_are_listed_there_and_published_here() {
    let (upstream, seen) = echo().await;
    let gateway = Gateway::start(upstream.address).await;
    assert_eq!(
        gateway.get(&format!("{EVENTS}?perPage=1")).await.status,
        201
    );
    take(&seen);
    for call in ["", "/fanout", "/broadcast", "/dynamic", "/batch"] {
        let published = Request::post(format!("{EVENTS}{call}"));
        let reply = gateway.ask(empty(published)).await;
        assert_eq!(
            (reply.status.as_u16(), reply.code()),
            (401, "authentication_required"),
            "{call}"
        );
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn doubled_slashes_are_one() {
    let (upstream, seen) = echo().await;
    let gateway = Gateway::start(upstream.address).await;
    for (path, expected) in [
        ("//api///v1/projects//?a=//", "/api/v1/projects?a=//"),
        ("/ui//", "/ui/"),
    ] {
        assert_eq!(gateway.get(path).await.status, 201, "{path}");
        assert_eq!(take(&seen).uri().to_string(), expected);
    }
}

#[tokio::test]
async fn every_reply_has_a_request_id_and_the_control_plane_gets_the_same() {
    let (upstream, seen) = echo().await;
    let gateway = Gateway::start(upstream.address).await;
    let mut fresh = Vec::new();
    for path in ["/ui", "/healthz", "/nothing", "/ingest/x"] {
        let mine = gateway
            .ask(empty(get(path).header("x-request-id", "mine-1")))
            .await;
        assert_eq!(mine.header("x-request-id"), "mine-1", "{path}");
        assert_eq!(mine.headers.get_all("x-request-id").iter().count(), 1);
        let bad = gateway
            .ask(empty(get(path).header("x-request-id", "not sane")))
            .await;
        let none = gateway.get(path).await;
        fresh.extend([bad, none].map(|reply| reply.header("x-request-id").to_owned()));
    }
    let got: Vec<_> = seen.lock().unwrap().drain(..).collect();
    let got: Vec<_> = got
        .iter()
        .map(|got| &got.headers()["x-request-id"])
        .collect();
    assert_eq!(got, ["mine-1", fresh[0].as_str(), fresh[1].as_str()]);
    assert!(fresh.iter().all(|id| id.len() == 32), "{fresh:?}");
    fresh.sort_unstable();
    fresh.dedup();
    assert_eq!(fresh.len(), 8);

    let mut client = gateway.raw().await;
    let unreadable = exchange(&mut client, "not HTTP\r\n\r\n").await;
    assert!(
        unreadable.to_lowercase().contains("\r\nx-request-id: 0"),
        "{unreadable}"
    );
}

#[tokio::test]
async fn a_client_that_expects_100_continue_is_told_to_go_on() {
    let (upstream, seen) = echo().await;
    let gateway = Gateway::start(upstream.address).await;
    let mut client = gateway.raw().await;
    let head = "POST /api HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert!(
        read_head(&mut client)
            .await
            .starts_with("HTTP/1.1 100 Continue")
    );
    let reply = exchange(&mut client, "ok").await;
    assert!(
        reply.starts_with("HTTP/1.1 201") && reply.ends_with("\r\n\r\nok"),
        "{reply}"
    );
    assert!(!take(&seen).headers().contains_key("expect"));
}
