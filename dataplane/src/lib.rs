//! The data plane: carries the traffic, on a routing table pushed by the control plane.
//!
//! The path of an event through this crate: [`ingest`] -> verify -> [`route`] -> store ->
//! [`queue`] -> [`deliver`] -> sign -> [`egress`] -> decide. It never imports the control
//! plane; the two meet in `xds` alone. The only crate that knows Pingora.

pub mod admin;
pub mod alerts;
mod buckets;
pub mod chance;
mod command;
pub mod deliver;
pub mod disabled;
pub mod egress;
pub mod forward;
pub mod ingest;
mod instance;
pub mod made;
pub mod meta;
pub mod metrics;
pub mod note;
pub mod notices;
mod offering;
mod open;
pub mod queue;
mod retention;
pub mod route;
mod serving;
pub mod state_log;
pub mod stats;
pub mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrider_config::bootstrap::PublicTls;
use outrider_store::{Clock, EndpointStateRecord, FatalError, Index, LocalLog, Unsettled};
use outrider_webhook::id::Uid;
use outrider_xds::{CommandHandler, Offers};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::admin::State;
use self::alerts::Alerts;
use self::buckets::Buckets;
use self::chance::Chance;
use self::command::{Executor, Means, Questions, Trials};
use self::deliver::Deliverer;
use self::disabled::Disabling;
use self::egress::Egress;
use self::ingest::rejected::Rejected;
use self::ingest::{Limits, PublicCertificates};
use self::made::MadeEndpoints;
use self::meta::Teller;
use self::metrics::Metrics;
use self::notices::{Bell, Mailer, Notices, SmtpSettings};
pub use self::open::StartError;
use self::queue::{PayloadCache, Queue};
pub use self::serving::Serving;
use self::state_log::StateKey;
use self::stats::{Figures, Stats};
use self::table::RoutingTable;

/// Payloads kept in memory for delivery, bytes (RULINGS 6).
const PAYLOAD_CACHE_BYTES: usize = 256 * 1024 * 1024;
/// Beyond any attempt (120 s at most): a worker that holds a delivery longer is lost.
const LEASE_LIMIT: Duration = Duration::from_secs(180);

/// How the data plane is set up; from the bootstrap file and the command line.
pub struct Settings {
    /// Address of the public listener.
    pub public_listen: SocketAddr,
    /// TLS on the public listener.
    pub public_tls: Option<PublicTls>,
    /// Address of the administration listener.
    pub admin_listen: SocketAddr,
    /// Host and port of the control plane's API; it answers what the data plane does not.
    pub control_plane: String,
    /// The directory and the key of the state log; `None` with the control plane in the process.
    pub state: Option<(PathBuf, StateKey)>,
    /// Seals the secrets that events bring into the log.
    pub event_key: StateKey,
    /// Threads of the public listener.
    pub threads: usize,
    /// Bounds of intake requests.
    pub intake: Limits,
    /// The event log.
    pub log: outrider_store::Options,
    /// The way out.
    pub egress: egress::Settings,
    /// The forward proxy, where this process has one beside its deliveries.
    pub forward: Option<forward::Settings>,
    /// Where mails are handed over, if any are sent.
    pub smtp: Option<SmtpSettings>,
    /// Attempts under way at once, over all endpoints.
    pub in_flight_max: usize,
    /// Attempts under way at once, per endpoint.
    pub lane_concurrency: u32,
    /// Between two steps of a batch of commands.
    pub batch_pause: Duration,
    /// Bytes of a response kept with an attempt.
    pub excerpt_bytes_max: usize,
    /// How long a drain waits for attempts under way.
    pub drain_grace: Duration,
    /// Seed of the jitter and of the ids given to requests.
    pub seed: u64,
    /// Test switches in use, to be shown as metrics.
    pub unsafe_flags: Vec<&'static str>,
}

/// A data plane that has recovered its log and waits for configuration, then for traffic.
pub struct DataPlane {
    table: RoutingTable,
    log: LocalLog,
    index: Index,
    executor: Arc<Executor>,
    queue: Queue,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    state: watch::Sender<State>,
    stop_admin: CancellationToken,
    admin: JoinHandle<()>,
    deliverer: Arc<Deliverer>,
    settings: Running,
    recovered: Summary,
    unsettled: Vec<Unsettled>,
    disabled: Vec<EndpointStateRecord>,
    bell: Option<Bell>,
    mailer: Option<Mailer>,
    forward: Option<forward::Settings>,
    offers: Option<Offers>,
    instance: Uid,
    certificates: Option<Arc<PublicCertificates>>,
}

/// What is needed again after start.
struct Running {
    public_listen: SocketAddr,
    threads: usize,
    intake: ingest::Settings,
    in_flight_max: usize,
    drain_grace: Duration,
}

impl Running {
    fn of(settings: &Settings) -> Self {
        Self {
            public_listen: settings.public_listen,
            threads: settings.threads,
            intake: ingest::Settings {
                limits: settings.intake.clone(),
                control_plane: settings.control_plane.clone(),
                // Not the jitter's own sequence: clients see these bits.
                process: Chance::seeded(!settings.seed).next(),
                rejected: Rejected::default(),
                alerts: Alerts::default(),
                made: MadeEndpoints::new(&settings.event_key, settings.egress.policy.clone()),
            },
            in_flight_max: settings.in_flight_max,
            drain_grace: settings.drain_grace,
        }
    }
}

/// What recovery found.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Events in the log.
    pub events: u64,
    /// Deliveries that are not final.
    pub pending: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl DataPlane {
    /// Recovers the log and assembles the parts. Serves administration from the first moment,
    /// the public not before [`DataPlane::serve`].
    ///
    /// # Errors
    /// [`StartError`]: an address or the log cannot be had.
    pub async fn open(mut settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let running = Running::of(&settings);
        let metrics = Arc::new(Metrics::new()?);
        for flag in &settings.unsafe_flags {
            metrics.unsafe_flags.with_label_values(&[flag]).set(1);
        }
        let (state, stats) = (
            watch::Sender::new(State::PreInitializing),
            watch::Sender::new(None::<Arc<dyn Figures>>),
        );
        let certificates = settings.public_tls.clone();
        let certificates = certificates
            .map(|tls| PublicCertificates::load(tls, Arc::clone(&clock)).map(Arc::new))
            .transpose()?;
        let view = admin::View {
            certificates: certificates.clone(),
            state: state.subscribe(),
            stats: stats.subscribe(),
            started: Instant::now(),
        };
        let address = settings.admin_listen;
        let listener = admin::bind(address)
            .await
            .map_err(|source| StartError::Admin { address, source })?;
        let stop_admin = CancellationToken::new();
        let admin = tokio::spawn(admin::serve(listener, view, stop_admin.clone()));

        settings.egress.metrics = Some(metrics.way_out.clone());
        let egress = Egress::new(settings.egress)?;
        let cache = PayloadCache::new(PAYLOAD_CACHE_BYTES);
        let queue = Queue::new(
            Arc::clone(&clock),
            cache,
            settings.lane_concurrency,
            u32::try_from(settings.in_flight_max).unwrap_or(u32::MAX),
            LEASE_LIMIT,
        );
        let beside_log = |name| settings.log.dir.with_file_name(name);
        let (mark, note) = (beside_log("journal.json"), beside_log("instance"));
        let index_dir = beside_log("index");
        let (log, recovered) =
            open::log(settings.log, index_dir.clone(), Arc::clone(&clock), &queue).await?;
        open::end_lost(&log, &recovered, clock.now_ms()).await?;
        let unsettled = recovered.unsettled.clone();
        let disabled = disabled::found(&recovered);
        let batches = recovered.batches.clone();
        let recovered = open::restore(&queue, recovered, clock.now_ms());
        let index = open::index(index_dir, &log).await?;
        let instance = open::instance(note)?;
        let kept = open::state(settings.state).await?;
        let table = RoutingTable::new(mark, kept, queue.clone(), clock.clone(), metrics.clone())?
            .closing(egress.clone());
        let notices = Notices::default();
        let disabling = Disabling::new(
            table.clone(),
            log.clone(),
            Arc::clone(&clock),
            Arc::clone(&metrics),
            notices.clone(),
        );
        let teller = Teller::new(log.clone(), Arc::clone(&clock), Arc::clone(&metrics));
        let deliverer = Arc::new(Deliverer {
            queue: queue.clone(),
            table: table.clone(),
            log: log.clone(),
            made: running.intake.made.clone(),
            disabling: disabling.clone(),
            teller: teller.clone(),
            notices: notices.clone(),
            egress: egress.clone(),
            clock: Arc::clone(&clock),
            chance: Chance::seeded(settings.seed),
            metrics: Arc::clone(&metrics),
            rates: Buckets::unbounded(), // configuration bounds it
            tokens: deliver::Tokens::default(),
            excerpt_bytes_max: settings.excerpt_bytes_max,
        });
        let questions = Questions {
            table: table.clone(),
            queue: queue.clone(),
            rejected: running.intake.rejected.clone(),
            alerts: running.intake.alerts.clone(),
            disabling,
            notices: notices.clone(),
            clock: Arc::clone(&clock),
        };
        let means = Means {
            queue: queue.clone(),
            log: log.clone(),
            index: index.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            teller: teller.clone(),
            trials: Trials::new(
                egress.clone(),
                Arc::clone(&clock),
                // Another sequence than that of the attempts.
                Chance::seeded(settings.seed.wrapping_add(1)),
            ),
            batch_pause: settings.batch_pause,
        };
        let (mailer, mails) = match settings.smtp {
            Some(smtp) => {
                let (mailer, mails) = Mailer::new(smtp, Arc::clone(&metrics))?;
                (Some(mailer), Some(mails))
            }
            None => (None, None),
        };
        let bell = Bell {
            notices,
            table: table.clone(),
            teller,
            mails,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        };
        let executor = Executor::new(means, questions, batches);
        stats.send_replace(Some(Arc::new(Stats {
            table: table.clone(),
            queue: queue.clone(),
            log: log.clone(),
            index: index.clone(),
            egress,
            rejected: running.intake.rejected.clone(),
            alerts: running.intake.alerts.clone(),
            made: running.intake.made.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        })));
        state.send_replace(State::Initializing);
        Ok(Self {
            table,
            log,
            index,
            executor: Arc::new(executor),
            queue,
            clock,
            metrics,
            state,
            stop_admin,
            admin,
            deliverer,
            settings: running,
            recovered,
            unsettled,
            disabled,
            bell: Some(bell),
            mailer,
            forward: settings.forward,
            offers: None,
            instance,
            certificates,
        })
    }

    /// Which data plane this is: made with its data directory.
    #[must_use]
    pub fn instance(&self) -> Uid {
        self.instance
    }

    /// The table to connect to the control plane's stream.
    #[must_use]
    pub fn table(&self) -> RoutingTable {
        self.table.clone()
    }

    /// Where endpoints that events made are offered. Without it they stay with this data plane.
    pub fn set_offers(&mut self, offers: Offers) {
        self.offers = Some(offers);
    }

    /// What happened to events: for who shows it.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index.clone()
    }

    /// Carries out what the control plane asks for.
    #[must_use]
    pub fn command_handler(&self) -> Arc<dyn CommandHandler> {
        Arc::clone(&self.executor) as Arc<dyn CommandHandler>
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// What recovery found.
    #[must_use]
    pub fn recovered(&self) -> &Summary {
        &self.recovered
    }

    /// Fires when the log can no longer be trusted: the process is expected to end (exit 74).
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<Arc<FatalError>>> {
        self.log.fatal()
    }
}
