//! The control plane beside the data plane: its API, and the two streams between the planes.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use outrider_config::bootstrap::Bootstrap;
use outrider_controlplane::api::{self, Api, Settings};
use outrider_controlplane::{AdminKey, ControlPlane};
use outrider_dataplane::DataPlane;
use outrider_store::Clock;
use outrider_webhook::address;
use outrider_xds::{Client, ControlClient, Node, Server};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// The tasks of the control plane.
pub(super) struct Control {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// What the API needs beside the planes.
pub(super) struct Front {
    pub(super) listener: TcpListener,
    pub(super) admin_key: AdminKey,
    /// The one of the data plane.
    pub(super) egress: address::Policy,
}

/// Takes the API's address: without it there is no start.
pub(super) async fn listen(bootstrap: &Bootstrap) -> Result<TcpListener, Failure> {
    let address = bootstrap.api_listen;
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for the API"))
        .map_err(Failure::unavailable)
}

/// The key of the instance. A new one is shown this once (RULINGS 37).
pub(super) fn admin_key(bootstrap: &Bootstrap) -> Result<AdminKey, Failure> {
    let dir = &bootstrap.data_dir;
    let (key, made) = AdminKey::load_or_create(dir)
        .map_err(|error| Failure::io(anyhow!(error).context("there is no instance-admin key")))?;
    if let Some(token) = made {
        eprintln!(
            "outrider: the instance-admin key, shown this once: {}",
            token.expose()
        );
        eprintln!(
            "outrider: it is kept in {}",
            dir.join("admin-key").display()
        );
    }
    Ok(key)
}

impl Control {
    /// Serves the API, and connects the data plane: configuration and commands over xDS, in
    /// process.
    pub(super) fn start(
        control: ControlPlane,
        plane: &DataPlane,
        bootstrap: &Bootstrap,
        clock: Arc<dyn Clock>,
        front: Front,
    ) -> Self {
        let stop = CancellationToken::new();
        let server = Server::new(control.revision_log());
        let (xds, channel) = outrider_xds::serve_in_process(server.clone(), stop.clone());
        let node = Node {
            id: format!("node-{}", bootstrap.store.node.get()),
            cluster: "default".into(),
        };
        let commands = ControlClient::new(
            channel.clone(),
            bootstrap.store.node,
            node.clone(),
            plane.command_handler(),
        );
        if !plane.table().set_head_source(Arc::new(commands.head())) {
            tracing::error!("the table has a head already");
        }
        let client = Client::new(channel, node, Arc::new(plane.table()));
        let connected = watch_connection(&client, plane);
        let api = Api::new(Settings {
            control,
            server,
            clock,
            admin_key: front.admin_key,
            public_url: bootstrap.public_url.clone(),
            egress: front.egress,
            index: Some(plane.index()),
        });
        let tasks = vec![
            tokio::spawn(serve_api(front.listener, api, stop.clone())),
            tokio::spawn(client.run(stop.clone())),
            tokio::spawn(commands.run(stop.clone())),
            xds,
            connected,
        ];
        Self { stop, tasks }
    }

    /// Ends all of it, in good order.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            if task.await.is_err() {
                tracing::error!("a task of the control plane ended with a panic");
            }
        }
    }
}

async fn serve_api(listener: TcpListener, api: Api, stop: CancellationToken) {
    if let Err(error) = api::serve(listener, api::router(api), stop).await {
        tracing::error!(%error, "the API ended");
    }
}

/// Keeps the metric of the configuration stream. Ends with the client.
fn watch_connection(client: &Client, plane: &DataPlane) -> JoinHandle<()> {
    let (mut status, metrics) = (client.status(), plane.metrics());
    tokio::spawn(async move {
        while status.changed().await.is_ok() {
            let is_connected = i64::from(status.borrow().connected);
            metrics.xds_connected.set(is_connected);
        }
    })
}
