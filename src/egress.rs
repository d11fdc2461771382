//! `outrider egress`: the forward proxy on the machines that own the source addresses. Projects and
//! pools come from the control plane; what was kept of them serves while that is away.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::anyhow;
use outrider_config::bootstrap::Bootstrap;
use outrider_dataplane::forward::{EgressPlane, PlaneSettings};
use outrider_dataplane::state_log::StateKey;
use outrider_xds::{Client, Node};
use tokio_util::sync::CancellationToken;

use crate::cli::EgressArgs;
use crate::dataplane::control_plane;
use crate::ending::Signals;
use crate::exit::Failure;
use crate::proxy::listener;
use crate::settings::egress_settings;
use crate::tasks::Tasks;
use crate::{carry, logging, start, state_key};

const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3128);

pub(crate) fn run(args: EgressArgs) -> Result<(), Failure> {
    let (bootstrap, listen) = bootstrap(&args)?;
    logging::start(&bootstrap.log);
    start::raise_open_files(bootstrap.egress.forward.connections_max);
    start::prepare_dir(&bootstrap.data_dir)?;
    // Before signals are taken over: a command that hangs must not outlive a request to end.
    let key = state_key::load(&bootstrap.state_key, &bootstrap.data_dir)?;
    start::runtime()?.block_on(serve(args, bootstrap, listen, key))
}

async fn serve(
    args: EgressArgs,
    bootstrap: Bootstrap,
    listen: SocketAddr,
    key: StateKey,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let channel = control_plane(&bootstrap)?;
    args.testing.warn();
    let Some(forward) = listener(&bootstrap, Some(listen))? else {
        return Err(Failure::usage(anyhow!("no address to listen on")));
    };
    let settings = PlaneSettings {
        forward,
        egress: egress_settings(&bootstrap, &args.testing)?,
        admin_listen: bootstrap.admin_listen,
        state: (bootstrap.data_dir.join("state"), key),
        unsafe_flags: args.testing.in_use(),
    };
    let plane = EgressPlane::open(settings, start::clock(&args.testing))
        .await
        .map_err(carry::start_failure)?;
    match plane.version() {
        Some(version) => tracing::info!(version.revision, "configuration from disk"),
        None => {
            tracing::warn!(control_plane = %bootstrap.control_plane.xds, "no configuration on disk: waiting for the control plane");
        }
    }
    let mut tasks = Tasks::new(CancellationToken::new());
    let node = Node {
        id: format!("egress-{}", bootstrap.store.node.get()),
        cluster: "egress".into(),
        claim: None, // it makes no ids of events
    };
    let client = Client::new(channel, node, Arc::new(plane.table()));
    let connected = carry::watch_connection(&client, plane.metrics());
    let stop = tasks.stop_token();
    tasks.add([tokio::spawn(client.run(stop)), connected]);

    // Waiting for the first configuration may take as long as it likes; stopping may not.
    let serving = tokio::select! {
        serving = plane.serve() => serving.map_err(carry::start_failure)?,
        () = signals.asked() => {
            tasks.stop().await;
            return Ok(());
        }
    };
    tracing::info!(%listen, admin = %bootstrap.admin_listen, control_plane = %bootstrap.control_plane.xds, "serving");
    signals.asked().await;
    eprintln!("outrider: draining; ask again to cut what is left");
    let cut = CancellationToken::new();
    let asked_again = {
        let cut = cut.clone();
        async move {
            signals.asked().await;
            cut.cancel();
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = serving.drain(cut) => {}
        () = asked_again => {}
    }
    tasks.stop().await;
    Ok(())
}

fn bootstrap(args: &EgressArgs) -> Result<(Bootstrap, SocketAddr), Failure> {
    let mut bootstrap = start::bootstrap(&args.bootstrap)?;
    bootstrap.admin_listen = args.admin_listen.unwrap_or(bootstrap.admin_listen);
    if let Some(xds) = &args.control_plane {
        let moved = bootstrap.control_plane.move_to(xds);
        moved.map_err(|say| Failure::usage(anyhow!("--control-plane: {say}")))?;
    }
    let forward = &mut bootstrap.egress.forward;
    let listen = args.listen.or(forward.listen).unwrap_or(DEFAULT_LISTEN);
    let fits = forward.fits(listen);
    fits.map_err(|say| Failure::usage(anyhow!("listening on {listen} {say}")))?;
    forward.listen = Some(listen);
    start::guard_testing(&args.testing, listen)?;
    Ok((bootstrap, listen))
}
