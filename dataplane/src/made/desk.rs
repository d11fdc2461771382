//! Brings the endpoints that events made into the configuration: offers them until the control
//! plane answers, and notes in the log what is settled.

use std::time::Duration;

use bytes::Bytes;
use outrider_config::snapshot::Snapshot;
use outrider_store::{Clock, CommandRecord, LocalLog, Record, Unsettled};
use outrider_webhook::address::Closings;
use outrider_webhook::event::Audience;
use outrider_webhook::id::EndpointId;
use outrider_webhook::secret::Secret;
use outrider_webhook::undelivered::Reason;
use outrider_xds::{Offer, OfferAnswer, Offers};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use super::{Claim, Content, MadeEndpoints, State, Wish};
use crate::offering::{Answered, Offering};
use crate::table::RoutingTable;

/// Offers under way at a time.
const OFFERED_MAX: usize = 16;
/// The task of a data plane that sees to its made endpoints.
pub(crate) struct Desk {
    pub(crate) made: MadeEndpoints,
    pub(crate) table: RoutingTable,
    pub(crate) log: LocalLog,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) offers: Option<Offers>,
}

impl Desk {
    /// Runs until `stop` fires. What is not settled then is found in the log by the next start.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let (mut changes, mut version) = (self.made.inner.changes.subscribe(), self.table.watch());
        let mut offering = Offering::new(self.offers.clone(), OFFERED_MAX);
        loop {
            self.settle(&self.table.load()).await;
            for offer in self.made.wanted(offering.about(), offering.room()) {
                let endpoint = offer.endpoint;
                offering.make(endpoint, endpoint, Offer::Endpoint(offer.as_ref().clone()));
            }
            // All arms are cancel-safe.
            tokio::select! {
                () = stop.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
                changed = version.changed() => if changed.is_err() { break },
                answered = offering.next() => if let Some(Answered { of, answer, .. }) = answered {
                    offering.answered(self.answered(of, answer).await);
                },
            }
        }
        offering.shutdown().await;
    }

    /// Whether the control plane has decided.
    async fn answered(&self, endpoint: EndpointId, answer: Option<OfferAnswer>) -> bool {
        match answer {
            Some(OfferAnswer::Taken(version)) => {
                tracing::info!(endpoint_id = %endpoint, revision = version.revision, "a made endpoint is configuration");
                self.made.set_state(endpoint, State::Taken(version));
                true
            }
            Some(OfferAnswer::Refused { code, message }) => {
                tracing::warn!(endpoint_id = %endpoint, code, message, "the control plane refuses a made endpoint; its deliveries end");
                self.made
                    .refuse(endpoint, Reason::EndpointRefused, &message);
                self.note(endpoint).await;
                true
            }
            Some(OfferAnswer::Later { code }) => {
                tracing::info!(endpoint_id = %endpoint, code, "a made endpoint is offered again");
                false
            }
            None => false,
        }
    }

    async fn settle(&self, snapshot: &Snapshot) {
        for endpoint in self.made.settled_by(snapshot) {
            self.note(endpoint).await;
        }
    }

    /// The next start need not offer it. If this is lost, it does so in vain.
    async fn note(&self, endpoint: EndpointId) {
        let settled = Record::Command(settled(endpoint, self.clock.now_ms()));
        if self.log.record(settled).await.is_err() {
            tracing::debug!(endpoint_id = %endpoint, "the log is closed");
        }
    }
}

fn settled(endpoint: EndpointId, now_ms: i64) -> CommandRecord {
    CommandRecord {
        id: endpoint.uid().bits(),
        at_ms: now_ms,
        verb: CommandRecord::ENDPOINT_SETTLED.into(),
        cursor: None,
        affected: 0,
        is_done: true,
        body: Bytes::new(),
    }
}

/// Takes up what the log says is not settled, as far as the first table allows. What is in the
/// table already is settled by the desk.
pub(crate) async fn restore(
    made: &MadeEndpoints,
    log: &LocalLog,
    unsettled: &[Unsettled],
    snapshot: &Snapshot,
) {
    for one in unsettled {
        let Some(table) = snapshot.project(one.project) else {
            tracing::info!(endpoint_id = %one.endpoint, project_id = %one.project, "a made endpoint has no project any more");
            continue;
        };
        match wish(made, log, one).await {
            // Its event is acknowledged. What the configuration has closed since is judged when it is
            // sent, as for any endpoint that was there before.
            Some(wish) => match made.claim((table.project(), &Closings::default()), wish) {
                Ok(claim) => claim.keep(),
                Err(error) => {
                    tracing::error!(endpoint_id = %one.endpoint, %error, "a made endpoint cannot be made again");
                    made.refuse(one.endpoint, Reason::EndpointRefused, &error.to_string());
                }
            },
            None => {
                tracing::error!(endpoint_id = %one.endpoint, "a made endpoint cannot be read: was the state key changed?");
                let says = "it cannot be read back";
                made.refuse(one.endpoint, Reason::EndpointUnreadable, says);
            }
        }
    }
}

/// What the event at that place said of its endpoint.
async fn wish(made: &MadeEndpoints, log: &LocalLog, one: &Unsettled) -> Option<Wish> {
    let event = log.read(one.position).await.ok()?;
    let Audience::Dynamic(dynamic) = &event.facts.audience else {
        return None;
    };
    let sealed = &dynamic.made.as_ref()?.sealed;
    let seal = &made.inner.seal;
    let content: Content<'static> = seal.open(one.project, one.endpoint, sealed)?;
    Some(Wish {
        endpoint: one.endpoint,
        url: content.url.into_owned(),
        secret: Some(Secret::new(content.secret.into_owned())),
        event_types: content.event_types.into_owned(),
    })
}

/// An endpoint is not configuration in time, or never.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// The control plane refuses it, and says why.
    Refused(Arc<str>),
    /// There is no decision within the limit.
    Late,
}

impl Claim {
    /// Waits, at most `limit`, until the table decides: it has the endpoint, or has lost it again.
    pub(crate) async fn resolved(&self, limit: Duration) -> Result<(), Unresolved> {
        let (mut changes, id) = (self.made.inner.changes.subscribe(), self.endpoint);
        self.made.want(id);
        let resolved = async {
            loop {
                if let Some(refusal) = self.made.refusal(id) {
                    return Err(Unresolved::Refused(refusal.message));
                }
                if self.made.is_decided(id) {
                    return Ok(());
                }
                if changes.changed().await.is_err() {
                    return Err(Unresolved::Late);
                }
            }
        };
        let waited = tokio::time::timeout(limit, resolved).await;
        waited.unwrap_or(Err(Unresolved::Late))
    }
}
