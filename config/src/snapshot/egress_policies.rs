//! The policies of the installation that close destinations.

use std::sync::Arc;

use outrider_webhook::address::Closings;
use outrider_webhook::id::EgressPolicyId;

use super::{Kind, Pending, Snapshot};
use crate::resource::EgressPolicy;

/// Policies, and what they close together.
#[derive(Clone, Default)]
pub(super) struct EgressPolicies {
    by_id: imbl::OrdMap<EgressPolicyId, Arc<EgressPolicy>>,
    closings: Arc<Closings>,
}

impl EgressPolicies {
    pub(super) fn get(&self, id: EgressPolicyId) -> Option<&Arc<EgressPolicy>> {
        self.by_id.get(&id)
    }

    pub(super) fn set(&mut self, policy: Arc<EgressPolicy>) {
        self.by_id.insert(policy.id(), policy);
    }

    pub(super) fn remove(&mut self, id: EgressPolicyId) {
        self.by_id.remove(&id);
    }
}

impl Snapshot {
    /// All policies in force, in the order of their ids.
    pub fn egress_policies(&self) -> impl Iterator<Item = &Arc<EgressPolicy>> {
        self.policies.by_id.values()
    }

    /// What they close together: the same one for as long as none of them changes.
    #[must_use]
    pub fn closings(&self) -> &Arc<Closings> {
        &self.policies.closings
    }

    /// Makes ready what the policies close. One that is known and was never in force closes
    /// whatever it may mean: a policy that is passed over opens.
    pub(super) fn close(&mut self) {
        let mut closings = Closings::default();
        for policy in self.egress_policies() {
            policy.close(&mut closings);
        }
        for (uid, project) in self.held_at.of_kind(Kind::EgressPolicy) {
            let held = self.held.get(&(project, Kind::EgressPolicy, uid));
            if let Some(Pending::Document(document)) = held.map(|held| &held.pending)
                && self.policies.get(EgressPolicyId::new(uid)).is_none()
            {
                EgressPolicy::close_unread(&document.spec, document.revision, &mut closings);
            }
        }
        self.policies.closings = Arc::new(closings);
    }
}
