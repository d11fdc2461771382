//! The compiled configuration: everything a request needs, prepared and cross-checked.
//!
//! A [`Snapshot`] never changes. Applying a [`Transaction`] gives the next one, which shares with
//! the old one all that stayed the same: the maps are persistent, so a change to one of a million
//! endpoints copies a few small nodes and never rebuilds a project (RULINGS 11). A resource that
//! cannot be put in force is quarantined: what was in force of it stays, the rest goes on.
//!
//! This module knows nothing of files, journals or connections.

mod apply;
mod claims;
mod dump;
mod egress_policies;
mod egress_pools;
mod homes;
mod pool_use;
mod project_table;
mod published;
mod small_map;
mod type_index;
mod url_index;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use homes::Homes;
use outrider_webhook::id::{
    ApiKeyId, EgressPolicyId, EgressPoolId, EndpointId, EventTypeId, ProjectId, SourceId,
    SubscriptionId, Uid,
};
use outrider_webhook::verify::ApiKeyDigest;

pub use crate::document::{Document, Kind, Quarantined, Transaction, Version};
pub use crate::resource::{
    AddressState, ApiKey, Deduplication, EgressPolicy, EgressPool, Endpoint, EndpointStatus,
    Enforcement, EventType, FailureAlert, Hook, HookKind, MetaEvents, MetaKind, PoolAddress,
    PoolMode, PoolSelection, Project, ProjectKind, RetryStrategy, Source, Subscription, Thresholds,
    TypePolicy,
};
use egress_policies::EgressPolicies;
pub(crate) use egress_pools::EgressPools;
pub use egress_pools::{NoPool, PoolChoice};
pub use project_table::ProjectTable;
pub use type_index::{FilterIndex, TypeIndex, Wanting};

/// The configuration in force at one version. Clones are cheap and share everything.
#[derive(Clone)]
pub struct Snapshot {
    version: Option<Version>,
    projects: imbl::OrdMap<ProjectId, Arc<ProjectTable>>,
    /// What the meta events of projects belong to, by its own id.
    own: imbl::OrdMap<ProjectId, Arc<ProjectTable>>,
    /// Sources by mask; masks are unique over all projects.
    masks: imbl::HashMap<Arc<str>, (ProjectId, SourceId)>,
    /// API keys by digest; digests are unique over all projects.
    keys: imbl::HashMap<ApiKeyDigest, Arc<ApiKey>>,
    /// Pools of source addresses, of no project.
    pools: EgressPools,
    /// Policies that close destinations, of no project.
    policies: EgressPolicies,
    /// Where every resource in force lives.
    homes: Homes,
    /// Resources that could not be put in force, to be tried again.
    held: imbl::OrdMap<HeldKey, Arc<Held>>,
    /// Where every held resource belongs, as for `homes`.
    held_at: Homes,
}

/// Held resources are found by project, and within it in the order in which they are tried.
type HeldKey = (ProjectId, Kind, Uid);

/// A resource in quarantine.
struct Held {
    pending: Pending,
    reason: String,
    /// Whether it waits for a mask or key that a resource of another project has.
    is_claim: bool,
}

/// What waits to be put in force.
#[derive(Clone)]
enum Pending {
    Document(Document),
    /// Was in force until its endpoint or source went away. Documents of what is in force are
    /// not kept, so the compiled form is.
    Subscription(Arc<Subscription>),
}

impl Pending {
    fn key(&self) -> HeldKey {
        match self {
            Self::Document(document) => (document.project, document.kind, document.uid),
            Self::Subscription(subscription) => (
                subscription.project(),
                Kind::Subscription,
                subscription.id().uid(),
            ),
        }
    }

    fn revision(&self) -> u64 {
        match self {
            Self::Document(document) => document.revision,
            Self::Subscription(subscription) => subscription.revision(),
        }
    }
}

/// What a document is to a snapshot of its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// This version of the resource is served.
    InForce,
    /// This version is in quarantine.
    Held,
    /// There is another version, or none.
    Past,
}

/// How many resources there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Egress policies in force.
    pub egress_policies: usize,
    /// Egress pools in force.
    pub egress_pools: usize,
    /// Projects in force.
    pub projects: usize,
    /// Event types in force.
    pub event_types: usize,
    /// Sources in force.
    pub sources: usize,
    /// Endpoints in force.
    pub endpoints: usize,
    /// Subscriptions in force.
    pub subscriptions: usize,
    /// API keys in force.
    pub api_keys: usize,
    /// Resources in quarantine.
    pub quarantined: usize,
}

impl Snapshot {
    /// Before the first transaction.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            version: None,
            projects: imbl::OrdMap::new(),
            own: imbl::OrdMap::new(),
            masks: imbl::HashMap::new(),
            keys: imbl::HashMap::new(),
            pools: EgressPools::default(),
            policies: EgressPolicies::default(),
            homes: Homes::default(),
            held: imbl::OrdMap::new(),
            held_at: Homes::default(),
        }
    }

    /// The snapshot after a transaction, and every resource that is in quarantine then.
    #[must_use]
    pub fn apply(&self, transaction: &Transaction) -> (Self, Vec<Quarantined>) {
        let next = apply::apply(self, transaction);
        let quarantined = next.quarantined().collect();
        (next, quarantined)
    }

    /// The version in force; `None` before the first transaction.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The source with this mask, and its project.
    #[must_use]
    pub fn source_by_mask(&self, mask: &str) -> Option<(&Arc<ProjectTable>, &Arc<Source>)> {
        let (project, source) = self.masks.get(mask)?;
        let table = self.projects.get(project)?;
        Some((table, table.source(*source)?))
    }

    /// The API key with this digest. Whether it has expired is for the caller's clock to say.
    #[must_use]
    pub fn api_key(&self, digest: &ApiKeyDigest) -> Option<&Arc<ApiKey>> {
        self.keys.get(digest)
    }

    /// Whether a resource is in quarantine: known to the control plane, and refused here.
    #[must_use]
    pub fn is_held(&self, kind: Kind, uid: Uid) -> bool {
        self.held_at.get(kind, uid).is_some()
    }

    /// What a document is here.
    #[must_use]
    pub fn standing(&self, document: &Document) -> Standing {
        let Document { kind, uid, .. } = *document;
        let held = self.held.get(&(document.project, kind, uid));
        if self.revision_in_force(document) == Some(document.revision) {
            Standing::InForce
        } else if held.is_some_and(|held| held.pending.revision() == document.revision) {
            Standing::Held
        } else {
            Standing::Past
        }
    }

    /// Whether of some resource in quarantine an older version is served.
    #[must_use]
    pub fn serves_older(&self) -> bool {
        let mut held = self.held_at.keys();
        held.any(|(kind, uid)| self.homes.get(kind, uid).is_some())
    }

    fn revision_in_force(&self, document: &Document) -> Option<u64> {
        let uid = document.uid;
        match document.kind {
            Kind::EgressPolicy => {
                return Some(self.policies.get(EgressPolicyId::new(uid))?.revision());
            }
            Kind::EgressPool => {
                return Some(self.pools.by_id(EgressPoolId::new(uid))?.revision());
            }
            _ => {}
        }
        let table = self.projects.get(&document.project)?;
        Some(match document.kind {
            Kind::EgressPolicy | Kind::EgressPool => return None,
            Kind::Project => table.project().revision(),
            Kind::EventType => table.event_type_by_id(EventTypeId::new(uid))?.revision(),
            Kind::Source => table.source(SourceId::new(uid))?.revision(),
            Kind::Endpoint => table.endpoint(EndpointId::new(uid))?.revision(),
            Kind::Subscription => table.subscription(SubscriptionId::new(uid))?.revision(),
            Kind::ApiKey => table.api_key(ApiKeyId::new(uid))?.revision(),
        })
    }

    /// A project and all in it.
    #[must_use]
    pub fn project(&self, id: ProjectId) -> Option<&Arc<ProjectTable>> {
        self.projects.get(&id)
    }

    /// The same, also where a delivery belongs to the meta events of a project.
    #[must_use]
    pub fn project_of_delivery(&self, id: ProjectId) -> Option<&Arc<ProjectTable>> {
        self.projects.get(&id).or_else(|| self.own.get(&id))
    }

    /// The endpoint of a delivery, which may be a hook of the one that a person made.
    #[must_use]
    pub fn endpoint_of_delivery<'s>(
        &'s self,
        table: &'s ProjectTable,
        id: EndpointId,
    ) -> Option<&'s Arc<Endpoint>> {
        let project = table.project();
        let endpoint = table.endpoint(id);
        if endpoint.is_some() || !project.is_own() {
            return endpoint;
        }
        let home = self.projects.get(&MetaEvents::home_of(project.id()))?;
        HookKind::ALL.into_iter().find_map(|kind| {
            let of = home.endpoint(kind.other_end(id))?;
            let hook = of.hooks().iter().find(|hook| hook.kind == kind)?;
            Some(&hook.endpoint)
        })
    }

    /// All projects in force, in the order of their ids.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<ProjectTable>> {
        self.projects.values()
    }

    /// All sources in force.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.projects.values().flat_map(|table| table.sources())
    }

    /// How many resources there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            egress_policies: self.homes.len(Kind::EgressPolicy),
            egress_pools: self.homes.len(Kind::EgressPool),
            projects: self.homes.len(Kind::Project),
            event_types: self.homes.len(Kind::EventType),
            sources: self.homes.len(Kind::Source),
            endpoints: self.homes.len(Kind::Endpoint),
            subscriptions: self.homes.len(Kind::Subscription),
            api_keys: self.homes.len(Kind::ApiKey),
            quarantined: self.held.len(),
        }
    }

    /// Everything in force and in quarantine, for `/config_dump`. Secrets are `***`.
    #[must_use]
    pub fn dump(&self) -> serde_json::Value {
        dump::dump(self)
    }

    /// Every resource in quarantine, and why.
    pub fn quarantined(&self) -> impl Iterator<Item = Quarantined> + '_ {
        self.held.iter().map(|((_, kind, uid), held)| Quarantined {
            kind: *kind,
            uid: *uid,
            reason: held.reason.clone(),
        })
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::empty()
    }
}

/// Version and counts; the content is for [`Snapshot::dump`].
impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
