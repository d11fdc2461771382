//! Waiting for configuration before refusing (RULINGS 14).
//!
//! Whoever made a source a moment ago may use it before its revision is here. A request that
//! names something unknown asks the control plane for its head, waits until the table is there,
//! and looks again. Unknown names are also what a scanner sends, so there are bounds: one
//! question at a time, so many per second, and what was not there a moment ago is not asked for
//! again. A request that names what is known never comes here.

#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use outrider_config::snapshot::Version;
use outrider_webhook::dynamic::UrlKey;
use outrider_webhook::id::{EndpointId, ProjectId};
use outrider_webhook::verify::ApiKeyDigest;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long a request waits for configuration in all (RULINGS 14).
const WAIT_MAX: Duration = Duration::from_millis(250);
/// How long something is known to be unknown (RULINGS 14).
const ABSENT_FOR: Duration = Duration::from_secs(1);
/// How much is known to be unknown at once; the oldest goes first.
const ABSENT_MAX: usize = 4096;
/// Questions to the control plane within [`PROBE_WINDOW`]; beyond that nobody waits.
const PROBES_MAX: usize = 20;
const PROBE_WINDOW: Duration = Duration::from_secs(1);

/// Tells where the control plane's journal ends.
#[async_trait]
pub trait HeadSource: Send + Sync {
    /// The newest version there is; `None` when that cannot be found out within `limit`.
    async fn head(&self, limit: Duration) -> Option<Version>;
}

#[async_trait]
impl HeadSource for outrider_xds::HeadProbe {
    async fn head(&self, limit: Duration) -> Option<Version> {
        Self::head(self, limit).await
    }
}

/// What a request names and the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing<'a> {
    /// No source has this mask.
    Source(&'a str),
    /// No API key has this digest.
    Key(&'a ApiKeyDigest),
    /// The project has no such endpoint.
    Endpoint(ProjectId, EndpointId),
    /// No endpoint of the project has this owner.
    Owner(ProjectId, &'a str),
    /// No endpoint of the project has this URL, or a template that it matches.
    Url(ProjectId, UrlKey),
}

/// The waiting, for all requests of one table.
pub(super) struct CatchUp {
    version: watch::Receiver<Option<Version>>,
    source: OnceLock<Arc<dyn HeadSource>>,
    /// The newest answer. Held while asking, so that there is one question at a time; those who
    /// wait for it share what comes next.
    probe: tokio::sync::Mutex<Option<Probe>>,
    bounds: Mutex<Bounds>,
    hasher: RandomState,
}

/// An answer of the control plane.
struct Probe {
    begun: Instant,
    head: Option<Version>,
}

impl CatchUp {
    pub(super) fn new(version: watch::Receiver<Option<Version>>) -> Self {
        Self {
            version,
            source: OnceLock::new(),
            probe: tokio::sync::Mutex::new(None),
            bounds: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// Sets whom to ask; false when that was set before. Until then nothing waits.
    pub(super) fn set_source(&self, source: Arc<dyn HeadSource>) -> bool {
        self.source.set(source).is_ok()
    }

    /// Waits until the table is at the control plane's head, within [`WAIT_MAX`]. True when it
    /// holds another version than `seen`, in which `missing` was not found: look again.
    pub(super) async fn wait(&self, missing: Missing<'_>, seen: Option<Version>) -> bool {
        let Some(source) = self.source.get() else {
            return false;
        };
        let (asked, name) = (Instant::now(), self.hasher.hash_one(missing));
        if self.bounds().is_absent(name, asked) {
            return false;
        }
        let head = self.head(source.as_ref(), asked).await;
        if let Some(head) = head {
            let mut version = self.version.clone();
            let there = version.wait_for(|now| has_reached(*now, head));
            // At the limit the table may have come some of the way: that is worth a look too.
            let _ = timeout_at(asked + WAIT_MAX, there).await;
        }
        let now = *self.version.borrow();
        if now != seen {
            return true;
        }
        if head.is_some_and(|head| has_reached(now, head)) {
            self.bounds().note_absent(name, Instant::now());
        }
        false
    }

    /// The head, by a question that began no earlier than `asked`: an older one may have been
    /// answered before the change that this request relies on.
    async fn head(&self, source: &dyn HeadSource, asked: Instant) -> Option<Version> {
        let deadline = asked + WAIT_MAX;
        let mut probe = timeout_at(deadline, self.probe.lock()).await.ok()?;
        if let Some(newest) = probe.as_ref().filter(|newest| newest.begun >= asked) {
            return newest.head;
        }
        let begun = Instant::now();
        if !self.bounds().admit_probe(begun) {
            return None;
        }
        let head = timeout_at(deadline, source.head(deadline - begun)).await;
        let head = head.ok().flatten();
        *probe = Some(Probe { begun, head });
        head
    }

    fn bounds(&self) -> MutexGuard<'_, Bounds> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the table holds `head` or more. With another journal there is a full set to come.
fn has_reached(table: Option<Version>, head: Version) -> bool {
    table.is_some_and(|table| table.journal == head.journal && table.revision >= head.revision)
}

/// What keeps unknown names cheap.
#[derive(Default)]
struct Bounds {
    /// When the newest probes began.
    probes: VecDeque<Instant>,
    absent: HashSet<u64>,
    /// The same in the order of their end, which is the order in which they came.
    absent_until: VecDeque<(Instant, u64)>,
}

impl Bounds {
    fn admit_probe(&mut self, now: Instant) -> bool {
        let is_over = |begun: &Instant| now.duration_since(*begun) >= PROBE_WINDOW;
        while self.probes.front().is_some_and(is_over) {
            self.probes.pop_front();
        }
        let is_admitted = self.probes.len() < PROBES_MAX;
        if is_admitted {
            self.probes.push_back(now);
        }
        is_admitted
    }

    fn is_absent(&mut self, name: u64, now: Instant) -> bool {
        while let Some((until, old)) = self.absent_until.front().copied()
            && until <= now
        {
            self.absent_until.pop_front();
            self.absent.remove(&old);
        }
        self.absent.contains(&name)
    }

    fn note_absent(&mut self, name: u64, now: Instant) {
        if !self.absent.insert(name) {
            return; // another request that waited for the same probe was first
        }
        if self.absent_until.len() >= ABSENT_MAX
            && let Some((_, oldest)) = self.absent_until.pop_front()
        {
            self.absent.remove(&oldest);
        }
        self.absent_until.push_back((now + ABSENT_FOR, name));
    }
}
