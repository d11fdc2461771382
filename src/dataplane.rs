//! `outrider dataplane`: carries the traffic on the configuration that a control plane elsewhere
//! pushes, and on what it kept of it when that one is away.

use anyhow::{Context, anyhow};
use outrider_config::bootstrap::Bootstrap;
use outrider_dataplane::DataPlane;
use outrider_dataplane::state_log::StateKey;
use outrider_xds::{Channel, channel};
use tokio_util::sync::CancellationToken;

use crate::cli::DataPlaneArgs;
use crate::ending::Signals;
use crate::exit::Failure;
use crate::settings::settings;
use crate::tasks::Tasks;
use crate::{carry, logging, start, state_key};

pub(crate) fn run(args: DataPlaneArgs) -> Result<(), Failure> {
    let bootstrap = bootstrap(&args)?;
    logging::start(&bootstrap.log);
    start::raise_open_files(bootstrap.intake.connections_max);
    start::prepare_dir(&bootstrap.data_dir)?;
    // Before signals are taken over: a command that hangs must not outlive a request to end.
    let key = state_key::load(&bootstrap.state_key, &bootstrap.data_dir)?;
    start::runtime()?.block_on(serve(args, bootstrap, key))
}

async fn serve(args: DataPlaneArgs, bootstrap: Bootstrap, key: StateKey) -> Result<(), Failure> {
    let clock = start::clock(&args.testing);
    let mut signals = Signals::new()?;
    let channel = control_plane(&bootstrap)?;
    let api = bootstrap.control_plane.api.clone();
    if !bootstrap.control_plane.is_api_local() {
        tracing::warn!(%api, "what the API is asked, keys included, is passed on in clear text: keep the way to it private");
    }
    let mut settings = settings(&bootstrap, api, key.clone(), &args.testing)?;
    settings.state = Some((bootstrap.data_dir.join("state"), key));

    let mut plane = DataPlane::open(settings, clock)
        .await
        .map_err(carry::start_failure)?;
    carry::recovered(&plane);
    let revision = plane
        .table()
        .load()
        .version()
        .map(|version| version.revision);
    match revision {
        Some(revision) => tracing::info!(revision, "configuration from disk"),
        None => {
            tracing::warn!(control_plane = %bootstrap.control_plane.xds, "no configuration on disk: waiting for the control plane")
        }
    }
    let mut tasks = Tasks::new(CancellationToken::new());
    carry::connect(&mut plane, channel, bootstrap.store.node, &mut tasks);

    let mut fatal = plane.fatal();
    // Waiting for the first configuration may take as long as it likes; stopping may not.
    let serving = tokio::select! {
        serving = plane.serve() => serving.map_err(carry::start_failure)?,
        end = signals.wait(&mut fatal) => return carry::not_begun(tasks, end).await,
    };
    tracing::info!(public = %bootstrap.public_listen, admin = %bootstrap.admin_listen, control_plane = %bootstrap.control_plane.xds, "serving");
    let end = signals.wait_serving(&mut fatal, &serving).await;
    carry::finish(serving, tasks, end).await
}

/// The way to the control plane. It is not used before the runtime is, and whenever it broke.
pub(crate) fn control_plane(bootstrap: &Bootstrap) -> Result<Channel, Failure> {
    let target = &bootstrap.control_plane;
    let tls = target.tls.as_ref().map(start::tls).transpose()?;
    channel(&target.xds, tls.as_ref())
        .with_context(|| format!("control_plane.xds: {}", target.xds))
        .map_err(Failure::configuration)
}

fn bootstrap(args: &DataPlaneArgs) -> Result<Bootstrap, Failure> {
    let mut bootstrap = start::bootstrap(&args.bootstrap)?;
    if let Some(address) = args.public_listen {
        bootstrap.listen_publicly_at(address);
    }
    bootstrap.admin_listen = args.admin_listen.unwrap_or(bootstrap.admin_listen);
    if let Some(xds) = &args.control_plane {
        let moved = bootstrap.control_plane.move_to(xds);
        moved.map_err(|say| Failure::usage(anyhow!("--control-plane: {say}")))?;
    }
    if let Some(api) = &args.control_plane_api {
        let moved = bootstrap.control_plane.move_api_to(api);
        moved.map_err(|say| Failure::usage(anyhow!("--control-plane-api: {say}")))?;
    }
    start::guard_testing(&args.testing, bootstrap.public_listen)?;
    for beside in bootstrap
        .plain_listen()
        .into_iter()
        .chain(bootstrap.egress.forward.listen)
    {
        start::guard_testing(&args.testing, beside)?;
    }
    Ok(bootstrap)
}
