//! The address policy in force, which changes while attempts go on: each is judged by the one that
//! it began under, and no connection outlives in a pool the one that it was checked under.

use std::net::SocketAddr;
use std::sync::Arc;

use outrider_webhook::address::{Closings, Guard, Host, Policy};

use super::fault::Fault;
use super::pool::Key;
use super::{Egress, Inner};

/// Under which policy something was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Judged {
    /// Of all that were in force in the life of this process.
    number: u64,
    /// The newest revision that wrote one of the policies of the configuration; 0 without any.
    pub(super) revision: u64,
}

/// An address policy.
pub(super) struct Vetting {
    policy: Arc<Policy>,
    closings: Arc<Closings>,
    /// Part of the key of a connection.
    pub(super) version: Judged,
}

impl Vetting {
    /// That of the bootstrap alone, before there is any configuration.
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy: Arc::new(policy),
            closings: Arc::default(),
            version: Judged::default(),
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
            version: Judged {
                number: self.version.number.wrapping_add(1),
                revision: closings.revision(),
            },
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
        self.inner.vetting.load().version.revision
    }
}

impl Inner {
    /// Judges where a new tunnel through the proxy leads. The proxy may have opened it before it
    /// heard of what is closed since, and it would be used for as long as any other.
    pub(super) fn check_end(&self, key: &Key, remote: SocketAddr) -> Result<(), Fault> {
        if key.through.is_none() || key.forwarded().is_some() {
            return Ok(());
        }
        let host = match key.server_name.parse() {
            Ok(ip) => Host::Ip(ip),
            Err(_) => Host::Name(key.server_name.clone()),
        };
        let vetting = self.vetting.load();
        let checked = vetting
            .closings
            .check_answers(key.project, &host, &[remote.ip()]);
        checked.map_err(|denied| {
            self.sources.metrics().denied(denied.code());
            Fault::denied(&denied, false)
        })
    }
}
