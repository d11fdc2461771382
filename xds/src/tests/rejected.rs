//! What a client cannot take: NACK, the old table stays, the server tries again later.

use std::sync::Arc;
use std::time::Duration;

use discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use outrider_config::Version;
use outrider_webhook::id::Uid;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::fake::{ControlPlane, DataPlane, Journal, endpoint, endpoints, soon};
use crate::pack::Packer;
use crate::{ClientSettings, ServerSettings};

/// One stream of the scripted server: what came in, and the way out.
struct Script {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
}

impl Script {
    async fn request(&mut self) -> DeltaDiscoveryRequest {
        soon(self.requests.message()).await.unwrap().unwrap()
    }

    /// Sends a response and returns the answer to it.
    async fn exchange(&mut self, mut response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        response.nonce = format!("nonce of {}", response.system_version_info);
        let nonce = response.nonce.clone();
        self.responses.send(Ok(response)).await.unwrap();
        let answer = self.request().await;
        assert_eq!(answer.response_nonce, nonce);
        answer
    }
}

/// A server that does what the test says, to send what ours never would.
struct Scripted(mpsc::Sender<Script>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Scripted {
    type StreamAggregatedResourcesStream =
        ReceiverStream<Result<discovery::DiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, stream) = mpsc::channel(8);
        let requests = request.into_inner();
        let script = Script {
            requests,
            responses,
        };
        self.0.send(script).await.unwrap();
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A client connected to a scripted server, and the script of its first stream.
async fn scripted() -> (DataPlane, Script, mpsc::Receiver<Script>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut scripts) = mpsc::channel(4);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let service = AggregatedDiscoveryServiceServer::new(Scripted(sender));
    let transport = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(transport.serve_with_incoming(incoming));
    let settings = ClientSettings {
        response_timeout: Duration::from_millis(500),
        reconnect_wait_min: Duration::from_millis(10),
        ..ClientSettings::default()
    };
    let channel = crate::channel(&format!("http://{address}"), None).unwrap();
    let data = DataPlane::start_with(&channel, Arc::default(), settings);
    let script = soon(scripts.recv()).await.unwrap();
    (data, script, scripts)
}

fn parts(revision: u64, is_full: bool, count: u128) -> Vec<DeltaDiscoveryResponse> {
    let version = Version {
        journal: Uid::from_bits(5),
        revision,
    };
    let mut packer = Packer::new(version, is_full);
    let mut parts = Vec::new();
    for document in endpoints(count) {
        parts.extend(packer.push(document).unwrap());
    }
    parts.push(packer.finish(version));
    parts
}

#[tokio::test]
async fn an_undecodable_resource_is_a_nack_and_the_table_stays() {
    let (mut data, mut script, _scripts) = scripted().await;
    let first = script.request().await;
    assert_eq!(first.resource_names_subscribe, ["*"]);
    let answer = script.exchange(parts(1, true, 3).remove(0)).await;
    assert!(answer.error_detail.is_none() && answer.node.is_some());

    let mut bad = parts(2, false, 5_000);
    let any = bad[1].resources[3].resource.as_mut().unwrap();
    any.value = b"\xff\xff\xff\xff".to_vec();
    let answers = [
        script.exchange(bad.remove(0)).await,
        script.exchange(bad.remove(0)).await,
        script.exchange(bad.remove(0)).await,
    ];
    assert!(answers[0].error_detail.is_none(), "the first part is fine");
    let detail = answers[1].error_detail.as_ref().unwrap();
    assert_eq!(detail.code, 3);
    assert!(detail.message.contains("is not a valid message"));
    let detail = answers[2].error_detail.as_ref().unwrap();
    assert!(detail.message.contains("rejected"), "{}", detail.message);

    assert_eq!(data.table.resources().len(), 3);
    assert_eq!(data.table.applied().len(), 1);
    let status = data.until(|status| status.rejected == 2).await;
    assert_eq!(status.last_rejected.unwrap().code, "resource_message");
    assert_eq!(status.version.unwrap().revision, 1);

    // The stream goes on: the same revision, repaired, is taken.
    for part in parts(2, false, 5_000) {
        assert!(script.exchange(part).await.error_detail.is_none());
    }
    assert_eq!(data.table.resources().len(), 5_000);
    data.stop().await;
}

#[tokio::test]
async fn a_change_that_fits_no_base_is_a_nack() {
    let (mut data, mut script, _scripts) = scripted().await;
    script.request().await;
    let answer = script.exchange(parts(2, false, 3).remove(0)).await;
    assert!(answer.error_detail.is_some());
    let status = data.until(|status| status.rejected == 1).await;
    assert_eq!(status.last_rejected.unwrap().code, "base");
    assert!(!status.is_synced && status.version.is_none());
    data.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_of_a_transaction_is_left() {
    let (mut data, mut script, mut scripts) = scripted().await;
    script.request().await;
    script.exchange(parts(1, true, 3_000).remove(0)).await;
    // Nothing more comes: the client opens another stream, with nothing applied.
    let mut second = soon(scripts.recv()).await.unwrap();
    let first_request = second.request().await;
    assert!(data.table.applied().is_empty());
    let metadata = crate::node::read(&first_request.node.unwrap());
    assert!(metadata.position.is_none());
    let status = data.until(|status| status.last_error.is_some()).await;
    assert!(status.last_error.unwrap().contains("silent"));
    data.stop().await;
}

#[tokio::test]
async fn a_rejected_revision_stays_visible_and_is_sent_again_until_it_is_repaired() {
    let journal = Journal::new(endpoints(10));
    let settings = ServerSettings {
        rejected_wait_min: Duration::from_millis(20),
        rejected_wait_max: Duration::from_millis(50),
        ..ServerSettings::default()
    };
    let control = ControlPlane::start_with(&journal, settings);
    let client_settings = ClientSettings {
        transaction_bytes_max: 10_000,
        ..ClientSettings::default()
    };
    let mut data = DataPlane::start_with(&control.channel, Arc::default(), client_settings);
    let good = journal.version();
    data.reaches(good).await;

    let rejected = journal.commit(vec![endpoint(3, vec![b' '; 20_000])], &[]);
    let seen = control
        .dataplane("it is sent again and again", |one| {
            one.last_nack.as_ref().is_some_and(|nack| nack.repeats >= 3)
        })
        .await;
    let nack = seen.last_nack.unwrap();
    assert_eq!(nack.version, rejected);
    assert!(
        nack.reason.contains("more than 10000 bytes"),
        "{}",
        nack.reason
    );
    assert_eq!(seen.acked, Some(good));
    assert_eq!(crate::Table::version(&*data.table), Some(good));

    let repaired = journal.commit(vec![endpoint(3, "{}")], &[]);
    let status = data.reaches(repaired).await;
    assert_eq!((status.accepted_full, status.connects), (1, 1));
    assert_eq!(data.table.resources(), journal.resources());
    let seen = control
        .dataplane("the repair is acknowledged", |one| {
            one.acked == Some(repaired)
        })
        .await;
    assert!(seen.last_nack.is_some(), "the last reason stays visible");
    data.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn a_rejected_full_sync_is_tried_again() {
    let journal = Journal::new(endpoints(30_000));
    let settings = ServerSettings {
        rejected_wait_min: Duration::from_millis(10),
        rejected_wait_max: Duration::from_millis(20),
        ..ServerSettings::default()
    };
    let control = ControlPlane::start_with(&journal, settings);
    let client_settings = ClientSettings {
        transaction_resources_max: 5_000,
        ..ClientSettings::default()
    };
    let mut data = DataPlane::start_with(&control.channel, Arc::default(), client_settings);
    control
        .dataplane("it is rejected twice", |one| {
            one.last_nack.as_ref().is_some_and(|nack| nack.repeats >= 2)
        })
        .await;
    assert!(data.table.applied().is_empty());
    let removals: Vec<u128> = (4_000..30_000).collect();
    let version = journal.commit(Vec::new(), &removals);
    data.reaches(version).await;
    assert_eq!(data.table.resources().len(), 4_000);
    data.stop().await;
    control.stop().await;
}
