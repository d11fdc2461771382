//! The listener's threads: that they come up, that they stop, and that their loss is told.

use std::fs::OpenOptions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use pingora::services::Service;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::support::{Gateway, LONG, Made, Upstream, free_address, read_head, read_to_end};
use crate::ingest::front::Front;
use crate::ingest::workers::{self, Acceptor, Ending, Worker, workers};

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// Threads that are not started yet.
struct Threads {
    acceptor: Acceptor,
    workers: Vec<Worker>,
    is_up: oneshot::Receiver<Result<(), (SocketAddr, io::Error)>>,
    ending: Ending,
    _dir: tempfile::TempDir,
}

fn threads(listener: TcpListener) -> Threads {
    let Made { intake, dir, .. } = Made::new(free_address(), LONG);
    let ending = Ending {
        stopping: intake.stop_handles().0,
        is_lost: CancellationToken::new(),
    };
    let gate = Arc::new(intake.gate());
    let front = Arc::new(Front::new(Arc::from(intake), gate, None));
    let (up, is_up) = oneshot::channel();
    let (acceptor, workers) = workers(2, vec![(listener, front)], (up, &ending));
    Threads {
        acceptor,
        workers,
        is_up,
        ending,
        _dir: dir,
    }
}

fn bound() -> (TcpListener, SocketAddr) {
    let listener = workers::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Runs an acceptor to its end.
async fn run(mut acceptor: Acceptor) {
    let (_pingora, never) = watch::channel(false);
    let ended = timeout(LONG, acceptor.start_service(None, never, 1)).await;
    ended.expect("it goes on");
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_said_at_the_start() {
    // No socket at all: the runtime cannot wait for it.
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("Cargo.toml");
    let threads = threads(TcpListener::from(OwnedFd::from(file.unwrap())));
    run(threads.acceptor).await;
    assert!(threads.is_up.await.unwrap().is_err());
    assert!(threads.ending.is_lost.is_cancelled());
}

#[tokio::test]
async fn the_end_of_a_thread_is_told_and_ends_the_others() {
    let (listener, address) = bound();
    let threads = threads(listener);
    let running = tokio::spawn(run(threads.acceptor));
    threads.is_up.await.unwrap().unwrap();
    assert!(!threads.ending.is_lost.is_cancelled());
    drop(threads.workers);
    assert!(threads.ending.is_lost.is_cancelled());
    let _taken = TcpStream::connect(address).await.unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn an_acceptor_that_is_gone_is_told_unless_it_was_asked() {
    for is_asked in [false, true] {
        let (listener, address) = bound();
        let threads = threads(listener);
        let running = tokio::spawn(run(threads.acceptor));
        threads.is_up.await.unwrap().unwrap();
        if is_asked {
            threads.ending.stopping.begin();
            running.await.unwrap();
        } else {
            running.abort();
            assert!(running.await.unwrap_err().is_cancelled());
        }
        assert_eq!(threads.ending.is_lost.is_cancelled(), !is_asked);
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    }
}

#[tokio::test]
async fn a_drain_takes_no_connections_and_ends_requests_under_way() {
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (seen, may_answer) = (Arc::clone(&asked), Arc::clone(&answer));
    let upstream = Upstream::start(move |mut stream| {
        let (seen, may_answer) = (Arc::clone(&seen), Arc::clone(&may_answer));
        async move {
            read_head(&mut stream).await;
            seen.notify_one();
            may_answer.notified().await;
            stream.write_all(NO_CONTENT.as_bytes()).await.unwrap();
        }
    })
    .await;
    let gateway = Gateway::start(upstream.address).await;
    let (address, is_lost) = (gateway.address, gateway.is_lost());
    let mut client = gateway.raw().await;
    let request = "GET /api HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    asked.notified().await;
    let stop = tokio::spawn(gateway.stop());
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, refused).await.expect("it goes on accepting");
    assert!(!stop.is_finished());
    answer.notify_one();
    assert!(read_to_end(&mut client).await.starts_with("HTTP/1.1 204"));
    stop.await.unwrap();
    assert!(!is_lost.is_cancelled());
}
