//! A control plane that says what ours never would: of a newer version, or wrong.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use outrider_webhook::id::Uid;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::control::Commanded;
use super::fake::soon;
use crate::Outcome;
use crate::control::wire::{CommandFields, ControlSaid, FromNode, NodeSaid, SERVICE, ToNode};

/// One session: what came in, and the way out.
struct Script {
    requests: Streaming<FromNode>,
    responses: mpsc::Sender<Result<ToNode, Status>>,
}

impl Script {
    async fn said(&mut self) -> NodeSaid {
        let message = soon(self.requests.message()).await.unwrap();
        message.unwrap().said.unwrap()
    }

    async fn say(&self, said: Option<ControlSaid>) {
        self.responses.send(Ok(ToNode { said })).await.unwrap();
    }
}

#[derive(Clone)]
struct Scripted(mpsc::Sender<Script>);

impl NamedService for Scripted {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Scripted {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
            Ok(grpc.streaming(service, request).await)
        })
    }
}

impl StreamingService<FromNode> for Scripted {
    type Response = ToNode;
    type ResponseStream = ReceiverStream<Result<ToNode, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<FromNode>>) -> Self::Future {
        let (responses, stream) = mpsc::channel(8);
        let requests = request.into_inner();
        let script = Script {
            requests,
            responses,
        };
        self.0.try_send(script).ok().unwrap();
        ready(Ok(Response::new(ReceiverStream::new(stream))))
    }
}

/// A client connected to a scripted control plane, and its sessions.
async fn scripted() -> (Commanded, mpsc::Receiver<Script>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, scripts) = mpsc::channel(4);
    let serving = tonic::transport::Server::builder()
        .add_service(Scripted(sender))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    let channel = crate::channel(&format!("http://{address}"), None).unwrap();
    (Commanded::start(&channel, 7), scripts)
}

fn command_without_action(id: &[u8]) -> Option<ControlSaid> {
    Some(ControlSaid::Command(CommandFields {
        id: id.to_vec(),
        action: None,
    }))
}

#[tokio::test]
async fn a_command_of_an_unknown_kind_is_refused_and_the_session_stays() {
    let (mut data, mut scripts) = scripted().await;
    let mut script = soon(scripts.recv()).await.unwrap();
    assert!(matches!(script.said().await, NodeSaid::Hello(hello) if hello.number == 7));
    script.say(None).await; // a message of a kind that does not exist yet
    script.say(command_without_action(&[1; 16])).await;
    let NodeSaid::Outcome(outcome) = script.said().await else {
        panic!("the command is answered");
    };
    let (id, outcome) = outcome.read().unwrap();
    assert_eq!(id, Uid::from_bits(u128::from_be_bytes([1; 16])));
    let Outcome::Refused { code, .. } = outcome else {
        panic!("the command is refused");
    };
    assert_eq!(code, "unknown_kind");
    assert!(data.runs.try_recv().is_err() && scripts.try_recv().is_err());
    drop(script);
    data.stop().await;
}

#[tokio::test]
async fn a_control_plane_that_sends_nonsense_is_left_and_tried_again() {
    let (data, mut scripts) = scripted().await;
    let mut script = soon(scripts.recv()).await.unwrap();
    script.said().await;
    script.say(command_without_action(&[1; 17])).await;
    let mut second = soon(scripts.recv()).await.unwrap();
    assert!(matches!(second.said().await, NodeSaid::Hello(_)));
    drop((script, second));
    data.stop().await;
}
