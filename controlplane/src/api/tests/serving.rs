//! The listener: real connections, and its end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;

async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        answer.extend_from_slice(&buffer[..read]);
        if read == 0 || answer.ends_with(b"}") {
            return String::from_utf8(answer).unwrap();
        }
    }
}

#[tokio::test]
async fn requests_under_way_are_finished_and_nobody_else_gets_in() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(listener, fixture.router.clone(), shutdown.clone()));

    let mut idle = TcpStream::connect(address).await.unwrap();
    let health = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    assert!(ask(&mut idle, health).await.starts_with("HTTP/1.1 200"));
    assert!(
        ask(&mut idle, health).await.starts_with("HTTP/1.1 200"),
        "it is kept"
    );

    // Half of a request when the end comes.
    let mut busy = TcpStream::connect(address).await.unwrap();
    let body = r#"{"name":"p","type":"outgoing"}"#;
    let head = format!(
        "POST /api/v1/projects HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    busy.read_exact(&mut go_on).await.unwrap(); // the handler waits for the body now
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    shutdown.cancel();
    assert_eq!(
        idle.read(&mut [0; 1]).await.unwrap(),
        0,
        "idle connections are closed"
    );
    let answer = ask(&mut busy, body).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let ended = tokio::time::timeout(Duration::from_secs(20), server).await;
    ended.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_reply_is_given_up() {
    const LARGE: usize = 64 << 20;
    let router = Router::new().route("/", axum::routing::get(|| async { vec![b'x'; LARGE] }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(listener, router, shutdown.clone()));
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    client.read_u8().await.unwrap(); // it is being written
    tokio::time::sleep(Duration::from_secs(45)).await;
    let mut taken = Vec::new();
    let _ = client.read_to_end(&mut taken).await; // cut off or reset
    assert!(taken.len() < LARGE, "all of it was kept");
    shutdown.cancel();
    server.await.unwrap().unwrap();
}
