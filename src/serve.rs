//! `outrider serve`: both planes in one process. They still talk xDS, over an in-process
//! connection, so there is one path of configuration and not two.

mod control;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use outrider_config::bootstrap::{Bootstrap, ENV_PREFIX};
use outrider_config::file;
use outrider_controlplane::{ApplyError, ControlPlane};
use outrider_dataplane::ingest::Limits;
use outrider_dataplane::{DataPlane, Serving, Settings, StartError, egress};
use outrider_store::{Clock, FatalError, OpenError, SystemClock};
use outrider_webhook::address;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::control::{Control, Front};
use crate::cli::{ServeArgs, UnsafeArgs};
use crate::exit::Failure;
use crate::logging;
use crate::quickstart::Quickstart;

/// How long a drain waits for attempts under way; `standards` section 3.4 and `egress` section 9.
const DRAIN_GRACE: Duration = Duration::from_secs(30);

pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    let bootstrap = bootstrap(&args)?;
    logging::start(&bootstrap.log);
    let resources = args.resources.as_deref().map(resource_file).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("outrider")
        .build()
        .context("cannot start the runtime")
        .map_err(Failure::unavailable)?;
    runtime.block_on(serve(args, bootstrap, resources))
}

async fn serve(
    args: ServeArgs,
    mut bootstrap: Bootstrap,
    resources: Option<file::File>,
) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(match args.testing.unsafe_now {
        Some(unix_s) => SystemClock::starting_at(unix_s),
        None => SystemClock::default(),
    });
    prepare_dir(&bootstrap.data_dir)?;
    let quickstart = match args.quickstart {
        true => Some(Quickstart::prepare(&mut bootstrap).await?),
        false => None,
    };
    let settings = settings(&bootstrap, &args.testing)?;
    let mut signals = Signals::new()?;
    let front = Front {
        listener: control::listen(&bootstrap).await?,
        admin_key: control::admin_key(&bootstrap)?,
        egress: settings.egress.policy.clone(),
    };

    let plane = DataPlane::open(settings, Arc::clone(&clock))
        .await
        .map_err(start_failure)?;
    let recovered = plane.recovered();
    tracing::info!(events = recovered.events, pending = recovered.pending, elapsed = ?recovered.elapsed, "log recovered");
    let control = ControlPlane::open(&bootstrap.data_dir.join("control"), clock.now_ms())
        .context("cannot open the configuration journal")
        .map_err(Failure::io)?;
    let seeded = quickstart.as_ref().map(Quickstart::resources).transpose()?;
    if let Some(resources) = resources.or(seeded) {
        load(&control, resources, clock.now_ms()).await?;
    }
    let control = Control::start(control, &plane, &bootstrap, clock, front);
    let mut fatal = plane.fatal();
    // Waiting for the first configuration may take as long as it likes; stopping may not.
    let serving = tokio::select! {
        serving = plane.serve() => serving.map_err(start_failure)?,
        end = signals.wait(&mut fatal) => return not_begun(control, end).await,
    };
    tracing::info!(public = %bootstrap.public_listen, api = %bootstrap.api_listen, admin = %bootstrap.admin_listen, "serving");

    let story = quickstart.map(|quickstart| tokio::spawn(quickstart.tell(bootstrap.clone())));
    let end = signals.wait(&mut fatal).await;
    if let Some(story) = story {
        story.abort();
    }
    finish(serving, control, end).await
}

fn bootstrap(args: &ServeArgs) -> Result<Bootstrap, Failure> {
    let text = args
        .config
        .as_deref()
        .map(|path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        })
        .transpose()
        .map_err(Failure::configuration)?;
    let mut bootstrap =
        Bootstrap::load(text.as_deref(), environment()?.into_iter()).map_err(|problems| {
            let name = args
                .config
                .as_deref()
                .map_or("environment".into(), |path| path.display().to_string());
            all_problems(&name, &problems)
        })?;
    if let Some(dir) = &args.data_dir {
        bootstrap.data_dir.clone_from(dir);
    }
    if let Some(address) = args.public_listen {
        bootstrap.listen_publicly_at(address);
    }
    bootstrap.api_listen = args.api_listen.unwrap_or(bootstrap.api_listen);
    bootstrap.admin_listen = args.admin_listen.unwrap_or(bootstrap.admin_listen);
    let in_use = args.testing.in_use();
    if !in_use.is_empty() && !bootstrap.public_listen.ip().is_loopback() {
        let message = format!(
            "{} is for tests and refused with a public listener on {}: listen on loopback or leave it out",
            in_use.join(", "),
            bootstrap.public_listen
        );
        return Err(Failure::usage(anyhow!(message)));
    }
    if args.quickstart && args.config.is_none() {
        // The story is told on stdout; only what is wrong stands beside it.
        bootstrap.log.level = "warn".into();
    }
    Ok(bootstrap)
}

/// Our variables; what else is in the environment need not even be text.
fn environment() -> Result<Vec<(String, String)>, Failure> {
    std::env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes()))
        .map(
            |(name, value)| match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => Ok((name, value)),
                (Ok(name), Err(_)) => Err(Failure::configuration(anyhow!("{name} is not UTF-8"))),
                (Err(name), _) => Err(Failure::configuration(anyhow!(
                    "{} is not UTF-8",
                    name.display()
                ))),
            },
        )
        .collect()
}

fn resource_file(path: &Path) -> Result<file::File, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {name}"))
        .map_err(Failure::configuration)?;
    file::parse(&text).map_err(|problems| all_problems(&name, &problems))
}

/// Prints every problem, then fails once.
pub(crate) fn all_problems(name: &str, problems: &[outrider_config::Problem]) -> Failure {
    for problem in problems {
        eprintln!("{name}: {problem}");
    }
    Failure::configuration(anyhow!(
        "{name}: {} problem(s), nothing was started",
        problems.len()
    ))
}

fn prepare_dir(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot create the data directory {}", dir.display()))
        .map_err(Failure::io)
}

fn settings(bootstrap: &Bootstrap, testing: &UnsafeArgs) -> Result<Settings, Failure> {
    for flag in testing.in_use() {
        tracing::warn!(flag, "a switch for tests is in use");
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Settings {
        public_listen: bootstrap.public_listen,
        admin_listen: bootstrap.admin_listen,
        control_plane: bootstrap.api_listen,
        threads,
        intake: Limits {
            head_timeout: bootstrap.intake.head_timeout,
            body_timeout: bootstrap.intake.body_timeout,
            keepalive: bootstrap.intake.keepalive,
            head_bytes_max: bootstrap.intake.head_bytes_max,
            headers_max: bootstrap.intake.headers_max,
            in_flight_bytes_max: bootstrap.intake.in_flight_bytes_max,
        },
        log: log_options(bootstrap),
        egress: egress_settings(bootstrap, testing)?,
        in_flight_max: bootstrap.delivery.in_flight_max,
        lane_concurrency: bootstrap.delivery.lane_concurrency,
        excerpt_bytes_max: bootstrap.delivery.excerpt_bytes_max,
        drain_grace: DRAIN_GRACE,
        seed: rand::random(),
        unsafe_flags: testing.in_use(),
    })
}

fn log_options(bootstrap: &Bootstrap) -> outrider_store::Options {
    let mut options = outrider_store::Options::new(bootstrap.data_dir.join("log"));
    options.segment_bytes = bootstrap.store.segment_bytes;
    options.sync = match bootstrap.store.sync {
        outrider_config::bootstrap::SyncMode::Always => outrider_store::Sync::Always,
        outrider_config::bootstrap::SyncMode::Interval(every) => {
            outrider_store::Sync::Interval(every)
        }
        outrider_config::bootstrap::SyncMode::Off => outrider_store::Sync::Off,
    };
    options.node = bootstrap.store.node;
    options
}

fn egress_settings(
    bootstrap: &Bootstrap,
    testing: &UnsafeArgs,
) -> Result<egress::Settings, Failure> {
    let listeners = [
        bootstrap.public_listen,
        bootstrap.api_listen,
        bootstrap.admin_listen,
    ];
    let mut policy: address::Policy = bootstrap.egress.policy(&listeners);
    for range in &testing.unsafe_egress_allow {
        policy.unsafe_allow(*range);
    }
    let mut settings = egress::Settings::new(policy);
    settings
        .resolve_overrides
        .clone_from(&testing.unsafe_resolve);
    for path in &testing.unsafe_extra_root {
        settings.extra_roots.extend(roots(path)?);
    }
    Ok(settings)
}

fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| format!("cannot read certificates from {}", path.display()))
        .map_err(Failure::configuration)
}

async fn load(control: &ControlPlane, resources: file::File, now_ms: i64) -> Result<(), Failure> {
    let revision = control
        .load_resources(resources, now_ms)
        .await
        .map_err(|error| {
            let failure = match &error {
                ApplyError::Journal(_) => Failure::io,
                _ => Failure::configuration,
            };
            failure(anyhow!(error).context("cannot put the resource file in force"))
        })?;
    match revision {
        Some(revision) => tracing::info!(revision, "resource file is a new revision"),
        None => tracing::info!("resource file holds nothing new"),
    }
    Ok(())
}

/// Why the process ends.
enum End {
    Asked,
    Fatal(Arc<FatalError>),
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
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

    async fn wait(&mut self, fatal: &mut watch::Receiver<Option<Arc<FatalError>>>) -> End {
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
            _ = self.terminate.recv() => End::Asked,
            _ = self.interrupt.recv() => End::Asked,
            error = failed => End::Fatal(error),
        }
    }
}

/// The end came before anything was served: there is nothing to drain.
async fn not_begun(control: Control, end: End) -> Result<(), Failure> {
    control.stop().await;
    match end {
        End::Asked => Ok(()),
        End::Fatal(error) => Err(log_failed(error)),
    }
}

fn log_failed(error: Arc<FatalError>) -> Failure {
    // Nothing more can be made durable; the supervisor starts us again, through recovery.
    Failure::io(anyhow!(error).context("the event log failed"))
}

async fn finish(serving: Serving, control: Control, end: End) -> Result<(), Failure> {
    if let End::Fatal(error) = end {
        return Err(log_failed(error));
    }
    let depth = serving.depth();
    tracing::info!(in_flight = depth.leased, "draining");
    eprintln!("outrider: draining, {} attempt(s) in flight", depth.leased);
    let closed = serving.drain().await;
    control.stop().await;
    closed
        .context("the event log was not closed cleanly")
        .map_err(Failure::io)
}

fn start_failure(error: StartError) -> Failure {
    match &error {
        StartError::Admin { .. } | StartError::Public(_) => Failure::unavailable(error),
        StartError::Log {
            source: OpenError::Locked { .. },
            ..
        } => Failure::unavailable(error),
        StartError::Log { .. }
        | StartError::LogClosed(_)
        | StartError::Index { .. }
        | StartError::Mark { .. } => Failure::io(error),
        StartError::Egress(_) | StartError::Metrics(_) => Failure::configuration(error),
    }
}
