//! Lists of addresses that may send, or may not: sorted ranges, looked up by halving.

use std::net::IpAddr;

use ipnet::IpNet;

use super::ranges::{unmapped, unmapped_range};

/// A set of addresses. IPv4 addresses in the form of IPv6 are IPv4 addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl AddressSet {
    /// Whether the address is in one of its ranges.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match unmapped(address) {
            IpAddr::V4(v4) => self.v4.contains(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.contains(v6.to_bits()),
        }
    }

    /// Whether no address is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.0.is_empty() && self.v6.0.is_empty()
    }
}

impl FromIterator<IpNet> for AddressSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(ranges: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match unmapped_range(range) {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self {
            v4: Ranges::joined(v4),
            v6: Ranges::joined(v6),
        }
    }
}

/// First and last of each range; sorted, and no two of them touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ranges<B>(Box<[(B, B)]>);

impl<B: Copy + Ord> Ranges<B> {
    fn joined(mut ranges: Vec<(B, B)>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<(B, B)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(joined.into())
    }

    fn contains(&self, address: B) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= address);
        let range = behind.checked_sub(1).and_then(|at| self.0.get(at));
        range.is_some_and(|(_, last)| address <= *last)
    }
}

/// Who may send. What is denied is denied, whatever is allowed; without a list of what is allowed
/// the rest is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRules {
    allow: Option<AddressSet>,
    deny: AddressSet,
}

impl AddressRules {
    /// The rules of two lists. An empty `allow` allows everybody.
    #[must_use]
    pub fn new(allow: &[IpNet], deny: &[IpNet]) -> Self {
        Self {
            allow: (!allow.is_empty()).then(|| allow.iter().copied().collect()),
            deny: deny.iter().copied().collect(),
        }
    }

    /// Whether the address may send.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        !self.deny.contains(address)
            && self
                .allow
                .as_ref()
                .is_none_or(|allow| allow.contains(address))
    }

    /// Whether everybody may send.
    #[must_use]
    pub fn are_open(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }
}

/// The client behind trusted proxies. Each of them adds at the end of `X-Forwarded-For` whom it
/// got the request from, so the list is read from its end for as long as the proxies in it are
/// trusted; what stands before the first one that is not may be a lie. An entry that is no
/// address was written by the proxy behind it, which then counts as the client.
///
/// `forwarded` are the values of all `X-Forwarded-For` lines, in their order.
#[must_use]
pub fn client_behind<'v>(
    peer: IpAddr,
    trusted: &AddressSet,
    forwarded: impl DoubleEndedIterator<Item = &'v [u8]>,
) -> IpAddr {
    let mut client = peer;
    let entries = forwarded
        .rev()
        .flat_map(|value| value.rsplit(|byte| *byte == b','));
    for entry in entries {
        if !trusted.contains(client) {
            break;
        }
        match address_of(entry) {
            Some(before) => client = before,
            None => break,
        }
    }
    unmapped(client)
}

/// An address, in brackets or not, with or without a port.
fn address_of(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(with_port) = text.parse::<std::net::SocketAddr>() {
        return Some(with_port.ip());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        let parse = |text: &&str| text.parse().unwrap();
        texts.iter().map(parse).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_denied_is_denied_whatever_is_allowed() {
        let rules = AddressRules::new(
            &nets(&["10.0.0.0/8", "2001:db8::/32"]),
            &nets(&["10.1.0.0/16", "2001:db8:1::/48", "::ffff:10.2.0.0/112"]),
        );
        for (address, expected) in [
            ("10.0.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("10.0.255.255", true),
            ("10.1.0.0", false),
            ("10.1.255.255", false),
            ("::ffff:10.1.0.1", false),
            ("10.2.0.0", false),
            ("10.3.0.0", true),
            ("9.255.255.255", false),
            ("11.0.0.0", false),
            ("2001:db8::1", true),
            ("2001:db8:1::1", false),
            ("2001:db9::", false),
            ("::1", false),
        ] {
            assert_eq!(rules.admits(ip(address)), expected, "{address}");
        }
        let only_denied = AddressRules::new(&[], &nets(&["0.0.0.0/0"]));
        assert!(!only_denied.admits(ip("255.255.255.255")));
        assert!(only_denied.admits(ip("::1")) && !only_denied.are_open());
        assert!(AddressRules::default().admits(ip("::")) && AddressRules::default().are_open());
    }

    #[test]
    fn the_client_is_the_last_one_that_no_trusted_proxy_vouches_for() {
        let trusted: AddressSet = nets(&["10.0.0.0/8", "fd00::/8"]).into_iter().collect();
        for (peer, forwarded, expected) in [
            // Who is not trusted says nothing about others.
            ("192.0.2.9", &["10.0.0.1"][..], "192.0.2.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1,10.0.0.2 ,\t10.0.0.3"], "192.0.2.1"),
            (
                "10.0.0.1",
                &["198.51.100.1", "192.0.2.1, 10.0.0.2"],
                "192.0.2.1",
            ),
            ("::ffff:10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
            ("fd00::1", &["2001:db8::1, [fd00::2]:443"], "2001:db8::1"),
            ("10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["\u{e4}"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            let values = forwarded.iter().map(|text| text.as_bytes());
            let client = client_behind(ip(peer), &trusted, values);
            assert_eq!(client, ip(expected), "{peer} {forwarded:?}");
        }
    }

    proptest! {
        #[test]
        fn a_set_has_exactly_what_one_of_its_ranges_has(
            ranges in proptest::collection::vec((0_u32..64, 24_u8..=32), 0..12),
            wide in proptest::collection::vec((any::<u128>(), 0_u8..=128), 0..4),
            near in 0_u32..64,
            far in any::<u128>(),
        ) {
            let nets: Vec<IpNet> = ranges
                .into_iter()
                .map(|(bits, length)| IpNet::new(IpAddr::V4(bits.into()), length).unwrap())
                .chain(wide.into_iter().map(|(bits, length)| {
                    // Beyond the mapped range, which is judged as IPv4.
                    IpNet::new(IpAddr::V6((bits | 1 << 127).into()), length.max(1)).unwrap()
                }))
                .collect();
            let set: AddressSet = nets.iter().copied().collect();
            for address in [IpAddr::V4(near.into()), IpAddr::V6((far | 1 << 127).into())] {
                let naive = nets.iter().any(|net| net.contains(&address));
                prop_assert_eq!(set.contains(address), naive);
            }
        }
    }
}
