//! A data plane whose only job is the forward proxy: no intake, no log, no deliveries.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use outrider_config::snapshot::Version;
use outrider_store::Clock;
use outrider_webhook::id::SourceId;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{ForwardListener, Settings};
use crate::StartError;
use crate::admin::{self, State};
use crate::egress::{self, Egress};
use crate::metrics::Metrics;
use crate::open;
use crate::state_log::StateKey;
use crate::stats::{Figures, refresh_egress};
use crate::table::RoutingTable;

/// How it is set up.
pub struct PlaneSettings {
    /// The proxy.
    pub forward: Settings,
    /// The way out.
    pub egress: egress::Settings,
    /// Address of the administration listener.
    pub admin_listen: SocketAddr,
    /// Where what is kept of the configuration lies, and the key that seals it.
    pub state: (PathBuf, StateKey),
    /// Test switches in use, to be shown as metrics.
    pub unsafe_flags: Vec<&'static str>,
}

/// A forward proxy on its own, which waits for configuration, then for clients.
pub struct EgressPlane {
    forward: Settings,
    egress: Egress,
    table: RoutingTable,
    metrics: Arc<Metrics>,
    state: watch::Sender<State>,
    admin: JoinHandle<()>,
    stop_admin: CancellationToken,
}

/// One that serves.
pub struct EgressServing {
    listener: ForwardListener,
    sources: JoinHandle<()>,
    stop_sources: CancellationToken,
    egress: Egress,
    state: watch::Sender<State>,
    admin: JoinHandle<()>,
    stop_admin: CancellationToken,
}

impl EgressPlane {
    /// Opens what was kept of the configuration and serves administration.
    ///
    /// # Errors
    /// [`StartError`]: an address or the kept configuration cannot be had.
    pub async fn open(
        mut settings: PlaneSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new()?);
        for flag in &settings.unsafe_flags {
            metrics.unsafe_flags.with_label_values(&[flag]).set(1);
        }
        let state = watch::Sender::new(State::PreInitializing);
        let stats = watch::Sender::new(None::<Arc<dyn Figures>>);
        let view = admin::View {
            certificates: None,
            state: state.subscribe(),
            stats: stats.subscribe(),
            started: Instant::now(),
        };
        let address = settings.admin_listen;
        let listener = admin::bind(address).await;
        let listener = listener.map_err(|source| StartError::Admin { address, source })?;
        let stop_admin = CancellationToken::new();
        let admin = tokio::spawn(admin::serve(listener, view, stop_admin.clone()));
        settings.egress.metrics = Some(metrics.way_out.clone());
        let egress = Egress::new(settings.egress)?;
        let (dir, key) = settings.state;
        let mark = dir.with_file_name("journal.json");
        let kept = open::state(Some((dir, key))).await?;
        let table = RoutingTable::new(mark, kept, None, clock, Arc::clone(&metrics))?
            .closing(egress.clone());
        stats.send_replace(Some(Arc::new(Shown {
            table: table.clone(),
            egress: egress.clone(),
            metrics: Arc::clone(&metrics),
        })));
        state.send_replace(State::Initializing);
        Ok(Self {
            forward: settings.forward,
            egress,
            table,
            metrics,
            state,
            admin,
            stop_admin,
        })
    }

    /// The table to connect to the control plane's stream.
    #[must_use]
    pub fn table(&self) -> RoutingTable {
        self.table.clone()
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// The version of the configuration in force, if there is any.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.table.load().version()
    }

    /// Waits for the first configuration, then serves clients.
    ///
    /// # Errors
    /// [`StartError::Forward`] when the address cannot be had.
    pub async fn serve(self) -> Result<EgressServing, StartError> {
        let mut version = self.table.watch();
        // The sender lives in the table, so waiting can only end with a version.
        let _ = version.wait_for(Option::is_some).await;
        let (egress, table) = (self.egress.clone(), self.table.clone());
        let stop_sources = CancellationToken::new();
        let stop = stop_sources.clone();
        let sources = tokio::spawn(async move {
            let pools = move || table.load().egress_pools().cloned().collect();
            egress.watch_sources(pools, stop).await;
        });
        let address = self.forward.listen;
        let metrics = self.metrics.forward()?;
        let started =
            ForwardListener::start(self.forward, self.table, self.egress.clone(), metrics);
        let listener = started.map_err(|source| StartError::Forward { address, source })?;
        self.state.send_replace(State::Live);
        Ok(EgressServing {
            listener,
            sources,
            stop_sources,
            egress: self.egress,
            state: self.state,
            admin: self.admin,
            stop_admin: self.stop_admin,
        })
    }
}

impl EgressServing {
    /// Finishes what is under way, within its bounds or until `cut` fires, and ends.
    pub async fn drain(self, cut: CancellationToken) {
        self.state.send_replace(State::Draining);
        self.listener.drain(cut).await;
        self.stop_sources.cancel();
        if self.sources.await.is_err() {
            tracing::error!("the task of source addresses ended with a panic");
        }
        self.egress.shutdown().await;
        self.stop_admin.cancel();
        if self.admin.await.is_err() {
            tracing::error!("the admin listener ended with a panic");
        }
    }
}

struct Shown {
    table: RoutingTable,
    egress: Egress,
    metrics: Arc<Metrics>,
}

impl Figures for Shown {
    fn config_dump(&self) -> Value {
        self.table.load().dump()
    }

    /// It has no intake, so it refuses no events.
    fn rejected(&self, _: SourceId) -> Value {
        json!({"rejected": [], "left_out": 0})
    }

    fn alerts(&self) -> Value {
        json!({"alerts": []})
    }

    fn revision(&self) -> Option<u64> {
        self.table.load().version().map(|version| version.revision)
    }

    fn prometheus(&self) -> Result<Vec<u8>, prometheus::Error> {
        refresh_egress(&self.egress, &self.metrics);
        self.metrics.encode()
    }
}
