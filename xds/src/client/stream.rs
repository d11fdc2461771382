//! One connection of the client: responses in, transactions applied, answers out.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use envoy_types::pb::google::rpc;
use outrider_config::{Quarantined, Transaction, Version};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Streaming};
use tracing::{debug, error, info, warn};

use super::{Client, Rejection};
use crate::MESSAGE_BYTES_MAX;
use crate::assemble::{Assembler, RejectError};
use crate::node;
use crate::resource::TYPE_URL;
use crate::table::NotDurable;

/// Requests that may wait to be written. The server's window keeps it from ever filling.
const REQUESTS_MAX: usize = 16;

/// Why a connection ended, other than by our own wish.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("{}", crate::tls::status(.0))]
    Status(#[from] tonic::Status),
    #[error("the control plane closed the stream")]
    Closed,
    #[error("the control plane was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("the table failed while it applied a transaction")]
    Table(#[source] tokio::task::JoinError),
    #[error(transparent)]
    NotDurable(#[from] NotDurable),
}

/// An open stream.
pub(super) struct Stream {
    responses: Streaming<DeltaDiscoveryResponse>,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    assembler: Assembler,
    held: Option<Version>,
    is_synced: bool,
}

impl Stream {
    /// Opens the stream and says where the table stands. `None` when `shutdown` came first.
    pub(super) async fn open(
        client: &Client,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, StreamError> {
        let held = client.table.version();
        let (requests, outgoing) = mpsc::channel(REQUESTS_MAX);
        let first = DeltaDiscoveryRequest {
            node: Some(node::introduction(&client.node, held)),
            type_url: TYPE_URL.to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            ..DeltaDiscoveryRequest::default()
        };
        requests.try_send(first).map_err(|_| StreamError::Closed)?;
        let mut service = AggregatedDiscoveryServiceClient::new(client.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let limit = client.settings.response_timeout;
        let opening = service.delta_aggregated_resources(ReceiverStream::new(outgoing));
        let response = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            response = timeout(limit, opening) => response.map_err(|_| StreamError::Silent(limit))??,
        };
        info!(
            snapshot_version = held.map(|held| held.revision),
            "configuration stream opened"
        );
        client.status.send_modify(|status| {
            status.connected = true;
            status.connects = status.connects.saturating_add(1);
        });
        Ok(Some(Self {
            responses: response.into_inner(),
            requests,
            assembler: Assembler::new(client.settings.limits()),
            held,
            is_synced: false,
        }))
    }

    /// Takes one response and answers it. `false` when `shutdown` came first.
    pub(super) async fn step(
        &mut self,
        client: &Client,
        shutdown: &CancellationToken,
    ) -> Result<bool, StreamError> {
        let limit = client.settings.response_timeout;
        // A stream at rest may be silent; dead connections are found by the transport's pings.
        let is_owed = !self.is_synced || self.assembler.is_filling();
        // All arms are cancel-safe: a token, a timer, a stream that keeps what it has read.
        let response = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(false),
            response = self.responses.message() => response?.ok_or(StreamError::Closed)?,
            () = sleep(limit), if is_owed => return Err(StreamError::Silent(limit)),
        };
        let answer = self.take(client, response).await?;
        match timeout(limit, self.requests.send(answer)).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(_)) => Err(StreamError::Closed),
            Err(_) => Err(StreamError::Silent(limit)),
        }
    }

    async fn take(
        &mut self,
        client: &Client,
        response: DeltaDiscoveryResponse,
    ) -> Result<DeltaDiscoveryRequest, StreamError> {
        let nonce = response.nonce.clone();
        let tag: String = response.system_version_info.chars().take(128).collect();
        let answer = DeltaDiscoveryRequest {
            type_url: TYPE_URL.to_owned(),
            response_nonce: nonce,
            ..DeltaDiscoveryRequest::default()
        };
        match self.assembler.accept(response, self.held) {
            Ok(None) => Ok(answer),
            Ok(Some(transaction)) => {
                let quarantined = self.apply(client, transaction).await?;
                Ok(DeltaDiscoveryRequest {
                    node: Some(node::report(&client.node, &quarantined)),
                    ..answer
                })
            }
            Err(error) => Ok(DeltaDiscoveryRequest {
                error_detail: Some(reject(client, tag, &error)),
                ..answer
            }),
        }
    }

    /// Puts the transaction in force. Not interrupted: once begun, it is finished and known.
    async fn apply(
        &mut self,
        client: &Client,
        transaction: Transaction,
    ) -> Result<Vec<Quarantined>, StreamError> {
        let (version, is_full) = (transaction.version, transaction.is_full);
        let count = transaction.upserts.len() + transaction.removals.len();
        let table = Arc::clone(&client.table);
        let quarantined = spawn_blocking(move || table.apply(transaction))
            .await
            .map_err(StreamError::Table)??;
        self.held = Some(version);
        self.is_synced = true;
        if quarantined.is_empty() {
            debug!(
                snapshot_version = version.revision,
                is_full, count, "transaction applied"
            );
        } else {
            let number = quarantined.len();
            warn!(
                snapshot_version = version.revision,
                is_full,
                count,
                quarantined = number,
                "transaction applied in part"
            );
        }
        client.status.send_modify(|status| {
            status.version = Some(version);
            status.is_synced = true;
            status.quarantined.clone_from(&quarantined);
            status.accepted = status.accepted.saturating_add(1);
            status.accepted_full = status.accepted_full.saturating_add(u64::from(is_full));
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            status.resources = status.resources.saturating_add(count);
        });
        Ok(quarantined)
    }
}

/// Records a rejection and makes the detail of its NACK.
fn reject(client: &Client, tag: String, error: &RejectError) -> rpc::Status {
    let reason = reason_of(error);
    error!(%tag, code = error.code(), %reason, "a response is rejected");
    client.status.send_modify(|status| {
        status.rejected = status.rejected.saturating_add(1);
        // A later part of a rejected transaction: the first reason is the one that counts.
        if !matches!(error, RejectError::Rejected) || status.last_rejected.is_none() {
            status.last_rejected = Some(Rejection {
                tag,
                code: error.code(),
                reason: reason.clone(),
            });
        }
    });
    rpc::Status {
        code: i32::from(Code::InvalidArgument),
        message: reason,
        details: Vec::new(),
    }
}

/// The error with its causes, in one line.
fn reason_of(error: &RejectError) -> String {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason.push_str(": ");
        reason.push_str(&error.to_string());
        cause = error.source();
    }
    reason
}
