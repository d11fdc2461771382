//! The lists of `egress` section 7: ranges, names and ports that are refused by default.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// A range as a first address and a prefix length; matching is one mask and one compare.
#[derive(Debug, Clone, Copy)]
pub(super) struct V4(u32, u8);

/// As [`V4`], for IPv6.
#[derive(Debug, Clone, Copy)]
pub(super) struct V6(u128, u8);

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> V4 {
    V4(u32::from_be_bytes([a, b, c, d]), bits)
}

const fn v6(segments: [u16; 8], bits: u8) -> V6 {
    let [a, b, c, d, e, f, g, h] = segments;
    V6(Ipv6Addr::new(a, b, c, d, e, f, g, h).to_bits(), bits)
}

impl V4 {
    const fn contains(self, ip: u32) -> bool {
        let mask = if self.1 == 0 {
            0
        } else {
            u32::MAX << (32 - self.1)
        };
        ip & mask == self.0
    }
}

impl V6 {
    const fn contains(self, ip: u128) -> bool {
        let mask = if self.1 == 0 {
            0
        } else {
            u128::MAX << (128 - self.1)
        };
        ip & mask == self.0
    }
}

/// No setting opens these: this host, link-local, metadata services, multicast, reserved.
const HARD_V4: [V4; 8] = [
    v4(0, 0, 0, 0, 8),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(168, 63, 129, 16, 32),   // Azure platform
    v4(100, 100, 100, 200, 32), // Alibaba metadata
    v4(192, 0, 0, 192, 32),     // Oracle metadata
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

const HARD_V6: [V6; 6] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), // AWS metadata
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),  // Google metadata
];

/// The operator may open parts of these.
const SOFT_V4: [V4; 13] = [
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 31, 196, 0, 24),
    v4(192, 52, 193, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(192, 175, 48, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
];

const SOFT_V6: [V6; 14] = [
    V4_COMPATIBLE,
    SIIT,
    NAT64,
    LOCAL_NAT64,
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    SIX_TO_FOUR,
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
];

// Ranges whose addresses lead to the IPv4 address inside them.
const V4_COMPATIBLE: V6 = v6([0, 0, 0, 0, 0, 0, 0, 0], 96);
const SIIT: V6 = v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96);
const NAT64: V6 = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const LOCAL_NAT64: V6 = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);
const SIX_TO_FOUR: V6 = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);

/// Outside of this no IPv6 address is assigned to anybody.
const GLOBAL_UNICAST: V6 = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Names that lead inside; a name is refused with everything below it.
pub(super) const NAMES: [&str; 11] = [
    "arpa",
    "home.arpa",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "test",
];

/// Ports from 1024 up that belong to other services.
pub(super) const PORTS_DENIED: [u16; 43] = [
    1719, 1720, 1723, 2049, 2375, 2376, 2379, 2380, 3306, 3389, 3659, 4045, 4190, 5060, 5061, 5432,
    5900, 5984, 5985, 5986, 6000, 6379, 6443, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 7001,
    8500, 9042, 9092, 9200, 9300, 10080, 10250, 10255, 11211, 15672, 27017,
];

/// IPv6 spellings of an IPv4 address become that address, so that it is judged as one.
pub(super) fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
    }
}

/// Refused whatever the settings say.
pub(super) fn is_hard(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => HARD_V4.iter().any(|range| range.contains(ip.to_bits())),
        IpAddr::V6(ip) => HARD_V6.iter().any(|range| range.contains(ip.to_bits())),
    }
}

/// Refused unless the operator opened it.
pub(super) fn is_soft(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => SOFT_V4.iter().any(|range| range.contains(ip.to_bits())),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            !GLOBAL_UNICAST.contains(bits) || SOFT_V6.iter().any(|range| range.contains(bits))
        }
    }
}

/// As [`unmapped`], for a range of a setting: written for IPv4-mapped addresses it would
/// otherwise match nothing.
pub(super) fn unmapped_range(range: IpNet) -> IpNet {
    let IpNet::V6(v6) = range else { return range };
    let bits = v6.prefix_len().checked_sub(96);
    match (v6.network().to_ipv4_mapped(), bits) {
        (Some(v4), Some(bits)) => Ipv4Net::new(v4, bits).map_or(range, IpNet::V4),
        _ => range,
    }
}

/// What an address leads to beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Embedded {
    /// Nothing.
    Nothing,
    /// This IPv4 address, which is judged too.
    V4(IpAddr),
    /// An IPv4 address, but where it stands is not known.
    Unclear,
}

/// The IPv4 address inside an IPv6 one of a range that was opened with `opened_bits`. In the
/// local NAT64 prefix its place depends on the length of the part in use (RFC 6052 section 2.2):
/// the common /96 is supported, and a wider opening does not say.
pub(super) fn embedded(ip: IpAddr, opened_bits: u8) -> Embedded {
    let IpAddr::V6(v6) = ip else {
        return Embedded::Nothing;
    };
    let bits = v6.to_bits();
    let [_, _, a, b, c, d, ..] = v6.octets();
    let [.., w, x, y, z] = v6.octets();
    if SIX_TO_FOUR.contains(bits) {
        return Embedded::V4(IpAddr::V4(Ipv4Addr::new(a, b, c, d)));
    }
    let is_local = LOCAL_NAT64.contains(bits);
    if is_local && opened_bits < 96 {
        return Embedded::Unclear;
    }
    let has_tail = [V4_COMPATIBLE, SIIT, NAT64]
        .iter()
        .any(|range| range.contains(bits));
    if is_local || has_tail {
        return Embedded::V4(IpAddr::V4(Ipv4Addr::new(w, x, y, z)));
    }
    Embedded::Nothing
}

/// Which setting would open a refused address; for the people who write settings.
pub(super) fn hint(ip: IpAddr) -> &'static str {
    if ip.is_loopback() {
        " (setting `egress.internal` with `address` opens one address and port to named projects)"
    } else if is_hard(ip) {
        ", and no setting opens it"
    } else if is_soft(ip) {
        " (setting `egress.internal` with `cidr` opens private ranges to named projects)"
    } else {
        ", closed by setting `egress.deny_cidrs`"
    }
}
