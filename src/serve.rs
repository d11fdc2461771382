//! `outrider serve`: both planes in one process. They still talk xDS, over an in-process
//! connection, so there is one path of configuration and not two.

use anyhow::anyhow;
use outrider_config::bootstrap::Bootstrap;
use outrider_config::file;
use outrider_dataplane::DataPlane;
use outrider_dataplane::state_log::StateKey;
use outrider_xds::Server;
use tokio_util::sync::CancellationToken;

use crate::cli::ServeArgs;
use crate::control::{self, Behind, Front};
use crate::ending::Signals;
use crate::exit::Failure;
use crate::quickstart::Quickstart;
use crate::settings::settings;
use crate::tasks::Tasks;
use crate::{carry, logging, start, state_key};

pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    let bootstrap = bootstrap(&args)?;
    logging::start(&bootstrap.log);
    start::raise_open_files(bootstrap.intake.connections_max);
    let resources = args
        .resources
        .as_deref()
        .map(start::resource_file)
        .transpose()?;
    start::prepare_dir(&bootstrap.data_dir)?;
    // Before signals are taken over: a command that hangs must not outlive a request to end.
    let key = state_key::load(&bootstrap.state_key, &bootstrap.data_dir)?;
    start::runtime()?.block_on(serve(args, bootstrap, key, resources))
}

async fn serve(
    args: ServeArgs,
    mut bootstrap: Bootstrap,
    key: StateKey,
    resources: Option<file::File>,
) -> Result<(), Failure> {
    let clock = start::clock(&args.testing);
    let quickstart = match args.quickstart {
        true => Some(Quickstart::prepare(&mut bootstrap).await?),
        false => None,
    };
    let settings = settings(
        &bootstrap,
        bootstrap.api_listen.to_string(),
        key,
        &args.testing,
    )?;
    let mut signals = Signals::new()?;
    let front = Front::new(&bootstrap, settings.egress.policy.clone()).await?;

    let mut plane = DataPlane::open(settings, clock.clone())
        .await
        .map_err(carry::start_failure)?;
    carry::recovered(&plane);
    let seeded = quickstart.as_ref().map(Quickstart::resources).transpose()?;
    let control = control::open(&bootstrap, resources.or(seeded), clock.now_ms()).await?;
    let mut tasks = Tasks::new(CancellationToken::new());
    let stop = tasks.stop_token();
    let server = Server::new(control.revision_log()).with_offers(front.desk(&control, &clock));
    let (xds, channel) = outrider_xds::serve_in_process(server.clone(), stop.clone());
    carry::connect(&mut plane, channel, bootstrap.store.node, &mut tasks);
    let behind = Behind {
        control,
        server,
        clock,
        index: Some(plane.index()),
    };
    let api = front.serve(behind, stop);
    tasks.add([xds, api]);

    let mut fatal = plane.fatal();
    // Waiting for the first configuration may take as long as it likes; stopping may not.
    let serving = tokio::select! {
        serving = plane.serve() => serving.map_err(carry::start_failure)?,
        end = signals.wait(&mut fatal) => return carry::not_begun(tasks, end).await,
    };
    tracing::info!(public = %bootstrap.public_listen, api = %bootstrap.api_listen, admin = %bootstrap.admin_listen, "serving");

    let story = quickstart.map(|quickstart| tokio::spawn(quickstart.tell(bootstrap.clone())));
    let end = signals.wait_serving(&mut fatal, &serving).await;
    if let Some(story) = story {
        story.abort();
    }
    carry::finish(serving, tasks, end).await
}

fn bootstrap(args: &ServeArgs) -> Result<Bootstrap, Failure> {
    let mut bootstrap = start::bootstrap(&args.bootstrap)?;
    if let Some(address) = args.public_listen {
        bootstrap.listen_publicly_at(address);
    }
    bootstrap.api_listen = args.api_listen.unwrap_or(bootstrap.api_listen);
    bootstrap.admin_listen = args.admin_listen.unwrap_or(bootstrap.admin_listen);
    start::guard_testing(&args.testing, bootstrap.public_listen)?;
    for beside in bootstrap
        .plain_listen()
        .into_iter()
        .chain(bootstrap.egress.forward.listen)
    {
        start::guard_testing(&args.testing, beside)?;
    }
    if args.quickstart && bootstrap.public_tls.is_some() {
        let say = "--quickstart speaks to its own listener without TLS: leave `public.tls` out";
        return Err(Failure::usage(anyhow!(say)));
    }
    if args.quickstart && args.bootstrap.config.is_none() {
        // The story is told on stdout; only what is wrong stands beside it.
        bootstrap.log.level = "warn".into();
    }
    Ok(bootstrap)
}
