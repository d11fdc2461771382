//! Receivers that are not as they should be.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Small, so that a request does not fit in what the system takes for a receiver that never reads.
const RECEIVE_BUFFER_BYTES: u32 = 1_024;
/// What a sender of an endless body may have under way. As large as the system makes it (4 MiB), its own
/// copying on the two cores that all share would be what is measured: elsewhere it has its own.
const SEND_BUFFER_BYTES: u32 = 64 * 1_024;
const BACKLOG: u32 = 1_024;
/// Between two bytes of an answer that drips.
const DRIP: Duration = Duration::from_secs(5);
const HEADERS: usize = 100_000;
const CHUNK_BYTES: usize = 16 * 1_024;

/// What a receiver does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    /// Answers 200, after so long.
    Answers(Duration),
    /// Answers 200 at once and closes the connection: nothing rude, only that.
    Closes,
    /// Sends the head of an answer, and then one byte of its body every 5 s.
    Drips,
    /// Sends a body that does not end.
    Endless,
    /// Sends a hundred thousand headers.
    Headers,
    /// Reads the request and resets the connection.
    Resets,
    /// Takes the connection and reads nothing.
    NeverReads,
}

impl Manners {
    /// Answers when nobody waits for it any more.
    pub(super) const SLOW: Self = Self::Answers(Duration::from_secs(25));
}

/// A receiver with these manners. Dropping it ends it and all its connections.
#[derive(Debug)]
pub(super) struct Rude {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Rude {
    pub(super) fn start(manners: Manners) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if manners == Manners::NeverReads {
            socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        }
        if manners == Manners::Endless {
            socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        }
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(BACKLOG)?;
        let connections = Arc::new(AtomicU64::new(0));
        Ok(Self {
            address: listener.local_addr()?,
            task: tokio::spawn(accept(listener, manners, Arc::clone(&connections))),
            connections,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/rude", self.address)
    }

    /// Connections that were opened to it.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port where nobody listens, and nobody else can while this is there.
pub(super) struct Dead {
    pub(super) socket: TcpSocket,
    address: SocketAddr,
}

impl Dead {
    pub(super) fn bind() -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/dead", self.address)
    }
}

async fn accept(listener: TcpListener, manners: Manners, count: Arc<AtomicU64>) {
    let mut connections = JoinSet::new(); // aborts them when this task is aborted
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                count.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(stream, manners));
            }
            Err(error) => {
                eprintln!("a receiver cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// An error is the end of the connection by the other side, which is what is waited for.
async fn serve(mut stream: TcpStream, manners: Manners) {
    let _ = answer(&mut stream, manners).await;
}

async fn answer(stream: &mut TcpStream, manners: Manners) -> io::Result<()> {
    if manners == Manners::NeverReads {
        // Open until the sender gives up, which shows when its side is closed: it is not read.
        std::future::pending::<()>().await;
    }
    loop {
        if !read_request(stream).await? {
            return Ok(());
        }
        match manners {
            Manners::Answers(after) => {
                tokio::time::sleep(after).await;
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(head).await?;
            }
            Manners::Closes => {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                return stream.write_all(head).await;
            }
            Manners::Drips => {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
                stream.write_all(head).await?;
                loop {
                    tokio::time::sleep(DRIP).await;
                    stream.write_all(b".").await?;
                }
            }
            Manners::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b'.'; CHUNK_BYTES]).await?;
                }
            }
            Manners::Headers => {
                let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
                for number in 0..HEADERS {
                    head.push_str(&format!("x-{number}: 1\r\n"));
                }
                head.push_str("content-length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
            }
            Manners::Resets => {
                // With no time to linger, closing sends an RST.
                return stream.set_zero_linger();
            }
            Manners::NeverReads => return Ok(()),
        }
    }
}

/// Reads one request. False at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> io::Result<bool> {
    let mut read = Vec::with_capacity(4 * 1_024);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(false);
        }
        if request_bytes(&read).is_some_and(|bytes| read.len() >= bytes) {
            return Ok(true);
        }
    }
}

/// How long the request is that begins here, when its head is there.
fn request_bytes(read: &[u8]) -> Option<usize> {
    let head_bytes = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(read.get(..head_bytes)?).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let body_bytes: usize = length.map_or(Some(0), |length| length.trim().parse().ok())?;
    head_bytes.checked_add(body_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_behind_its_body() {
        assert_eq!(request_bytes(b"POST / HTTP/1.1\r\n"), None);
        assert_eq!(request_bytes(b"POST / HTTP/1.1\r\n\r\n"), Some(19));
        let with_body = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab";
        assert_eq!(request_bytes(with_body), Some(with_body.len() + 3));
    }

    #[tokio::test]
    async fn a_dead_port_refuses_and_comes_to_life() {
        let dead = Dead::bind().unwrap();
        assert!(TcpStream::connect(dead.address).await.is_err());
        let address = dead.address;
        let _listener = dead.socket.listen(1).unwrap();
        assert!(TcpStream::connect(address).await.is_ok());
    }

    #[tokio::test]
    async fn one_that_resets_reads_first() {
        let rude = Rude::start(Manners::Resets).unwrap();
        let mut stream = TcpStream::connect(rude.address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
        let error = stream.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(rude.connections(), 1);
    }

    #[tokio::test]
    async fn one_that_answers_takes_the_next_request() {
        let rude = Rude::start(Manners::Answers(Duration::ZERO)).unwrap();
        let mut stream = TcpStream::connect(rude.address).await.unwrap();
        for _ in 0..2 {
            stream.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
            let mut answer = [0; 38];
            stream.read_exact(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
        }
    }
}
