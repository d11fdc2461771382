//! Batches: one action for all that a filter finds. A batch goes along the index a page at a
//! time, in turns with all other commands. Each step is one group of the log: what it does and
//! how far the batch has come. So a crash repeats nothing, and the next process goes on.

mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use outrider_store::{
    Batch as FoundBatch, CommandRecord, Count, DeliveryFilter, DeliveryStatus, EventFilter, Record,
};
use outrider_webhook::id::{DeliveryKey, EventId, ProjectId, Uid};
use outrider_xds::{Batch, BatchKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Executor, Refusal};

/// Batches that are not finished, over all projects: each project has one at most.
const RUNNING_MAX: usize = 64;
/// Finished ones that are shown, the newest.
const FINISHED_MAX: usize = 256;

/// A batch and how far it has come: what is shown, and what the log keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    id: Uid,
    project: ProjectId,
    kind: Kind,
    filter: Filter,
    /// What the filter found at the begin.
    total: u64,
    /// Whether there may have been more.
    total_is_least: bool,
    /// What was done.
    done: u64,
    /// What was left as it is, by why.
    left_out: BTreeMap<String, u64>,
    /// Where to go on; `None` at the begin.
    next: Option<DeliveryKey>,
    began_ms: i64,
    ended_ms: Option<i64>,
    /// Whether somebody stopped it.
    is_stopped: bool,
    /// Events of the step under way that it replayed: the log has them one by one.
    #[serde(skip)]
    replayed: BTreeSet<EventId>,
}

/// What a batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Retry,
    Cancel,
    Replay,
}

/// What it is done to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Filter {
    Deliveries(Box<DeliveryFilter>),
    Events(Box<EventFilter>),
}

impl From<BatchKind> for Kind {
    fn from(kind: BatchKind) -> Self {
        match kind {
            BatchKind::Retry => Self::Retry,
            BatchKind::Cancel => Self::Cancel,
            BatchKind::Replay => Self::Replay,
        }
    }
}

impl Kind {
    const fn verb(self) -> &'static str {
        match self {
            Self::Retry => "batch_retry",
            Self::Cancel => "batch_cancel",
            Self::Replay => "batch_replay",
        }
    }
}

impl State {
    fn is_running(&self) -> bool {
        self.ended_ms.is_none()
    }

    fn leave_out(&mut self, why: Refusal) {
        let count = self.left_out.entry(why.code().to_owned());
        *count.or_default() += 1;
    }

    /// Its record: the whole state, and what any reader of the log understands.
    fn record(&self, now_ms: i64) -> Record {
        Record::Command(CommandRecord {
            id: self.id.bits(),
            at_ms: now_ms,
            verb: self.kind.verb().into(),
            cursor: self.next.map(|next| next.event),
            affected: self.done,
            is_done: !self.is_running(),
            body: serde_json::to_vec(self).unwrap_or_default().into(),
        })
    }

    fn shown(&self) -> Value {
        let status = match (self.ended_ms, self.is_stopped) {
            (None, _) => "running",
            (Some(_), true) => "stopped",
            (Some(_), false) => "finished",
        };
        json!({
            "uid": self.id, "project_id": self.project, "kind": self.kind, "status": status,
            "total": self.total, "total_is_least": self.total_is_least,
            "done": self.done, "left_out": self.left_out,
            "at_ms": self.began_ms, "ended_ms": self.ended_ms,
        })
    }
}

/// All batches that are known.
#[derive(Default)]
pub(super) struct Batches {
    known: Mutex<BTreeMap<Uid, State>>,
    /// There is something to do.
    wake: Notify,
}

impl Batches {
    /// As the log has them.
    pub(super) fn restore(found: Vec<FoundBatch>) -> Self {
        let batches = Self::default();
        for FoundBatch { record, replayed } in found {
            match serde_json::from_slice::<State>(&record.body) {
                Ok(mut state) => {
                    state.done += replayed.len() as u64;
                    state.replayed = replayed.into_iter().collect();
                    batches.put(state);
                }
                Err(error) => {
                    let id = Uid::from_bits(record.id);
                    tracing::error!(batch_id = %id, %error, "a batch of the log cannot be read");
                }
            }
        }
        batches
    }

    pub(super) fn shown(&self, project: ProjectId) -> Value {
        let known = self.known();
        let own = known.values().filter(|state| state.project == project);
        let shown: Vec<Value> = own.map(State::shown).collect();
        json!({"batches": shown, "left_out": 0})
    }

    /// Takes a batch's new state.
    fn put(&self, state: State) {
        let mut known = self.known();
        known.insert(state.id, state);
        let finished = known.values().filter(|state| !state.is_running());
        if finished.count() > FINISHED_MAX {
            // Ids are of the time they were made.
            let oldest = known.values().find(|state| !state.is_running());
            if let Some(oldest) = oldest.map(|state| state.id) {
                known.remove(&oldest);
            }
        }
        drop(known);
        self.wake.notify_one();
    }

    fn get(&self, id: Uid) -> Option<State> {
        self.known().get(&id).cloned()
    }

    /// The next one in turn after `last` that is not finished.
    fn after(&self, last: Option<Uid>) -> Option<Uid> {
        let known = self.known();
        let mut running = known.values().filter(|state| state.is_running());
        let next = running.clone().find(|state| Some(state.id) > last);
        next.or_else(|| running.next()).map(|state| state.id)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Uid, State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Executor {
    /// Records that there is a batch; the steps come by themselves.
    pub(super) async fn begin_batch(&self, id: Uid, batch: Batch) -> Result<(), Refusal> {
        let (is_active, running) = {
            let known = self.batches.known();
            let mut running = known.values().filter(|state| state.is_running());
            let is_active = running.clone().any(|state| state.project == batch.project);
            (is_active, running.by_ref().count())
        };
        if is_active {
            return Err(Refusal::BatchActive);
        }
        if running >= RUNNING_MAX {
            return Err(Refusal::Busy);
        }
        let state = self.new_state(id, &batch).await?;
        let record = state.record(state.began_ms);
        self.log.record_synced(record).await?;
        tracing::info!(batch_id = %id, project_id = %batch.project, verb = state.kind.verb(), total = state.total, "a batch begins");
        self.batches.put(state);
        Ok(())
    }

    async fn new_state(&self, id: Uid, batch: &Batch) -> Result<State, Refusal> {
        let (now_ms, kind) = (self.clock.now_ms(), Kind::from(batch.kind));
        // What comes after the begin is not part of it.
        let newest = EventId::first_at(now_ms.saturating_add(1));
        let bad = |_| Refusal::BadFilter;
        let (filter, count) = if kind == Kind::Replay {
            let mut filter: EventFilter = serde_json::from_slice(&batch.filter).map_err(bad)?;
            filter.project = Some(batch.project);
            filter.to = Some(filter.to.map_or(newest, |to| to.min(newest)));
            let count = self.index.count_events(filter.clone()).await?;
            (Filter::Events(Box::new(filter)), count)
        } else {
            let mut filter: DeliveryFilter = serde_json::from_slice(&batch.filter).map_err(bad)?;
            filter.project = Some(batch.project);
            filter.to = Some(filter.to.map_or(newest, |to| to.min(newest)));
            let count = match filter.keep_only(statuses(kind)) {
                true => self.index.count_deliveries(filter.clone()).await?,
                false => Count::default(),
            };
            (Filter::Deliveries(Box::new(filter)), count)
        };
        Ok(State {
            id,
            project: batch.project,
            kind,
            filter,
            total: count.rows,
            total_is_least: count.is_least,
            done: 0,
            left_out: BTreeMap::new(),
            next: None,
            began_ms: now_ms,
            ended_ms: (count == Count::default()).then_some(now_ms),
            is_stopped: false,
            replayed: BTreeSet::new(),
        })
    }

    /// No further step of a batch.
    pub(super) async fn stop_batch(&self, project: ProjectId, id: Uid) -> Result<(), Refusal> {
        let state = self.batches.get(id);
        let state = state.filter(|state| state.project == project);
        let mut state = state.ok_or(Refusal::UnknownBatch)?;
        if state.is_stopped {
            return Ok(());
        }
        if !state.is_running() {
            return Err(Refusal::BatchFinished);
        }
        let now_ms = self.clock.now_ms();
        (state.ended_ms, state.is_stopped) = (Some(now_ms), true);
        self.log.record_synced(state.record(now_ms)).await?;
        self.batches.put(state);
        Ok(())
    }
}

/// The states that a kind is about.
fn statuses(kind: Kind) -> &'static [DeliveryStatus] {
    match kind {
        Kind::Cancel => &DeliveryFilter::OPEN,
        Kind::Retry | Kind::Replay => &DeliveryFilter::UNDELIVERED,
    }
}
