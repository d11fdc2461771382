//! A pool of source addresses: where deliveries come from, so that receivers can let in those
//! addresses and nobody else.

use std::net::IpAddr;
use std::sync::Arc;

use outrider_webhook::id::{EgressPoolId, ProjectId};
use serde_json::{Value, json};

use super::check::{Checks, FieldError, Reason};
use super::egress_pool_spec::{DEFAULT_POOL, EgressPoolSpec, pool_name, rfc3339};

/// Who may use a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// Everybody.
    Shared,
    /// The projects that it names.
    Dedicated,
}

/// How an address of a pool is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolSelection {
    /// The one with the fewest connections to the same destination.
    LeastConnections,
    /// Always the same one for an endpoint, as long as it can be used.
    Sticky,
}

/// What an operator says of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressState {
    /// Published, and not used yet.
    Warming,
    /// New connections come from it.
    Active,
    /// No new connections; those that are open are finished.
    Draining,
    /// Not used, and expected back.
    Down,
    /// Not used any more; published a while longer.
    Retired,
}

impl PoolMode {
    pub(super) const WORDS: &[&str] = &["shared", "dedicated"];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Dedicated => "dedicated",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let all = [Self::Shared, Self::Dedicated];
        all.into_iter().find(|one| one.as_str() == text)
    }
}

impl PoolSelection {
    pub(super) const WORDS: &[&str] = &["least_connections", "sticky"];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeastConnections => "least_connections",
            Self::Sticky => "sticky",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let all = [Self::LeastConnections, Self::Sticky];
        all.into_iter().find(|one| one.as_str() == text)
    }
}

impl AddressState {
    /// All of them, in the order of an address's life.
    pub const ALL: [Self; 5] = [
        Self::Warming,
        Self::Active,
        Self::Draining,
        Self::Down,
        Self::Retired,
    ];
    pub(super) const WORDS: &[&str] = &["warming", "active", "draining", "down", "retired"];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warming => "warming",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Down => "down",
            Self::Retired => "retired",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// One address of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolAddress {
    /// It. Never unspecified, multicast, broadcast, link-local or an IPv4 address in IPv6.
    pub address: IpAddr,
    /// What is done with it.
    pub state: AddressState,
    /// Since when or from when on it is used, Unix milliseconds: for those who read the list.
    pub effective_at_ms: Option<i64>,
    /// Since when or from when on it is not used, Unix milliseconds: for those who read the
    /// list. Always there when it is retired.
    pub retired_at_ms: Option<i64>,
}

/// A checked pool of source addresses.
#[derive(Debug)]
pub struct EgressPool {
    id: EgressPoolId,
    revision: u64,
    updated_at_ms: Option<i64>,
    name: Arc<str>,
    mode: PoolMode,
    selection: PoolSelection,
    addresses: Arc<[PoolAddress]>,
    fallback: Option<Arc<str>>,
    max_connections: Option<u32>,
    region: Option<Box<str>>,
    projects: Box<[ProjectId]>,
}

impl EgressPool {
    /// Checks a specification. What it is to other pools is for the snapshot to say.
    ///
    /// # Errors
    /// Every field that cannot be used.
    pub fn compile(
        id: EgressPoolId,
        revision: u64,
        spec: &EgressPoolSpec,
    ) -> Result<Self, Vec<FieldError>> {
        let mut checks = Checks::default();
        if spec.name.as_deref().is_none_or(str::is_empty) {
            checks.fail("name", Reason::Missing);
        }
        let name = pool_name(&mut checks, "name", spec.name.as_deref());
        let mode = spec.mode(&mut checks);
        let selection = spec.selection(&mut checks);
        let addresses = spec.addresses(&mut checks);
        let fallback = pool_name(&mut checks, "fallback", spec.fallback.as_deref());
        if fallback.is_some() && fallback == name {
            let says = "a pool cannot be its own fallback";
            checks.fail("fallback", Reason::Rule(says.to_owned()));
        }
        if name.as_deref() == Some(DEFAULT_POOL) && mode == Some(PoolMode::Dedicated) {
            let says = "the pool `default` is for whoever names none, so it must be `shared`";
            checks.fail("mode", Reason::Rule(says.to_owned()));
        }
        let max_connections = spec.max_connections(&mut checks);
        let region = spec.region(&mut checks);
        let projects = spec.projects(mode, &mut checks);
        let updated_at_ms = spec.updated_at_ms(&mut checks);
        let pool = (|| {
            Some(Self {
                id,
                revision,
                updated_at_ms,
                name: name?,
                mode: mode?,
                selection: selection?,
                addresses,
                fallback,
                max_connections,
                region,
                projects,
            })
        })();
        checks.finish(pool)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> EgressPoolId {
        self.id
    }

    /// The revision that wrote it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When that was, Unix milliseconds, if it is known.
    #[must_use]
    pub fn updated_at_ms(&self) -> Option<i64> {
        self.updated_at_ms
    }

    /// Its name, 1 to 63 bytes, unique.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Who may use it.
    #[must_use]
    pub fn mode(&self) -> PoolMode {
        self.mode
    }

    /// How one of its addresses is chosen.
    #[must_use]
    pub fn selection(&self) -> PoolSelection {
        self.selection
    }

    /// Its addresses, 1 to 256, whatever their state; none twice, here or in another pool.
    #[must_use]
    pub fn addresses(&self) -> &Arc<[PoolAddress]> {
        &self.addresses
    }

    /// The name of the pool to use while no address of this one can be used. Which pool that is,
    /// and whether it may be used, [`crate::Snapshot::fallback_of`] says.
    #[must_use]
    pub fn fallback(&self) -> Option<&Arc<str>> {
        self.fallback.as_ref()
    }

    /// Connections that may be open at once over all its addresses, if that is bounded.
    #[must_use]
    pub fn max_connections(&self) -> Option<u32> {
        self.max_connections
    }

    /// Where it is, for people.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The projects that it is for, sorted; none when it is for all.
    #[must_use]
    pub fn projects(&self) -> &[ProjectId] {
        &self.projects
    }

    /// Whether a project may use it.
    #[must_use]
    pub fn serves(&self, project: ProjectId) -> bool {
        match self.mode {
            PoolMode::Shared => true,
            PoolMode::Dedicated => self.projects.binary_search(&project).is_ok(),
        }
    }

    pub(crate) fn dump(&self) -> Value {
        let address = |one: &PoolAddress| {
            json!({
                "address": one.address.to_string(),
                "state": one.state.as_str(),
                "effective_at": one.effective_at_ms.and_then(rfc3339),
                "retired_at": one.retired_at_ms.and_then(rfc3339),
            })
        };
        json!({
            "uid": self.id.to_string(),
            "revision": self.revision,
            "name": &*self.name,
            "mode": self.mode.as_str(),
            "selection": self.selection.as_str(),
            "addresses": self.addresses.iter().map(address).collect::<Vec<_>>(),
            "fallback": self.fallback.as_deref(),
            "max_connections": self.max_connections,
            "region": self.region.as_deref(),
            "projects": self.projects.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests;
