//! Stages 6 and 9, deliver and decide: one lease becomes one attempt.
//!
//! Leases due deliveries, has them signed and sent, asks the retry rules what follows, records
//! the attempt in the log and gives the lease back. Nobody waits for the record's sync: an
//! attempt lost to a crash is made again, which at-least-once permits. Where an event may arrive
//! once at most, that an attempt begins is synced first, and one without outcome is not made again.
//!
//! - `place`: where the delivery goes now, or why not
//! - `attempt`: signed, sent, and answered
//! - `send`: with a token where one is needed, and once more where that was refused
//! - `tokens`: fetched, kept, renewed
//! - `outcome`: what follows

mod attempt;
mod breaker;
mod mask;
mod order;
mod outcome;
mod place;
mod record;
mod send;
mod tokens;
mod told;

use std::sync::Arc;
use std::time::Duration;

use outrider_store::{Clock, LocalLog};
use outrider_webhook::id::EndpointId;
use outrider_webhook::undelivered::Reason;
use prometheus::IntGauge;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::buckets::Buckets;
use crate::chance::Chance;
use crate::disabled::Disabling;
use crate::egress::Egress;
use crate::made::MadeEndpoints;
use crate::meta::Teller;
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::queue::{Lease, Queue};
use crate::table::RoutingTable;

pub(crate) use tokens::{Asker, Tokens, try_out};

/// How long a delivery waits when its event could not be read back just now.
const READ_RETRY_MS: i64 = 5_000;
/// How long such a delivery holds up the others of its order key.
const READ_PARK_MS: i64 = 60 * 60 * 1_000;

/// Shorter holds of an endpoint are over when a process has started again.
const HOLD_RECORDED_MIN: Duration = Duration::from_secs(2);

/// Makes attempts.
pub struct Deliverer {
    /// Where deliveries come from.
    pub queue: Queue,
    /// The configuration in force.
    pub table: RoutingTable,
    /// Payloads and the record of attempts.
    pub log: LocalLog,
    /// Endpoints that are no configuration yet.
    pub made: MadeEndpoints,
    /// Endpoints that were switched off here.
    pub disabling: Disabling,
    /// Tells the owners of projects.
    pub teller: Teller,
    /// Lets people hear of endpoints in trouble.
    pub notices: Notices,
    /// The way out.
    pub egress: Egress,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub chance: Chance,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How much endpoints have had of their rates.
    pub(crate) rates: Buckets<EndpointId>,
    /// Tokens of endpoints that want one.
    pub(crate) tokens: Tokens,
    /// Bytes of a response kept with the attempt.
    pub excerpt_bytes_max: usize,
}

/// Why an attempt could not be made under the configuration in force.
enum Obstacle {
    /// The lane waits for a change of configuration.
    Hold(&'static str),
    /// The delivery ends here.
    Discard(Reason),
    /// The delivery ends here, as a dead letter.
    Fail(Reason),
    /// The event could not be read; tried again later.
    Unreadable,
    /// The log is closed: nothing may be begun that is not in it.
    LogClosed,
    /// The endpoint has had as much as it takes for now.
    RateLimited(Duration),
    /// As many attempts are in flight as the endpoint takes.
    Full,
    /// It took so long that somebody else has the delivery by now.
    LeaseLost,
}

impl Deliverer {
    /// Leases due deliveries until `drain` fires, then waits for those in flight, at most `grace`.
    pub async fn run(
        self: Arc<Self>,
        in_flight_max: usize,
        drain: CancellationToken,
        grace: Duration,
    ) {
        let (permits, tasks) = (
            Arc::new(Semaphore::new(in_flight_max.max(1))),
            TaskTracker::new(),
        );
        let cut = CancellationToken::new();
        loop {
            // The permit comes first: a leased delivery must never wait for capacity.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                break;
            };
            let lease = tokio::select! {
                biased;
                () = drain.cancelled() => break,
                lease = self.queue.lease() => lease, // cancel-safe
            };
            let (deliverer, cut) = (Arc::clone(&self), cut.clone());
            tasks.spawn(async move {
                let _permit = permit; // freed on return, cancel or panic alike
                // An attempt that is cut off is still open in the log and is made again.
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = deliverer.attempt(lease) => {}
                }
            });
        }
        tasks.close();
        if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
            tracing::warn!(
                attempts = tasks.len(),
                "attempts cut off at the end of the drain; they are made again"
            );
            cut.cancel();
            tasks.wait().await;
        }
    }

    async fn attempt(&self, lease: Lease) {
        let _watch = self.queue.watch(&lease);
        let result = {
            let _counted = Counted::new(&self.metrics.in_flight);
            self.try_attempt(&lease).await
        };
        let written = match result {
            Ok(attempted) => self.decide(lease, attempted).await,
            Err(obstacle) => self.give_up(lease, obstacle).await,
        };
        if written.is_err() {
            // The log is gone and the process is about to end; the delivery is open in it.
            tracing::error!("the log is closed, an attempt could not be recorded");
        }
    }
}

/// One more in a gauge, for as long as it lives: also when a worker panics or is cut off.
struct Counted<'g>(&'g IntGauge);

impl<'g> Counted<'g> {
    fn new(gauge: &'g IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
