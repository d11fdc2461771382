//! Version 1: a line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use memchr::memchr;

use super::{Ends, Header, Invalid};

/// Longest line with its CR LF: `UNKNOWN` with two IPv6 addresses.
pub(super) const LINE_BYTES_MAX: usize = 107;

/// What every line begins with.
pub(super) const OPENING: &[u8] = b"PROXY ";

/// Reads a line that begins like [`OPENING`]. Nothing is decoded before its end is there.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Invalid> {
    let window = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = memchr(b'\n', window) else {
        let is_full = window.len() >= LINE_BYTES_MAX;
        return if is_full {
            Err(Invalid::LineTooLong)
        } else {
            Ok(None)
        };
    };
    let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.ok_or(Invalid::LineEnd)?;
    // In a line of UNKNOWN too, where the specification lets anything stand: half of an end is
    // where two readers come to think differently.
    if line.contains(&b'\r') {
        return Err(Invalid::LineEnd);
    }
    let fields = line.strip_prefix(OPENING).ok_or(Invalid::Fields)?;
    Ok(Some((end + 1, ends(fields)?)))
}

/// The fields behind `PROXY `, each behind exactly one space.
fn ends(fields: &[u8]) -> Result<Option<Ends>, Invalid> {
    if fields == b"UNKNOWN" || fields.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let fields = std::str::from_utf8(fields).map_err(|_| Invalid::Fields)?;
    let mut fields = fields.split(' ');
    let mut next = || fields.next().ok_or(Invalid::Fields);
    let (protocol, source, destination) = (next()?, next()?, next()?);
    let (source_port, destination_port) = (next()?, next()?);
    if fields.next().is_some() {
        return Err(Invalid::Fields);
    }
    let address = match protocol {
        "TCP4" => v4,
        "TCP6" => v6,
        _ => return Err(Invalid::Fields),
    };
    Ok(Some(Ends::new(
        (address(source)?, port(source_port)?),
        (address(destination)?, port(destination_port)?),
    )))
}

/// Four decimals without leading zeros; the standard parser takes no other spelling.
fn v4(text: &str) -> Result<IpAddr, Invalid> {
    let address = text.parse::<Ipv4Addr>();
    address.map(Into::into).map_err(|_| Invalid::Address)
}

/// Groups of hexadecimal digits; also with an IPv4 tail, which is how C libraries print mapped
/// addresses and so what HAProxy sends of them.
fn v6(text: &str) -> Result<IpAddr, Invalid> {
    let address = text.parse::<Ipv6Addr>();
    address.map(Into::into).map_err(|_| Invalid::Address)
}

/// Digits without a sign or leading zeros.
fn port(text: &str) -> Result<u16, Invalid> {
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    let port = text.parse().ok().filter(|_| is_plain);
    port.ok_or(Invalid::Port)
}
