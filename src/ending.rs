//! How a role ends: asked by a signal, or because it can no longer keep its promise.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use outrider_dataplane::Serving;
use outrider_store::FatalError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Failure;

/// Why the process ends.
pub(crate) enum End {
    Asked,
    Fatal(Arc<FatalError>),
    /// The public listener is gone.
    Unreachable,
}

/// The signals that ask for the end.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on they are taken.
    pub(crate) fn new() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind)
                .context("cannot handle signals")
                .map_err(Failure::unavailable)
        };
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for one of them, or for the failure of the log.
    pub(crate) async fn wait(
        &mut self,
        fatal: &mut watch::Receiver<Option<Arc<FatalError>>>,
    ) -> End {
        let failed = async {
            match fatal
                .wait_for(Option::is_some)
                .await
                .map(|error| error.clone())
            {
                Ok(Some(error)) => error,
                _ => std::future::pending().await, // the log was closed in good order
            }
        };
        tokio::select! {
            () = self.asked() => End::Asked,
            error = failed => End::Fatal(error),
        }
    }

    /// As above while traffic is served, or for the loss of its listener.
    pub(crate) async fn wait_serving(
        &mut self,
        fatal: &mut watch::Receiver<Option<Arc<FatalError>>>,
        serving: &Serving,
    ) -> End {
        let lost = serving.is_listener_lost();
        tokio::select! {
            end = self.wait(fatal) => end,
            () = lost.cancelled() => End::Unreachable,
        }
    }
}

/// Nothing more can be made durable; the supervisor starts us again, through recovery.
pub(crate) fn log_failed(error: Arc<FatalError>) -> Failure {
    Failure::io(anyhow!(error).context("the event log failed"))
}

/// Nobody reaches us any more; the supervisor starts us again.
pub(crate) fn listener_lost() -> Failure {
    Failure::unavailable(anyhow!("the public listener has ended"))
}
