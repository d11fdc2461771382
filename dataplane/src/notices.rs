//! What people hear of endpoints in trouble: in Slack, in Teams, by mail.
//!
//! Whoever sees something tells it here and goes on at once. The same trouble of an endpoint is
//! one entry with a count however often it is told, so there are never more than endpoints are
//! configured and nothing has to be dropped. People hear of the same trouble once in an hour; what
//! came in between is in the next message.
//!
//! Messages to hooks are events of the project's own project: they are delivered, retried and
//! recorded as others are. Mails are sent by `mail`.

mod bell;
mod failures;
mod mail;
mod rates;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outrider_config::snapshot::FailureAlert;
use outrider_webhook::breaker::alert::{self, Rate};
use outrider_webhook::id::{EndpointId, ProjectId, SubscriptionId};
use tokio::sync::Notify;

pub(crate) use self::bell::Bell;
use self::failures::Failures;
pub(crate) use self::mail::Mailer;
pub use self::mail::{MailError, Security, SmtpSettings};
use self::rates::Rates;

/// What is the matter with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// It was switched off by what its receiver did.
    Disabled,
    /// It keeps failing and is left alone for a while.
    BreakerOpened,
    /// It is served again.
    BreakerClosed,
    /// As many deliveries failed for good as one of its subscriptions calls too many.
    DeliveriesFailed,
    /// More of its attempts failed than its alert calls too many.
    FailureRateExceeded,
    /// Its attempts fail no longer too often.
    FailureRateRecovered,
}

impl Trouble {
    /// What is over when this is told.
    const fn ends(self) -> Option<Self> {
        match self {
            Self::BreakerOpened => Some(Self::BreakerClosed),
            Self::BreakerClosed => Some(Self::BreakerOpened),
            Self::FailureRateExceeded => Some(Self::FailureRateRecovered),
            Self::FailureRateRecovered => Some(Self::FailureRateExceeded),
            Self::Disabled | Self::DeliveriesFailed => None,
        }
    }

    /// Stable word for metrics and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "endpoint_disabled",
            Self::BreakerOpened => "breaker_opened",
            Self::BreakerClosed => "breaker_closed",
            Self::DeliveriesFailed => "deliveries_failed",
            Self::FailureRateExceeded => "failure_rate_exceeded",
            Self::FailureRateRecovered => "failure_rate_recovered",
        }
    }
}

/// Something that was seen of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its project.
    pub project: ProjectId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// What is the matter.
    pub trouble: Trouble,
    /// Stable code of the cause; a short text.
    pub reason: Box<str>,
    /// How many of its attempts failed, where that is what it is about.
    pub rate: Option<Rate>,
    /// When, Unix milliseconds.
    pub at_ms: i64,
}

/// Takes what is told. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    untold: Mutex<BTreeMap<Key, Untold>>,
    failures: Mutex<Failures>,
    rates: Mutex<Rates>,
    wake: Notify,
}

type Key = (ProjectId, EndpointId, Trouble);

/// What was told of one trouble and nobody has heard of yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Untold {
    last: Notice,
    count: u64,
}

impl Notices {
    /// Takes a notice. Does not wait.
    pub fn tell(&self, notice: Notice) {
        let key = (notice.project, notice.endpoint, notice.trouble);
        let mut untold = self.untold();
        let count = untold.get(&key).map_or(0, |untold| untold.count);
        let last = notice;
        untold.insert(
            key,
            Untold {
                last,
                count: count.saturating_add(1),
            },
        );
        drop(untold);
        self.inner.wake.notify_one();
    }

    /// Counts a delivery that failed for good, and tells when those are too many.
    pub(crate) fn failed(&self, subscription: SubscriptionId, alert: FailureAlert, notice: Notice) {
        let failures = self.inner.failures.lock();
        let mut failures = failures.unwrap_or_else(PoisonError::into_inner);
        let is_too_many = failures.add(subscription, alert, notice.at_ms);
        drop(failures);
        if is_too_many {
            self.tell(notice);
        }
    }

    /// Counts an attempt of an endpoint, and tells when too many have failed, and when that is
    /// over. Says what it told.
    pub(crate) fn attempted(
        &self,
        (project, endpoint): (ProjectId, EndpointId),
        policy: &alert::Policy,
        is_success: bool,
        at_ms: i64,
    ) -> Option<alert::Change> {
        let change = self.rates().record(endpoint, policy, is_success, at_ms)?;
        let (trouble, rate) = match change {
            alert::Change::Exceeded(rate) => (Trouble::FailureRateExceeded, rate),
            alert::Change::Recovered(rate) => (Trouble::FailureRateRecovered, rate),
        };
        self.tell(Notice {
            project,
            endpoint,
            trouble,
            reason: "failure_rate".into(),
            rate: Some(rate),
            at_ms,
        });
        Some(change)
    }

    /// Since when an endpoint fails too often, Unix milliseconds.
    pub(crate) fn exceeded_ms(&self, endpoint: EndpointId, now_ms: i64) -> Option<i64> {
        self.rates().exceeded_ms(endpoint, now_ms)
    }

    /// Each change to it is whole in itself, so what a panic left is good.
    fn rates(&self) -> MutexGuard<'_, Rates> {
        let rates = self.inner.rates.lock();
        rates.unwrap_or_else(PoisonError::into_inner)
    }

    /// What was told, in the order in which it was.
    fn take(&self) -> Vec<(Key, Untold)> {
        let untold = std::mem::take(&mut *self.untold());
        let mut all: Vec<_> = untold.into_iter().collect();
        all.sort_by_key(|(_, untold)| untold.last.at_ms);
        all
    }

    /// Each change to it is whole in itself, so what a panic left is good.
    fn untold(&self) -> MutexGuard<'_, BTreeMap<Key, Untold>> {
        let untold = self.inner.untold.lock();
        untold.unwrap_or_else(PoisonError::into_inner)
    }
}
