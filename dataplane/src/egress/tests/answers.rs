//! What receivers do with a request, the worst first.

use std::time::Duration;

use outrider_webhook::retry::{Failure, Outcome};
use tokio::io::AsyncWriteExt;

use super::support::*;
use crate::egress::Exchange;

fn assert_failed(exchange: &Exchange, expected: Failure) {
    assert_eq!(exchange.outcome, Outcome::Failed(expected), "{exchange:?}");
    assert!(exchange.detail.is_some(), "{exchange:?}");
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_a_refused_connection() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let exchange = send(&egress(), &url).await;
    assert_failed(&exchange, Failure::ConnectRefused);
    assert_eq!((exchange.local, exchange.remote), (None, None));
}

#[tokio::test]
async fn a_reset_instead_of_an_answer_is_told_apart() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        reset(stream);
    })
    .await;
    let exchange = send(&egress(), &receiver.url()).await;
    assert_failed(&exchange, Failure::ConnectReset);
    assert_eq!(exchange.remote, Some(receiver.address));
    assert_eq!(
        receiver.accepted(),
        1,
        "a request that was written is never sent again"
    );
}

#[tokio::test]
async fn an_orderly_close_without_an_answer_is_a_reset_too() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    let exchange = send(&egress(), &receiver.url()).await;
    assert_failed(&exchange, Failure::ConnectReset);
    assert_eq!(receiver.accepted(), 1);
}

#[tokio::test]
async fn a_reset_in_the_middle_of_the_head_is_no_answer() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nx-half: ")
            .await
            .unwrap();
        reset(stream);
    })
    .await;
    let exchange = send(&egress(), &receiver.url()).await;
    assert_failed(&exchange, Failure::ConnectReset);
    assert!(exchange.response_headers.is_empty());
}

#[tokio::test]
async fn a_reset_after_the_head_is_a_failure_that_keeps_what_was_read() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        let half = b"HTTP/1.1 200 OK\r\nx-seen: yes\r\ncontent-length: 10\r\n\r\nhalf";
        stream.write_all(half).await.unwrap();
    })
    .await;
    let exchange = send(&egress(), &receiver.url()).await;
    assert_failed(&exchange, Failure::ConnectReset);
    assert_eq!(exchange.response_headers["x-seen"], "yes");
    assert_eq!(&exchange.excerpt[..], b"half");
}

#[tokio::test]
async fn text_that_is_not_http_is_a_protocol_error() {
    for answer in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let receiver = Receiver::answering(answer).await;
        let exchange = send(&egress(), &receiver.url()).await;
        assert_failed(&exchange, Failure::ProtocolError);
    }
}

#[tokio::test]
async fn a_hundred_thousand_headers_are_a_protocol_error() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        for _ in 0..100_000 {
            if sent.is_err() {
                return;
            }
            sent = stream.write_all(b"x: y\r\n").await;
        }
    })
    .await;
    let exchange = send(&egress(), &receiver.url()).await;
    assert_failed(&exchange, Failure::ProtocolError);
}

#[tokio::test]
async fn a_head_over_64_kib_is_a_protocol_error() {
    let huge = "x".repeat(64 * 1024);
    let answer = format!("HTTP/1.1 200 OK\r\nx: {huge}\r\ncontent-length: 0\r\n\r\n");
    let receiver = Receiver::answering(answer).await;
    let exchange = send(&egress(), &receiver.url()).await;
    assert_failed(&exchange, Failure::ProtocolError);
}

#[tokio::test]
async fn a_receiver_that_never_answers_ends_at_the_timeout() {
    let receiver =
        Receiver::start(|_, mut stream| async move { until_closed(&mut stream).await }).await;
    let egress = egress();
    let exchange = egress
        .send(
            &project(1),
            request(&receiver.url()),
            Terms::new(SHORT, EXCERPT),
        )
        .await;
    assert_failed(&exchange, Failure::ResponseTimeout);
    assert!(Duration::from_micros(exchange.timing.total_us) >= SHORT);
    until("the connection is closed", || egress.stats().open == 0).await;
}

#[tokio::test]
async fn a_receiver_that_never_reads_ends_at_the_timeout() {
    let receiver = Receiver::start(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let egress = egress();
    let large = request_with(&receiver.url(), vec![b'x'; 32 * 1024 * 1024]);
    let exchange = egress
        .send(&project(1), large, Terms::new(SHORT, EXCERPT))
        .await;
    assert_failed(&exchange, Failure::ResponseTimeout);
    until("the connection is closed", || egress.stats().open == 0).await;
}

#[tokio::test]
async fn a_dripping_body_ends_at_the_timeout() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        let mut sent = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            .await;
        while sent.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            sent = stream.write_all(b".").await;
        }
    })
    .await;
    let egress = egress();
    let exchange = egress
        .send(
            &project(1),
            request(&receiver.url()),
            Terms::new(SHORT, EXCERPT),
        )
        .await;
    assert_failed(&exchange, Failure::ResponseTimeout);
    assert!(exchange.body_bytes > 0, "{exchange:?}");
    until("the connection is closed", || egress.stats().open == 0).await;
}

#[tokio::test]
async fn endless_interim_answers_end_at_the_timeout() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        while stream
            .write_all(b"HTTP/1.1 102 Processing\r\n\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    let egress = egress();
    let exchange = egress
        .send(
            &project(1),
            request(&receiver.url()),
            Terms::new(SHORT, EXCERPT),
        )
        .await;
    assert_failed(&exchange, Failure::ResponseTimeout);
    until("the connection is closed", || egress.stats().open == 0).await;
}

#[tokio::test]
async fn an_endless_body_is_cut_and_the_status_counts() {
    // Read to a bound that depends on what the receiver says of the length.
    for (framing, read) in [
        ("content-length: 10485760", EXCERPT as u64 + 1),
        ("transfer-encoding: chunked", 64 * 1024),
        ("connection: close", 64 * 1024),
    ] {
        let receiver = Receiver::start(move |_, mut stream| async move {
            read_request(&mut stream).await;
            let head = format!("HTTP/1.1 202 Accepted\r\n{framing}\r\n\r\n");
            let mut sent = stream.write_all(head.as_bytes()).await;
            let block = match framing {
                "transfer-encoding: chunked" => {
                    [&b"10000\r\n"[..], &[b'x'; 65536], b"\r\n"].concat()
                }
                _ => vec![b'x'; 65536],
            };
            while sent.is_ok() {
                sent = stream.write_all(&block).await;
            }
        })
        .await;
        let egress = egress();
        let exchange = send(&egress, &receiver.url()).await;
        assert_eq!(
            exchange.outcome,
            Outcome::Answered { status: 202 },
            "{framing}"
        );
        assert_eq!(
            (exchange.excerpt.len(), exchange.is_truncated),
            (EXCERPT, true)
        );
        assert_eq!(exchange.body_bytes, read, "{framing}");
        until("the connection is closed", || egress.stats().open == 0).await;
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_bound_is_complete() {
    let body = "x".repeat(1024 * 1024);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let receiver = Receiver::answering(answer).await;
    let egress = egress();
    let exchange = egress
        .send(
            &project(1),
            request(&receiver.url()),
            Terms::new(LONG, body.len()),
        )
        .await;
    assert_eq!(
        (exchange.body_bytes, exchange.is_truncated),
        (1024 * 1024, false)
    );
    assert_eq!(egress.stats().idle, 1);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let other = Receiver::answering(OK).await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        other.url()
    );
    let receiver = Receiver::answering(answer).await;
    let exchange = send(&egress(), &receiver.url()).await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 302 });
    assert_eq!(exchange.response_headers["location"], other.url().as_str());
    assert_eq!(other.accepted(), 0);
}

#[tokio::test]
async fn answers_of_any_framing_are_read_to_their_end() {
    for (answer, status, body) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        (
            "HTTP/1.1 500 Oh\r\ncontent-length: 3\r\n\r\noh!",
            500,
            "oh!",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1",
            200,
            "1",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            200,
            "abc",
        ),
    ] {
        let receiver = Receiver::answering(answer).await;
        let exchange = send(&egress(), &receiver.url()).await;
        assert_eq!(exchange.outcome, Outcome::Answered { status }, "{answer}");
        assert_eq!(exchange.excerpt, body, "{answer}");
        assert_eq!((exchange.is_truncated, exchange.detail), (false, None));
    }
}

#[tokio::test]
async fn an_old_answer_that_ends_with_the_connection_is_complete() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nold")
            .await
            .unwrap();
    })
    .await;
    let egress = egress();
    let exchange = send(&egress, &receiver.url()).await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 200 });
    assert_eq!(
        (&exchange.excerpt[..], egress.stats().idle),
        (&b"old"[..], 0)
    );
}

#[tokio::test]
async fn the_request_on_the_wire_is_the_signed_one_with_its_host_and_length() {
    let (seen, mut saw) = tokio::sync::mpsc::channel(1);
    let receiver = Receiver::start(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            seen.send(read_request(&mut stream).await).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let url = format!("http://{}/a/b?c=d%20e", receiver.address);
    let exchange = send(&egress(), &url).await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 200 });
    assert_eq!(exchange.remote, Some(receiver.address));
    let text = saw.recv().await.unwrap().unwrap();
    assert!(text.starts_with("POST /a/b?c=d%20e HTTP/1.1\r\n"), "{text}");
    assert!(
        text.contains(&format!("host: {}\r\n", receiver.address)),
        "{text}"
    );
    assert!(
        text.contains("content-type: application/json\r\n"),
        "{text}"
    );
    assert_eq!(text.matches("content-length: 7\r\n").count(), 1, "{text}");
    assert!(text.ends_with("\r\n\r\n{\"n\":1}"), "{text}");
}
