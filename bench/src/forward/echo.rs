//! The destination of tunnels: sends back what it gets.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Where a connection begins to read, and the most it reads at once, bytes: idle ones are many, and
/// fast ones want few calls.
const BUFFER_BYTES: (usize, usize) = (2_048, 128 << 10);
/// Addresses of this host that it is reached by, as receivers are many: a proxy may bound the
/// connections to one of them, and closed ones keep their ports for a while.
const ADDRESSES: u8 = 100;

/// A running echo. Dropping it closes the listener and every connection.
pub(super) struct Echo {
    port: u16,
    _tasks: JoinSet<()>,
}

impl Echo {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await;
        let listener = listener.context("the echo cannot listen")?;
        let port = listener.local_addr()?.port();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener));
        Ok(Self {
            port,
            _tasks: tasks,
        })
    }

    /// One of its addresses, in turn.
    pub(super) fn address(&self, number: u64) -> SocketAddr {
        let last = u8::try_from(number % u64::from(ADDRESSES)).unwrap_or_default();
        SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + last), self.port))
    }
}

async fn accept(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                // An error is a peer that went away.
                connections.spawn(async { drop(send_back(stream).await) });
            }
            Err(error) => {
                eprintln!("the echo cannot accept a connection: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn send_back(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES.0];
    loop {
        let count = stream.read(&mut buffer).await?;
        match buffer.get(..count) {
            None | Some([]) => return stream.shutdown().await,
            Some(got) => stream.write_all(got).await?,
        }
        if count == buffer.len() && count < BUFFER_BYTES.1 {
            buffer.resize(count * 4, 0);
        }
    }
}
