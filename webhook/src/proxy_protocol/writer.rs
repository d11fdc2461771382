//! What a balancer sends, for tests: the gateway never sends it, receivers must not get it. Uses
//! nothing but the standard library, so tests of other crates can include this file.

use std::net::{IpAddr, SocketAddr};

/// A line of version 1 for two addresses of one family.
pub(crate) fn v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let protocol = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    let ports = (source.port(), destination.port());
    format!("PROXY {protocol} {from} {to} {} {}\r\n", ports.0, ports.1).into_bytes()
}

/// A block of version 2 for a TCP connection, with these vectors behind the addresses.
pub(crate) fn v2(source: SocketAddr, destination: SocketAddr, vectors: &[(u8, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for address in [source.ip(), destination.ip()] {
        match address {
            IpAddr::V4(v4) => block.extend(v4.octets()),
            IpAddr::V6(v6) => block.extend(v6.octets()),
        }
    }
    for port in [source.port(), destination.port()] {
        block.extend(port.to_be_bytes());
    }
    for (kind, value) in vectors {
        block.push(*kind);
        block.extend(length(value));
        block.extend(*value);
    }
    v2_block(0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, &block)
}

/// A block of version 2 with any version and command, family and transport, and content.
pub(crate) fn v2_block(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend(length(block));
    bytes.extend(block);
    bytes
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}
