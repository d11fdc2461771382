//! Which source addresses are listed for whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::egress_pools::PoolChoice;
use super::{ProjectTable, Snapshot};
use crate::published::Published;
use crate::resource::{EgressPool, PoolMode};

impl Snapshot {
    /// The list for everybody: shared pools. A dedicated one is an arrangement with a customer,
    /// who sees it in [`Snapshot::published_for`].
    #[must_use]
    pub fn published(&self, now_ms: i64) -> Published {
        let pools = self.egress_pools();
        let shared = pools.filter(|pool| pool.mode() == PoolMode::Shared);
        Published::of(shared, self.uses_host_route(), now_ms)
    }

    /// The list for a project: the pools that its endpoints name and the one of the project itself,
    /// with those they fall back to. The latter also when all endpoints name another: meta events,
    /// certificates of providers, confirmations and trials of tokens come from it, and deliveries
    /// to endpoints that are yet to be made.
    #[must_use]
    pub fn published_for(&self, table: &ProjectTable, now_ms: i64) -> Published {
        let own = std::iter::once(self.pool_of(table, None));
        let named = table.pools_of_endpoints();
        let named = named.map(|name| self.pool_called(table, name));
        let (mut pools, mut has_host_route) = (BTreeMap::<&str, &Arc<EgressPool>>::new(), false);
        let choices: Vec<PoolChoice> = named.chain(own).collect();
        for choice in &choices {
            match choice {
                PoolChoice::Named(pool) => {
                    let both = [Some(pool), self.fallback_of(table, pool)];
                    pools.extend(
                        both.into_iter()
                            .flatten()
                            .map(|pool| (&**pool.name(), pool)),
                    );
                }
                PoolChoice::HostRoute => has_host_route = true,
                PoolChoice::Missing(_) => {}
            }
        }
        Published::of(pools.into_values(), has_host_route, now_ms)
    }

    /// Whether a request may come from where the host routes it. With neither pools nor projects
    /// it would.
    fn uses_host_route(&self) -> bool {
        if !matches!(self.pool_of_nobody(), PoolChoice::HostRoute) {
            return false; // who names no pool has `default`, or waits for it
        }
        let is_bare = self.projects.is_empty() && self.egress_pools().next().is_none();
        let mut tables = self.projects.values();
        is_bare || tables.any(|table| matches!(self.pool_of(table, None), PoolChoice::HostRoute))
    }
}
