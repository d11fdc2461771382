//! Tokens of token endpoints: each fetched by one attempt at a time, kept until shortly before its
//! end, and renewed when a receiver does not take it.
//!
//! A token is fetched through the same egress as deliveries, within the time of the attempt that
//! needs it. It is known by all there is of its client, so nobody gets the token of another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use outrider_webhook::address::{Denial, ProjectRef};
use outrider_webhook::authentication::oauth2::{Client, Token, error_code};
use outrider_webhook::retry::{Failure, Outcome};
use tokio::time::{Instant, timeout_at};

use crate::chance::Chance;
use crate::egress::{Egress, Form, Leave, Terms};

/// Clients whose tokens are kept; beyond, some fetch again.
const CLIENTS_MAX: usize = 10_000;
/// Bytes of an answer that are read: tokens of some servers are long, lists of claims are not wanted.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long before its end a token is renewed, at most.
const AHEAD_MAX: Duration = Duration::from_secs(60);
/// How long an attempt that has a good token may take to renew it.
const AHEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// For how long nobody asks again after a failure, so that those who wait do not ask one by one.
/// Shorter than the least time to a next attempt (1 s), which is not to be told of the one before.
const FAILURE_KEPT: Duration = Duration::from_millis(900);

/// There is no token: what happened, for the operator. Without anything that was sent or answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unavailable {
    pub(crate) reason: Arc<str>,
    /// The fault of our own that kept us from asking: never charged to the endpoint.
    pub(super) ours: Option<Failure>,
    /// What the address policy refused the token endpoint for, if it did.
    pub(super) denial: Option<Denial>,
}

impl Unavailable {
    fn new(reason: &str) -> Self {
        Self {
            reason: reason.into(),
            ours: None,
            denial: None,
        }
    }
}

/// A token in use.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// Value of `Authorization`.
    pub(super) value: HeaderValue,
    number: u64,
    renew_at: Instant,
    ends_at: Instant,
}

/// Who asks, and until when there has to be an answer.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) egress: &'a Egress,
    pub(crate) chance: &'a Chance,
    pub(crate) project: ProjectRef<'a>,
    pub(crate) leave: &'a Leave,
    pub(crate) now_s: i64,
    pub(crate) deadline: Instant,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failed: Option<(Instant, Unavailable)>,
    fetched: u64,
}

/// What is known of one client.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    /// Whose turn it is to fetch.
    turn: tokio::sync::Mutex<()>,
}

/// The tokens of all clients.
#[derive(Default)]
pub(crate) struct Tokens {
    slots: Mutex<HashMap<[u8; 32], Arc<Slot>>>,
}

impl Tokens {
    /// A token that is good now.
    pub(super) async fn get(&self, client: &Client, asker: Asker<'_>) -> Result<Held, Unavailable> {
        let slot = self.slot(client);
        if let Some(held) = slot.good() {
            if Instant::now() < held.renew_at {
                return Ok(held);
            }
            // Its end is near: one attempt fetches, the others go on with what there is.
            let Ok(_turn) = slot.turn.try_lock() else {
                return Ok(held);
            };
            let now = Instant::now();
            if let Some(newer) = slot.good().filter(|newer| now < newer.renew_at) {
                return Ok(newer); // had between the two looks
            }
            let half = asker.deadline.saturating_duration_since(now) / 2;
            let asker = Asker {
                deadline: now + half.min(AHEAD_TIMEOUT),
                ..asker
            };
            return Ok(slot.fetch(client, asker).await.unwrap_or_else(|_| {
                slot.put_off();
                held
            }));
        }
        slot.in_turn(client, asker, |_| true).await
    }

    /// Another token than `refused`, which its receiver did not take; one that somebody has fetched
    /// since will do.
    pub(super) async fn renew(
        &self,
        client: &Client,
        refused: &Held,
        asker: Asker<'_>,
    ) -> Result<Held, Unavailable> {
        let slot = self.slot(client);
        slot.in_turn(client, asker, |held| held.number != refused.number)
            .await
    }

    /// Forgets a token that its receiver did not take.
    pub(super) fn forget(&self, client: &Client, refused: &Held) {
        self.slot(client).forget(refused.number);
    }

    fn slot(&self, client: &Client) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(client.fingerprint()) {
            return Arc::clone(slot);
        }
        if slots.len() >= CLIENTS_MAX {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.good().is_some());
        }
        if slots.len() >= CLIENTS_MAX
            && let Some(other) = slots.keys().next().copied()
        {
            slots.remove(&other);
        }
        let slot = Arc::<Slot>::default();
        slots.insert(*client.fingerprint(), Arc::clone(&slot));
        slot
    }
}

impl Slot {
    /// Waits for the turn; takes what somebody else has fetched meanwhile if it is wanted.
    async fn in_turn(
        &self,
        client: &Client,
        asker: Asker<'_>,
        is_wanted: impl Fn(&Held) -> bool,
    ) -> Result<Held, Unavailable> {
        let late = |_| Unavailable::new("no token in the time of the attempt");
        let turn = timeout_at(asker.deadline, self.turn.lock()).await;
        let _turn = turn.map_err(late)?;
        if let Some(held) = self.good().filter(is_wanted) {
            return Ok(held);
        }
        if let Some(failed) = self.failed() {
            return Err(failed);
        }
        self.fetch(client, asker).await
    }

    /// Asks the token endpoint. The caller has the turn.
    async fn fetch(&self, client: &Client, asker: Asker<'_>) -> Result<Held, Unavailable> {
        // What ends with the time of this attempt says nothing to others.
        match timeout_at(asker.deadline, ask(client, asker)).await {
            Err(_) => Err(Unavailable::new("no answer in the time of the attempt")),
            Ok(Ok(token)) => Ok(self.keep(&token)),
            Ok(Err(unavailable)) => {
                tracing::warn!(
                    project_id = %asker.project.id, client_id = client.client_id(),
                    reason = &*unavailable.reason, "no token for deliveries"
                );
                let now = Instant::now();
                // A fault of our own may be over for the next one.
                if now < asker.deadline && unavailable.ours.is_none() {
                    self.lock().failed = Some((now, unavailable.clone()));
                }
                Err(unavailable)
            }
        }
    }

    fn keep(&self, token: &Token) -> Held {
        let now = Instant::now();
        let ahead = (token.lifetime / 10).min(AHEAD_MAX);
        let mut state = self.lock();
        state.fetched += 1;
        let held = Held {
            value: token.value.clone(),
            number: state.fetched,
            renew_at: now + token.lifetime - ahead,
            ends_at: now + token.lifetime,
        };
        state.failed = None;
        state.held = Some(held.clone());
        held
    }

    fn good(&self) -> Option<Held> {
        let state = self.lock();
        let held = state.held.as_ref()?;
        (Instant::now() < held.ends_at).then(|| held.clone())
    }

    fn failed(&self) -> Option<Unavailable> {
        let state = self.lock();
        let (at, unavailable) = state.failed.as_ref()?;
        (at.elapsed() < FAILURE_KEPT).then(|| unavailable.clone())
    }

    /// The next try to renew comes later.
    fn put_off(&self) {
        if let Some(held) = &mut self.lock().held {
            held.renew_at = Instant::now() + FAILURE_KEPT;
        }
    }

    fn forget(&self, number: u64) {
        let mut state = self.lock();
        if state
            .held
            .as_ref()
            .is_some_and(|held| held.number == number)
        {
            state.held = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves a token or none: either will do.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the token endpoint whatever is kept of this client, and keeps nothing.
pub(crate) async fn try_out(client: &Client, asker: Asker<'_>) -> Result<Token, Unavailable> {
    let asked = timeout_at(asker.deadline, ask(client, asker)).await;
    asked.unwrap_or_else(|_| Err(Unavailable::new("token endpoint: no answer in time")))
}

async fn ask(client: &Client, asker: Asker<'_>) -> Result<Token, Unavailable> {
    let refuse = |text: String| Unavailable::new(&text);
    let nonce = u128::from(asker.chance.next()) << 64 | u128::from(asker.chance.next());
    let request = client.request(asker.now_s, nonce);
    let mut request = request.map_err(|error| refuse(error.to_string()))?;
    let form = Form {
        url: client.url(),
        authorization: request.authorization.take(),
        body: std::mem::take(&mut *request.body).into(),
    };
    let left = asker.deadline.saturating_duration_since(Instant::now());
    let terms = Terms::new(left, ANSWER_BYTES_MAX).leaving(asker.leave.clone());
    let exchange = asker.egress.post(&asker.project, form, terms).await;
    match exchange.outcome {
        Outcome::Answered { status: 200..=299 } if !exchange.is_truncated => client
            .read(&exchange.excerpt)
            .map_err(|error| refuse(format!("token endpoint: {error}"))),
        Outcome::Answered { status: 200..=299 } => {
            Err(refuse("token endpoint: the answer is too long".to_owned()))
        }
        Outcome::Answered { status } => {
            let why =
                error_code(&exchange.excerpt).map_or_else(String::new, |why| format!(" {why}"));
            Err(refuse(format!("token endpoint: answered {status}{why}")))
        }
        Outcome::Failed(failure) => {
            let detail = exchange.detail.unwrap_or_default();
            let reason = format!("token endpoint: {}: {detail}", failure.code());
            Err(Unavailable {
                ours: failure.is_infrastructure().then_some(failure),
                denial: exchange.denial,
                ..Unavailable::new(&reason)
            })
        }
    }
}

#[cfg(test)]
mod tests;
