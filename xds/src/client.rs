//! The client half: keeps one data plane's table at the head of the control plane's journal.
//!
//! [`Client::run`] connects, resumes from the table's version, applies each transaction when its
//! last part is in, answers every response, and reconnects for ever with a jittered back-off.
//! While the control plane is away the table stays as it is.

mod stream;

use std::sync::Arc;
use std::time::Duration;

use outrider_config::{Quarantined, Version};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::{info, warn};

use crate::assemble::Limits;
use crate::backoff::Backoff;
use crate::node::Node;
use crate::table::Table;
use stream::{Stream, StreamError};

/// A stream this old worked: the next failure is the first of a new row. Two processes on copies of
/// one data directory replace each other sooner, and so end up at the longest wait.
const STEADY_AFTER: Duration = Duration::from_secs(5);

/// Times and bounds the client keeps.
#[derive(Debug, Clone, Copy)]
pub struct ClientSettings {
    /// Resources and removals one transaction may hold while it is buffered; beyond it is a
    /// NACK. Default 2,000,000.
    pub transaction_resources_max: usize,
    /// Bytes of specifications one transaction may hold while it is buffered; beyond it is a
    /// NACK. Default 512 MiB.
    pub transaction_bytes_max: usize,
    /// A server that owes something (the stream, the initial set, the rest of a transaction)
    /// and is silent this long is left. Default 30 s.
    pub response_timeout: Duration,
    /// The first wait before a new connection; doubles with each failure. Default 100 ms.
    pub reconnect_wait_min: Duration,
    /// Where the doubling ends. Default 10 s.
    pub reconnect_wait_max: Duration,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            transaction_resources_max: 2_000_000,
            transaction_bytes_max: 512 << 20,
            response_timeout: Duration::from_secs(30),
            reconnect_wait_min: Duration::from_millis(100),
            reconnect_wait_max: Duration::from_secs(10),
        }
    }
}

impl ClientSettings {
    const fn limits(&self) -> Limits {
        Limits {
            resources_max: self.transaction_resources_max,
            bytes_max: self.transaction_bytes_max,
        }
    }
}

/// What the client can tell about its stream. Counters count since the client was made.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The stream to the control plane is open.
    pub connected: bool,
    /// The initial set of this connection has arrived: the table was at the head then.
    pub is_synced: bool,
    /// The version in force.
    pub version: Option<Version>,
    /// Every resource in quarantine, as the table said with the newest transaction.
    pub quarantined: Vec<Quarantined>,
    /// The newest transaction that was rejected.
    pub last_rejected: Option<Rejection>,
    /// Why the newest connection ended or could not be made.
    pub last_error: Option<String>,
    /// Connections opened.
    pub connects: u64,
    /// Transactions applied.
    pub accepted: u64,
    /// Transactions of those that were full.
    pub accepted_full: u64,
    /// Responses answered with NACK.
    pub rejected: u64,
    /// Resources and removals received in applied transactions.
    pub resources: u64,
}

/// A response that was answered with NACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The tag the response carried, at most 128 characters; see the crate's tag format.
    pub tag: String,
    /// Stable code of the reason: a closed set.
    pub code: &'static str,
    /// The reason, as it was sent to the control plane.
    pub reason: String,
}

/// One data plane's stream to the control plane.
pub struct Client {
    channel: Channel,
    node: Node,
    table: Arc<dyn Table>,
    settings: ClientSettings,
    status: watch::Sender<Status>,
}

impl Client {
    /// A client that keeps `table` up to date through `channel`, which makes a new connection
    /// whenever the one before it broke (as [`crate::serve_in_process`] and [`crate::channel`] do).
    #[must_use]
    pub fn new(channel: Channel, node: Node, table: Arc<dyn Table>) -> Self {
        Self::with_settings(channel, node, table, ClientSettings::default())
    }

    /// A client with other times and bounds than the defaults.
    #[must_use]
    pub fn with_settings(
        channel: Channel,
        node: Node,
        table: Arc<dyn Table>,
        settings: ClientSettings,
    ) -> Self {
        let status = Status {
            version: table.version(),
            ..Status::default()
        };
        Self {
            channel,
            node,
            table,
            settings,
            status: watch::Sender::new(status),
        }
    }

    /// The present state, and a signal whenever it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Runs until `shutdown` fires. A transaction being applied then is finished first.
    pub async fn run(self, shutdown: CancellationToken) {
        let settings = &self.settings;
        let mut backoff = Backoff::new(
            &self.node.id,
            settings.reconnect_wait_min,
            settings.reconnect_wait_max,
        );
        loop {
            let error = match self.connect_and_follow(&shutdown, &mut backoff).await {
                Ok(()) => break,
                Err(error) => error,
            };
            let wait = backoff.next_wait();
            warn!(%error, wait_ms = wait.as_millis(), "the configuration stream broke");
            self.status.send_modify(|status| {
                status.connected = false;
                status.is_synced = false;
                status.last_error = Some(error.to_string());
            });
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        info!("the configuration stream is closed");
        self.status.send_modify(|status| {
            status.connected = false;
            status.is_synced = false;
        });
    }

    /// One connection: `Ok` when `shutdown` ended it.
    async fn connect_and_follow(
        &self,
        shutdown: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<(), StreamError> {
        let Some(mut stream) = Stream::open(self, shutdown).await? else {
            return Ok(());
        };
        let begun = Instant::now();
        loop {
            let step = stream.step(self, shutdown).await;
            if self.status.borrow().is_synced && begun.elapsed() >= STEADY_AFTER {
                backoff.reset();
            }
            if !step? {
                return Ok(());
            }
        }
    }
}
