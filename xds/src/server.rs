//! The server half: one [`Server`] per control plane, one session per connected data plane.

mod registry;
mod session;

use std::sync::Arc;
use std::time::Duration;

use discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use outrider_config::Version;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use crate::MESSAGE_BYTES_MAX;
use crate::control::{Commands, ControlService, OfferHandler};
use crate::log::RevisionLog;
pub(crate) use registry::Registry;
use session::Session;

pub use registry::{DataplaneStatus, Link, Nack};

/// Responses of one transaction that may wait for their ACK at a time.
const WINDOW: usize = 8;

/// Times the server keeps.
#[derive(Debug, Clone, Copy)]
pub struct ServerSettings {
    /// A client that owes an answer (its first request, an ACK) and does not give it within
    /// this time is disconnected. Default 30 s.
    pub answer_timeout: Duration,
    /// Wait before a rejected revision is sent again; doubles with each rejection. Default 1 s.
    pub rejected_wait_min: Duration,
    /// Where the doubling ends. Default 30 s.
    pub rejected_wait_max: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            answer_timeout: Duration::from_secs(30),
            rejected_wait_min: Duration::from_secs(1),
            rejected_wait_max: Duration::from_secs(30),
        }
    }
}

/// Pushes a revision journal to data planes. A handle: clones share the list of connections.
#[derive(Clone)]
pub struct Server {
    log: Arc<dyn RevisionLog>,
    registry: Arc<Registry>,
    commands: Commands,
    offers: Option<Arc<dyn OfferHandler>>,
    settings: ServerSettings,
}

impl Server {
    /// A server of this journal.
    #[must_use]
    pub fn new(log: Arc<dyn RevisionLog>) -> Self {
        Self::with_settings(log, ServerSettings::default())
    }

    /// A server with other times than the defaults.
    #[must_use]
    pub fn with_settings(log: Arc<dyn RevisionLog>, settings: ServerSettings) -> Self {
        Self {
            log,
            registry: Arc::default(),
            commands: Commands::default(),
            offers: None,
            settings,
        }
    }

    /// Has this decide about endpoints that data planes offer. Without it they offer in vain.
    #[must_use]
    pub fn with_offers(mut self, handler: Arc<dyn OfferHandler>) -> Self {
        self.offers = Some(handler);
        self
    }

    /// The data planes that are connected, and that were, and how far each of them is.
    #[must_use]
    pub fn dataplanes(&self) -> Vec<DataplaneStatus> {
        self.registry.list()
    }

    /// The way to send commands to the data planes.
    #[must_use]
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// How many connected data planes have not acknowledged `version` yet, after waiting at most
    /// `limit` for all of them. Only those that hold a version of its journal count: one that is
    /// still at its first sync is not waited for (RULINGS 14).
    pub async fn in_force(&self, version: Version, limit: Duration) -> usize {
        let mut moved = self.registry.moved(); // before the first look: no move is missed
        let all = async {
            while self.registry.behind(version) > 0 {
                if moved.changed().await.is_err() {
                    break; // the registry is gone, and its connections with it
                }
            }
        };
        // Who is still behind at the limit is the answer, not an error.
        let _ = timeout(limit, all).await;
        self.registry.behind(version)
    }

    /// The command service for one transport; ends like [`Server::service`].
    pub(crate) fn control_service(
        &self,
        shutdown: CancellationToken,
        sessions: TaskTracker,
    ) -> ControlService {
        ControlService {
            commands: self.commands.clone(),
            registry: Arc::clone(&self.registry),
            head: self.log.head(),
            offers: self.offers.clone(),
            answer_timeout: self.settings.answer_timeout,
            shutdown,
            sessions,
        }
    }

    /// The gRPC service for one transport. Its sessions end when `shutdown` fires; whoever
    /// serves it waits for `sessions` after that.
    pub(crate) fn service(
        &self,
        shutdown: CancellationToken,
        sessions: TaskTracker,
    ) -> AggregatedDiscoveryServiceServer<Ads> {
        let ads = Ads {
            server: self.clone(),
            shutdown,
            sessions,
        };
        AggregatedDiscoveryServiceServer::new(ads).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// The service of one transport.
pub(crate) struct Ads {
    server: Server,
    shutdown: CancellationToken,
    sessions: TaskTracker,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream =
        ReceiverStream<Result<discovery::DiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "only DeltaAggregatedResources is served here",
        ))
    }

    type DeltaAggregatedResourcesStream =
        ReceiverStream<Result<discovery::DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        // One place beyond the window: the last word, an error, must always fit.
        let (responses, stream) = mpsc::channel(WINDOW + 1);
        let session = Session::new(
            &self.server,
            self.shutdown.clone(),
            request.into_inner(),
            responses,
        );
        self.sessions.spawn(session.run());
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
