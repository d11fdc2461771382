//! Offers to the control plane under way, made again until it decides.

use std::time::Duration;

use outrider_webhook::id::EndpointId;
use outrider_xds::{Offer, OfferAnswer, Offers};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long the control plane may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The wait before an offer without a decision is made again; doubles up to the longest.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// Offers about endpoints, at most one at a time about each. `T` is what each is of.
pub(crate) struct Offering<T> {
    /// Where there is none, nothing is offered.
    offers: Option<Offers>,
    max: usize,
    under_way: JoinSet<Answered<T>>,
    about: Vec<EndpointId>,
    again: Instant,
    wait: Duration,
}

/// What came of an offer; `None` when there was no answer.
pub(crate) struct Answered<T> {
    endpoint: EndpointId,
    pub(crate) of: T,
    pub(crate) answer: Option<OfferAnswer>,
}

impl<T: Send + 'static> Offering<T> {
    /// At most `max` under way at a time.
    pub(crate) fn new(offers: Option<Offers>, max: usize) -> Self {
        Self {
            offers,
            max,
            under_way: JoinSet::new(),
            about: Vec::new(),
            again: Instant::now(),
            wait: AGAIN_MIN,
        }
    }

    /// How many may be made now.
    pub(crate) fn room(&self) -> usize {
        match self.offers {
            Some(_) if Instant::now() >= self.again => self.max.saturating_sub(self.about.len()),
            _ => 0,
        }
    }

    /// The endpoints that offers are under way about.
    pub(crate) fn about(&self) -> &[EndpointId] {
        &self.about
    }

    pub(crate) fn make(&mut self, endpoint: EndpointId, of: T, offer: Offer) {
        let Some(mut offers) = self.offers.clone() else {
            return;
        };
        self.about.push(endpoint);
        self.under_way.spawn(async move {
            let answer = match offers.connected().await {
                true => offers.offer(offer, ANSWER_LIMIT).await,
                false => None,
            };
            Answered {
                endpoint,
                of,
                answer,
            }
        });
    }

    /// Waits for an answer, or, with `None`, until more may be offered. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Answered<T>> {
        let is_waiting = self.offers.is_some() && Instant::now() < self.again;
        tokio::select! {
            Some(ended) = self.under_way.join_next() => {
                let ended = ended.ok()?;
                self.about.retain(|endpoint| *endpoint != ended.endpoint);
                Some(ended)
            }
            () = tokio::time::sleep_until(self.again), if is_waiting => None,
            else => std::future::pending().await,
        }
    }

    /// What an answer means for the next offers.
    pub(crate) fn answered(&mut self, is_decided: bool) {
        if is_decided {
            (self.again, self.wait) = (Instant::now(), AGAIN_MIN);
        } else {
            self.again = Instant::now() + self.wait;
            self.wait = (self.wait * 2).min(AGAIN_MAX);
        }
    }

    pub(crate) async fn shutdown(mut self) {
        self.under_way.shutdown().await;
    }
}
