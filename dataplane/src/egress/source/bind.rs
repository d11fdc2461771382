//! A TCP connection from a given address of ours.
//!
//! Bound before it connects, with the port left to `connect` (`IP_BIND_ADDRESS_NO_PORT`): a port is
//! then taken per source and destination, where it would be taken for all destinations by `bind`.
//! What cannot be bound is never connected: a connection from another address than the one that
//! was chosen is worse than none.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::net::{TcpSocket, TcpStream};

use crate::egress::fault::is_exhaustion;

/// Why there is no connection from that address.
#[derive(Debug)]
pub(crate) enum BindError {
    /// The address is not on this host.
    Absent(io::Error),
    /// No local port is left for this source and this destination.
    Exhausted,
    /// The destination, the way there, or this process: nothing that another source would mend.
    Failed(io::Error),
}

impl BindError {
    /// Whether we have run out of descriptors or memory: says nothing of the way there.
    pub(crate) fn is_exhaustion(&self) -> bool {
        matches!(self, Self::Failed(error) if is_exhaustion(error))
    }
}

/// Connects from `source` to `destination`, which are of one family. The caller bounds the time;
/// dropped, it closes the socket.
///
/// # Errors
/// [`BindError`]; no packet was sent for the first two.
pub(crate) async fn connect(
    source: IpAddr,
    destination: SocketAddr,
) -> Result<TcpStream, BindError> {
    if source.is_ipv4() != destination.is_ipv4() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "source of another family");
        return Err(BindError::Failed(error));
    }
    let socket = bound(source)?;
    socket
        .connect(destination)
        .await
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE) => BindError::Exhausted,
            // The address went between the two calls: there is no route from it any more. Of an
            // address that is here it says that there is no way to the destination (`blackhole`).
            Some(libc::EINVAL) if is_here(source) == Some(false) => BindError::Absent(error),
            _ => BindError::Failed(error),
        })
}

/// Whether `source` is on this host. `None`: it could not be told, for want of a socket.
pub(crate) fn is_here(source: IpAddr) -> Option<bool> {
    match bound(source) {
        Ok(_) => Some(true),
        Err(BindError::Absent(_)) => Some(false),
        Err(BindError::Exhausted | BindError::Failed(_)) => None,
    }
}

fn bound(source: IpAddr) -> Result<TcpSocket, BindError> {
    let made = match source {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = made.map_err(|error| match error.raw_os_error() {
        // A host without IPv6 has no address of it either.
        Some(libc::EAFNOSUPPORT) => BindError::Absent(error),
        _ => BindError::Failed(error),
    })?;
    // Where the kernel does not know it (before 4.2), there are fewer ports and nothing is wrong.
    let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
    socket
        .bind(SocketAddr::new(source, 0))
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EADDRNOTAVAIL) => BindError::Absent(error),
            Some(libc::EADDRINUSE) => BindError::Exhausted,
            _ => BindError::Failed(error),
        })?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn an_address_of_somebody_else_is_never_connected_from() {
        let (_listener, address) = listener().await;
        for source in ["198.51.100.1", "203.0.113.7"] {
            let source = source.parse().unwrap();
            let refused = connect(source, address).await;
            assert!(matches!(refused, Err(BindError::Absent(_))), "{refused:?}");
            assert_eq!(is_here(source), Some(false));
        }
        let refused = connect("2001:db8::1".parse().unwrap(), address).await;
        let Err(BindError::Failed(error)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn a_destination_that_refuses_is_no_fault_of_the_source() {
        let (listener, address) = listener().await;
        drop(listener);
        let refused = connect("127.0.0.2".parse().unwrap(), address).await;
        let Err(BindError::Failed(error)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// From a loopback address nothing leaves the host, which the kernel says as it says `blackhole`.
    #[tokio::test]
    async fn a_destination_without_a_way_there_is_no_fault_of_the_source() {
        let source = "127.0.0.2".parse().unwrap();
        let refused = connect(source, "198.51.100.1:443".parse().unwrap()).await;
        assert!(matches!(refused, Err(BindError::Failed(_))), "{refused:?}");
        assert!(!refused.unwrap_err().is_exhaustion());
    }

    #[tokio::test]
    async fn the_destination_sees_the_source_that_was_asked_for() {
        let (listener, address) = listener().await;
        for last in 2..=9 {
            let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
            assert_eq!(is_here(source), Some(true));
            let stream = connect(source, address).await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!((peer.ip(), stream.local_addr().unwrap()), (source, peer));
        }
    }

    /// A port that `bind` takes is taken for all destinations.
    #[tokio::test]
    async fn a_port_is_not_taken_before_the_destination_is_known() {
        for source in ["127.0.0.2", "::1"] {
            if let Ok(socket) = bound(source.parse().unwrap()) {
                assert_eq!(socket.local_addr().unwrap().port(), 0, "{source}");
            }
        }
        assert!(bound("127.0.0.2".parse().unwrap()).is_ok());
    }
}
