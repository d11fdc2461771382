//! `outrider controlplane`: the configuration, its API, and its publication over xDS.

use outrider_config::bootstrap::Bootstrap;
use outrider_config::file;
use outrider_xds::{ServeError, Server, Tls, serve_tcp};
use tokio_util::sync::CancellationToken;

use crate::cli::ControlPlaneArgs;
use crate::control::{self, Behind, Front};
use crate::ending::Signals;
use crate::exit::Failure;
use crate::settings::policy;
use crate::tasks::Tasks;
use crate::{logging, start};

pub(crate) fn run(args: ControlPlaneArgs) -> Result<(), Failure> {
    let bootstrap = bootstrap(&args)?;
    logging::start(&bootstrap.log);
    let resources = args
        .resources
        .as_deref()
        .map(start::resource_file)
        .transpose()?;
    let tls = bootstrap.xds.tls.as_ref().map(start::tls).transpose()?;
    start::runtime()?.block_on(serve(args, bootstrap, resources, tls))
}

async fn serve(
    args: ControlPlaneArgs,
    bootstrap: Bootstrap,
    resources: Option<file::File>,
    tls: Option<Tls>,
) -> Result<(), Failure> {
    args.testing.warn();
    let clock = start::clock(&args.testing);
    start::prepare_dir(&bootstrap.data_dir)?;
    let mut signals = Signals::new()?;
    let front = Front::new(&bootstrap, policy(&bootstrap, &args.testing)).await?;
    let listener = control::listen(bootstrap.xds.listen, "xDS").await?;
    let control = control::open(&bootstrap, resources, clock.now_ms()).await?;

    let mut tasks = Tasks::new(CancellationToken::new());
    let stop = tasks.stop_token();
    let server = Server::new(control.revision_log()).with_offers(front.desk(&control, &clock));
    let mut xds = tokio::spawn(serve_tcp(server.clone(), listener, tls, stop.clone()));
    let behind = Behind {
        control,
        server,
        clock,
        index: None,
    };
    tasks.add([front.serve(behind, stop)]);
    tracing::info!(api = %bootstrap.api_listen, xds = %bootstrap.xds.listen, "serving");

    let ended = tokio::select! {
        () = signals.asked() => None,
        ended = &mut xds => Some(ended),
    };
    tasks.stop().await;
    let ended = match ended {
        Some(ended) => ended,
        None => xds.await,
    };
    match ended {
        Ok(ended) => ended.map_err(xds_failure),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn xds_failure(error: ServeError) -> Failure {
    match &error {
        ServeError::NotLoopback(_) | ServeError::Transport(_) => Failure::configuration(error),
        ServeError::Listener(_) => Failure::unavailable(error),
    }
}

fn bootstrap(args: &ControlPlaneArgs) -> Result<Bootstrap, Failure> {
    let mut bootstrap = start::bootstrap(&args.bootstrap)?;
    bootstrap.api_listen = args.api_listen.unwrap_or(bootstrap.api_listen);
    bootstrap.xds.listen = args.xds_listen.unwrap_or(bootstrap.xds.listen);
    let xds = &bootstrap.xds;
    if xds.tls.is_none() && !xds.listen.ip().is_loopback() {
        // Said before anything is made.
        return Err(xds_failure(ServeError::NotLoopback(xds.listen)));
    }
    start::guard_testing(&args.testing, bootstrap.api_listen)?;
    start::guard_testing(&args.testing, bootstrap.xds.listen)?;
    Ok(bootstrap)
}
