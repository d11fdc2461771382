//! Version 2: a block of bytes with its length before it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{BYTES_MAX, Ends, Header, Invalid};

/// What every block begins with.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes up to the end of the length.
const PREFIX_BYTES: usize = SIGNATURE.len() + 4;

/// Reads a block that begins like [`SIGNATURE`]. What is wrong is told at its first byte.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Invalid> {
    let mut prefix = bytes.iter().copied().skip(SIGNATURE.len());
    let Some(command) = prefix.next() else {
        return Ok(None);
    };
    let is_local = match (command >> 4, command & 0xf) {
        (2, 0) => true,
        (2, 1) => false,
        (2, _) => return Err(Invalid::Command),
        _ => return Err(Invalid::Version),
    };
    let Some(family) = prefix.next() else {
        return Ok(None);
    };
    // Of a LOCAL connection everything is discarded, the family too.
    let content = if is_local {
        Content::Anything
    } else {
        Content::of(family)?
    };
    let (Some(high), Some(low)) = (prefix.next(), prefix.next()) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let end = PREFIX_BYTES + length;
    if end > BYTES_MAX {
        return Err(Invalid::TooLong);
    }
    if length < content.address_bytes() {
        return Err(Invalid::TooShort);
    }
    let Some(block) = bytes.get(PREFIX_BYTES..end) else {
        return Ok(None);
    };
    Ok(Some((end, content.ends(block)?)))
}

/// What is in a block.
#[derive(Debug, Clone, Copy)]
enum Content {
    /// Bytes to skip.
    Anything,
    /// TCP over IPv4: addresses, ports, vectors.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// Addresses of so many bytes that are none of a TCP connection, and vectors. A receiver that
    /// does not know them keeps the address of the socket (section 2.2 of the specification).
    Foreign(usize),
}

impl Content {
    /// By the byte of family and transport.
    const fn of(byte: u8) -> Result<Self, Invalid> {
        match (byte >> 4, byte & 0xf) {
            (4.., _) | (_, 3..) => Err(Invalid::Family),
            (0, _) | (_, 0) => Ok(Self::Anything),
            (1, 1) => Ok(Self::Tcp4),
            (2, 1) => Ok(Self::Tcp6),
            (1, _) => Ok(Self::Foreign(Self::Tcp4.address_bytes())),
            (2, _) => Ok(Self::Foreign(Self::Tcp6.address_bytes())),
            (3, _) => Ok(Self::Foreign(2 * 108)), // two paths of UNIX sockets
        }
    }

    const fn address_bytes(self) -> usize {
        match self {
            Self::Anything => 0,
            Self::Tcp4 => 2 * (4 + 2),
            Self::Tcp6 => 2 * (16 + 2),
            Self::Foreign(bytes) => bytes,
        }
    }

    /// The addresses of a block that is whole.
    fn ends(self, block: &[u8]) -> Result<Option<Ends>, Invalid> {
        if matches!(self, Self::Anything) {
            return Ok(None);
        }
        let split = block.split_at_checked(self.address_bytes());
        let (addresses, vectors) = split.ok_or(Invalid::TooShort)?;
        check_vectors(vectors)?;
        Ok(match self {
            Self::Tcp4 => ends::<4, Ipv4Addr>(addresses),
            Self::Tcp6 => ends::<16, Ipv6Addr>(addresses),
            Self::Anything | Self::Foreign(_) => None,
        })
    }
}

/// Two addresses of `N` bytes, then their two ports.
fn ends<const N: usize, A>(bytes: &[u8]) -> Option<Ends>
where
    A: From<[u8; N]> + Into<std::net::IpAddr>,
{
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    Some(Ends::new(
        (A::from(*source), u16::from_be_bytes(*source_port)),
        (A::from(*destination), u16::from_be_bytes(*destination_port)),
    ))
}

/// Type, length and value, one behind the other to the end of the block. None is looked at.
fn check_vectors(mut rest: &[u8]) -> Result<(), Invalid> {
    while let [_, high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = behind.get(length..).ok_or(Invalid::Vector)?;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Invalid::Vector)
    }
}
