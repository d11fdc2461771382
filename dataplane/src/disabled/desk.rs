//! Brings what is switched off here into the configuration: offers it until the control plane
//! answers.

use outrider_xds::{DisabledEndpoint, Offer, OfferAnswer, Offers};
use tokio_util::sync::CancellationToken;

use super::{Disabling, State};
use crate::offering::{Answered, Offering};

/// Offers under way at a time: few, since made endpoints share what a session decides at once.
const OFFERED_MAX: usize = 4;

/// The task of a data plane that sees to what it switched off.
pub(crate) struct Desk {
    pub(crate) disabling: Disabling,
    pub(crate) offers: Option<Offers>,
}

impl Desk {
    /// Runs until `stop` fires. What is not settled then is found in the log by the next start.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let inner = &self.disabling.inner;
        let (mut changes, mut version) = (inner.changes.subscribe(), inner.table.watch());
        let mut offering = Offering::new(self.offers.clone(), OFFERED_MAX);
        loop {
            self.disabling.settle(&inner.table.load());
            for one in self.disabling.wanted(offering.about(), offering.room()) {
                offering.make(one.endpoint, one.clone(), Offer::Disabled(one));
            }
            // All arms are cancel-safe.
            tokio::select! {
                () = stop.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
                changed = version.changed() => if changed.is_err() { break },
                answered = offering.next() => if let Some(Answered { of, answer, .. }) = answered {
                    offering.answered(self.answered(&of, answer));
                },
            }
        }
        offering.shutdown().await;
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
