//! Taking resources out of force, and what depends on them.

use std::sync::Arc;

use outrider_webhook::id::{
    ApiKeyId, EgressPolicyId, EgressPoolId, EndpointId, EventTypeId, ProjectId, SourceId,
    SubscriptionId, Uid,
};

use super::super::{Kind, Pending};
use super::{Target, Work};
use crate::resource::Subscription;

impl Work {
    /// Subscriptions whose endpoint or source went away can no longer be in force.
    pub(super) fn hold_orphans(&mut self) {
        for (project, target) in std::mem::take(&mut self.removed) {
            let Some(table) = self.next.projects.get(&project) else {
                continue;
            };
            let orphans: Vec<Arc<Subscription>> = match target {
                Target::Endpoint(id) if table.endpoint(id).is_none() => {
                    table.subscriptions_of_endpoint(id).all().cloned().collect()
                }
                Target::Source(id) if table.source(id).is_none() => {
                    table.subscriptions_of_source(id).all().cloned().collect()
                }
                Target::Endpoint(_) | Target::Source(_) => Vec::new(),
            };
            for orphan in orphans {
                let uid = orphan.id().uid();
                let pending = Pending::Subscription(orphan);
                // The check that would now refuse it gives the reason.
                let Err(refusal) = self.subscription(&pending) else {
                    continue;
                };
                self.take_out(Kind::Subscription, uid);
                // A newer version of it may be held already; that one counts.
                if self.next.held_at.get(Kind::Subscription, uid).is_none() {
                    self.hold(pending, refusal);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, kind: Kind, uid: Uid) {
        self.release(kind, uid);
        if let Some(project) = self.take_out(kind, uid) {
            self.touched.insert(project);
            match kind {
                Kind::Endpoint => self
                    .removed
                    .push((project, Target::Endpoint(EndpointId::new(uid)))),
                Kind::Source => self
                    .removed
                    .push((project, Target::Source(SourceId::new(uid)))),
                Kind::EgressPolicy
                | Kind::EgressPool
                | Kind::Project
                | Kind::EventType
                | Kind::Subscription
                | Kind::ApiKey => {}
            }
        }
    }

    /// Takes a resource out of force. Answers where it was.
    fn take_out(&mut self, kind: Kind, uid: Uid) -> Option<ProjectId> {
        let project = self.next.homes.remove(kind, uid)?;
        match kind {
            Kind::EgressPolicy => {
                self.closes_anew = true;
                self.next.policies.remove(EgressPolicyId::new(uid));
            }
            Kind::EgressPool => self.next.pools.remove(EgressPoolId::new(uid)),
            Kind::Project => self.take_out_project(project),
            _ => self.take_out_of(project, kind, uid),
        }
        Some(project)
    }

    fn take_out_of(&mut self, project: ProjectId, kind: Kind, uid: Uid) {
        let Some(table) = self.next.projects.get_mut(&project) else {
            return;
        };
        let table = Arc::make_mut(table);
        match kind {
            Kind::EgressPolicy | Kind::EgressPool | Kind::Project => {}
            Kind::EventType => table.remove_event_type(EventTypeId::new(uid)),
            Kind::Source => {
                if let Some(source) = table.remove_source(SourceId::new(uid)) {
                    self.next.masks.remove(source.mask());
                }
            }
            Kind::Endpoint => {
                table.remove_endpoint(EndpointId::new(uid));
            }
            Kind::Subscription => {
                table.remove_subscription(SubscriptionId::new(uid));
            }
            Kind::ApiKey => {
                if let Some(key) = table.remove_api_key(ApiKeyId::new(uid)) {
                    self.next.keys.remove(key.digest());
                }
            }
        }
    }

    /// A project goes with all in it.
    fn take_out_project(&mut self, project: ProjectId) {
        let Some(table) = self.next.projects.remove(&project) else {
            return;
        };
        let mut inside: Vec<(Kind, Uid)> = Vec::new();
        inside.extend(
            table
                .subscriptions()
                .map(|subscription| (Kind::Subscription, subscription.id().uid())),
        );
        inside.extend(
            table
                .endpoints()
                .map(|endpoint| (Kind::Endpoint, endpoint.id().uid())),
        );
        inside.extend(
            table
                .event_types()
                .map(|one| (Kind::EventType, one.id().uid())),
        );
        for source in table.sources() {
            self.next.masks.remove(source.mask());
            inside.push((Kind::Source, source.id().uid()));
        }
        for key in table.api_keys() {
            self.next.keys.remove(key.digest());
            inside.push((Kind::ApiKey, key.id().uid()));
        }
        for (kind, uid) in inside {
            self.next.homes.remove(kind, uid);
        }
    }
}
