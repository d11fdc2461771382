//! Which project every resource belongs to: removals name only kind and uid. Pools of source
//! addresses and egress policies belong to none: the entry of each is its own uid, which is looked up
//! among its kind alone.

use outrider_webhook::id::{ProjectId, Uid};

use super::Kind;

/// Projects of resources, by kind. One map per kind keeps an entry at 32 bytes.
#[derive(Clone, Default)]
pub(super) struct Homes {
    egress_policies: imbl::OrdMap<Uid, ProjectId>,
    egress_pools: imbl::OrdMap<Uid, ProjectId>,
    projects: imbl::OrdMap<Uid, ProjectId>,
    event_types: imbl::OrdMap<Uid, ProjectId>,
    sources: imbl::OrdMap<Uid, ProjectId>,
    endpoints: imbl::OrdMap<Uid, ProjectId>,
    subscriptions: imbl::OrdMap<Uid, ProjectId>,
    api_keys: imbl::OrdMap<Uid, ProjectId>,
}

impl Homes {
    pub(super) fn get(&self, kind: Kind, uid: Uid) -> Option<ProjectId> {
        self.of(kind).get(&uid).copied()
    }

    pub(super) fn insert(&mut self, kind: Kind, uid: Uid, project: ProjectId) {
        self.of_mut(kind).insert(uid, project);
    }

    pub(super) fn remove(&mut self, kind: Kind, uid: Uid) -> Option<ProjectId> {
        self.of_mut(kind).remove(&uid)
    }

    /// How many resources of this kind there are.
    pub(super) fn len(&self, kind: Kind) -> usize {
        self.of(kind).len()
    }

    /// All of a kind, each with where it lives.
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (Uid, ProjectId)> {
        self.of(kind).iter().map(|(uid, project)| (*uid, *project))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (Kind, Uid)> {
        Kind::ALL
            .into_iter()
            .flat_map(|kind| self.of(kind).keys().map(move |uid| (kind, *uid)))
    }

    fn of(&self, kind: Kind) -> &imbl::OrdMap<Uid, ProjectId> {
        match kind {
            Kind::EgressPolicy => &self.egress_policies,
            Kind::EgressPool => &self.egress_pools,
            Kind::Project => &self.projects,
            Kind::EventType => &self.event_types,
            Kind::Source => &self.sources,
            Kind::Endpoint => &self.endpoints,
            Kind::Subscription => &self.subscriptions,
            Kind::ApiKey => &self.api_keys,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut imbl::OrdMap<Uid, ProjectId> {
        match kind {
            Kind::EgressPolicy => &mut self.egress_policies,
            Kind::EgressPool => &mut self.egress_pools,
            Kind::Project => &mut self.projects,
            Kind::EventType => &mut self.event_types,
            Kind::Source => &mut self.sources,
            Kind::Endpoint => &mut self.endpoints,
            Kind::Subscription => &mut self.subscriptions,
            Kind::ApiKey => &mut self.api_keys,
        }
    }
}
