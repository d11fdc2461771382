//! Offers of one session, at the control plane: decided in tasks of their own, so that the session
//! goes on reading meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::commands::Outgoing;
use super::grpc::ControlService;
use super::offer::{Offer, OfferAnswer, OfferHandler};
use super::wire;

/// Offers of a session that are decided at a time; those beyond are to come again.
const DECIDED_MAX: usize = 16;

/// Takes the offers of one session.
pub(super) struct OfferDesk {
    handler: Option<Arc<dyn OfferHandler>>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    answer_timeout: Duration,
    responses: Outgoing,
}

impl OfferDesk {
    pub(super) fn new(service: &ControlService, responses: Outgoing) -> Self {
        Self {
            handler: service.offers.clone(),
            permits: Arc::new(Semaphore::new(DECIDED_MAX)),
            tasks: service.sessions.clone(),
            shutdown: service.shutdown.clone(),
            answer_timeout: service.answer_timeout,
            responses,
        }
    }

    /// Has an offer decided and answered.
    pub(super) fn take(&self, number: u64, offer: Offer) {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let (Ok(permit), Some(handler)) = (permit, self.handler.clone()) else {
            let code = "busy".to_owned();
            let answer = wire::offer_answer(number, &OfferAnswer::Later { code });
            if self.responses.try_send(Ok(answer)).is_err() {
                debug!("no room for the answer to an offer");
            }
            return;
        };
        let (responses, limit) = (self.responses.clone(), self.answer_timeout);
        let decided = async move {
            let _permit = permit; // freed on return, shutdown or panic alike
            let answer = wire::offer_answer(number, &handler.take(offer).await);
            // A data plane that does not read, or is gone, offers it again.
            let _ = timeout(limit, responses.send(Ok(answer))).await;
        };
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            shutdown.run_until_cancelled(decided).await;
        });
    }
}
