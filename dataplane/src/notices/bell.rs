//! Lets people hear: the task that makes messages of notices.

use std::collections::HashMap;
use std::sync::Arc;

use outrider_config::snapshot::{Endpoint, HookKind, MetaKind, Project};
use outrider_store::Clock;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::mail::{Mail, Mails};
use super::{Key, Notice, Notices, Trouble, Untold};
use crate::meta::{self, Fact, Teller, rfc3339};
use crate::metrics::Metrics;
use crate::table::RoutingTable;

/// People hear of the same trouble of an endpoint so often, milliseconds.
const PERIOD_MS: i64 = 3_600_000;
/// Troubles that are remembered for it: beyond, people may hear of one again too soon.
const HEARD_MAX: usize = 100_000;

/// The task.
pub(crate) struct Bell {
    pub(crate) notices: Notices,
    pub(crate) table: RoutingTable,
    pub(crate) teller: Teller,
    pub(crate) mails: Option<Mails>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
}

/// When people last heard of a trouble, and how often it was told since.
#[derive(Debug, Default)]
pub(super) struct Heard {
    last: HashMap<Key, (i64, u64)>,
}

impl Heard {
    /// How many notices a message is about; `None` when it is too soon for one.
    pub(super) fn is_due(&mut self, key: Key, count: u64, now_ms: i64) -> Option<u64> {
        if self.last.len() >= HEARD_MAX {
            self.last
                .retain(|_, (at_ms, _)| now_ms.saturating_sub(*at_ms) < PERIOD_MS);
        }
        let (at_ms, held) = self.last.get(&key).copied().unwrap_or((i64::MIN, 0));
        let all = held.saturating_add(count);
        // A clock that was set back does not keep people waiting.
        let is_soon = (0..PERIOD_MS).contains(&now_ms.saturating_sub(at_ms));
        let next = if is_soon { (at_ms, all) } else { (now_ms, 0) };
        self.last.insert(key, next);
        (!is_soon).then_some(all)
    }
}

impl Bell {
    /// Runs until `stop` fires.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut heard = Heard::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.notices.inner.wake.notified() => {}
            }
            for (key, untold) in self.notices.take() {
                self.ring(key, &untold, &mut heard).await;
            }
        }
    }

    async fn ring(&self, key: Key, untold: &Untold, heard: &mut Heard) {
        let snapshot = self.table.load();
        let Some(table) = snapshot.project(key.0) else {
            return; // it is gone, and those who cared with it
        };
        let project = table.project();
        let revision = snapshot.version().map_or(0, |version| version.revision);
        self.tell_owner(project, &untold.last, revision).await;
        let Some(endpoint) = table.endpoint(key.1) else {
            return;
        };
        if endpoint.hooks().is_empty() && endpoint.mailbox().is_none() {
            return;
        }
        let Some(count) = heard.is_due(key, untold.count, self.clock.now_ms()) else {
            self.count("all", "held_back");
            return;
        };
        let message = Message::of(project, endpoint, &untold.last, count);
        for hook in endpoint.hooks() {
            self.hook(project, (hook.kind, &hook.endpoint), &message, revision)
                .await;
        }
        if let Some(to) = endpoint.mailbox() {
            self.mail(to, &message);
        }
    }

    /// The owner's meta events. Those of endpoints come from the configuration.
    async fn tell_owner(&self, project: &Project, notice: &Notice, revision: u64) {
        let kind = match notice.trouble {
            Trouble::BreakerOpened => MetaKind::BreakerOpened,
            Trouble::BreakerClosed => MetaKind::BreakerClosed,
            Trouble::FailureRateExceeded => MetaKind::FailureRateExceeded,
            Trouble::FailureRateRecovered => MetaKind::FailureRateRecovered,
            Trouble::Disabled | Trouble::DeliveriesFailed => return,
        };
        let Some(meta) = project.meta().filter(|meta| meta.wants(kind)) else {
            return;
        };
        let mut data = json!({
            "project_id": notice.project,
            "endpoint_id": notice.endpoint,
            "reason": notice.reason,
            "at": rfc3339(notice.at_ms),
        });
        if let Some(rate) = notice.rate {
            data["attempts"] = rate.attempts.into();
            data["failures"] = rate.failures.into();
        }
        let fact = Fact {
            kind: kind.as_str(),
            name: &format!("{}/{}", notice.endpoint, notice.at_ms),
            body: meta::body(kind.as_str(), &data),
            revision,
        };
        if self
            .teller
            .tell_or_count(meta.place(), &fact)
            .await
            .is_err()
        {
            tracing::debug!("the log is closed");
        }
    }

    async fn hook(
        &self,
        project: &Project,
        (kind, hook): (HookKind, &Arc<Endpoint>),
        message: &Message,
        revision: u64,
    ) {
        let Some(own) = project.own() else {
            return;
        };
        let fact = Fact {
            kind: kind.event_type(),
            name: &message.name,
            // What both of them take.
            body: json!({"text": message.text}).to_string().into(),
            revision,
        };
        let told = self.teller.tell_or_count((own, hook.id()), &fact).await;
        self.count(
            kind.event_type(),
            if told.is_ok() { "accepted" } else { "failed" },
        );
    }

    fn mail(&self, to: &str, message: &Message) {
        let Some(mails) = &self.mails else {
            self.count("mail", "not_set_up");
            return;
        };
        let mail = Mail {
            to: to.to_owned(),
            subject: message.subject.clone(),
            text: message.text.clone(),
        };
        if !mails.send(mail) {
            tracing::error!(to, "too many mails wait: this one is lost");
            self.count("mail", "failed");
        }
    }

    fn count(&self, channel: &str, result: &str) {
        let counter = &self.metrics.notifications;
        counter.with_label_values(&[channel, result]).inc();
    }
}

/// What people read.
pub(super) struct Message {
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) text: String,
}

impl Message {
    pub(super) fn of(project: &Project, endpoint: &Endpoint, notice: &Notice, count: u64) -> Self {
        let what = match notice.trouble {
            Trouble::Disabled => "was switched off",
            Trouble::BreakerOpened => "keeps failing and is left alone for a while",
            Trouble::BreakerClosed => "is served again",
            Trouble::DeliveriesFailed => "does not take what is delivered to it",
            Trouble::FailureRateExceeded => "fails too often",
            Trouble::FailureRateRecovered => "fails no longer too often",
        };
        // Names are people's own: a line of them is a line here.
        let line = |text: &str| text.replace(|c: char| c.is_control(), " ");
        let (project, name) = (line(project.name()), line(endpoint.name()));
        let subject = format!("{project}: endpoint {name} {what}");
        let more = match count {
            0 | 1 => String::new(),
            count => format!("\n{count} times since the last message"),
        };
        let rate = notice.rate.map_or_else(String::new, |rate| {
            format!(", {} of {} attempts failed", rate.failures, rate.attempts)
        });
        let text = format!(
            "{subject}\nreason: {}{rate}\nendpoint: {} {}\nat: {}{more}",
            line(&notice.reason),
            notice.endpoint,
            endpoint.url().redacted(),
            rfc3339(notice.at_ms),
        );
        Self {
            name: format!(
                "{}/{}/{}",
                notice.endpoint,
                notice.trouble.as_str(),
                notice.at_ms
            ),
            subject,
            text,
        }
    }
}
