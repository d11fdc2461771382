//! Endpoints that events made, until they are configuration (RULINGS 15).
//!
//! A data plane writes no configuration: it offers these endpoints to the control plane, and
//! delivers to them meanwhile by what the event said. They are in the log with the events that
//! made them, so a restart loses none. As soon as the table has one, or the control plane refused
//! it, it is settled: that is noted in the log, and this module lets go of it.
//!
//! Who looks for an endpoint looks here before he loads the table: what is settled by then is in
//! the table that he loads after.

mod desk;
mod seal;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outrider_config::Version;
use outrider_config::resource::{
    EndpointSpec, FieldError, FilterConfigSpec, Subscription, SubscriptionSpec,
};
use outrider_config::snapshot::{Endpoint, Project, Snapshot};
use outrider_webhook::address::{Closings, Denied, Guard, Policy, ProjectRef};
use outrider_webhook::dynamic::subscription_id;
use outrider_webhook::event::{Dynamic, MadeEndpoint};
use outrider_webhook::id::{EndpointId, ProjectId};
use outrider_webhook::secret::Secret;
use outrider_webhook::sign::{self, SecretType};
use outrider_webhook::undelivered::Reason;
use outrider_webhook::url_template::without_braces;
use outrider_xds::EndpointOffer;
use rand::RngExt;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub(crate) use self::desk::{Desk, Unresolved, restore};
use self::seal::Seal;
use crate::state_log::StateKey;

/// Endpoints that wait to be configuration at a time. Each is in memory with its secret.
const WAITING_MAX: usize = 10_000;
/// Refused endpoints that are remembered, so that their deliveries end for the right reason.
const REFUSED_MAX: usize = 1_000;
/// Characters of a made-up secret, as Convoy's; and of one that Standard Webhooks demands.
const SECRET_CHARACTERS: usize = 25;
const STANDARD_SECRET_CHARACTERS: usize = 32;

/// What an event says of the endpoint that it names by its URL.
pub(crate) struct Wish {
    pub(crate) endpoint: EndpointId,
    pub(crate) url: String,
    /// Made up when it is not given.
    pub(crate) secret: Option<Secret>,
    pub(crate) event_types: Vec<String>,
}

/// What an endpoint is made of, as it is sealed.
#[derive(Serialize, Deserialize)]
struct Content<'a> {
    url: std::borrow::Cow<'a, str>,
    secret: std::borrow::Cow<'a, str>,
    event_types: std::borrow::Cow<'a, [String]>,
}

/// Why there is no endpoint of a wish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMade {
    /// Its fields break the rules of an endpoint.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Fields(Vec<FieldError>),
    /// No delivery may go there.
    #[error("`url`: {0}")]
    Denied(Denied),
    /// Too many wait.
    #[error("too many new endpoints of this project wait for the control plane, try again")]
    Full,
    /// A secret could not be sealed.
    #[error("the endpoint cannot be kept")]
    NotSealed,
}

/// What is known here of an endpoint.
pub(crate) enum Found {
    /// Events made it, and deliveries go there.
    Made(Arc<Endpoint>),
    /// It will not be configuration, and its deliveries end for this reason.
    Refused(Reason),
}

/// The endpoints. Cheap to clone; all clones are the same ones.
#[derive(Clone)]
pub struct MadeEndpoints {
    inner: Arc<Inner>,
}

struct Inner {
    seal: Seal,
    policy: Policy,
    kept: Mutex<Kept>,
    /// How many there are in `kept`: nearly always none, and then nobody takes the lock.
    count: AtomicUsize,
    /// Counts changes that somebody may wait for.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    made: HashMap<EndpointId, Made>,
    refused: HashMap<EndpointId, Refusal>,
    /// The refused ones in their order; may name some that were made again.
    refused_order: VecDeque<EndpointId>,
}

impl Kept {
    /// Whether one more of this project may wait: at most as many as there is room left for
    /// others, so that one that comes now finds some (decision 0005). Counted only when there are
    /// many, and on a new endpoint only.
    fn has_room(&self, project: ProjectId) -> bool {
        let free = WAITING_MAX.saturating_sub(self.made.len());
        if self.made.len() < free {
            return true;
        }
        let own = self.made.values().filter(|made| made.project == project);
        own.count() < free
    }
}

#[derive(Clone)]
struct Refusal {
    reason: Reason,
    /// What the control plane said.
    message: Arc<str>,
}

struct Made {
    project: ProjectId,
    endpoint: Arc<Endpoint>,
    offer: Arc<EndpointOffer>,
    sealed: Box<[u8]>,
    /// Events that are on their way into the log with it. It is not settled before they are there:
    /// what is logged of that has to stand behind them.
    claims: usize,
    /// It would be settled but for the claims.
    is_due: bool,
    state: State,
}

/// How far an endpoint is on its way into the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No event with it is in the log yet.
    Claimed,
    /// It is to be offered.
    Wanted,
    /// The control plane has it, as of this version.
    Taken(Version),
}

impl fmt::Debug for MadeEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MadeEndpoints").finish_non_exhaustive()
    }
}

impl MadeEndpoints {
    /// None yet. `key` seals what is in the log, `policy` is the one of the bootstrap that deliveries are judged by.
    #[must_use]
    pub fn new(key: &StateKey, policy: Policy) -> Self {
        Self {
            inner: Arc::new(Inner {
                seal: Seal::new(key),
                policy,
                kept: Mutex::default(),
                count: AtomicUsize::new(0),
                changes: watch::Sender::new(0),
            }),
        }
    }

    /// The endpoint of a wish, for one event. The first wish decides what it is made of; a later
    /// one with another secret changes nothing. A refused one is tried again.
    pub(crate) fn claim(
        &self,
        (project, closings): (&Project, &Closings),
        wish: Wish,
    ) -> Result<Claim, NotMade> {
        let id = wish.endpoint;
        if let Some(claim) = self.claim_made(id) {
            return Ok(claim);
        }
        let made = self.make((project, closings), wish)?;
        {
            let mut kept = self.kept();
            if !kept.has_room(made.project) {
                return Err(NotMade::Full);
            }
            kept.refused.remove(&id);
            kept.made.entry(id).or_insert(made); // another event may have been faster
            self.count(&kept);
        }
        self.claim_made(id).ok_or(NotMade::Full)
    }

    fn claim_made(&self, id: EndpointId) -> Option<Claim> {
        let mut kept = self.kept();
        let made = kept.made.get_mut(&id)?;
        made.claims += 1;
        Some(Claim {
            made: self.clone(),
            endpoint: id,
            sealed: made.sealed.clone(),
        })
    }

    fn make(
        &self,
        (project, closings): (&Project, &Closings),
        wish: Wish,
    ) -> Result<Made, NotMade> {
        let secret = wish.secret.unwrap_or_else(|| made_up(project));
        let content = Content {
            url: (&wish.url).into(),
            secret: secret.expose().into(),
            event_types: wish.event_types.as_slice().into(),
        };
        let sealed = self.inner.seal.seal(project.id(), wish.endpoint, &content);
        let sealed = sealed.ok_or(NotMade::NotSealed)?;
        let offer = EndpointOffer {
            project: project.id(),
            endpoint: wish.endpoint,
            subscription: subscription_id(wish.endpoint),
            url: wish.url,
            secret,
            event_types: wish.event_types,
        };
        let endpoint = compile(project, &offer)?;
        let by = ProjectRef {
            id: project.id(),
            name: project.name(),
        };
        let guard = Guard {
            policy: &self.inner.policy,
            closings,
        };
        let checked = guard.check_target(&by, endpoint.url().site());
        checked.map_err(NotMade::Denied)?;
        Ok(Made {
            project: project.id(),
            endpoint: Arc::new(endpoint),
            offer: Arc::new(offer),
            sealed,
            claims: 0,
            is_due: false,
            state: State::Claimed,
        })
    }

    /// What is known of an endpoint that the table may not have.
    pub(crate) fn find(&self, id: EndpointId) -> Option<Found> {
        if self.inner.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let kept = self.kept();
        let made = kept.made.get(&id);
        let made = made.map(|made| Found::Made(Arc::clone(&made.endpoint)));
        made.or_else(|| {
            let refused = kept.refused.get(&id);
            refused.map(|refused| Found::Refused(refused.reason))
        })
    }

    /// Whether events made this endpoint, and it waits to be configuration.
    pub(crate) fn is_made(&self, id: EndpointId) -> bool {
        matches!(self.find(id), Some(Found::Made(_)))
    }

    /// How many wait to be configuration.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.kept().made.len()
    }

    /// Lets go of those that `snapshot` decides: it has them, or the control plane had them and
    /// it does not any more. Gives them, for the log.
    fn settled_by(&self, snapshot: &Snapshot) -> Vec<EndpointId> {
        if self.inner.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut kept = self.kept();
        let mut is_news = false;
        let is_settled = |id: &EndpointId, made: &mut Made| {
            let is_there = snapshot
                .project(made.project)
                .is_some_and(|table| table.endpoint(*id).is_some());
            let is_over = match (made.state, snapshot.version()) {
                (State::Taken(taken), Some(now)) => {
                    taken.journal == now.journal && taken.revision <= now.revision
                }
                _ => false,
            };
            let was_due = std::mem::replace(&mut made.is_due, is_there || is_over);
            is_news |= made.is_due && !was_due;
            made.is_due && made.claims == 0
        };
        let settled = kept.made.extract_if(is_settled);
        let settled = settled.map(|(id, _)| id).collect();
        self.count(&kept);
        drop(kept);
        if is_news {
            self.changed();
        }
        settled
    }

    /// Whether the table has decided about it.
    fn is_decided(&self, id: EndpointId) -> bool {
        let kept = self.kept();
        kept.made.get(&id).is_none_or(|made| made.is_due)
    }

    /// It will not be configuration.
    fn refuse(&self, id: EndpointId, reason: Reason, message: &str) {
        let refusal = Refusal {
            reason,
            message: message.into(),
        };
        let mut kept = self.kept();
        kept.made.remove(&id);
        kept.refused.insert(id, refusal);
        kept.refused_order.push_back(id);
        while kept.refused_order.len() > REFUSED_MAX {
            if let Some(oldest) = kept.refused_order.pop_front() {
                kept.refused.remove(&oldest);
            }
        }
        self.count(&kept);
        drop(kept);
        self.changed();
    }

    fn refusal(&self, id: EndpointId) -> Option<Refusal> {
        self.kept().refused.get(&id).cloned()
    }

    fn set_state(&self, id: EndpointId, state: State) {
        if let Some(made) = self.kept().made.get_mut(&id) {
            made.state = state;
        }
        self.changed();
    }

    /// It is to be offered, if it was not before.
    fn want(&self, id: EndpointId) {
        let mut kept = self.kept();
        let Some(made) = kept.made.get_mut(&id) else {
            return;
        };
        if made.state == State::Claimed {
            made.state = State::Wanted;
            drop(kept);
            self.changed();
        }
    }

    /// Some that are to be offered and are not among `offered`, which are under way.
    fn wanted(&self, offered: &[EndpointId], max: usize) -> Vec<Arc<EndpointOffer>> {
        if self.inner.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let kept = self.kept();
        let wanted = kept
            .made
            .iter()
            .filter(|(id, made)| made.state == State::Wanted && !offered.contains(id));
        let offers = wanted.map(|(_, made)| Arc::clone(&made.offer));
        offers.take(max).collect()
    }

    fn changed(&self) {
        self.inner.changes.send_modify(|changes| *changes += 1);
    }

    fn count(&self, kept: &Kept) {
        let count = kept.made.len() + kept.refused.len();
        self.inner.count.store(count, Ordering::Release);
    }

    /// Each change to it is whole in itself, so what a panic left is good.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.inner
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The use of an endpoint by one event on its way into the log. Dropped without
/// [`Claim::keep`] it leaves nothing behind.
pub(crate) struct Claim {
    made: MadeEndpoints,
    endpoint: EndpointId,
    sealed: Box<[u8]>,
}

impl Claim {
    /// For whom the event is.
    pub(crate) fn audience(&self) -> Dynamic {
        Dynamic {
            endpoint: self.endpoint,
            made: Some(MadeEndpoint {
                subscription: subscription_id(self.endpoint),
                sealed: self.sealed.clone(),
            }),
            url: None,
        }
    }

    /// The event is in the log: the endpoint is wanted.
    pub(crate) fn keep(self) {
        self.made.want(self.endpoint);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut kept = self.made.kept();
        let Some(made) = kept.made.get_mut(&self.endpoint) else {
            return;
        };
        made.claims = made.claims.saturating_sub(1);
        if made.claims > 0 {
            return;
        }
        if made.state == State::Claimed {
            kept.made.remove(&self.endpoint);
            self.made.count(&kept);
        } else if made.is_due {
            drop(kept);
            self.made.changed();
        }
    }
}

/// Checks an endpoint and its subscription by the rules of configuration; gives the endpoint.
fn compile(project: &Project, offer: &EndpointOffer) -> Result<Endpoint, NotMade> {
    let spec = EndpointSpec {
        name: Some(format!("endpoint-{}", offer.endpoint)),
        // Intake takes no braces; what older logs have with braces meant them literally.
        url: Some(without_braces(&offer.url).into_owned()),
        secret: Some(offer.secret.clone()),
        ..EndpointSpec::default()
    };
    let endpoint = Endpoint::compile(offer.endpoint, 0, project, &spec);
    let filter = FilterConfigSpec {
        event_types: Some(offer.event_types.clone()),
        ..FilterConfigSpec::default()
    };
    let mut spec = SubscriptionSpec::default();
    spec.name = Some(format!("subscription-{}", offer.subscription));
    spec.endpoint_id = Some(offer.endpoint.to_string());
    spec.filter_config = Some(filter);
    let subscription = Subscription::compile(offer.subscription, 0, project, &spec);
    match (endpoint, subscription) {
        (Ok(endpoint), Ok(_)) => Ok(endpoint),
        (endpoint, subscription) => {
            let mut errors = endpoint.err().unwrap_or_default();
            errors.extend(subscription.err().unwrap_or_default());
            for error in &mut errors {
                // As it stands in the event.
                if let Some(field) = error.field.strip_prefix("filter_config.") {
                    error.field = field.to_owned();
                }
            }
            Err(NotMade::Fields(errors))
        }
    }
}

/// A new secret of the form that the project's signatures need. Letters and digits are base64 as
/// well: 32 of them are 24 bytes, the least that Standard Webhooks allows.
fn made_up(project: &Project) -> Secret {
    let letters = |count: usize| -> String {
        rand::rng()
            .sample_iter(Alphanumeric)
            .take(count)
            .map(char::from)
            .collect()
    };
    let signature = project.signature();
    let private = match signature.secret_type() {
        SecretType::Ed25519 => sign::private_key_text(&rand::random()),
        SecretType::Shared => None,
    };
    private.unwrap_or_else(|| match signature.needs_standard_keys() {
        true => Secret::new(format!("whsec_{}", letters(STANDARD_SECRET_CHARACTERS))),
        false => Secret::new(letters(SECRET_CHARACTERS)),
    })
}
