//! Reflectors: places of the operator's own that our addresses are tried on.
//!
//! A reflector takes TCP connections. One that writes the address it sees, as text and a line end,
//! tells as well when something on the way puts another in its place.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::bind::{self, BindError};

/// How long a connect to a reflector may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one that tells what it sees may take for it.
const SAYS_TIMEOUT: Duration = Duration::from_secs(1);
/// An IPv6 address, a port and a line end fit.
const SAYS_BYTES_MAX: usize = 64;

/// What came of trying an address on a reflector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reflection {
    /// It took the connection, and told what it sees if it does.
    Reached { seen: Option<IpAddr> },
    /// No connection.
    Missed,
    /// It could not be tried: the address is not here any more, or we have run out of something.
    Untried,
}

/// Tries one address on one reflector of its family.
pub(crate) async fn reflect(source: IpAddr, reflector: SocketAddr) -> Reflection {
    match timeout(CONNECT_TIMEOUT, bind::connect(source, reflector)).await {
        Ok(Ok(stream)) => Reflection::Reached {
            seen: said(stream).await,
        },
        Ok(Err(error)) => Reflection::without(&error),
        Err(_) => Reflection::Missed,
    }
}

impl Reflection {
    /// What it says that there was no connection.
    fn without(error: &BindError) -> Self {
        match error {
            BindError::Failed(_) if !error.is_exhaustion() => Self::Missed,
            BindError::Failed(_) | BindError::Absent(_) | BindError::Exhausted => Self::Untried,
        }
    }

    /// What two addresses of one reflector say together.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Reached { seen }, Self::Reached { seen: other }) => Self::Reached {
                seen: seen.or(other),
            },
            (reached @ Self::Reached { .. }, _) | (_, reached @ Self::Reached { .. }) => reached,
            (Self::Missed, _) | (_, Self::Missed) => Self::Missed,
            (Self::Untried, Self::Untried) => Self::Untried,
        }
    }
}

/// What a reflector says, until it ends the line or the connection.
async fn said(mut stream: TcpStream) -> Option<IpAddr> {
    let mut text = Vec::with_capacity(SAYS_BYTES_MAX);
    let reading = async {
        while text.len() < SAYS_BYTES_MAX && !text.contains(&b'\n') {
            match stream.read_buf(&mut text).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
    };
    let _ = timeout(SAYS_TIMEOUT, reading).await; // silence is an answer
    seen(&text)
}

/// An address in text, with a port or without.
fn seen(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let line = text.lines().next()?.trim();
    let address = line.parse::<IpAddr>();
    let address = address.or_else(|_| line.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_an_address_is_an_address() {
        for (text, expected) in [
            (&b""[..], None),
            (b"\n", None),
            (b"hello\n", None),
            (b"192.0.2.1.\n", None),
            (b"\xff\n", None),
            (b"HTTP/1.1 400 Bad Request\r\n", None),
            (b"192.0.2.1\n", Some("192.0.2.1")),
            (b"192.0.2.1:4711\r\nmore", Some("192.0.2.1")),
            (b"[2001:db8::1]:4711", Some("2001:db8::1")),
            (b"::ffff:192.0.2.1\n", Some("192.0.2.1")),
        ] {
            let expected = expected.map(|ip| ip.parse().unwrap());
            assert_eq!(seen(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_we_ran_out_of_is_no_fault_of_the_way_there() {
        let failed = |code| BindError::Failed(std::io::Error::from_raw_os_error(code));
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            let reflection = Reflection::without(&failed(code));
            assert_eq!(reflection, Reflection::Untried, "{code}");
        }
        for code in [libc::ECONNREFUSED, libc::ENETUNREACH, libc::EINVAL] {
            let reflection = Reflection::without(&failed(code));
            assert_eq!(reflection, Reflection::Missed, "{code}");
        }
    }

    #[test]
    fn one_address_of_a_reflector_that_is_reached_is_enough() {
        let reached = |seen: Option<&str>| Reflection::Reached {
            seen: seen.map(|ip| ip.parse().unwrap()),
        };
        let (missed, untried) = (|| Reflection::Missed, || Reflection::Untried);
        for (one, other, expected) in [
            (untried(), untried(), untried()),
            (untried(), missed(), missed()),
            (missed(), reached(None), reached(None)),
            (untried(), reached(None), reached(None)),
            (
                reached(None),
                reached(Some("192.0.2.1")),
                reached(Some("192.0.2.1")),
            ),
        ] {
            assert_eq!(one.clone().or(other.clone()), expected);
            assert_eq!(other.or(one), expected);
        }
    }

    #[tokio::test]
    async fn a_reflector_is_missed_reached_or_tells_what_it_sees() {
        let source = "127.0.0.3".parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let says = ["", "127.0.0.3\n", "192.0.2.9\n"];
        let serving = tokio::spawn(async move {
            for text in says {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        });
        for seen in [None, Some("127.0.0.3"), Some("192.0.2.9")] {
            let seen = seen.map(|ip| ip.parse().unwrap());
            let reflection = reflect(source, address).await;
            assert_eq!(reflection, Reflection::Reached { seen });
        }
        serving.await.unwrap();
        assert_eq!(reflect(source, address).await, Reflection::Missed);
        let elsewhere = "203.0.113.7".parse().unwrap();
        assert_eq!(reflect(elsewhere, address).await, Reflection::Untried);
    }
}
