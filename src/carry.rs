//! The life of a data plane in a role: connect it to its control plane, serve, drain.

use std::sync::Arc;

use anyhow::Context;
use outrider_dataplane::metrics::Metrics;
use outrider_dataplane::state_log::StateLogError;
use outrider_dataplane::{DataPlane, Serving, StartError};
use outrider_store::OpenError;
use outrider_webhook::id::NodeId;
use outrider_xds::{Channel, Claim, Client, ControlClient, Node};
use tokio::task::JoinHandle;

use crate::ending::{End, listener_lost, log_failed};
use crate::exit::Failure;
use crate::tasks::Tasks;

/// Says what recovery found.
pub(crate) fn recovered(plane: &DataPlane) {
    let found = plane.recovered();
    tracing::info!(events = found.events, pending = found.pending, elapsed = ?found.elapsed, "log recovered");
}

/// Connects the data plane: configuration and commands.
pub(crate) fn connect(plane: &mut DataPlane, channel: Channel, number: NodeId, tasks: &mut Tasks) {
    let claim = Claim {
        number,
        instance: plane.instance(),
    };
    let node = Node {
        id: format!("node-{}", number.get()),
        cluster: "default".into(),
        claim: Some(claim),
    };
    let handler = plane.command_handler();
    let commands = ControlClient::new(channel.clone(), claim, node.clone(), handler);
    if !plane.table().set_head_source(Arc::new(commands.head())) {
        tracing::error!("the table has a head already");
    }
    plane.set_offers(commands.offers());
    let client = Client::new(channel, node, Arc::new(plane.table()));
    let connected = watch_connection(&client, plane.metrics());
    let stop = tasks.stop_token();
    tasks.add([
        tokio::spawn(client.run(stop.clone())),
        tokio::spawn(commands.run(stop)),
        connected,
    ]);
}

/// Keeps the metric of the configuration stream. Ends with the client.
pub(crate) fn watch_connection(client: &Client, metrics: Arc<Metrics>) -> JoinHandle<()> {
    let mut status = client.status();
    tokio::spawn(async move {
        while status.changed().await.is_ok() {
            let is_connected = i64::from(status.borrow().connected);
            metrics.xds_connected.set(is_connected);
        }
    })
}

/// The end came before anything was served: there is nothing to drain.
pub(crate) async fn not_begun(tasks: Tasks, end: End) -> Result<(), Failure> {
    tasks.stop().await;
    match end {
        End::Asked => Ok(()),
        End::Fatal(error) => Err(log_failed(error)),
        End::Unreachable => Err(listener_lost()),
    }
}

/// Drains, unless there is nothing left to trust.
pub(crate) async fn finish(serving: Serving, tasks: Tasks, end: End) -> Result<(), Failure> {
    let ended = match end {
        End::Fatal(error) => return Err(log_failed(error)),
        End::Unreachable => {
            tracing::error!("the public listener has ended");
            Err(listener_lost())
        }
        End::Asked => Ok(()),
    };
    let depth = serving.depth();
    tracing::info!(in_flight = depth.leased, "draining");
    eprintln!("outrider: draining, {} attempt(s) in flight", depth.leased);
    let closed = serving.drain().await;
    tasks.stop().await;
    closed
        .context("the event log was not closed cleanly")
        .map_err(Failure::io)?;
    ended
}

/// The exit code of a data plane that could not start.
pub(crate) fn start_failure(error: StartError) -> Failure {
    match &error {
        StartError::Admin { .. } | StartError::Public(_) | StartError::Forward { .. } => {
            Failure::unavailable(error)
        }
        StartError::Log {
            source: OpenError::Locked { .. },
            ..
        } => Failure::unavailable(error),
        StartError::Log { .. }
        | StartError::LogClosed(_)
        | StartError::Index { .. }
        | StartError::Note { .. }
        | StartError::State(StateLogError::Io { .. }) => Failure::io(error),
        StartError::Tls(_)
        | StartError::State(_)
        | StartError::Egress(_)
        | StartError::Mail(_)
        | StartError::Metrics(_) => Failure::configuration(error),
    }
}
