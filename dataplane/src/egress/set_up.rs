//! Egress as its settings say it is.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::Dialler;
use super::gate::{Caps, Gate, Keeper};
use super::open::{Limits, Opener};
use super::openings::Openings;
use super::pool::{Bounds, Pool};
use super::resolve::Resolver;
use super::settings::{EgressError, Settings};
use super::source::Sources;
use super::tls::Profiles;
use super::vetting::Vetting;
use super::via::Proxy;
use super::{Counters, Egress, Inner};
use crate::metrics::EgressMetrics;

impl Egress {
    /// Prepares everything; opens nothing.
    ///
    /// # Errors
    /// [`EgressError`] for settings that cannot work.
    pub fn new(settings: Settings) -> Result<Self, EgressError> {
        let gate = Gate::new(Caps {
            per_project: settings.connections_per_project_max,
            per_destination: settings.connections_per_destination_max,
            total: settings.connections_max,
        });
        let limits = Limits {
            connect: settings.connect_timeout,
            connect_total: settings.connect_total_timeout,
            tls: settings.tls_timeout,
        };
        let bounds = Bounds {
            idle_timeout: settings.idle_timeout,
            age_max: settings.age_max,
            per_key_max: settings.idle_per_key_max,
            total_max: settings.idle_max,
        };
        let metrics = settings.metrics.map_or_else(EgressMetrics::new, Ok);
        let metrics = metrics.map_err(EgressError::Metrics)?;
        let sources = Arc::new(Sources::new(metrics.clone()));
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let (pool, upstreams) = (Arc::new(Pool::new(bounds)), Arc::new(Pool::new(bounds)));
        let keepers: [Arc<dyn Keeper>; 2] = [Arc::clone(&pool) as _, Arc::clone(&upstreams) as _];
        gate.kept_by(keepers.iter().map(Arc::downgrade).collect());
        let inner = Inner {
            vetting: ArcSwap::from_pointee(Vetting::new(settings.policy)),
            overrides: settings.resolve_overrides.into_iter().collect(),
            resolver: Resolver::new(
                &settings.name_servers,
                settings.dns_timeout,
                metrics.clone(),
            )?,
            via: settings
                .via
                .map(|via| Proxy::new(via, tasks.clone(), stop.clone())),
            certificates: settings
                .certificates
                .into_iter()
                .map(|one| (Arc::clone(&one.name), one))
                .collect(),
            pool,
            upstreams,
            dialler: Dialler::new(
                Opener::new(limits, Arc::clone(&gate), Arc::clone(&sources)),
                Profiles::new(settings.extra_roots)?,
                tasks.clone(),
                settings.response_head_bytes_max,
            ),
            openings: Openings::new(settings.new_connections_per_destination, metrics),
            gate,
            sources,
            reflectors: settings.reflectors,
            tasks,
            body_max: settings.response_bytes_max,
            reap_every: (settings.idle_timeout / 2).max(Duration::from_millis(10)),
            has_reaper: AtomicBool::new(false),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            counters: Counters::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}
