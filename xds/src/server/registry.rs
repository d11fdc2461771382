//! Who is connected, and how far each data plane is. Read by the API, written by the sessions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outrider_config::{Quarantined, Version};
use tokio::sync::watch;

use crate::node::Node;

/// A connected data plane, as the control plane sees it.
#[derive(Debug, Clone)]
pub struct DataplaneStatus {
    /// As it named itself.
    pub node: Node,
    /// How long it has been connected.
    pub connected_for: Duration,
    /// The newest version it acknowledged; at first the one it came with, when the journal
    /// could go on from there.
    pub acked: Option<Version>,
    /// Resources it refused on its own checks: at most 1,000 of them, as it reported last.
    pub quarantined: Vec<Quarantined>,
    /// How many resources it refused.
    pub quarantined_total: u64,
    /// The newest rejection on this connection. It is over once `acked` has reached its revision.
    pub last_nack: Option<Nack>,
    /// Resources and removals sent on this connection.
    pub resources_sent: u64,
    /// Full transactions begun on this connection.
    pub full_syncs: u64,
}

/// A rejected transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// What was rejected; a lower bound when it was a full transaction.
    pub version: Version,
    /// The client's reason, at most 1,024 characters.
    pub reason: String,
    /// How often in a row a transaction was rejected, from 1.
    pub repeats: u32,
}

/// The list of connections.
#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: Mutex<Entries>,
    /// Signals that an `acked` moved or a connection went.
    moved: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Entries {
    last_id: u64,
    live: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    status: DataplaneStatus,
    since: Instant,
}

impl Registry {
    pub(super) fn list(&self) -> Vec<DataplaneStatus> {
        let entries = self.lock();
        let statuses = entries.live.values().map(|entry| DataplaneStatus {
            connected_for: entry.since.elapsed(),
            ..entry.status.clone()
        });
        statuses.collect()
    }

    /// A signal whenever an `acked` moves or a connection goes.
    pub(super) fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// How many connections hold an older version of the same journal.
    pub(super) fn behind(&self, version: Version) -> usize {
        let is_behind =
            |acked: Version| acked.journal == version.journal && acked.revision < version.revision;
        let entries = self.lock();
        let acked = entries.live.values().filter_map(|entry| entry.status.acked);
        acked.filter(|acked| is_behind(*acked)).count()
    }

    /// Adds a connection; it is listed until the registration is dropped.
    pub(super) fn register(self: &Arc<Self>, node: Node) -> Registration {
        let status = DataplaneStatus {
            node,
            connected_for: Duration::ZERO,
            acked: None,
            quarantined: Vec::new(),
            quarantined_total: 0,
            last_nack: None,
            resources_sent: 0,
            full_syncs: 0,
        };
        let since = Instant::now();
        let mut entries = self.lock();
        entries.last_id += 1;
        let id = entries.last_id;
        entries.live.insert(id, Entry { status, since });
        let registry = Arc::clone(self);
        Registration { registry, id }
    }

    /// A poisoned list is still a list: each change to it is one assignment.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place in the list.
#[derive(Debug)]
pub(super) struct Registration {
    registry: Arc<Registry>,
    id: u64,
}

impl Registration {
    pub(super) fn update(&self, change: impl FnOnce(&mut DataplaneStatus)) {
        let mut entries = self.registry.lock();
        let Some(entry) = entries.live.get_mut(&self.id) else {
            return;
        };
        let before = entry.status.acked;
        change(&mut entry.status);
        let has_moved = entry.status.acked != before;
        drop(entries);
        if has_moved {
            self.registry.moved.send_replace(());
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.lock().live.remove(&self.id);
        self.registry.moved.send_replace(());
    }
}
