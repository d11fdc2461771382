//! The address policy in force, which changes while attempts go on: each is judged by the one that
//! it began under, and no connection outlives in a pool the one that it was checked under.

use std::sync::Arc;

use outrider_webhook::address::{Closings, Guard, Policy};

use super::Egress;

/// An address policy.
pub(super) struct Vetting {
    policy: Arc<Policy>,
    closings: Arc<Closings>,
    /// Its number in the life of this process: part of the key of a connection.
    pub(super) version: u64,
}

impl Vetting {
    /// That of the bootstrap alone, before there is any configuration.
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy: Arc::new(policy),
            closings: Arc::default(),
            version: 0,
        }
    }

    pub(super) fn guard(&self) -> Guard<'_> {
        Guard {
            policy: &self.policy,
            closings: &self.closings,
        }
    }

    fn next(&self, policy: &Arc<Policy>, closings: &Arc<Closings>) -> Self {
        Self {
            policy: Arc::clone(policy),
            closings: Arc::clone(closings),
            version: self.version.wrapping_add(1),
        }
    }
}

impl Egress {
    /// Puts another address policy of the bootstrap in force: for every attempt that starts from
    /// now on. Idle connections are closed, as their addresses were checked under the old one.
    pub fn set_policy(&self, policy: Policy) {
        let policy = Arc::new(policy);
        let vetting = &self.inner.vetting;
        vetting.rcu(|old| old.next(&policy, &old.closings));
        self.close_idle();
    }

    /// Puts what the configuration closes in force, in the same way. The same once more changes
    /// nothing.
    pub fn set_closings(&self, closings: &Arc<Closings>) {
        let vetting = &self.inner.vetting;
        let old = Arc::clone(&vetting.load().closings);
        if Arc::ptr_eq(&old, closings) || (old.is_empty() && closings.is_empty()) {
            return;
        }
        vetting.rcu(|old| old.next(&old.policy, closings));
        self.close_idle();
        let revision = closings.revision();
        tracing::info!(policy_version = revision, "egress policies in force");
    }

    /// The newest revision that wrote one of the policies in force; 0 without any. Data planes
    /// that have the same ones have the same number.
    pub(crate) fn policy_version(&self) -> u64 {
        self.inner.vetting.load().closings.revision()
    }
}
