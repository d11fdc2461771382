//! The PROXY protocol, versions 1 and 2: a balancer in front says who is connected.
//!
//! Read at the start of a connection, and only on listeners where it is set: there it is required,
//! since guessing would let any client write it. What it says goes into logs and rules of peers; it
//! proves nothing (`egress` section 10). Pure: whoever reads the socket brings the bytes as they
//! come. Rules are those of HAProxy's `proxy-protocol.txt`; what it leaves to the receiver is
//! decided here, and where this is stricter it says so.

#[cfg(test)]
mod tests;
mod v1;
mod v2;
#[cfg(test)]
mod writer;

use std::net::{IpAddr, SocketAddr};

use crate::address::AddressSet;

/// Longest header, bytes: what fits into the smallest segment that every path carries. The
/// specification has senders stay below it.
pub const BYTES_MAX: usize = 536;

/// How long a header may take to arrive, milliseconds: balancers send it in one piece, with the
/// connection.
pub const TIMEOUT_MS: u64 = 1_000;

/// What the bytes of a connection so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header.
    NeedMore,
    /// A header, and perhaps more behind it.
    Done {
        /// Its bytes; what follows is the client's.
        consumed: usize,
        /// Who connected to the balancer. `None` keeps the address of the socket: the balancer
        /// speaks for itself (a health check), or the client has no TCP address.
        source: Option<SocketAddr>,
        /// Where it connected to.
        destination: Option<SocketAddr>,
    },
    /// Not a header, whatever follows.
    Invalid(Invalid),
}

/// Why a connection is not taken. Never quotes it: on a listener that is set up wrongly these are
/// the client's own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// From somewhere else than a balancer.
    #[error("the peer is not one of the trusted balancers")]
    UntrustedPeer,
    /// Something else is spoken.
    #[error("the connection does not begin with a PROXY protocol header")]
    NotProxyProtocol,
    /// Version 1: no end within its bytes.
    #[error(
        "the PROXY line has no CR LF in its first {} bytes",
        v1::LINE_BYTES_MAX
    )]
    LineTooLong,
    /// Version 1: half of an end.
    #[error("the PROXY line has a CR or LF that is not CR LF")]
    LineEnd,
    /// Version 1: neither TCP4, TCP6 nor UNKNOWN, or not their four fields.
    #[error(
        "the PROXY line is not `TCP4` or `TCP6` with two addresses and two ports, or `UNKNOWN`"
    )]
    Fields,
    /// Version 1: not an address of the protocol named.
    #[error("an address of the PROXY line is not one of its protocol")]
    Address,
    /// Version 1: not a port.
    #[error("a port of the PROXY line is not a plain number from 0 to 65535")]
    Port,
    /// Another version behind the signature of version 2.
    #[error("the version of the binary PROXY header is not 2")]
    Version,
    /// Version 2: neither LOCAL nor PROXY.
    #[error("the command of the PROXY header is neither LOCAL nor PROXY")]
    Command,
    /// Version 2: a family or transport that does not exist.
    #[error("the PROXY header has an unknown address family or transport")]
    Family,
    /// Version 2: longer than is taken.
    #[error("the PROXY header is longer than {BYTES_MAX} bytes")]
    TooLong,
    /// Version 2: shorter than the addresses in it.
    #[error("the PROXY header is shorter than the addresses it announces")]
    TooShort,
    /// Version 2: more or less in it than its vectors fill.
    #[error("the lengths of the vectors (TLV) of the PROXY header do not add up")]
    Vector,
}

impl Invalid {
    /// Stable code for logs and metrics: a closed set.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::UntrustedPeer => "untrusted_peer",
            Self::NotProxyProtocol => "not_proxy_protocol",
            Self::LineTooLong => "line_too_long",
            Self::LineEnd => "bad_line_end",
            Self::Fields => "bad_fields",
            Self::Address => "bad_address",
            Self::Port => "bad_port",
            Self::Version => "bad_version",
            Self::Command => "bad_command",
            Self::Family => "bad_family",
            Self::TooLong => "header_too_long",
            Self::TooShort => "header_too_short",
            Self::Vector => "bad_vector",
        }
    }
}

/// Judges the bytes of a connection so far, from its first one. However they are cut, the verdict
/// is the same, and no more bytes change it: of a buffer that holds [`BYTES_MAX`] it is never
/// [`Parsed::NeedMore`].
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    let header = if begins_like(bytes, &v2::SIGNATURE) {
        v2::parse(bytes)
    } else if begins_like(bytes, v1::OPENING) {
        v1::parse(bytes)
    } else {
        Err(Invalid::NotProxyProtocol)
    };
    match header {
        Ok(None) => Parsed::NeedMore,
        Ok(Some((consumed, ends))) => Parsed::Done {
            consumed,
            source: ends.map(|ends| ends.source),
            destination: ends.map(|ends| ends.destination),
        },
        Err(invalid) => Parsed::Invalid(invalid),
    }
}

/// Whom a listener that requires the header talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address: what the header says, else that of the socket. IPv4 in the form of IPv6 is
    /// IPv4.
    pub address: SocketAddr,
    /// Bytes of the header; what follows is the client's.
    pub consumed: usize,
}

/// Whom the connection of `peer` is from, by its bytes so far; `None` while the header is not
/// whole. Who is not trusted can be refused before anything is read: with no bytes at all.
///
/// # Errors
/// [`Invalid`], at the first byte that makes it so.
pub fn client(
    peer: SocketAddr,
    trusted: &AddressSet,
    bytes: &[u8],
) -> Result<Option<Client>, Invalid> {
    if !trusted.contains(peer.ip()) {
        return Err(Invalid::UntrustedPeer);
    }
    match parse(bytes) {
        Parsed::NeedMore => Ok(None),
        Parsed::Invalid(invalid) => Err(invalid),
        Parsed::Done {
            consumed, source, ..
        } => {
            let address = source.unwrap_or(peer);
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            Ok(Some(Client { address, consumed }))
        }
    }
}

/// A header that is whole: its bytes, and the ends of the connection if it names them.
type Header = (usize, Option<Ends>);

/// The two ends of the connection to the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ends {
    source: SocketAddr,
    destination: SocketAddr,
}

impl Ends {
    fn new(source: (impl Into<IpAddr>, u16), destination: (impl Into<IpAddr>, u16)) -> Self {
        Self {
            source: SocketAddr::new(source.0.into(), source.1),
            destination: SocketAddr::new(destination.0.into(), destination.1),
        }
    }
}

/// Whether one is the beginning of the other.
fn begins_like(bytes: &[u8], opening: &[u8]) -> bool {
    bytes.iter().zip(opening).all(|(byte, due)| byte == due)
}
