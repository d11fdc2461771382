//! What a data plane wants to be configuration, of which it writes none itself: endpoints that it
//! made for events (RULINGS 15), and that it switched one off (RULINGS 16). An offer goes up the command stream until it is answered.

use std::time::Duration;

use outrider_config::Version;
use outrider_webhook::id::{EndpointId, ProjectId, SubscriptionId};
use outrider_webhook::secret::Secret;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::client::Ask;

/// An endpoint that has to become configuration, with a subscription.
#[derive(Debug, Clone)]
pub struct EndpointOffer {
    /// The project.
    pub project: ProjectId,
    /// The id it was given.
    pub endpoint: EndpointId,
    /// The id of its subscription.
    pub subscription: SubscriptionId,
    /// Where it receives.
    pub url: String,
    /// What signs its deliveries.
    pub secret: Secret,
    /// What its subscription wants; everything when empty.
    pub event_types: Vec<String>,
}

/// An endpoint that a data plane switched off by itself, to become configuration (RULINGS 16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisabledEndpoint {
    /// The project.
    pub project: ProjectId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The activation epoch of the configuration that it was decided under.
    pub activation_epoch: u64,
    /// Stable code of the cause; 64 characters travel.
    pub reason: String,
}

/// What a data plane wants to be configuration.
#[derive(Debug, Clone)]
pub enum Offer {
    /// An endpoint that an event named.
    Endpoint(EndpointOffer),
    /// That an endpoint is switched off.
    Disabled(DisabledEndpoint),
}

/// What the control plane says to an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferAnswer {
    /// It is configuration as of this version, or was before.
    Taken(Version),
    /// It will not be configuration.
    Refused {
        /// A stable word; 64 characters travel.
        code: String,
        /// For people; 1,024 characters travel.
        message: String,
    },
    /// It is not decided; to be offered again.
    Later {
        /// A stable word; 64 characters travel.
        code: String,
    },
}

/// Decides about offers. Implemented by the control plane.
#[tonic::async_trait]
pub trait OfferHandler: Send + Sync {
    /// Takes an offer, once however often it comes.
    async fn take(&self, offer: Offer) -> OfferAnswer;
}

/// Offers over the session that is open then. Clones use the same one.
#[derive(Clone)]
pub struct Offers {
    pub(super) asks: watch::Receiver<Option<mpsc::Sender<Ask>>>,
}

impl Offers {
    /// Makes an offer. `None` when no session is open, it breaks, or there is no answer
    /// within `limit`: whether it was taken is unknown then.
    pub async fn offer(&self, offer: Offer, limit: Duration) -> Option<OfferAnswer> {
        let asks = self.asks.borrow().clone()?;
        let (sender, answer) = oneshot::channel();
        let asking = async {
            asks.send(Ask::Offer(Box::new(offer), sender)).await.ok()?;
            drop(asks); // it would keep the session's end from being noticed
            answer.await.ok()
        };
        timeout(limit, asking).await.ok().flatten()
    }

    /// Waits until a session is open; `false` when there will be none any more.
    pub async fn connected(&mut self) -> bool {
        self.asks.wait_for(Option::is_some).await.is_ok()
    }
}
