//! The bytes of a connection.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// TCP to the destination or to a proxy in clear, or TLS to a proxy.
pub(super) type Link = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// What is below.
pub(super) fn socket(link: &Link) -> &TcpStream {
    match link {
        Either::Left(stream) => stream,
        Either::Right(stream) => stream.get_ref().0,
    }
}
