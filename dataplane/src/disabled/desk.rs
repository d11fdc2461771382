//! Brings what is switched off here into the configuration: offers it until the control plane
//! answers.

use std::time::Duration;

use outrider_webhook::id::EndpointId;
use outrider_xds::{DisabledEndpoint, Offer, OfferAnswer, Offers};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Disabling, State};

/// Offers under way at a time: few, since made endpoints share what a session decides at once.
const OFFERED_MAX: usize = 4;
/// How long the control plane may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The wait before an offer without a decision is made again; doubles up to the longest.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// The task of a data plane that sees to what it switched off.
pub(crate) struct Desk {
    pub(crate) disabling: Disabling,
    pub(crate) offers: Option<Offers>,
}

/// What came of one offer.
type Offered = (DisabledEndpoint, Option<OfferAnswer>);

impl Desk {
    /// Runs until `stop` fires. What is not settled then is found in the log by the next start.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let inner = &self.disabling.inner;
        let (mut changes, mut version) = (inner.changes.subscribe(), inner.table.watch());
        let mut under_way: JoinSet<Offered> = JoinSet::new();
        let mut offered: Vec<EndpointId> = Vec::new();
        let (mut again, mut wait) = (Instant::now(), AGAIN_MIN);
        loop {
            self.disabling.settle(&inner.table.load());
            let now = Instant::now();
            if now >= again
                && let Some(offers) = &self.offers
            {
                let room = OFFERED_MAX.saturating_sub(offered.len());
                for one in self.disabling.wanted(&offered, room) {
                    offered.push(one.endpoint);
                    under_way.spawn(make(offers.clone(), one));
                }
            }
            // All arms are cancel-safe: watches, a set that keeps what is not taken, a clock.
            tokio::select! {
                () = stop.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
                changed = version.changed() => if changed.is_err() { break },
                Some(ended) = under_way.join_next() => {
                    let Ok((offer, answer)) = ended else { continue };
                    offered.retain(|id| *id != offer.endpoint);
                    if self.answered(&offer, answer) {
                        (again, wait) = (Instant::now(), AGAIN_MIN);
                    } else {
                        again = Instant::now() + wait;
                        wait = (wait * 2).min(AGAIN_MAX);
                    }
                }
                () = tokio::time::sleep_until(again), if now < again => {}
            }
        }
        under_way.shutdown().await;
    }

    /// Whether the control plane has decided.
    fn answered(&self, offer: &DisabledEndpoint, answer: Option<OfferAnswer>) -> bool {
        let endpoint = offer.endpoint;
        match answer {
            Some(OfferAnswer::Taken(version)) => {
                tracing::info!(endpoint_id = %endpoint, revision = version.revision, "that an endpoint is switched off is configuration");
                self.disabling.set_state(offer, State::Taken(version));
                true
            }
            Some(OfferAnswer::Refused { code, message }) => {
                tracing::warn!(endpoint_id = %endpoint, code, message, "an endpoint is switched off here only");
                self.disabling.set_state(offer, State::Refused);
                true
            }
            Some(OfferAnswer::Later { code }) => {
                tracing::info!(endpoint_id = %endpoint, code, "that an endpoint is switched off is told again");
                false
            }
            None => false,
        }
    }
}

async fn make(mut offers: Offers, offer: DisabledEndpoint) -> Offered {
    let answer = match offers.connected().await {
        true => {
            offers
                .offer(Offer::Disabled(offer.clone()), ANSWER_LIMIT)
                .await
        }
        false => None,
    };
    (offer, answer)
}
