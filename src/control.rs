//! The control plane of a role: its journal, its API, and its resource file.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use outrider_config::bootstrap::Bootstrap;
use outrider_config::file;
use outrider_controlplane::api::{self, Api, Herald, OfferDesk, Settings};
use outrider_controlplane::{AdminKey, ApplyError, ControlPlane, JournalError};
use outrider_store::{Clock, Index};
use outrider_webhook::address;
use outrider_xds::Server;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// What the API needs beside the planes. Taken first: without it there is no start.
pub(crate) struct Front {
    listener: TcpListener,
    admin_key: AdminKey,
    /// The one that deliveries are judged by.
    egress: address::Policy,
    public_url: String,
}

/// What the API shows and changes.
pub(crate) struct Behind {
    pub(crate) control: ControlPlane,
    pub(crate) server: Server,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where the data plane is in the same process.
    pub(crate) index: Option<Index>,
}

impl Front {
    /// Takes the API's address, and the key of the instance.
    pub(crate) async fn new(
        bootstrap: &Bootstrap,
        egress: address::Policy,
    ) -> Result<Self, Failure> {
        Ok(Self {
            listener: listen(bootstrap.api_listen, "the API").await?,
            admin_key: admin_key(bootstrap)?,
            egress,
            public_url: bootstrap.public_url.clone(),
        })
    }

    /// Takes the endpoints that data planes made.
    pub(crate) fn desk(&self, control: &ControlPlane, clock: &Arc<dyn Clock>) -> Arc<OfferDesk> {
        let (control, egress) = (control.clone(), self.egress.clone());
        Arc::new(OfferDesk::new(control, egress, Arc::clone(clock)))
    }

    /// Serves the API until `stop` fires.
    pub(crate) fn serve(self, behind: Behind, stop: CancellationToken) -> JoinHandle<()> {
        let api = Api::new(Settings {
            control: behind.control,
            server: behind.server,
            clock: behind.clock,
            admin_key: self.admin_key,
            public_url: self.public_url,
            egress: self.egress,
            index: behind.index,
        });
        let herald = Herald::new(api.clone()).run(stop.clone());
        tokio::spawn(async move {
            tokio::join!(serve_api(self.listener, api, stop), herald);
        })
    }
}

/// Takes an address: without it there is no start.
pub(crate) async fn listen(
    address: std::net::SocketAddr,
    what: &str,
) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for {what}"))
        .map_err(Failure::unavailable)
}

/// The key of the instance. A new one is shown this once (RULINGS 37).
fn admin_key(bootstrap: &Bootstrap) -> Result<AdminKey, Failure> {
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

/// Opens the journal, and puts the resource file in force.
pub(crate) async fn open(
    bootstrap: &Bootstrap,
    resources: Option<file::File>,
    now_ms: i64,
) -> Result<ControlPlane, Failure> {
    let control =
        ControlPlane::open(&bootstrap.data_dir.join("control"), now_ms).map_err(|error| {
            let failure = match &error {
                JournalError::Locked(_) => Failure::unavailable,
                _ => Failure::io,
            };
            failure(anyhow!(error).context("cannot open the configuration journal"))
        })?;
    if let Some(resources) = resources {
        load(&control, resources, now_ms).await?;
    }
    Ok(control)
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

async fn serve_api(listener: TcpListener, api: Api, stop: CancellationToken) {
    if let Err(error) = api::serve(listener, api::router(api), stop).await {
        tracing::error!(%error, "the API ended");
    }
}
