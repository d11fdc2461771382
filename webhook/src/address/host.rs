//! Hosts: a name in its A-label form, or an address in its one canonical spelling.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::Denied;

/// Longest name, and longest label of one (RFC 1035).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Longest text that is looked at: what UTS-46 does with a label takes a time that grows with the
/// square of its length. A name can be shorter than its text, as where letters of four bytes each
/// stand for plain ones; four times as long is as long as those get. A longer text could become a
/// name only by marks that are apart from their letters, or by much that stands for nothing.
const TEXT_BYTES_MAX: usize = 4 * (NAME_BYTES_MAX + 1); // with a dot at its end

/// A host that means the same to every parser.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name: lower case, A-labels, no trailing dot.
    Name(Box<str>),
    /// A literal address.
    Ip(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl Host {
    /// Parses the content of brackets as an IPv6 address. Zone ids and IPvFuture are refused.
    pub(super) fn parse_v6(text: &str) -> Result<Self, Denied> {
        // The standard parser takes an IPv4 tail in four decimals only, which is what we want.
        text.parse::<Ipv6Addr>()
            .map(|ip| Self::Ip(IpAddr::V6(ip)))
            .map_err(|_| Denied::InvalidHost)
    }

    /// Parses a name or a dotted quad.
    pub(super) fn parse(text: &str) -> Result<Self, Denied> {
        let is_too_long = text.len() > TEXT_BYTES_MAX;
        if text.is_empty() || is_too_long || text.contains(['%', ':', '[', ']']) {
            return Err(Denied::InvalidHost);
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(IpAddr::V4(ip))); // the standard parser takes the canonical spelling only
        }
        let name = Uts46::new()
            .to_ascii(
                text.as_bytes(),
                AsciiDenyList::EMPTY,
                Hyphens::Allow,
                DnsLength::Ignore,
            )
            .map_err(|_| Denied::InvalidHost)?;
        let (name, had_dot) = match name.strip_suffix('.') {
            Some(name) => (name, true),
            None => (&*name, false),
        };
        let last = name.rsplit('.').next().unwrap_or_default();
        if is_number(last) {
            // Whatever spelling this is, parsers disagree on it, and what it means is not asked.
            return Err(if is_out_of_range(name) && !had_dot {
                Denied::InvalidHost
            } else {
                Denied::NoncanonicalIp
            });
        }
        check_labels(name)?;
        Ok(Self::Name(name.into()))
    }
}

/// A last label that makes the host an address spelling: decimal, octal or hexadecimal.
fn is_number(label: &str) -> bool {
    let is_hex = label.strip_prefix("0x").is_some();
    is_hex || (!label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Four plain decimals of which one is above 255: no parser takes that for an address.
fn is_out_of_range(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let is_plain = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0'))
    };
    parts.len() == 4
        && parts.iter().all(is_plain)
        && parts.iter().any(|part| part.parse::<u8>().is_err())
}

fn check_labels(name: &str) -> Result<(), Denied> {
    let is_good = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
            })
    };
    if name.len() <= NAME_BYTES_MAX && name.split('.').all(is_good) {
        Ok(())
    } else {
        Err(Denied::InvalidHost)
    }
}
