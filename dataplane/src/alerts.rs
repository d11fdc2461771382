//! Alerts of sources: counts what each watched source takes and refuses, judges it every second,
//! and says what changed. What is counted is this data plane's share of the traffic.
//!
//! Sources without thresholds cost a look at their configuration and nothing else.

mod rule;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use outrider_config::snapshot::{Snapshot, Source, Thresholds};
use outrider_store::Clock;
use outrider_webhook::id::{ProjectId, SourceId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use self::rule::Kind;
use self::rule::{Change, Finding, Seen, Watch};
use crate::ingest::handshake::Handshakes;
use crate::metrics::Metrics;
use crate::table::RoutingTable;

/// How often everything is judged.
const EVERY: Duration = Duration::from_secs(1);

/// Alerts that are shown at once, the newest; each is about 200 bytes.
const SHOWN_MAX: usize = 500;

/// Counts and alerts. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Alerts {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    counts: RwLock<HashMap<SourceId, Arc<Counts>>>,
    raised: Mutex<BTreeMap<Key, Raised>>,
    handshakes: Handshakes,
}

type Key = (ProjectId, SourceId, Kind);

/// What was counted of a source.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    rejected: AtomicU64,
    /// 0 while there was none.
    last_accepted_ms: AtomicI64,
}

/// An alert that is raised.
#[derive(Debug, Clone, Copy)]
struct Raised {
    at_ms: i64,
    finding: Finding,
}

impl Alerts {
    /// Counts an event of a source.
    pub(crate) fn accepted(&self, source: &Source, now_ms: i64) {
        if source.thresholds().counts_requests() {
            let counts = self.counts(source.id());
            counts.accepted.fetch_add(1, Ordering::Relaxed);
            counts.last_accepted_ms.fetch_max(now_ms, Ordering::Relaxed);
        }
    }

    /// Counts a request that a source refused.
    pub(crate) fn rejected(&self, source: &Source) {
        if source.thresholds().counts_requests() {
            let counts = self.counts(source.id());
            counts.rejected.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// When sources were asked for a handshake.
    pub(crate) fn handshakes(&self) -> &Handshakes {
        &self.inner.handshakes
    }

    /// What is raised, in one project or in all, newest first.
    pub(crate) fn shown(&self, project: Option<ProjectId>) -> Value {
        let raised = self.inner.raised.lock();
        let raised = raised.unwrap_or_else(PoisonError::into_inner);
        let wanted = raised.iter();
        let wanted = wanted.filter(|((of, ..), _)| project.is_none_or(|project| project == *of));
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort_by_key(|(_, raised)| std::cmp::Reverse(raised.at_ms));
        let left_out = wanted.len().saturating_sub(SHOWN_MAX);
        let shown = wanted
            .into_iter()
            .take(SHOWN_MAX)
            .map(|((project, source, kind), raised)| {
                json!({
                    "at_ms": raised.at_ms,
                    "kind": kind.as_str(),
                    "project_id": project.to_string(),
                    "source_id": source.to_string(),
                    "value": raised.finding.value,
                    "threshold": raised.finding.threshold,
                })
            });
        json!({"alerts": shown.collect::<Vec<_>>(), "left_out": left_out})
    }

    fn counts(&self, source: SourceId) -> Arc<Counts> {
        let known = self.inner.counts.read();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = known.get(&source) {
            return Arc::clone(counts);
        }
        drop(known);
        let known = self.inner.counts.write();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(source).or_default())
    }

    fn seen(&self, source: SourceId) -> Seen {
        let counts = self.counts(source);
        let last_ms = counts.last_accepted_ms.load(Ordering::Relaxed);
        Seen {
            accepted: counts.accepted.load(Ordering::Relaxed),
            rejected: counts.rejected.load(Ordering::Relaxed),
            last_accepted_ms: (last_ms != 0).then_some(last_ms),
            last_handshake_ms: self.inner.handshakes.last_ms(source),
        }
    }

    /// Forgets the counts of sources that are not watched any more.
    fn keep_only(&self, watched: &HashSet<SourceId>) {
        let known = self.inner.counts.write();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        known.retain(|source, _| watched.contains(source));
    }

    fn note(&self, key: Key, change: &Change, at_ms: i64) {
        let raised = self.inner.raised.lock();
        let mut raised = raised.unwrap_or_else(PoisonError::into_inner);
        if change.is_raised {
            let finding = change.finding;
            raised.insert(key, Raised { at_ms, finding });
        } else {
            raised.remove(&key);
        }
    }
}

/// Judges all watched sources, again and again.
pub(crate) struct Judge {
    pub(crate) alerts: Alerts,
    pub(crate) table: RoutingTable,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Judge {
    /// Runs until `stop` fires.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut watched = HashMap::new();
        loop {
            self.judge(&self.table.load(), &mut watched);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    fn judge(&self, snapshot: &Snapshot, watched: &mut HashMap<SourceId, (ProjectId, Watch)>) {
        let now_ms = self.clock.now_ms();
        let mut present = HashSet::new();
        for source in snapshot.sources() {
            // Who is told to refuse everything is expected to be silent.
            if source.thresholds().is_empty() || source.is_disabled() {
                continue;
            }
            present.insert(source.id());
            let (_, watch) = watched
                .entry(source.id())
                .or_insert_with(|| (source.project(), Watch::new(now_ms)));
            let seen = self.alerts.seen(source.id());
            for change in watch.judge(now_ms, seen, source.thresholds()) {
                self.announce(
                    (source.project(), source.id(), change.kind),
                    &change,
                    now_ms,
                );
            }
        }
        let gone: Vec<SourceId> = watched.keys().copied().collect();
        let gone = gone.into_iter().filter(|source| !present.contains(source));
        let mut is_any_gone = false;
        for source in gone {
            is_any_gone = true;
            if let Some((project, mut watch)) = watched.remove(&source) {
                let nothing = Thresholds::default();
                for change in watch.judge(now_ms, Seen::default(), &nothing) {
                    self.announce((project, source, change.kind), &change, now_ms);
                }
            }
        }
        if is_any_gone {
            self.alerts.keep_only(&present);
        }
    }

    /// Everything that tells people of alerts goes out from here.
    fn announce(&self, key: Key, change: &Change, now_ms: i64) {
        let (project, source, kind) = key;
        let gauge = self
            .metrics
            .source_alerts
            .with_label_values(&[kind.as_str()]);
        let Finding { value, threshold } = change.finding;
        if change.is_raised {
            gauge.inc();
            tracing::warn!(
                project_id = %project, source_id = %source, kind = kind.as_str(), value, threshold,
                "source alert raised"
            );
        } else {
            gauge.dec();
            tracing::info!(
                project_id = %project, source_id = %source, kind = kind.as_str(), value, threshold,
                "source alert cleared"
            );
        }
        self.alerts.note(key, change, now_ms);
    }
}
