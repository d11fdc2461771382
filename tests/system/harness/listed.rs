//! No delivery ever leaves from an address that is not listed. The gateways of a test have a pool
//! unless the test says otherwise, and each of its servers sees whom it is called from.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Of the pool of a gateway whose test names none. The host's route would show `127.0.0.1`.
pub(crate) const LEAVES_FROM: &str = "127.0.0.77";

thread_local! {
    /// Of the gateways of this test: each test has a thread of its own.
    static LEAVING: Arc<Mutex<Leaving>> = Arc::default();
}

#[derive(Default)]
struct Leaving {
    listed: BTreeSet<IpAddr>,
    is_anywhere: bool,
}

/// The pools of a test that names none.
pub(super) fn pools() -> Vec<Value> {
    vec![json!({"name": "default", "addresses": [{"address": LEAVES_FROM}]})]
}

/// A gateway of this test has these pools. Without one for all its projects the host's route is
/// used, which may be any address.
pub(super) fn leaves_from(pools: &[Value]) {
    pools.iter().for_each(leaves_from_also);
    if !pools.iter().any(|pool| pool["name"] == "default") {
        leaves_from_anywhere();
    }
}

/// So does another pool, or one that has changed: what is open stays open.
pub(super) fn leaves_from_also(pool: &Value) {
    let addresses = pool["addresses"].as_array().into_iter().flatten();
    // What is no address is a test of what is refused.
    let addresses = addresses.filter_map(|one| one["address"].as_str()?.parse::<IpAddr>().ok());
    LEAVING.with(|leaving| leaving.lock().unwrap().listed.extend(addresses));
}

/// A gateway of this test uses the host's route, or pools that are made later.
pub(super) fn leaves_from_anywhere() {
    LEAVING.with(|leaving| leaving.lock().unwrap().is_anywhere = true);
}

/// Whom a server of a test is called from.
#[derive(Clone, Default)]
pub(crate) struct Callers(Arc<Mutex<BTreeSet<IpAddr>>>);

impl Callers {
    pub(crate) fn saw(&self, peer: SocketAddr) {
        self.0.lock().unwrap().insert(peer.ip());
    }
}

/// Held by the server itself, which is made on the thread of its test: its end is when its callers
/// are compared with what is listed.
pub(crate) struct Witness {
    callers: Callers,
    leaving: Arc<Mutex<Leaving>>,
}

impl Default for Witness {
    fn default() -> Self {
        Self {
            callers: Callers::default(),
            leaving: LEAVING.with(Arc::clone),
        }
    }
}

impl Witness {
    /// For whoever accepts the connections.
    pub(crate) fn callers(&self) -> Callers {
        self.callers.clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let (seen, leaving) = (self.callers.0.lock().unwrap(), self.leaving.lock().unwrap());
        let is_checked = !leaving.is_anywhere && !leaving.listed.is_empty();
        let unlisted: Vec<_> = seen.difference(&leaving.listed).copied().collect();
        assert!(
            !is_checked || unlisted.is_empty(),
            "{unlisted:?} not listed"
        );
    }
}

mod tests {
    use super::*;

    /// A check that cannot fail would let everything pass.
    #[test]
    #[should_panic(expected = "not listed")]
    fn a_caller_from_elsewhere_is_seen() {
        leaves_from(&pools());
        let listed = LEAVES_FROM.parse::<IpAddr>().unwrap();
        let witness = Witness::default();
        witness.callers().saw((listed, 1).into());
        drop(witness);
        let witness = Witness::default();
        witness.callers().saw("127.0.0.1:1".parse().unwrap());
    }
}
