//! The published list of source addresses: what receivers let in.
//!
//! It is made of the pools themselves, so it cannot say something else than what is used.

mod zone;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::resource::{AddressState, EgressPool, HOST_ROUTE, PoolAddress, rfc3339};

/// How long an address is listed after it was retired, milliseconds: receivers that look once a
/// month still see that it has gone.
pub const RETIRED_MS: i64 = 30 * 24 * 3600 * 1000;

/// A list at one time.
#[derive(Debug, Clone)]
pub struct Published {
    version: u64,
    updated_at_ms: Option<i64>,
    rows: Vec<Row>,
    has_host_route: bool,
    ends_ms: Option<i64>,
}

/// Addresses of one pool of which the same is to be said.
#[derive(Debug, Clone)]
struct Row {
    pool: Arc<EgressPool>,
    /// In their order, IPv4 first.
    addresses: Vec<IpAddr>,
    state: AddressState,
    effective_at_ms: Option<i64>,
    retired_at_ms: Option<i64>,
}

impl Published {
    /// The list of these pools, and whether something may come from where the host routes it.
    #[must_use]
    pub fn of<'p>(
        pools: impl IntoIterator<Item = &'p Arc<EgressPool>>,
        has_host_route: bool,
        now_ms: i64,
    ) -> Self {
        let mut list = Self {
            version: 0,
            updated_at_ms: None,
            rows: Vec::new(),
            has_host_route,
            ends_ms: None,
        };
        for pool in pools {
            if pool.revision() >= list.version {
                // What one revision wrote was written at one time.
                list.version = pool.revision();
                list.updated_at_ms = pool.updated_at_ms();
            }
            list.add(pool, now_ms);
        }
        list
    }

    fn add(&mut self, pool: &Arc<EgressPool>, now_ms: i64) {
        let mut groups: BTreeMap<_, Vec<IpAddr>> = BTreeMap::new();
        for one in pool.addresses().iter() {
            let ends_ms = end_of(one);
            if ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms) {
                continue;
            }
            let earlier = [self.ends_ms, ends_ms].into_iter().flatten().min();
            self.ends_ms = earlier;
            let group = (one.state, one.effective_at_ms, one.retired_at_ms);
            groups.entry(group).or_default().push(one.address);
        }
        for ((state, effective_at_ms, retired_at_ms), mut addresses) in groups {
            addresses.sort_unstable();
            self.rows.push(Row {
                pool: Arc::clone(pool),
                addresses,
                state,
                effective_at_ms,
                retired_at_ms,
            });
        }
    }

    /// When the list becomes another one without a change of the pools, Unix milliseconds: an
    /// address was retired long enough ago.
    #[must_use]
    pub fn ends_ms(&self) -> Option<i64> {
        self.ends_ms
    }

    /// As a JSON document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        if self.has_host_route {
            // No address: which one it is, the host's routes say, and they may change.
            rows.push(json!({
                "name": HOST_ROUTE, "region": null, "mode": HOST_ROUTE, "ipv4": [], "ipv6": [],
                "state": AddressState::Active.as_str(), "effective_at": null, "retired_at": null,
            }));
        }
        json!({
            "version": self.version,
            "updated_at": self.updated_at_ms.and_then(rfc3339),
            "pools": rows,
        })
    }

    /// What is said of the addresses, without when.
    #[must_use]
    pub fn rows(&self) -> Value {
        self.to_json()["pools"].take()
    }

    /// As text: one range a line, those that a connection may come from, came from lately, or
    /// will come from.
    #[must_use]
    pub fn to_text(&self) -> String {
        let rows = self
            .rows
            .iter()
            .filter(|row| row.state != AddressState::Down);
        let mut addresses: Vec<IpAddr> = rows.flat_map(|row| row.addresses.clone()).collect();
        addresses.sort_unstable();
        addresses.into_iter().map(|one| range(one) + "\n").collect()
    }
}

impl Row {
    fn to_json(&self) -> Value {
        let of = |is_v4: bool| -> Vec<String> {
            let addresses = self.addresses.iter();
            let of_family = addresses.filter(|one| one.is_ipv4() == is_v4);
            of_family.copied().map(range).collect()
        };
        json!({
            "name": &**self.pool.name(),
            "region": self.pool.region(),
            "mode": self.pool.mode().as_str(),
            "ipv4": of(true),
            "ipv6": of(false),
            "state": self.state.as_str(),
            "effective_at": self.effective_at_ms.and_then(rfc3339),
            "retired_at": self.retired_at_ms.and_then(rfc3339),
        })
    }
}

/// When an address is not listed any more.
fn end_of(one: &PoolAddress) -> Option<i64> {
    let retired_at_ms = one.retired_at_ms?;
    (one.state == AddressState::Retired).then(|| retired_at_ms.saturating_add(RETIRED_MS))
}

/// An address as a range of one, as firewalls take it.
fn range(address: IpAddr) -> String {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    format!("{address}/{bits}")
}

#[cfg(test)]
mod tests;
