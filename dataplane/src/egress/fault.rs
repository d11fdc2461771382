//! Why an attempt has no complete answer: every error of the way out, sorted into the closed
//! list of [`Failure`]. The detail is for the operator; it names addresses, never a header
//! value, a path or a body.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use outrider_webhook::address::{Denial, Denied};
use outrider_webhook::retry::Failure;

/// An attempt that ended without a complete answer.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// The class the retry rules decide on.
    pub(super) failure: Failure,
    /// What happened, for the operator.
    pub(super) detail: String,
    /// What the address policy refused it for, if it did.
    pub(super) denial: Option<Denial>,
    /// Whether there are as many connections as there may be.
    pub(super) is_limit: bool,
}

impl Fault {
    pub(super) fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self {
            failure,
            detail: detail.into(),
            denial: None,
            is_limit: false,
        }
    }

    /// The pool that is meant is not known here.
    pub(super) fn no_pool(name: &str) -> Self {
        let detail = format!("there is no egress pool `{name}` for this project");
        Self::new(Failure::NoHealthySource, detail)
    }

    /// There are as many connections as there may be, and none became free in time.
    pub(super) fn limit(address: SocketAddr) -> Self {
        let detail = format!("no connection to {address} may be opened: limit reached");
        Self {
            is_limit: true,
            ..Self::new(Failure::NoHealthySource, detail) // nothing was sent, and it is ours
        }
    }

    /// So many requests wait to open a connection there that the time would be over.
    pub(super) fn no_turn(host: &str, port: u16) -> Self {
        let detail = format!(
            "no connection to {host}:{port} may be opened in time: more are wanted than `egress.new_connections_per_destination`"
        );
        Self::new(Failure::NoHealthySource, detail) // nothing was sent, and it is ours
    }

    /// Refused by the address policy. `is_static`: refused by what the URL says, so that asking
    /// again cannot help; otherwise by what its name resolves to today. What the configuration
    /// closes it may open again, so that is asked again. A policy that cannot be read here says
    /// nothing of the destination: that is a fault of ours.
    pub(super) fn denied(denied: &Denied, is_static: bool) -> Self {
        let denial = Denial::from(denied);
        let failure = if denial.is_unreadable() {
            Failure::NoHealthySource
        } else {
            let literal = is_static && !denial.is_by_policy();
            Failure::EgressDenied { literal }
        };
        Self {
            denial: Some(denial),
            ..Self::new(failure, denied.to_string())
        }
    }

    /// A TCP connection that did not come up.
    pub(super) fn connect(address: SocketAddr, error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let failure = match error.kind() {
            Kind::ConnectionRefused => Failure::ConnectRefused,
            Kind::TimedOut => Failure::ConnectTimeout,
            _ if is_reset(error) => Failure::ConnectReset,
            // No local port is left. For IPv6 the same error says that the host has no IPv6.
            Kind::AddrNotAvailable | Kind::AddrInUse if address.is_ipv4() => Failure::PortExhausted,
            _ if is_exhaustion(error) => Failure::PortExhausted, // nothing was sent
            // No route, no such family here, or a firewall that says so.
            _ => Failure::ConnectUnreachable,
        };
        Self::new(failure, format!("connect to {address}: {error}"))
    }

    /// A TCP connection that nobody answered for.
    pub(super) fn connect_timeout(address: SocketAddr) -> Self {
        let detail = format!("connect to {address}: no answer in time");
        Self::new(Failure::ConnectTimeout, detail)
    }

    /// A TLS handshake that did not succeed.
    pub(super) fn handshake(error: &io::Error) -> Self {
        use rustls::{AlertDescription, Error as Tls};
        let failure = if is_reset(error) {
            Failure::ConnectReset
        } else {
            Failure::TlsFailure
        };
        let no_shared_cipher = matches!(
            tls_cause(error),
            Some(
                Tls::PeerIncompatible(_)
                    | Tls::AlertReceived(
                        AlertDescription::HandshakeFailure
                            | AlertDescription::ProtocolVersion
                            | AlertDescription::InsufficientSecurity
                    )
            )
        );
        let hint = if no_shared_cipher {
            "no_shared_cipher: "
        } else {
            ""
        };
        Self::new(failure, format!("TLS handshake: {hint}{error}"))
    }

    /// What was wrong with TLS when something was read, if that was it: a receiver that wants a
    /// client certificate says so only after the handshake.
    pub(super) fn alert(error: &io::Error) -> Option<Self> {
        let cause = tls_cause(error)?;
        Some(Self::new(Failure::TlsFailure, format!("TLS: {cause}")))
    }

    /// An error of the HTTP connection, `during` says when.
    pub(super) fn http(error: &hyper::Error, during: &str) -> Self {
        let failure = if error.is_parse() {
            Failure::ProtocolError // also a head over the limits
        } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            Failure::ConnectReset
        } else {
            match io_cause(error) {
                // A receiver that wants a client certificate says so only after the handshake.
                Some(io) if tls_cause(io).is_some() => Failure::TlsFailure,
                Some(io) if is_reset(io) => Failure::ConnectReset,
                Some(io) if io.kind() == io::ErrorKind::TimedOut => Failure::ResponseTimeout,
                Some(io) if io.kind() == io::ErrorKind::InvalidData => Failure::ProtocolError,
                Some(io) if io.kind() == io::ErrorKind::InvalidInput => Failure::ProtocolError,
                Some(_) => Failure::ConnectReset,
                None => Failure::ProtocolError,
            }
        };
        Self::new(failure, format!("{during}: {}", chain(error)))
    }
}

pub(super) fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::NotConnected
    )
}

/// Whether we have run out of descriptors or memory: no fault of the receiver, and not counted.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

fn tls_cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn io_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref() {
            return Some(io);
        }
        next = cause.source();
    }
    None
}

/// The message with its causes: hyper's own text is often only the outermost words.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_exhaustion_is_our_fault() {
        let (v4, v6) = ("192.0.2.1:443", "[2001:db8::1]:443");
        for (address, errno, expected) in [
            (v4, libc::EMFILE, Failure::PortExhausted),
            (v4, libc::EADDRNOTAVAIL, Failure::PortExhausted),
            (v6, libc::EADDRNOTAVAIL, Failure::ConnectUnreachable),
            (v6, libc::EAFNOSUPPORT, Failure::ConnectUnreachable),
            (v4, libc::EPERM, Failure::ConnectUnreachable),
            (v4, libc::ENETUNREACH, Failure::ConnectUnreachable),
            (v4, libc::EHOSTUNREACH, Failure::ConnectUnreachable),
            (v4, libc::ECONNREFUSED, Failure::ConnectRefused),
            (v4, libc::ECONNRESET, Failure::ConnectReset),
            (v4, libc::ENOTCONN, Failure::ConnectReset),
            (v4, libc::ETIMEDOUT, Failure::ConnectTimeout),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            let error = io::Error::from_raw_os_error(errno);
            let fault = Fault::connect(address, &error);
            assert_eq!(fault.failure, expected, "{error} for {address}");
            assert!(fault.detail.contains(&address.to_string()));
        }
    }
}
