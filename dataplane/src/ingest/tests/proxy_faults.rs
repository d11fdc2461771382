//! What goes wrong between client and control plane, and that it never looks like success.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::support::{
    Gateway, LONG, Upstream, exchange, free_address, read_head, read_to_end, read_until,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET /api HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn without_a_control_plane_its_paths_are_503_and_the_rest_is_served() {
    let gateway = Gateway::start(free_address()).await;
    let mut client = gateway.client().await;
    for path in [
        "/api/v1/projects",
        "/portal-api",
        "/portal",
        "/ui/x",
        "/metrics",
    ] {
        let request = Request::get(path).body(Full::default()).unwrap();
        let reply = client.send(request).await.unwrap();
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(reply.code(), "control_plane_unreachable");
        assert_eq!(reply.header("retry-after"), "1");
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.json()["status"], false);
        let message = reply.json()["message"].to_string();
        assert!(
            message.contains("control plane is unreachable"),
            "{message}"
        );
    }
    assert_eq!(gateway.get("/healthz").await.status, 200);
    gateway
        .wait_for_passed_on("control_plane_unreachable", 5)
        .await;
    // Also with a body that is not read.
    let mut client = gateway.raw().await;
    let head = "POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    let reply = exchange(&mut client, head).await;
    assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
}

#[tokio::test]
async fn a_control_plane_that_breaks_before_its_answer_is_502() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-le", "not HTTP\r\n\r\n"] {
        let upstream = Upstream::start(move |mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let gateway = Gateway::start(upstream.address).await;
        let reply = gateway.get("/api").await;
        assert_eq!(
            (reply.status.as_u16(), reply.code()),
            (502, "control_plane_broken"),
            "{answer:?}"
        );
        assert_eq!(reply.json()["status"], false);
        assert_eq!(upstream.accepted(), 1, "what was sent is not sent again");
        gateway.wait_for_passed_on("control_plane_broken", 1).await;
    }
}

#[tokio::test]
async fn a_protocol_that_nobody_asked_for_is_502() {
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    let upstream = Upstream::answering(answer).await;
    let gateway = Gateway::start(upstream.address).await;
    let request = Request::get("/ui")
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    let reply = gateway.ask(request.body(Full::default()).unwrap()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (502, "control_plane_broken")
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_complete() {
    for (frame, part) in [
        ("content-length: 10", "short"),
        ("transfer-encoding: chunked", "5\r\nshort\r\n"),
        ("transfer-encoding: chunked", "a\r\nshort"),
    ] {
        let upstream = Upstream::start(move |mut stream| async move {
            read_head(&mut stream).await;
            let answer = format!("HTTP/1.1 200 OK\r\n{frame}\r\n\r\n{part}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let gateway = Gateway::start(upstream.address).await;
        let request = Request::get("/ui").body(Full::default()).unwrap();
        let mut client = gateway.client().await;
        assert!(client.send(request).await.is_err(), "{frame} {part}");
        let seen = exchange(&mut gateway.raw().await, GET).await;
        assert!(
            seen.contains("short") && !seen.ends_with("0\r\n\r\n"),
            "{seen}"
        );
        gateway.wait_for_passed_on("control_plane_cut", 2).await;
        // HTTP/1.0 could not tell by chunks: it gets a length or an error.
        let old = exchange(&mut gateway.raw().await, "GET /ui HTTP/1.0\r\n\r\n").await;
        let expected = match frame {
            "content-length: 10" => "content-length: 10\r\n",
            _ => "x-outrider-error: control_plane_broken\r\n",
        };
        assert!(old.to_lowercase().contains(expected), "{old}");
    }
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let upstream = Upstream::start(|mut stream| async move {
        read_head(&mut stream).await;
        let refusal = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 5\r\n\r\nlarge";
        stream.write_all(refusal.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await; // closed by the gateway
    })
    .await;
    let gateway = Gateway::start(upstream.address).await;
    for frame in ["Content-Length: 16000000", "Transfer-Encoding: chunked"] {
        let mut client = gateway.raw().await;
        let head = format!("POST /api HTTP/1.1\r\nHost: x\r\n{frame}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let reply = read_until(&mut client, "\r\n\r\nlarge").await;
        assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
        assert!(reply.contains("close"), "{reply}");
        assert_eq!(read_to_end(&mut client).await, "");
    }
    gateway.wait_for_passed_on("passed", 2).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_declared_or_chunked() {
    let (ended, mut ends) = mpsc::channel(1);
    let upstream = Upstream::start(move |mut stream| {
        let ended = ended.clone();
        async move {
            let mut seen = Vec::new();
            let _ = stream.read_to_end(&mut seen).await;
            ended.send(seen).await.unwrap();
        }
    })
    .await;
    let gateway = Gateway::start(upstream.address).await;
    let mut client = gateway.raw().await;
    let head = "PUT /api HTTP/1.1\r\nHost: x\r\nContent-Length: 16777217\r\n\r\n";
    let reply = exchange(&mut client, head).await;
    assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
    assert_eq!(upstream.accepted(), 0, "a length alone is enough");

    let mut client = gateway.raw().await;
    let head = "PUT /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(1 << 20));
    for _ in 0..17 {
        // Refused in the last one, which may then not be taken to its end.
        let _ = client.write_all(chunk.as_bytes()).await;
    }
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 413"));
    let seen = timeout(LONG, ends.recv()).await.unwrap().unwrap();
    assert!(!seen.ends_with(b"0\r\n\r\n"), "it must not look complete");
    gateway.wait_for_passed_on("body_too_large", 2).await;
}

#[tokio::test]
async fn a_body_that_is_not_completed_is_not_completed_there_either() {
    let (report, mut reports) = mpsc::channel(1);
    let upstream = Upstream::start(move |mut stream| {
        let report = report.clone();
        async move {
            read_until(&mut stream, "short").await;
            report.send("begun".to_owned()).await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            report.send(String::from_utf8(rest).unwrap()).await.unwrap();
        }
    })
    .await;
    let mut next = async || timeout(LONG, reports.recv()).await.unwrap().unwrap();
    let gateway = Gateway::with_body_timeout(upstream.address, Duration::from_millis(300)).await;
    for frame in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let request = format!("POST /api HTTP/1.1\r\nHost: x\r\n{frame}\r\n\r\n5\r\nshort\r\n");
        let mut client = gateway.raw().await;
        let slow = exchange(&mut client, &request).await;
        assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
        assert_eq!(next().await, "begun");
        assert_eq!(next().await, "\r\n", "the rest");

        let mut client = gateway.raw().await;
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(next().await, "begun");
        client.shutdown().await.unwrap();
        let gone = read_to_end(&mut client).await;
        assert!(gone.starts_with("HTTP/1.1 400"), "{gone}");
        assert_eq!(next().await, "\r\n", "the rest");
    }
    gateway.wait_for_passed_on("body_timeout", 2).await;
    gateway.wait_for_passed_on("malformed_body", 2).await;
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_nobody_an_error() {
    let (closing, closed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (close, done) = (Arc::clone(&closing), Arc::clone(&closed));
    let upstream = Upstream::start(move |mut stream| {
        let (close, done) = (Arc::clone(&close), Arc::clone(&done));
        async move {
            read_head(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            close.notified().await;
            drop(stream);
            done.notify_one();
        }
    })
    .await;
    let gateway = Gateway::start(upstream.address).await;
    for round in 1..=5 {
        let request = Request::post("/api").body(Full::new(Bytes::from("a")));
        let reply = gateway.ask(request.unwrap()).await;
        assert_eq!(reply.status, 200, "{round} {}", reply.text());
        assert_eq!(upstream.accepted(), round);
        closing.notify_one();
        closed.notified().await;
    }
}

#[tokio::test]
async fn slow_uploads_of_one_client_leave_slots_to_the_others() {
    let upstream = Upstream::start(|mut stream| async move {
        if read_head(&mut stream).await.starts_with("PUT") {
            std::future::pending::<()>().await; // for the body
        }
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let gateway = Gateway::start(upstream.address).await;
    let head = |key: &str| {
        format!(
            "PUT /api HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut slow = Vec::new();
    for _ in 0..64 {
        let mut client = gateway.raw().await;
        client
            .write_all(head("Bearer slow").as_bytes())
            .await
            .unwrap();
        read_until(&mut client, "100 Continue\r\n\r\n").await;
        slow.push(client);
    }
    let ask = async |key: &str| {
        let request = Request::get("/api").header("authorization", key);
        gateway.ask(request.body(Full::default()).unwrap()).await
    };
    let refused = ask("Bearer slow").await;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (503, "overloaded")
    );
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(ask("Bearer other").await.status, 200);
    assert_eq!(gateway.get("/api").await.status, 200);
}

#[tokio::test]
async fn a_drain_waits_for_what_is_passed_on() {
    let asked = Arc::new(Notify::new());
    let (seen, stopped) = (Arc::clone(&asked), Arc::new(Notify::new()));
    let answer = Arc::clone(&stopped);
    let upstream = Upstream::start(move |mut stream| {
        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
        async move {
            read_head(&mut stream).await;
            seen.notify_one();
            answer.notified().await;
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let gateway = Gateway::start(upstream.address).await;
    let mut client = gateway.raw().await;
    client.write_all(GET.as_bytes()).await.unwrap();
    asked.notified().await;
    let stop = tokio::spawn(gateway.stop());
    tokio::task::yield_now().await;
    stopped.notify_one();
    let reply = read_to_end(&mut client).await;
    assert!(reply.ends_with("\r\n\r\nok"), "{reply}");
    stop.await.unwrap();
}
