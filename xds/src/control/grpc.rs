//! The gRPC service and its client by hand: what a protocol compiler would write.
//!
//! One bidirectional stream is little enough that no compiler is needed to build this crate.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use outrider_config::Version;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{NamedService, StreamingService};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::commands::{Commands, QUEUED_MAX};
use super::offer::OfferHandler;
use super::session::Session;
use super::wire::{CONTROL_BYTES_MAX, FromNode, SERVICE, SESSION_PATH, ToNode};
use crate::server::Registry;

/// The service of one transport.
#[derive(Clone)]
pub(crate) struct ControlService {
    pub(crate) commands: Commands,
    /// Who has which number.
    pub(crate) registry: Arc<Registry>,
    pub(crate) head: watch::Receiver<Version>,
    /// Who decides about endpoints that data planes offer.
    pub(crate) offers: Option<Arc<dyn OfferHandler>>,
    /// How long a client may take to introduce itself.
    pub(crate) answer_timeout: Duration,
    pub(crate) shutdown: CancellationToken,
    pub(crate) sessions: TaskTracker,
}

impl NamedService for ControlService {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for ControlService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != SESSION_PATH {
            let status = Status::unimplemented("only Session is served here");
            return Box::pin(ready(Ok(status.into_http())));
        }
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::default())
                .max_decoding_message_size(CONTROL_BYTES_MAX);
            Ok(grpc.streaming(service, request).await)
        })
    }
}

impl StreamingService<FromNode> for ControlService {
    type Response = ToNode;
    type ResponseStream = ReceiverStream<Result<ToNode, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<FromNode>>) -> Self::Future {
        let (responses, stream) = mpsc::channel(QUEUED_MAX);
        let session = Session::new(self, request.into_inner(), responses);
        self.sessions.spawn(session.run());
        ready(Ok(Response::new(ReceiverStream::new(stream))))
    }
}

/// Opens a session: `requests` go up, and what is returned comes down. The caller sets the time limit.
pub(crate) async fn open(
    channel: Channel,
    requests: mpsc::Receiver<FromNode>,
) -> Result<Streaming<ToNode>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(CONTROL_BYTES_MAX);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let codec: ProstCodec<FromNode, ToNode> = ProstCodec::default();
    let path = PathAndQuery::from_static(SESSION_PATH);
    let request = Request::new(ReceiverStream::new(requests));
    Ok(grpc.streaming(request, path, codec).await?.into_inner())
}
