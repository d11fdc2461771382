//! Whom a connection is from when a balancer stands in front: it says so first, in the PROXY
//! protocol, which is then required.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use outrider_webhook::address::AddressSet;
use outrider_webhook::proxy_protocol::{self, BYTES_MAX, Invalid, TIMEOUT_MS};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Why a connection is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoClient {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("no whole PROXY header within {TIMEOUT_MS} ms")]
    Late,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the header, and not a byte behind it: that may be the begin of TLS.
pub(super) async fn client(
    stream: &mut TcpStream,
    peer: SocketAddr,
    trusted: &AddressSet,
) -> Result<SocketAddr, NoClient> {
    let limit = Duration::from_millis(TIMEOUT_MS);
    let read = timeout(limit, read(stream, peer, trusted)).await;
    read.unwrap_or(Err(NoClient::Late))
}

async fn read(
    stream: &mut TcpStream,
    peer: SocketAddr,
    trusted: &AddressSet,
) -> Result<SocketAddr, NoClient> {
    let (mut bytes, mut taken) = ([0; BYTES_MAX], 0);
    loop {
        let (_, room) = bytes.split_at_mut_checked(taken).unwrap_or_default();
        let seen = taken + stream.peek(room).await?;
        if seen == taken && taken < BYTES_MAX {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let header = bytes.get(..seen).unwrap_or_default();
        let found = proxy_protocol::client(peer, trusted, header)?;
        // While it is not whole, all that came belongs to it.
        let end = found.map_or(seen, |client| client.consumed);
        let read = bytes.get_mut(taken..end).unwrap_or_default();
        stream.read_exact(read).await?;
        if let Some(client) = found {
            return Ok(client.address);
        }
        taken = end;
    }
}
