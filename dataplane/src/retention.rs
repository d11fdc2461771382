//! Retention: old segments of the log go, once nothing in them is open.

use std::sync::Arc;
use std::time::Duration;

use outrider_config::resource::RETENTION_DEFAULT;
use outrider_store::{Clock, LocalLog};
use tokio_util::sync::CancellationToken;

/// A segment that goes an hour late costs its disk space for an hour.
const EVERY: Duration = Duration::from_secs(3_600);

/// Drops what has expired, now and every hour, until `stop` fires.
pub(crate) async fn run(log: LocalLog, clock: Arc<dyn Clock>, stop: CancellationToken) {
    // The same for every project in this version.
    let keep_ms = i64::try_from(RETENTION_DEFAULT.as_millis()).unwrap_or(i64::MAX);
    loop {
        let (log, cut_ms) = (log.clone(), clock.now_ms().saturating_sub(keep_ms));
        match tokio::task::spawn_blocking(move || log.drop_expired(cut_ms)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(segments)) => tracing::info!(segments, "expired segments dropped"),
            Ok(Err(error)) => tracing::error!(%error, "expired segments cannot be dropped"),
            Err(error) => tracing::error!(%error, "retention failed"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
