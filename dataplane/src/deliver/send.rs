//! From an event to an answer: a token where the endpoint needs one, signed, sent; once more with
//! another token where the receiver did not take the first.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use outrider_config::snapshot::{Endpoint, ProjectTable};
use outrider_store::StoredEvent;
use outrider_webhook::address::{ProjectRef, TargetUrl};
use outrider_webhook::authentication::Authentication;
use outrider_webhook::authentication::oauth2::Client;
use outrider_webhook::event::DeliveryMode;
use outrider_webhook::retry::{Failure, Outcome};
use tokio::time::Instant;

use super::tokens::{Asker, Held, Unavailable};
use super::{Deliverer, Obstacle};
use crate::egress::{Exchange, Leave, Terms};
use crate::queue::Lease;

/// So much later than asked an attempt may run out of time, as a share.
const TIMEOUT_SPREAD: f64 = 1.0 / 16.0;

/// One attempt that is to be made.
pub(super) struct Going<'a> {
    pub(super) lease: &'a Lease,
    pub(super) event: &'a StoredEvent,
    pub(super) table: &'a ProjectTable,
    pub(super) endpoint: &'a Endpoint,
    pub(super) target: &'a Arc<TargetUrl>,
    /// From the connection to the last byte of the answer.
    pub(super) timeout: Duration,
    pub(super) started_ms: i64,
    pub(super) revision: u64,
    /// Where it leaves from.
    pub(super) leave: &'a Leave,
    /// Headers on the order it goes in.
    pub(super) order: &'a [(HeaderName, HeaderValue)],
}

/// What was sent, and what came of it.
pub(super) struct Sent {
    pub(super) exchange: Exchange,
    /// Empty when nothing was sent.
    pub(super) request_headers: HeaderMap,
}

impl Going<'_> {
    fn client(&self) -> Option<&Arc<Client>> {
        match self.endpoint.authentication() {
            Some(Authentication::OAuth2(client)) => Some(client),
            Some(Authentication::Fixed(_)) | None => None,
        }
    }
}

impl Deliverer {
    /// Makes the attempt, all of it within the time that the endpoint gives it.
    pub(super) async fn send(&self, going: &Going<'_>) -> Result<Sent, Obstacle> {
        let started = Instant::now();
        let asker = self.asker(going, started + going.timeout);
        let Some(client) = going.client() else {
            return self.send_with(going, None, asker).await;
        };
        let held = match self.tokens.get(client, asker).await {
            Ok(held) => held,
            Err(unavailable) => return Ok(self.unsent(going, unavailable, started)),
        };
        let mut sent = self.send_with(going, Some(&held), asker).await?;
        if sent.exchange.outcome == (Outcome::Answered { status: 401 }) {
            self.tokens.forget(client, &held);
            // Where it may arrive once only, it has.
            if going.lease.entry.target.mode == DeliveryMode::AtLeastOnce
                && let Ok(held) = self.tokens.renew(client, &held, asker).await
                && Instant::now() < asker.deadline
            {
                sent = self.send_with(going, Some(&held), asker).await?;
            }
        }
        sent.exchange.timing.total_us = micros_since(started);
        Ok(sent)
    }

    /// A little later than asked, at random: attempts that began together and get no answer would
    /// else all end in one moment, hundreds of them, and hold up everybody else's.
    pub(super) fn spread(&self, timeout: Duration) -> Duration {
        let random = self.chance.next() >> 32; // 32 bits of it are plenty
        let share = f64::from(u32::try_from(random).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        timeout.saturating_add(timeout.mul_f64(share * TIMEOUT_SPREAD))
    }

    async fn send_with(
        &self,
        going: &Going<'_>,
        token: Option<&Held>,
        asker: Asker<'_>,
    ) -> Result<Sent, Obstacle> {
        let request = self.signed(going, token.map(|held| &held.value))?;
        let request_headers = request.headers().clone();
        let entry = &going.lease.entry;
        if entry.target.mode == DeliveryMode::AtMostOnce {
            self.begin(going.lease, going.started_ms, going.revision)
                .await?;
        }
        let terms = Terms {
            // A token may have taken some of it.
            timeout: token.map_or(going.timeout, |_| {
                asker.deadline.saturating_duration_since(Instant::now())
            }),
            excerpt_max: self.excerpt_bytes_max,
            connect_timeout: going.endpoint.connect_timeout(),
            tls: going.endpoint.tls().cloned(),
            certificate: going.endpoint.certificate().cloned(),
            leave: going.leave.clone(),
        };
        self.hold_on(going.lease)?;
        let exchange = self.egress.send(&asker.project, request, terms).await;
        Ok(Sent {
            exchange,
            request_headers,
        })
    }

    /// Never sent without its authentication (RULINGS 25).
    fn unsent(&self, going: &Going<'_>, unavailable: Unavailable, started: Instant) -> Sent {
        let Unavailable {
            reason,
            ours,
            denial,
        } = unavailable;
        tracing::debug!(endpoint_id = %going.endpoint.id(), reason = &*reason, "not sent without a token");
        let mut exchange = Exchange::unsent(ours.unwrap_or(Failure::AuthUnavailable), &reason);
        exchange.denial = denial;
        exchange.timing.total_us = micros_since(started);
        Sent {
            exchange,
            request_headers: HeaderMap::new(),
        }
    }

    fn asker<'a>(&'a self, going: &Going<'a>, deadline: Instant) -> Asker<'a> {
        Asker {
            egress: &self.egress,
            chance: &self.chance,
            project: ProjectRef {
                id: going.lease.entry.project,
                name: going.table.project().name(),
            },
            leave: going.leave,
            now_s: going.started_ms / 1000,
            deadline,
        }
    }
}

fn micros_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}
