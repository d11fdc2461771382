//! Where people read of an endpoint's troubles: Slack- and Teams-compatible webhooks.
//!
//! A message is an event of the project that meta events belong to, for an endpoint that is made
//! here of the URL: so the policy of the way out, retries and the record of attempts hold for it.

use std::sync::Arc;

use outrider_webhook::id::EndpointId;
use outrider_webhook::secret::Secret;
use outrider_webhook::url_template::is_template;

use super::check::{Checks, Reason};
use super::egress_pool_spec::pool_name;
use super::endpoint::Endpoint;
use super::endpoint_spec::EndpointSpec;
use super::field::given;
use super::project::Project;
use super::strategy::StrategySpec;

/// Attempts of a message, and how long it is news at all.
const ATTEMPTS: u64 = 5;
const AGE_S: u64 = 3_600;

/// Who has such a URL may write there: nobody looks at signatures.
const NO_SECRET: &str = "notifications are not signed";

/// Who understands the messages of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookKind {
    /// Slack, and what takes its webhooks.
    Slack,
    /// Microsoft Teams, and what takes its webhooks.
    Teams,
}

impl HookKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Slack, Self::Teams];

    /// The event type of its messages.
    #[must_use]
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Slack => "notification.slack",
            Self::Teams => "notification.teams",
        }
    }

    /// The field that it is written in.
    const fn field(self) -> &'static str {
        match self {
            Self::Slack => "slack_webhook_url",
            Self::Teams => "teams_webhook_url",
        }
    }

    /// From the id of an endpoint to that of its hook, and back.
    #[must_use]
    pub fn other_end(self, id: EndpointId) -> EndpointId {
        // Beyond what numbers the parts of anything else.
        let part = match self {
            Self::Slack => usize::MAX >> 2,
            Self::Teams => usize::MAX >> 3,
        };
        EndpointId::new(id.uid().part(part))
    }
}

/// A place where people read.
#[derive(Debug)]
pub struct Hook {
    /// Who understands it.
    pub kind: HookKind,
    /// Where it is.
    pub endpoint: Arc<Endpoint>,
}

impl EndpointSpec {
    /// The hooks; what is wrong with them is reported.
    pub(super) fn hooks(
        &self,
        checks: &mut Checks,
        (id, revision): (EndpointId, u64),
        project: &Project,
    ) -> Box<[Hook]> {
        let Some(own) = project.own() else {
            return Box::default(); // hooks have none themselves
        };
        let urls = [&self.slack_webhook_url, &self.teams_webhook_url];
        let hooks = HookKind::ALL.into_iter().zip(urls);
        let hooks = hooks.filter_map(|(kind, url)| {
            let url = given(url.as_deref())?;
            let pool = self.egress_pool.as_deref();
            let endpoint = compile((kind, url, pool), (id, revision), own, checks)?;
            Some(Hook {
                kind,
                endpoint: Arc::new(endpoint),
            })
        });
        hooks.collect()
    }

    /// Whom mails about it go to.
    pub(super) fn mailbox(&self, checks: &mut Checks) -> Option<Box<str>> {
        let text = given(self.support_email.as_deref())?;
        let is_odd = |c: char| c.is_control() || c.is_whitespace() || "<>,;:\"()[]\\".contains(c);
        let is_mailbox = text.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && !domain.is_empty()
                && !domain.contains('@')
                && !text.contains(is_odd)
        });
        if !is_mailbox {
            checks.fail(
                "support_email",
                Reason::Shape("one address like ops@a.example"),
            );
        }
        is_mailbox.then(|| text.into())
    }
}

fn compile(
    (kind, url, pool): (HookKind, &str, Option<&str>),
    (id, revision): (EndpointId, u64),
    own: &Project,
    checks: &mut Checks,
) -> Option<Endpoint> {
    if is_template(url) {
        checks.fail(kind.field(), Reason::Shape("one URL, no template"));
        return None;
    }
    let strategy = StrategySpec {
        kind: Some("exponential".to_owned()),
        duration: Some(5),
        retry_count: Some(ATTEMPTS),
        max_age_s: Some(AGE_S),
        ..StrategySpec::default()
    };
    // A name that is none is the endpoint's mistake, and reported there.
    let pool = pool_name(&mut Checks::default(), "egress_pool", pool);
    let spec = EndpointSpec {
        name: Some("notifications".to_owned()),
        url: Some(url.to_owned()),
        secret: Some(Secret::new(NO_SECRET)),
        advanced_signatures: Some(false),
        strategy: Some(strategy),
        egress_pool: pool.map(|name| name.to_string()),
        ..EndpointSpec::default()
    };
    match Endpoint::compile(kind.other_end(id), revision, own, &spec) {
        Ok(endpoint) => Some(endpoint),
        Err(errors) => {
            for error in errors {
                checks.fail(kind.field(), error.reason);
            }
            None
        }
    }
}
