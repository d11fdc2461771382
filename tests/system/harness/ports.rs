//! Ports for listeners that must know theirs before they start.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range the system takes the ports of outgoing connections from, so that nothing
/// else takes a port between our look and the listener's bind.
const FIRST: u16 = 12_000;
const COUNT: u16 = 16_000;
/// Of these, what deliveries do not go to: a receiver may get any of them.
const DENIED: [u16; 2] = [15_672, 27_017];
/// A prime near half of them.
const SPREAD: u64 = 7_919;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A loopback address nobody listens on, handed out once per run.
pub(crate) fn free_port() -> SocketAddr {
    // Runs of the same suite side by side start at different places, and far apart: their
    // process ids may follow each other.
    let spread = u64::from(std::process::id()) * SPREAD;
    let start = u16::try_from(spread % u64::from(COUNT)).unwrap();
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(step < COUNT, "no free port on loopback");
        let port = FIRST + (start + step) % COUNT;
        if DENIED.contains(&port) {
            continue;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
