//! Clients that are slow, silent, foreign or wrong.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::fake::{ControlPlane, DataPlane, Journal, connected, endpoint, endpoints, soon};
use crate::tag::Tag;
use crate::{ServerSettings, TYPE_URL};

/// A client made by hand.
struct Raw {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Raw {
    async fn open(channel: &Channel) -> Self {
        let (requests, outgoing) = mpsc::channel(64);
        let mut service = AggregatedDiscoveryServiceClient::new(channel.clone());
        let opening = service.delta_aggregated_resources(ReceiverStream::new(outgoing));
        let responses = soon(opening).await.unwrap().into_inner();
        Self {
            requests,
            responses,
        }
    }

    async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    async fn receive(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        soon(self.responses.message()).await
    }

    async fn next(&mut self) -> DeltaDiscoveryResponse {
        self.receive().await.unwrap().unwrap()
    }

    async fn ack(&self, response: &DeltaDiscoveryResponse) {
        let nonce = response.nonce.clone();
        self.send(DeltaDiscoveryRequest {
            response_nonce: nonce,
            ..plain()
        })
        .await;
    }

    /// Acknowledges one transaction to its end.
    async fn take(&mut self) -> Vec<DeltaDiscoveryResponse> {
        let mut parts = Vec::new();
        loop {
            let part = self.next().await;
            self.ack(&part).await;
            let tag: Tag = part.system_version_info.parse().unwrap();
            parts.push(part);
            if tag.is_last {
                return parts;
            }
        }
    }

    /// The word the stream ends with.
    async fn end(&mut self) -> Status {
        loop {
            match self.receive().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ends with an error"),
                Err(status) => return status,
            }
        }
    }
}

fn plain() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: TYPE_URL.into(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn subscribe(names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..plain()
    }
}

fn count(parts: &[DeltaDiscoveryResponse]) -> usize {
    parts.iter().map(|part| part.resources.len()).sum()
}

fn impatient() -> ServerSettings {
    ServerSettings {
        answer_timeout: Duration::from_millis(200),
        ..ServerSettings::default()
    }
}

#[tokio::test]
async fn a_client_that_never_acknowledges_is_dropped() {
    // 30,000 documents are more parts than the window has places.
    for documents in [1, 30_000] {
        let journal = Journal::new(endpoints(documents));
        let control = ControlPlane::start_with(&journal, impatient());
        let mut raw = Raw::open(&control.channel).await;
        raw.send(subscribe(&["*"])).await;
        control.dataplane("it is listed", |_| true).await;
        assert_eq!(raw.end().await.code(), Code::DeadlineExceeded);
        control
            .dataplanes("it is gone", |all| all.is_empty().then_some(()))
            .await;
        control.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_dropped() {
    let specs = (0..40).map(|number| endpoint(number, vec![b' '; 900 << 10]));
    let journal = Journal::new(specs.collect());
    let control = ControlPlane::start_with(&journal, impatient());
    let raw = Raw::open(&control.channel).await;
    raw.send(subscribe(&["*"])).await;
    control.dataplane("it is listed", |_| true).await;
    control
        .dataplanes("it is gone", |all| all.is_empty().then_some(()))
        .await;
    // The connection is shared with others, which go on.
    let mut data = DataPlane::start(&control.channel);
    data.reaches(journal.version()).await;
    data.stop().await;
    drop(raw);
    control.stop().await;
}

#[tokio::test]
async fn a_client_that_keeps_others_busy_with_chatter_is_dropped() {
    let journal = Journal::new(endpoints(1));
    let control = ControlPlane::start_with(&journal, impatient());
    let mut raw = Raw::open(&control.channel).await;
    raw.send(subscribe(&["*"])).await;
    // Requests that answer nothing do not buy time.
    let requests = raw.requests.clone();
    let chatter = tokio::spawn(async move {
        while requests.send(plain()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert_eq!(raw.end().await.code(), Code::DeadlineExceeded);
    drop(raw);
    soon(chatter).await.unwrap();
    control.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_dropped() {
    let control = ControlPlane::start_with(&Journal::new(endpoints(1)), impatient());
    let mut raw = Raw::open(&control.channel).await;
    assert_eq!(raw.end().await.code(), Code::DeadlineExceeded);
    assert!(connected(&control.server).is_empty());
    control.stop().await;
}

#[tokio::test]
async fn another_type_or_a_named_subscription_is_refused_with_a_reason() {
    let control = ControlPlane::start(&Journal::new(endpoints(1)));
    let cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    for type_url in ["", cluster] {
        let mut raw = Raw::open(&control.channel).await;
        let request = DeltaDiscoveryRequest {
            type_url: type_url.into(),
            ..subscribe(&["*"])
        };
        raw.send(request).await;
        let status = raw.end().await;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(TYPE_URL));
    }
    let mut raw = Raw::open(&control.channel).await;
    raw.send(subscribe(&["endpoint/1"])).await;
    assert_eq!(raw.end().await.code(), Code::InvalidArgument);
    control.stop().await;
}

#[tokio::test]
async fn the_state_of_the_world_variant_is_refused() {
    let control = ControlPlane::start(&Journal::new(endpoints(1)));
    let mut service = AggregatedDiscoveryServiceClient::new(control.channel.clone());
    let requests = tokio_stream::iter([DiscoveryRequest::default()]);
    let status = soon(service.stream_aggregated_resources(requests)).await;
    assert_eq!(status.unwrap_err().code(), Code::Unimplemented);
    control.stop().await;
}

#[tokio::test]
async fn unknown_nonces_and_a_missing_node_do_no_harm() {
    let journal = Journal::new(endpoints(3));
    let control = ControlPlane::start(&journal);
    let mut raw = Raw::open(&control.channel).await;
    raw.send(subscribe(&[])).await; // the older spelling of the wildcard, and no node
    let part = raw.next().await;
    for nonce in ["", "x", "0", "99", "18446744073709551616"] {
        let request = DeltaDiscoveryRequest {
            response_nonce: nonce.into(),
            ..plain()
        };
        raw.send(request).await;
    }
    raw.ack(&part).await;
    raw.ack(&part).await; // twice
    let version = journal.version();
    control
        .dataplane("the ACK counts", |one| one.acked == Some(version))
        .await;
    journal.commit(vec![endpoint(9, "{}")], &[]);
    assert_eq!(count(&raw.take().await), 1);
    control.stop().await;
}

#[tokio::test]
async fn a_second_subscription_gets_everything_again() {
    let journal = Journal::new(endpoints(2_500));
    let control = ControlPlane::start(&journal);
    let mut raw = Raw::open(&control.channel).await;
    raw.send(subscribe(&["*"])).await;
    assert_eq!(count(&raw.take().await), 2_500);
    for names in [vec!["*"], vec!["endpoint/1"]] {
        raw.send(subscribe(&names)).await;
        assert_eq!(count(&raw.take().await), 2_500);
    }
    control.stop().await;
}

#[tokio::test]
async fn an_unsubscribed_client_is_left_alone_until_it_subscribes_again() {
    let journal = Journal::new(endpoints(3));
    let control = ControlPlane::start(&journal);
    let mut raw = Raw::open(&control.channel).await;
    raw.send(subscribe(&["*"])).await;
    raw.take().await;
    raw.send(DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec!["*".into()],
        ..plain()
    })
    .await;
    // The server reads requests in order: a status that is visible proves the one before it.
    raw.send(DeltaDiscoveryRequest {
        node: Some(crate::node::report(
            &crate::Node {
                id: "raw".into(),
                cluster: String::new(),
                claim: None,
            },
            &[outrider_config::Quarantined {
                kind: outrider_config::Kind::Source,
                uid: endpoint(1, "").uid,
                reason: "marker".into(),
            }],
        )),
        ..plain()
    })
    .await;
    control
        .dataplane("the marker is seen", |one| one.quarantined_total == 1)
        .await;
    journal.commit(vec![endpoint(4, "{}")], &[]);
    let silence = tokio::time::timeout(Duration::from_millis(100), raw.responses.message());
    assert!(silence.await.is_err());
    raw.send(subscribe(&["*"])).await;
    assert_eq!(count(&raw.take().await), 4);
    control.stop().await;
}

#[tokio::test]
async fn a_foreign_client_with_versions_gets_everything_and_the_removals() {
    let journal = Journal::new(endpoints(3));
    let control = ControlPlane::start(&journal);
    let mut raw = Raw::open(&control.channel).await;
    let gone = "endpoint/00000000000000000000000099".to_owned();
    let kept = crate::resource::name_of(endpoint(1, "").kind, endpoint(1, "").uid);
    raw.send(DeltaDiscoveryRequest {
        node: Some(Node {
            id: "foreign".into(),
            ..Node::default()
        }),
        initial_resource_versions: HashMap::from([
            (gone.clone(), "1".to_owned()),
            (kept, "1".to_owned()),
        ]),
        ..subscribe(&["*"])
    })
    .await;
    let parts = raw.take().await;
    assert_eq!(count(&parts), 3);
    assert_eq!(parts[0].removed_resources, [gone]);
    control.stop().await;
}

#[tokio::test]
async fn a_document_too_large_to_push_ends_the_stream_with_its_name() {
    let large = endpoint(5, vec![b' '; 16 << 20]);
    let journal = Journal::new(vec![large]);
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start(&control.channel);
    let status = data.until(|status| status.last_error.is_some()).await;
    let error = status.last_error.unwrap();
    assert!(
        error.contains("endpoint/") && error.contains("bytes"),
        "{error}"
    );
    data.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_the_list() {
    let journal = Journal::new(endpoints(3));
    let control = ControlPlane::start(&journal);
    let mut raw = Raw::open(&control.channel).await;
    raw.send(subscribe(&["*"])).await;
    raw.take().await;
    control.dataplane("it is listed", |_| true).await;
    drop(raw);
    control
        .dataplanes("it is gone", |all| all.is_empty().then_some(()))
        .await;
    control.stop().await;
}
