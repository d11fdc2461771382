//! Who is connected, and how far each data plane is. Read by the API, written by the sessions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outrider_config::{Quarantined, Version};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::node::{Claim, Node, Taken};

/// Data planes that are not connected, and are still told of.
const GONE_MAX: usize = 1_024;

/// Refused resources that are told of one by one after a data plane has left.
const GONE_QUARANTINED_MAX: usize = 20;

/// A data plane, as the control plane sees it.
#[derive(Debug, Clone)]
pub struct DataplaneStatus {
    /// As it named itself.
    pub node: Node,
    /// Whether it is connected; the rest is of its newest connection.
    pub link: Link,
    /// The newest version it acknowledged; at first the one it came with, when the journal
    /// could go on from there.
    pub acked: Option<Version>,
    /// Resources it refused on its own checks: at most 1,000 of them, as it reported last.
    pub quarantined: Vec<Quarantined>,
    /// How many resources it refused.
    pub quarantined_total: u64,
    /// The newest rejection. It is over once `acked` has reached its revision.
    pub last_nack: Option<Nack>,
    /// Resources and removals sent.
    pub resources_sent: u64,
    /// Bytes of responses sent, without the framing of the transport.
    pub bytes_sent: u64,
    /// Full transactions begun.
    pub full_syncs: u64,
}

/// Whether a data plane is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// For this long.
    Connected(Duration),
    /// Not for this long.
    Gone(Duration),
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

/// The list of data planes.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Mutex<Entries>,
    /// Signals that an `acked` moved or a connection went.
    moved: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Entries {
    last_id: u64,
    live: BTreeMap<u64, Entry>,
    /// Those that left, by name.
    gone: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    status: DataplaneStatus,
    /// When it came, or went.
    since: Instant,
    replaced: CancellationToken,
}

impl Registry {
    /// Everybody who is connected, then those who are not any more.
    pub(super) fn list(&self) -> Vec<DataplaneStatus> {
        let entries = self.lock();
        let status = |link: fn(Duration) -> Link| {
            move |entry: &Entry| DataplaneStatus {
                link: link(entry.since.elapsed()),
                ..entry.status.clone()
            }
        };
        let live = entries.live.values().map(status(Link::Connected));
        let gone = entries.gone.values().map(status(Link::Gone));
        live.chain(gone).collect()
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

    /// Whether another data plane has this number.
    pub(crate) fn is_taken(&self, claim: Claim) -> bool {
        self.lock().is_taken(claim)
    }

    /// Adds a connection; it is listed as such until the registration is dropped. An older one of
    /// the same data plane is told to end.
    pub(super) fn register(self: &Arc<Self>, node: Node) -> Result<Registration, Taken> {
        let mut entries = self.lock();
        if let Some(claim) = node.claim {
            if entries.is_taken(claim) {
                return Err(Taken(claim.number));
            }
            let live = entries.live.values();
            live.filter(|entry| entry.status.node.claim == Some(claim))
                .for_each(|entry| entry.replaced.cancel());
        }
        entries.gone.remove(&node.id);
        entries.last_id += 1;
        let id = entries.last_id;
        let replaced = CancellationToken::new();
        let entry = Entry {
            status: new_status(node),
            since: Instant::now(),
            replaced: replaced.clone(),
        };
        entries.live.insert(id, entry);
        let registry = Arc::clone(self);
        Ok(Registration {
            registry,
            id,
            replaced,
        })
    }

    /// A poisoned list is still a list: each change to it is one assignment.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn new_status(node: Node) -> DataplaneStatus {
    DataplaneStatus {
        node,
        link: Link::Connected(Duration::ZERO),
        acked: None,
        quarantined: Vec::new(),
        quarantined_total: 0,
        last_nack: None,
        resources_sent: 0,
        bytes_sent: 0,
        full_syncs: 0,
    }
}

impl Entries {
    fn is_taken(&self, claim: Claim) -> bool {
        let mut claims = self
            .live
            .values()
            .filter_map(|entry| entry.status.node.claim);
        claims.any(|other| claim.conflicts(other))
    }

    fn leave(&mut self, id: u64) {
        let Some(mut entry) = self.live.remove(&id) else {
            return;
        };
        // Clients without a claim come and go under any name.
        let is_back = |other: &Entry| other.status.node.id == entry.status.node.id;
        if entry.status.node.claim.is_none() || self.live.values().any(is_back) {
            return;
        }
        entry.since = Instant::now();
        entry.status.quarantined.truncate(GONE_QUARANTINED_MAX); // many may have gone
        if self.gone.len() >= GONE_MAX {
            let oldest = self.gone.iter().min_by_key(|(_, entry)| entry.since);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.gone.remove(&name);
            }
        }
        self.gone.insert(entry.status.node.id.clone(), entry);
    }
}

/// One connection's place in the list.
#[derive(Debug)]
pub(super) struct Registration {
    registry: Arc<Registry>,
    id: u64,
    /// Fires when a newer connection of the same data plane took over.
    pub(super) replaced: CancellationToken,
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
        self.registry.lock().leave(self.id);
        self.registry.moved.send_replace(());
    }
}
