//! What the client says after its first request: answers to responses, and changes of what it wants.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tracing::{debug, error, warn};

use super::{End, REASON_CHARS_MAX, Session};
use crate::node;
use crate::resource::TYPE_URL;
use crate::server::registry::Nack;

impl Session {
    pub(super) async fn next_answer(&mut self) -> Result<(), End> {
        let request = self.next_request(self.answer_due).await?;
        self.handle(request)
    }

    pub(super) async fn next_request(
        &mut self,
        due: Instant,
    ) -> Result<DeltaDiscoveryRequest, End> {
        // Cancel-safe: a token, a timer, and a stream that keeps what it has read.
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(End::Shutdown),
            () = self.replaced.cancelled() => Err(replaced()),
            request = self.requests.message() => received(request),
            () = sleep_until(due) => Err(too_slow("answer", self.settings.answer_timeout)),
        }
    }

    /// Takes a request after the first: an answer, a change of the subscription, or both.
    pub(super) fn handle(&mut self, request: DeltaDiscoveryRequest) -> Result<(), End> {
        check_type(&request)?;
        if let Some(report) = request
            .node
            .as_ref()
            .and_then(|node| node::read(node).quarantine)
        {
            if report.total > 0 {
                warn!(node = %self.node_id, quarantined = report.total, "data plane quarantines resources");
            }
            self.update(|status| {
                status.quarantined = report.listed;
                status.quarantined_total = report.total;
            });
        }
        if !request.resource_names_subscribe.is_empty() {
            // The protocol: what is subscribed must be sent, also when it was sent before.
            self.is_subscribed = true;
            self.is_full_wanted = true;
        } else if request
            .resource_names_unsubscribe
            .iter()
            .any(|name| name == "*")
        {
            self.is_subscribed = false;
        }
        if !request.response_nonce.is_empty() {
            self.answered(&request);
        }
        Ok(())
    }

    fn answered(&mut self, request: &DeltaDiscoveryRequest) {
        let nonce = request.response_nonce.parse::<u64>().ok();
        let place = self
            .outstanding
            .iter()
            .position(|open| Some(*open) == nonce);
        let Some(place) = place else {
            // Stale nonces are legal in this protocol and mean nothing.
            debug!(node = %self.node_id, "answer to an unknown nonce ignored");
            return;
        };
        self.outstanding.remove(place);
        self.answer_due = Instant::now() + self.settings.answer_timeout;
        let Some(detail) = &request.error_detail else {
            return;
        };
        if self.is_rejected {
            return; // a later part of it; the first reason is the one that counts
        }
        self.is_rejected = true;
        self.rejections = self.rejections.saturating_add(1);
        let nack = Nack {
            version: self.sending,
            reason: detail.message.chars().take(REASON_CHARS_MAX).collect(),
            repeats: self.rejections,
        };
        error!(
            node = %self.node_id,
            snapshot_version = nack.version.revision,
            nonce,
            reason = %nack.reason,
            "data plane rejected a revision"
        );
        self.update(|status| status.last_nack = Some(nack));
    }
}

pub(super) fn replaced() -> End {
    End::Status(Status::aborted(
        "a newer stream of this data plane replaced it",
    ))
}

pub(super) fn check_type(request: &DeltaDiscoveryRequest) -> Result<(), End> {
    if request.type_url == TYPE_URL {
        return Ok(());
    }
    let found: String = request.type_url.chars().take(128).collect();
    let text = format!("type `{found}` is not served here, only `{TYPE_URL}` is");
    Err(End::Status(Status::invalid_argument(text)))
}

pub(super) fn received(
    request: Result<Option<DeltaDiscoveryRequest>, Status>,
) -> Result<DeltaDiscoveryRequest, End> {
    match request {
        Ok(Some(request)) => Ok(request),
        Ok(None) => Err(End::Gone),
        Err(status) => {
            debug!(error = %status, "the request stream broke");
            Err(End::Gone)
        }
    }
}

pub(super) fn too_slow(what: &str, limit: Duration) -> End {
    let text = format!("the client did not {what} within {} ms", limit.as_millis());
    End::Status(Status::deadline_exceeded(text))
}
