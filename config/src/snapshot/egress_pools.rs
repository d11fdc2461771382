//! The pools of source addresses of the installation, and who gets which.

use std::net::IpAddr;
use std::sync::Arc;

use outrider_webhook::id::{EgressPoolId, ProjectId, Uid};
use serde::Deserialize;

use super::{Kind, Pending, ProjectTable, Snapshot};
use crate::resource::{
    DEFAULT_POOL, EgressPool, Endpoint, FieldError, MetaEvents, PoolMode, Project, Reason,
};

/// Where the connections of a delivery come from.
#[derive(Debug, Clone)]
pub enum PoolChoice {
    /// As the host routes: nobody named a pool, and there is none called `default`.
    HostRoute,
    /// From an address of this pool.
    Named(Arc<EgressPool>),
    /// From nowhere for now: the pool of this name is not in force, or not for this project. It
    /// never is another pool or the route of the host.
    Missing(Arc<str>),
}

/// A name that a project cannot use for its way out. One text for a pool that is not there and for
/// one that is somebody else's, whose names are nobody's business.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no egress pool `{0}` for this project")]
pub struct NoPool(Arc<str>);

/// Pools by what they are looked up by.
#[derive(Clone, Default)]
pub(crate) struct EgressPools {
    by_id: imbl::OrdMap<EgressPoolId, Arc<EgressPool>>,
    by_name: imbl::OrdMap<Arc<str>, Arc<EgressPool>>,
    by_address: imbl::OrdMap<IpAddr, Arc<EgressPool>>,
    /// The pool `default` is known and cannot be put in force: who names no pool waits for it.
    is_default_held: bool,
}

impl EgressPools {
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<EgressPool>> {
        self.by_name.get(name)
    }

    pub(super) fn by_id(&self, id: EgressPoolId) -> Option<&Arc<EgressPool>> {
        self.by_id.get(&id)
    }

    pub(super) fn with_address(&self, address: IpAddr) -> Option<&Arc<EgressPool>> {
        self.by_address.get(&address)
    }

    /// In the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<EgressPool>> {
        self.by_name.values()
    }

    /// No other one has its name or one of its addresses.
    pub(crate) fn set(&mut self, pool: Arc<EgressPool>) {
        self.remove(pool.id());
        for one in pool.addresses().iter() {
            self.by_address.insert(one.address, Arc::clone(&pool));
        }
        self.by_name
            .insert(Arc::clone(pool.name()), Arc::clone(&pool));
        self.by_id.insert(pool.id(), pool);
    }

    pub(super) fn remove(&mut self, id: EgressPoolId) {
        let Some(old) = self.by_id.remove(&id) else {
            return;
        };
        self.by_name.remove(old.name());
        for one in old.addresses().iter() {
            self.by_address.remove(&one.address);
        }
    }

    pub(super) fn hold_default(&mut self, is_held: bool) {
        self.is_default_held = is_held;
    }

    /// What a pool has that another one has already.
    pub(crate) fn conflict(&self, pool: &EgressPool) -> Option<FieldError> {
        let is_other = |other: &&Arc<EgressPool>| other.id() != pool.id();
        if self.get(pool.name()).filter(is_other).is_some() {
            let says = format!("an egress pool called `{}` already exists", pool.name());
            return Some(rule("name", says));
        }
        let mut addresses = (0..).zip(pool.addresses().iter());
        addresses.find_map(|(at, one)| {
            let other = self.with_address(one.address).filter(is_other)?;
            let says = format!(
                "{} is in the egress pool `{}` already",
                one.address,
                other.name()
            );
            Some(rule(&format!("addresses[{at}].address"), says))
        })
    }

    /// What is wrong with the fallback of a pool: whoever uses the one must be allowed to use the
    /// other.
    pub(crate) fn check_fallback(&self, pool: &EgressPool) -> Option<FieldError> {
        let name = pool.fallback()?;
        let Some(fallback) = self.get(name) else {
            return Some(rule(
                "fallback",
                format!("there is no egress pool `{name}`"),
            ));
        };
        (!is_for_all_of(fallback, pool)).then(|| {
            let says = format!(
                "the egress pool `{name}` is dedicated and not for everybody who uses this one"
            );
            rule("fallback", says)
        })
    }

    /// Whether a project may use the pool of this name.
    pub(crate) fn check_use(&self, project: ProjectId, name: &Arc<str>) -> Result<(), NoPool> {
        match self.choice(project, Some(name)) {
            PoolChoice::Missing(name) => Err(NoPool(name)),
            PoolChoice::HostRoute | PoolChoice::Named(_) => Ok(()),
        }
    }

    fn choice(&self, project: ProjectId, name: Option<&Arc<str>>) -> PoolChoice {
        let wanted = name.map_or(DEFAULT_POOL, |name| name);
        match self.get(wanted) {
            Some(pool) if pool.serves(project) => PoolChoice::Named(Arc::clone(pool)),
            None if name.is_none() && !self.is_default_held => PoolChoice::HostRoute,
            _ => PoolChoice::Missing(name.map_or_else(|| wanted.into(), Arc::clone)),
        }
    }
}

impl Snapshot {
    /// The pool of this name, if it is in force.
    #[must_use]
    pub fn egress_pool(&self, name: &str) -> Option<&Arc<EgressPool>> {
        self.pools.get(name)
    }

    /// All pools in force, in the order of their names.
    pub fn egress_pools(&self) -> impl Iterator<Item = &Arc<EgressPool>> {
        self.pools.iter()
    }

    /// Where connections for a project come from, or for one of its endpoints, which may name
    /// another pool. Never another pool than the one that is meant.
    #[must_use]
    pub fn pool_of(&self, table: &ProjectTable, endpoint: Option<&Endpoint>) -> PoolChoice {
        let project = table.project();
        let name = endpoint
            .and_then(Endpoint::egress_pool)
            .or(project.egress_pool());
        self.pools.choice(home_of(project), name)
    }

    /// The pool of this name, if it is there for a project.
    pub(super) fn pool_called(&self, table: &ProjectTable, name: &Arc<str>) -> PoolChoice {
        self.pools.choice(home_of(table.project()), Some(name))
    }

    /// Where connections come from that are for no project.
    #[must_use]
    pub fn pool_of_nobody(&self) -> PoolChoice {
        self.pools.choice(ProjectId::new(Uid::from_bits(0)), None)
    }

    /// The pool that a pool falls back to for a project; `None` also when that one is not in
    /// force, or not for the project. One step: the fallback of a fallback is not asked.
    #[must_use]
    pub fn fallback_of(&self, table: &ProjectTable, pool: &EgressPool) -> Option<&Arc<EgressPool>> {
        let fallback = self.pools.get(pool.fallback()?)?;
        let is_other = fallback.id() != pool.id();
        (is_other && fallback.serves(home_of(table.project()))).then_some(fallback)
    }

    /// Whether a project may name this pool.
    ///
    /// # Errors
    /// [`NoPool`].
    pub fn check_pool_use(&self, project: ProjectId, name: &Arc<str>) -> Result<(), NoPool> {
        self.pools.check_use(project, name)
    }

    /// What keeps a pool from being put in force beside the others, or from being of use: its name
    /// or an address that another one has, and a fallback that is not there or not for all.
    #[must_use]
    pub fn check_pool(&self, pool: &EgressPool) -> Vec<FieldError> {
        let conflict = self.pools.conflict(pool);
        conflict
            .into_iter()
            .chain(self.pools.check_fallback(pool))
            .collect()
    }

    /// Who names a pool and could not go on doing so if it became this, or nothing: projects,
    /// endpoints and other pools, as people call them.
    pub fn who_misses<'s>(
        &'s self,
        (id, name): (EgressPoolId, &'s str),
        next: Option<&'s EgressPool>,
    ) -> impl Iterator<Item = String> + 's {
        // One that is held for the sake of another one's name is named by nobody.
        let is_named = self.pools.get(name).is_none_or(|pool| pool.id() == id);
        let next = next.filter(|next| **next.name() == *name);
        let misses = move |project| next.is_none_or(|next| !next.serves(project));
        let tables = self.projects.values().filter(move |_| is_named);
        let tables = tables.filter(move |table| misses(table.project().id()));
        let users = tables.flat_map(move |table| table.users_of_pool(name));
        let pools = self.egress_pools().filter(move |_| is_named);
        let pools = pools.filter(move |pool| {
            let is_fallback = pool.fallback().is_some_and(|fallback| **fallback == *name);
            is_fallback && pool.id() != id && next.is_none_or(|next| !is_for_all_of(next, pool))
        });
        users.chain(pools.map(|pool| format!("egress pool `{}`", pool.name())))
    }

    /// Whether the pool `default` is known and not in force.
    pub(super) fn holds_default_pool(&self) -> bool {
        if self.pools.get(DEFAULT_POOL).is_some() {
            return false;
        }
        let mut held = self.held_at.of_kind(Kind::EgressPool);
        held.any(|(uid, project)| {
            let held = self.held.get(&(project, Kind::EgressPool, uid));
            let Some(Pending::Document(document)) = held.map(|held| &held.pending) else {
                return false;
            };
            // Of a newer version's document only the name may be readable.
            let named: Result<Named, _> = serde_json::from_slice(&document.spec);
            named.is_ok_and(|named| named.name == DEFAULT_POOL)
        })
    }
}

/// Whether everybody who may use `pool` may use `fallback` as well.
fn is_for_all_of(fallback: &EgressPool, pool: &EgressPool) -> bool {
    match pool.mode() {
        PoolMode::Shared => fallback.mode() == PoolMode::Shared,
        PoolMode::Dedicated => pool.projects().iter().all(|one| fallback.serves(*one)),
    }
}

/// What of a pool's document is looked at when it cannot be put in force.
#[derive(Deserialize)]
struct Named {
    name: String,
}

/// The project that people know, also where meta events belong to another one.
fn home_of(project: &Project) -> ProjectId {
    if project.is_own() {
        MetaEvents::home_of(project.id())
    } else {
        project.id()
    }
}

fn rule(field: &str, says: String) -> FieldError {
    FieldError {
        field: field.to_owned(),
        reason: Reason::Rule(says),
    }
}
