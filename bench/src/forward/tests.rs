//! The whole measurement, of a proxy that does the least that a proxy can.

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::ends::{self, Ends};
use super::figures;
use super::server::Server;
use super::subject::Subject;

/// What a proxy does with a connection that asks it to forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// All that follows goes to the same destination.
    Keeps,
    /// It closes after one answer, and does not say so.
    Closes,
    /// It answers itself.
    Lies,
}

async fn proxy(manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // An error is an end that went away.
            tokio::spawn(async move { drop(serve(stream, manner).await) });
        }
    });
    address
}

async fn serve(mut client: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !has_end(&head) {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&head).into_owned();
    let target = line.split(' ').nth(1).unwrap();
    if line.starts_with("CONNECT ") {
        let mut destination = TcpStream::connect(target).await?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        copy_bidirectional(&mut client, &mut destination).await?;
        return Ok(());
    }
    if manner == Manner::Lies {
        return lie(client, head).await;
    }
    let authority = target
        .strip_prefix("http://")
        .unwrap()
        .trim_end_matches('/');
    let mut destination = TcpStream::connect(authority).await?;
    destination.write_all(&head).await?;
    if manner == Manner::Keeps {
        copy_bidirectional(&mut client, &mut destination).await?;
        return Ok(());
    }
    let mut answer = [0; 1_024];
    let (mut from, mut to) = client.split();
    let (mut back, mut forth) = destination.split();
    tokio::select! {
        copied = tokio::io::copy(&mut from, &mut forth) => drop(copied?),
        count = back.read(&mut answer) => to.write_all(&answer[..count?]).await?,
    }
    Ok(())
}

/// Answers every request itself.
async fn lie(mut client: TcpStream, mut got: Vec<u8>) -> std::io::Result<()> {
    while !got.is_empty() {
        if has_end(&got) {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            client.write_all(answer).await?;
        }
        got.clear();
        client.read_buf(&mut got).await?;
    }
    Ok(())
}

/// The end of a head; the bodies here have none.
fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|window| window == b"\r\n\r\n")
}

async fn ends() -> Ends {
    let stretch = Duration::from_millis(200);
    ends::start((2, 2), 256, stretch).await.unwrap()
}

/// A process that can be read, and is at rest.
struct Process(Child);

impl Process {
    fn start() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn subject(manner: Manner, process: &Process, ends: &Ends) -> Subject {
    let server = Server::running(proxy(manner).await, process.0.id());
    Subject::ready("mine".to_owned(), Ok(server), ends).await
}

#[tokio::test]
async fn a_proxy_that_answers_in_the_destinations_place_fails() {
    let (ends, process) = (ends().await, Process::start());
    let mut subject = subject(Manner::Lies, &process, &ends).await;
    subject.at_capacity(&ends).await.unwrap();
    assert!(subject.figures.failed > 0);
    let error = subject.figures.errors.keys().next().unwrap();
    assert_eq!(error, "answered, and never at the destination");
}

#[tokio::test]
async fn a_proxy_that_keeps_connections_and_one_that_closes_them_are_both_measured() {
    let (ends, process) = (ends().await, Process::start());
    for (manner, keeps) in [(Manner::Keeps, true), (Manner::Closes, false)] {
        let mut subject = subject(manner, &process, &ends).await;
        assert_eq!(subject.figures.not_measured, None);
        assert_eq!(subject.figures.keeps_connections, Some(keeps));
        subject.idle(&ends, 40).await.unwrap();
        subject.at_capacity(&ends).await.unwrap();
        subject.at_half(&ends).await.unwrap();
        subject.at_rates(&ends, (20, 50)).await.unwrap();
        subject.at_rates(&ends, (1, u32::MAX)).await.unwrap(); // more than it can
        assert_eq!(subject.figures.failed, 0, "{:?}", subject.figures.errors);
        let json = figures::json(&[subject]);
        for place in [
            "/mine/tunnels/per_s",
            "/mine/requests/per_s",
            "/mine/gbit_per_s",
            "/mine/at_half_load/connect/p50/through_ms",
            "/mine/at_half_load/request/p99/direct_ms",
            "/mine/at_the_same_rate/connect/p99/direct_ms",
            "/mine/at_the_same_rate/request/p50/through_ms",
        ] {
            let figure = json.pointer(place).unwrap().as_f64().unwrap();
            assert!(figure > 0.0, "{place}: {json}");
        }
        assert_eq!(json["mine"]["idle"]["tunnels"], 40);
        let rounds = &json["mine"]["at_the_same_rate"]["request"]["p50"]["by_round_ms"];
        assert_eq!(rounds.as_array().unwrap().len(), 1, "{json}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_has_no_figures_and_a_reason() {
    let ends = ends().await;
    let start = Err(anyhow::anyhow!("there is no `mine`"));
    let subject = Subject::ready("mine".to_owned(), start, &ends).await;
    assert!(!subject.is_measured());
    assert!(figures::table(&[subject]).contains("mine: not measured: there is no `mine`"));
}
