//! What a data plane opens at its start, and why it cannot.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use outrider_store::{
    Clock, DeliveryStatus, EndpointCondition, Index, IndexError, LocalLog, LogClosed, OpenError,
    Record, Recovered, StateRecord,
};
use outrider_webhook::id::Uid;
use outrider_webhook::retry::RETRY_AFTER_MAX;
use outrider_webhook::undelivered::Reason;

use crate::Summary;
use crate::egress::EgressError;
use crate::ingest::{ListenError, TlsError};
use crate::instance;
use crate::notices::MailError;
use crate::queue::{Queue, Trip};
use crate::state_log::{StateKey, StateLog, StateLogError};
use crate::table::Kept;

/// The data plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The administration address cannot be had.
    #[error("cannot listen on {address} for administration: {source}")]
    Admin {
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The public address cannot be had.
    #[error(transparent)]
    Public(#[from] ListenError),
    /// The address of the forward proxy cannot be had.
    #[error("cannot listen on {address} for the forward proxy: {source}")]
    Forward {
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificates of the public listener cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The log cannot be opened.
    #[error("cannot open the event log in {}: {source}", dir.display())]
    Log {
        /// Its directory.
        dir: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// The log failed as soon as it was open.
    #[error(transparent)]
    LogClosed(LogClosed),
    /// The index of the log cannot be opened.
    #[error("cannot open the index in {}: {source}", dir.display())]
    Index {
        /// Its directory.
        dir: PathBuf,
        /// Why.
        source: IndexError,
    },
    /// The kept configuration cannot be used.
    #[error("the kept configuration: {0}")]
    State(#[from] StateLogError),
    /// A note beside the log cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The egress settings are unusable.
    #[error("egress: {0}")]
    Egress(#[from] EgressError),
    /// Mails cannot be sent.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// A metric was declared twice: a programming error.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

pub(crate) async fn log(
    mut options: outrider_store::Options,
    index_dir: PathBuf,
    clock: Arc<dyn Clock>,
    queue: &Queue,
) -> Result<(LocalLog, Recovered), StartError> {
    let (dir, sink) = (options.dir.clone(), queue.sink());
    let open = move || {
        options.synced = Index::synced(&index_dir);
        LocalLog::open(options, clock, sink)
    };
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => opened.map_err(|source| StartError::Log { dir, source }),
        // A panic in recovery is a bug; it ends the start as loudly as any other failure.
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Which data plane this is, from the note at `path`.
pub(crate) fn instance(path: PathBuf) -> Result<Uid, StartError> {
    instance::load_or_create(&path).map_err(|source| StartError::Note { path, source })
}

pub(crate) async fn state(state: Option<(PathBuf, StateKey)>) -> Result<Kept, StartError> {
    let Some((dir, key)) = state else {
        return Ok(Kept::nothing());
    };
    match tokio::task::spawn_blocking(move || StateLog::open(dir, key)).await {
        Ok(opened) => opened
            .map(|(log, snapshot)| Kept::in_log(log, snapshot))
            .map_err(StartError::State),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

pub(crate) async fn index(dir: PathBuf, log: &LocalLog) -> Result<Index, StartError> {
    let (of, at) = (log.clone(), dir.clone());
    match tokio::task::spawn_blocking(move || Index::open(&at, &of)).await {
        Ok(opened) => opened.map_err(|source| StartError::Index { dir, source }),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Deliveries that nobody can drive get their end, so that none is open for ever.
pub(crate) async fn end_lost(
    log: &LocalLog,
    recovered: &Recovered,
    now_ms: i64,
) -> Result<(), StartError> {
    let lost = recovered.lost.iter();
    let lost = lost.map(|one| (one.key, one.position, one.attempts, Reason::PayloadGone));
    let unknown = recovered.outcome_unknown.iter();
    let unknown = unknown.map(|one| {
        let reason = Reason::OutcomeUnknown;
        (one.key, one.position, one.attempts, reason)
    });
    let cancelled = recovered.cancelled.iter();
    let cancelled = cancelled.map(|one| (one.key, one.position, one.attempts, Reason::Cancelled));
    for (key, position, attempts, reason) in lost.chain(unknown).chain(cancelled) {
        let end = Record::State(StateRecord {
            key,
            position,
            at_ms: now_ms,
            status: match reason {
                Reason::Cancelled => DeliveryStatus::Discarded,
                _ => DeliveryStatus::Failure,
            },
            next_due_ms: None,
            attempts,
            reason: Some(reason.code().into()),
        });
        log.record(end).await.map_err(StartError::LogClosed)?;
    }
    Ok(())
}

/// What recovery found open goes back to the queue. Endpoints that asked to be left alone still
/// are, for no longer than they asked for: the clock may have been another one.
pub(crate) fn restore(queue: &Queue, recovered: Recovered, now_ms: i64) -> Summary {
    let summary = Summary {
        events: recovered.events,
        pending: recovered.pending.len(),
        elapsed: recovered.elapsed,
    };
    for gap in &recovered.gaps {
        queue.restore_gap(gap);
    }
    // These have just got their end.
    let ended = recovered.outcome_unknown.iter().chain(&recovered.cancelled);
    for one in ended.filter(|one| one.is_of_line()) {
        queue.restore_gap(&one.gap());
    }
    queue.restore(recovered.pending.iter());
    let longest_ms = i64::try_from(RETRY_AFTER_MAX.as_millis()).unwrap_or(i64::MAX);
    for state in recovered.endpoint_states {
        let Some(until_ms) = state.until_ms else {
            continue;
        };
        // As long as was meant, wherever the clock is now.
        let meant_ms = until_ms.saturating_sub(state.at_ms).clamp(0, longest_ms);
        let until_ms = until_ms.min(now_ms.saturating_add(meant_ms));
        match state.condition {
            EndpointCondition::Held if until_ms > now_ms => {
                queue.restore_hold(state.project, state.endpoint, until_ms);
            }
            // When its time is over, it begins with probes.
            EndpointCondition::BreakerOpen => {
                let of = (state.project, state.endpoint);
                let trip = Trip {
                    until_ms,
                    trips: state.trips,
                    epoch: state.activation_epoch,
                };
                queue.restore_open(of, &trip);
            }
            _ => {}
        }
    }
    summary
}
