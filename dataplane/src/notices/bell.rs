//! Lets people hear: the task that makes messages of notices.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

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
/// The longest sleep while something is held back.
const LOOK_EVERY: Duration = Duration::from_secs(60);
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

/// What people heard of, and what is held back since.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// When people last heard of each trouble, Unix milliseconds.
    last: HashMap<Key, i64>,
    /// What was told since then, and is not over.
    held: HashMap<Key, Untold>,
}

impl Heard {
    /// What people are to hear of a trouble; `None` when it is too soon for a message.
    pub(super) fn is_due(&mut self, key: Key, untold: Untold, now_ms: i64) -> Option<Untold> {
        if self.last.len() >= HEARD_MAX {
            let held = &self.held;
            self.last
                .retain(|key, at_ms| held.contains_key(key) || is_soon(*at_ms, now_ms));
        }
        // What it ends is no news any more.
        if let Some(ended) = key.2.ends() {
            self.held.remove(&(key.0, key.1, ended));
        }
        let held = self.held.remove(&key).map_or(0, |held| held.count);
        let untold = Untold {
            count: held.saturating_add(untold.count),
            ..untold
        };
        let last_ms = self.last.get(&key).copied();
        if last_ms.is_some_and(|last_ms| is_soon(last_ms, now_ms)) {
            self.held.insert(key, untold);
            return None;
        }
        self.last.insert(key, now_ms);
        Some(untold)
    }

    /// When the next one that is held back may be told.
    pub(super) fn next_ms(&self) -> Option<i64> {
        let last = self.held.keys().filter_map(|key| self.last.get(key));
        last.min().map(|last_ms| last_ms.saturating_add(PERIOD_MS))
    }

    /// What was held back for long enough.
    pub(super) fn take_due(&mut self, now_ms: i64) -> Vec<(Key, Untold)> {
        let last = &self.last;
        let is_due = |key: &Key, _: &mut Untold| {
            !last
                .get(key)
                .is_some_and(|last_ms| is_soon(*last_ms, now_ms))
        };
        let due: Vec<_> = self.held.extract_if(is_due).collect();
        for (key, _) in &due {
            self.last.insert(*key, now_ms);
        }
        due
    }
}

/// A clock that was set back does not keep people waiting.
fn is_soon(last_ms: i64, now_ms: i64) -> bool {
    (0..PERIOD_MS).contains(&now_ms.saturating_sub(last_ms))
}

impl Bell {
    /// Runs until `stop` fires.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut heard = Heard::default();
        loop {
            let now_ms = self.clock.now_ms();
            let wait = heard.next_ms().map(|next_ms| wait(next_ms, now_ms));
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.notices.inner.wake.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
            for (key, untold) in self.notices.take() {
                self.ring(key, untold, &mut heard).await;
            }
            for (key, untold) in heard.take_due(self.clock.now_ms()) {
                self.tell_people(key, &untold).await;
            }
        }
    }

    async fn ring(&self, key: Key, untold: Untold, heard: &mut Heard) {
        let snapshot = self.table.load();
        let Some(table) = snapshot.project(key.0) else {
            return; // it is gone, and those who cared with it
        };
        let revision = snapshot.version().map_or(0, |version| version.revision);
        self.tell_owner(table.project(), &untold.last, revision)
            .await;
        let is_heard =
            |endpoint: &Arc<Endpoint>| !endpoint.hooks().is_empty() || endpoint.mailbox().is_some();
        if !table.endpoint(key.1).is_some_and(is_heard) {
            return;
        }
        match heard.is_due(key, untold, self.clock.now_ms()) {
            Some(untold) => self.tell_people(key, &untold).await,
            None => self.count("all", "held_back"),
        }
    }

    async fn tell_people(&self, key: Key, untold: &Untold) {
        let snapshot = self.table.load();
        let table = snapshot.project(key.0);
        let Some((table, endpoint)) = table.and_then(|table| Some((table, table.endpoint(key.1)?)))
        else {
            return; // it is gone since
        };
        let (project, count) = (table.project(), untold.count);
        let revision = snapshot.version().map_or(0, |version| version.revision);
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

/// The wall clock may be set meanwhile, so it is looked at now and then.
fn wait(until_ms: i64, now_ms: i64) -> Duration {
    let ms = until_ms.saturating_sub(now_ms).max(1);
    Duration::from_millis(u64::try_from(ms).unwrap_or(1)).min(LOOK_EVERY)
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
