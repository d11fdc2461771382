//! Which connections are used again, and when they end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use outrider_webhook::address::Host;
use outrider_webhook::retry::{Failure, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Notify};
use tokio::time::Instant;

use super::support::*;
use crate::egress::heard::LastWords;
use crate::egress::pool::{Connection, Key};
use crate::egress::source::Source;
use crate::egress::vetting::Judged;
use crate::egress::{Egress, Leave, Purpose, Wish};

const ANSWERED: Outcome = Outcome::Answered { status: 200 };

#[tokio::test]
async fn two_projects_never_share_a_connection() {
    let receiver = Receiver::answering(OK).await;
    let egress = egress();
    for number in [1, 2] {
        let exchange = egress
            .send(
                &project(number),
                request(&receiver.url()),
                Terms::new(LONG, EXCERPT),
            )
            .await;
        assert_eq!(
            (exchange.outcome, exchange.timing.is_reused),
            (ANSWERED, false)
        );
    }
    assert_eq!((receiver.accepted(), egress.stats().idle), (2, 2));
}

#[tokio::test]
async fn two_names_of_one_address_never_share_a_connection() {
    let receiver = Receiver::answering(OK).await;
    let mut settings = settings();
    settings.resolve_overrides = vec![
        ("a.example.com".to_owned(), receiver.address),
        ("b.example.com".to_owned(), receiver.address),
    ];
    let egress = Egress::new(settings).unwrap();
    send(&egress, "http://a.example.com/").await;
    send(&egress, "http://b.example.com/").await;
    assert_eq!(receiver.accepted(), 2);
}

#[tokio::test]
async fn a_request_written_to_a_pooled_connection_is_never_sent_twice() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        read_request(&mut stream).await; // and no answer to this one
    })
    .await;
    let egress = egress();
    assert_eq!(send(&egress, &receiver.url()).await.outcome, ANSWERED);
    let second = send(&egress, &receiver.url()).await;
    assert_eq!(second.outcome, Outcome::Failed(Failure::ConnectReset));
    assert!(second.timing.is_reused);
    assert_eq!(receiver.accepted(), 1);
}

/// The part of a connection that reads and writes, which somebody else drives.
type Driver = Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>;

/// A connection that is ready, and ends when its driver is dropped.
async fn by_hand(receiver: &Receiver) -> (Key, Connection, Driver) {
    let stream = TcpStream::connect(receiver.address).await.unwrap();
    let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut driver = Box::pin(driver);
    tokio::select! {
        biased;
        _ = &mut driver => panic!("closed already"),
        ready = sender.ready() => ready.unwrap(),
    }
    let key = Key {
        project: project(1).id,
        source: Source::HostRoute,
        address: receiver.address,
        through: None,
        tls: None,
        server_name: receiver.address.ip().to_string().into(),
        policy_version: Judged::default(),
    };
    let connection = Connection {
        _alive: tokio::sync::oneshot::channel().0,
        last_words: LastWords::default(),
        broken: tokio::sync::oneshot::channel().1,
        sender,
        opened: Instant::now(),
        local,
        remote,
    };
    (key, connection, driver)
}

#[tokio::test]
async fn a_pooled_connection_that_closes_before_a_byte_is_written_is_replaced() {
    let receiver = Receiver::answering(OK).await;
    let egress = egress();
    let (key, connection, driver) = by_hand(&receiver).await;
    egress.inner.pool.put(key, connection, None);
    // The request is handed to the old connection first; then that one ends.
    let url = receiver.url();
    let (exchange, ()) = tokio::join!(send(&egress, &url), async { drop(driver) });
    assert_eq!(
        (exchange.outcome, exchange.timing.is_reused),
        (ANSWERED, false)
    );
    let stats = egress.stats();
    assert_eq!((stats.stale, stats.opened, stats.reused), (1, 1, 0));
}

#[tokio::test]
async fn so_is_one_that_became_idle_while_the_request_waited_for_its_turn() {
    let closes = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let receiver = Receiver::answering(closes).await;
    let mut settings = settings();
    settings.new_connections_per_destination = 1;
    let egress = Egress::new(settings).unwrap();
    let url = receiver.url();
    join_all((0..32).map(|_| send(&egress, &url))).await;
    let (key, connection, driver) = by_hand(&receiver).await;
    let becomes_idle = async {
        let line = loop {
            match egress.inner.openings.line_to(&key) {
                Some(line) => break line,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
            assert_eq!(egress.stats().opened, 32, "it did not wait");
        };
        egress.inner.pool.put(key, connection, None);
        line.idle_came();
        let is_taken = || egress.stats().idle == 0;
        until("the request has it", is_taken).await;
        drop(driver);
    };
    let (exchange, ()) = tokio::join!(send(&egress, &url), becomes_idle);
    assert_eq!(exchange.outcome, ANSWERED);
    assert_eq!(egress.stats().stale, 1);
    assert!(!exchange.timing.is_reused);
    assert_eq!(egress.stats().reused, 0);
}

#[tokio::test]
async fn a_pooled_connection_the_receiver_closed_is_not_used() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let egress = egress();
    for _ in 0..5 {
        assert_eq!(send(&egress, &receiver.url()).await.outcome, ANSWERED);
        until("the close was noticed", || egress.stats().open == 0).await;
    }
    assert_eq!(receiver.accepted(), 5);
}

#[tokio::test]
async fn a_connection_the_receiver_wants_closed_is_not_kept() {
    for header in ["connection: close", "keep-alive: timeout=0"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{header}\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::answering(answer).await;
        let egress = egress();
        assert_eq!(send(&egress, &receiver.url()).await.outcome, ANSWERED);
        assert_eq!(egress.stats().idle, 0, "{header}");
    }
}

#[tokio::test]
async fn a_connection_still_busy_with_the_request_is_not_kept() {
    let receiver = Receiver::start(|_, mut stream| async move {
        stream.write_all(OK.as_bytes()).await.unwrap(); // without reading
        std::future::pending::<()>().await;
    })
    .await;
    let egress = egress();
    let large = request_with(&receiver.url(), vec![b'x'; 32 * 1024 * 1024]);
    let exchange = egress
        .send(&project(1), large, Terms::new(LONG, EXCERPT))
        .await;
    assert_eq!(exchange.outcome, ANSWERED);
    assert_eq!(egress.stats().idle, 0);
    until("the connection is closed", || egress.stats().open == 0).await;
}

#[tokio::test]
async fn a_connection_over_its_age_is_not_used() {
    let receiver = Receiver::answering(OK).await;
    let mut settings = settings();
    settings.age_max = Duration::ZERO;
    let egress = Egress::new(settings).unwrap();
    send(&egress, &receiver.url()).await;
    send(&egress, &receiver.url()).await;
    assert_eq!((receiver.accepted(), egress.stats().reused), (2, 0));
}

#[tokio::test]
async fn an_open_connection_is_used_again_and_counted() {
    let receiver = Receiver::answering(OK).await;
    let egress = egress();
    assert!(!send(&egress, &receiver.url()).await.timing.is_reused);
    for _ in 0..10 {
        let exchange = send(&egress, &receiver.url()).await;
        assert_eq!(
            (exchange.outcome, exchange.timing.is_reused),
            (ANSWERED, true)
        );
        assert_eq!((exchange.timing.connect_us, exchange.timing.tls_us), (0, 0));
        assert_eq!(exchange.remote, Some(receiver.address));
    }
    let stats = egress.stats();
    assert_eq!(
        (stats.opened, stats.reused, stats.idle, stats.open),
        (1, 10, 1, 1)
    );
    assert_eq!(receiver.accepted(), 1);
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let receiver = Receiver::answering(OK).await;
    let mut settings = settings();
    settings.idle_timeout = Duration::from_millis(50);
    let egress = Egress::new(settings).unwrap();
    send(&egress, &receiver.url()).await;
    until("the idle connection is closed", || egress.stats().open == 0).await;
    assert_eq!(egress.stats().idle, 0);
}

#[tokio::test]
async fn connections_end_with_the_last_clone() {
    let closed = Arc::new(Notify::new());
    let signal = Arc::clone(&closed);
    let receiver = Receiver::start(move |_, mut stream| {
        let signal = Arc::clone(&signal);
        async move {
            read_request(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            until_closed(&mut stream).await;
            signal.notify_one();
        }
    })
    .await;
    let egress = egress();
    send(&egress.clone(), &receiver.url()).await;
    assert_eq!(egress.stats().idle, 1);
    drop(egress);
    let ended = tokio::time::timeout(LONG, closed.notified()).await;
    assert!(ended.is_ok());
}

#[tokio::test]
async fn a_shutdown_waits_for_all_connections() {
    let receiver = Receiver::answering(OK).await;
    let egress = egress();
    send(&egress, &receiver.url()).await;
    egress.shutdown().await;
    assert_eq!(egress.stats().open, 0);
    send(&egress, &receiver.url()).await; // late ones are sent, and nothing is kept
    until("the late connection is closed", || egress.stats().open == 0).await;
}

#[tokio::test]
async fn idle_connections_are_bounded_per_key_and_in_all() {
    let barrier = Arc::new(Barrier::new(4));
    let receiver = Receiver::start(move |_, mut stream| {
        let barrier = Arc::clone(&barrier);
        async move {
            read_request(&mut stream).await;
            barrier.wait().await; // so that all four are open at once
            stream.write_all(OK.as_bytes()).await.unwrap();
            until_closed(&mut stream).await;
        }
    })
    .await;
    for (per_key, total, expected) in [(2, 100, 2), (100, 3, 3)] {
        let mut settings = settings();
        settings.idle_per_key_max = per_key;
        settings.idle_max = total;
        let egress = Egress::new(settings).unwrap();
        let url = receiver.url();
        let one = || send(&egress, &url);
        tokio::join!(one(), one(), one(), one());
        assert_eq!(egress.stats().idle, expected);
        until("the others are closed", || egress.stats().open == expected).await;
    }
}

#[tokio::test]
async fn at_the_limit_of_a_destination_the_next_one_waits_for_an_end() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let mut settings = settings();
    settings.connections_per_destination_max = 1;
    let egress = Egress::new(settings).unwrap();
    let url = receiver.url();
    let one = || send(&egress, &url);
    let (a, b, c) = tokio::join!(one(), one(), one());
    assert_eq!([a.outcome, b.outcome, c.outcome], [ANSWERED; 3]);
    assert_eq!(receiver.accepted(), 3);
}

#[tokio::test]
async fn at_a_limit_idle_connections_give_way() {
    let (one, two) = (Receiver::answering(OK).await, Receiver::answering(OK).await);
    let caps: [fn(&mut crate::egress::Settings); 2] = [
        |settings| settings.connections_max = 1,
        |settings| settings.connections_per_project_max = 1,
    ];
    for cap in caps {
        let mut settings = settings();
        cap(&mut settings);
        let egress = Egress::new(settings).unwrap();
        for receiver in [&one, &two, &one] {
            let exchange = send(&egress, &receiver.url()).await;
            assert_eq!(exchange.outcome, ANSWERED);
        }
        assert_eq!((egress.stats().opened, egress.stats().open), (3, 1));
    }
}

#[tokio::test]
async fn idle_connections_of_the_proxys_clients_make_room_for_deliveries_and_the_other_way_round() {
    let (one, two) = (Receiver::answering(OK).await, Receiver::answering(OK).await);
    let mut settings = settings();
    settings.connections_max = 1;
    let egress = Egress::new(settings).unwrap();
    let host = Host::Ip(one.address.ip());
    for _ in 0..2 {
        let wish = Wish {
            project: project(1),
            host: &host,
            port: one.address.port(),
            purpose: Purpose::Requests,
            leave: Leave::HostRoute,
        };
        let opened = egress.open(&wish, || true, &mut None).await;
        let upstream = opened.map_err(|(_, words)| words).unwrap();
        assert!(!upstream.is_reused);
        egress.give_back(upstream);
        let exchange = send(&egress, &two.url()).await;
        assert_eq!(exchange.outcome, ANSWERED);
    }
    assert_eq!((one.accepted(), two.accepted()), (2, 2));
}

#[tokio::test]
async fn a_limit_without_an_end_in_sight_is_our_own_fault() {
    let receiver =
        Receiver::start(|_, mut stream| async move { until_closed(&mut stream).await }).await;
    let mut settings = settings();
    settings.connections_max = 1;
    settings.connect_total_timeout = Duration::from_millis(100);
    let egress = Egress::new(settings).unwrap();
    let url = receiver.url();
    let (first, second) = (project(1), project(2));
    let (stalled, refused) = tokio::join!(
        egress.send(&first, request(&url), Terms::new(SHORT, EXCERPT)),
        egress.send(&second, request(&url), Terms::new(LONG, EXCERPT)),
    );
    assert_eq!(stalled.outcome, Outcome::Failed(Failure::ResponseTimeout));
    assert_eq!(refused.outcome, Outcome::Failed(Failure::NoHealthySource));
}

#[tokio::test]
async fn who_waited_for_a_place_all_the_time_is_not_told_that_the_receiver_was_slow() {
    let receiver =
        Receiver::start(|_, mut stream| async move { until_closed(&mut stream).await }).await;
    let mut settings = settings();
    settings.connections_max = 1;
    let egress = Egress::new(settings).unwrap();
    let url = receiver.url();
    let (first, second) = (project(1), project(2));
    let (stalled, refused) = tokio::join!(
        egress.send(&first, request(&url), Terms::new(LONG, EXCERPT)),
        egress.send(&second, request(&url), Terms::new(SHORT, EXCERPT)),
    );
    assert_eq!(stalled.outcome, Outcome::Failed(Failure::ResponseTimeout));
    assert_eq!(refused.outcome, Outcome::Failed(Failure::NoHealthySource));
    assert!(!refused.was_sent);
}

#[tokio::test]
async fn a_project_leaves_half_of_a_destination_to_the_others() {
    // The first project's requests are never answered; the other one's is.
    let receiver = Receiver::start(|number, mut stream| async move {
        read_request(&mut stream).await;
        if number >= 2 {
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
        until_closed(&mut stream).await;
    })
    .await;
    let mut settings = settings();
    settings.connections_per_destination_max = 4;
    let egress = Egress::new(settings).unwrap();
    let url = receiver.url();
    let (greedy, other) = (project(1), project(2));
    let stalled = || egress.send(&greedy, request(&url), Terms::new(LONG, EXCERPT));
    let beside = async {
        until("the greedy project has its share", || {
            egress.stats().open == 2
        })
        .await;
        egress
            .send(&other, request(&url), Terms::new(LONG, EXCERPT))
            .await
    };
    tokio::select! {
        _ = async { tokio::join!(stalled(), stalled(), stalled(), stalled()) } => panic!("answered"),
        exchange = beside => assert_eq!(exchange.outcome, ANSWERED),
    }
}

#[tokio::test]
async fn an_attempt_that_waits_for_room_takes_a_connection_that_becomes_idle() {
    let receiver = Receiver::answering(OK).await;
    let mut settings = settings();
    settings.connections_per_destination_max = 1;
    let egress = Egress::new(settings).unwrap();
    let url = receiver.url();
    let one = || send(&egress, &url);
    let answers = tokio::join!(one(), one(), one(), one());
    assert_eq!([answers.0.outcome, answers.3.outcome], [ANSWERED; 2]);
    assert_eq!((egress.stats().opened, receiver.accepted()), (1, 1));
}
