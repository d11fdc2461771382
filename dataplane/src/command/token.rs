//! Trials of token endpoints: whether a client of one gets a token, before an endpoint has it.
//!
//! Asked here and not by the control plane, whose network is not the one that deliveries are made
//! from, and whose way out no policy guards. Nothing is kept: neither the client nor its token.

use std::sync::Arc;
use std::time::Duration;

use outrider_config::resource::{FieldError, OAuth2Spec, from_document};
use outrider_store::Clock;
use outrider_webhook::address::ProjectRef;
use outrider_webhook::authentication::oauth2::Token;
use outrider_webhook::id::ProjectId;
use outrider_webhook::secret::Secret;
use outrider_xds::Outcome;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Executor;
use super::question::{answered, refused};
use crate::chance::Chance;
use crate::deliver::{Asker, try_out};
use crate::egress::{Egress, Leave};
use crate::ingest::slots::Slots;
use crate::meta::rfc3339;

/// How long a token endpoint may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Trials at a time, in all and of one project: a person waits for each, and servers that
/// do not answer must not keep others from theirs (decision 0005).
const AT_ONCE: usize = 16;
const OF_ONE: usize = 2;
/// Of a token so much is shown, if it is that long.
const SHOWN_CHARS: usize = 4;
const SHOWN_FROM_BYTES: usize = 24;

/// What trials are made with.
pub(crate) struct Trials {
    pub(super) egress: Egress,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) chance: Chance,
    slots: Slots<ProjectId>,
    /// Of pings, which take as long.
    pub(super) pings: Slots<ProjectId>,
}

impl Trials {
    pub(crate) fn new(egress: Egress, clock: Arc<dyn Clock>, chance: Chance) -> Self {
        Self {
            egress,
            clock,
            chance,
            slots: Slots::new(AT_ONCE, OF_ONE),
            pings: Slots::new(AT_ONCE, OF_ONE),
        }
    }
}

impl Executor {
    /// Needs no turn: nothing changes.
    pub(super) async fn try_token(&self, project: ProjectId, client: &Secret) -> Outcome {
        let trials = &self.trials;
        let Ok(_slot) = trials.slots.take(project) else {
            let says = "too many token endpoints are being tried out, try again";
            return refused("commands_busy", says);
        };
        let snapshot = self.table.load();
        let Some(table) = snapshot.project(project) else {
            return refused(
                "config_behind",
                "this data plane does not have the project yet",
            );
        };
        let project = table.project();
        let spec = from_document::<OAuth2Spec>(client.expose().as_bytes());
        let client = match spec.map(|spec| spec.on_trial(project)) {
            Ok(Ok(client)) => client,
            Ok(Err(errors)) => return refused("bad_client", &joined(&errors)),
            Err(error) => return refused("bad_client", &error.to_string()),
        };
        let now_ms = trials.clock.now_ms();
        let leave = Leave::of(&snapshot, table, None);
        let asker = Asker {
            egress: &trials.egress,
            chance: &trials.chance,
            project: ProjectRef {
                id: project.id(),
                name: project.name(),
            },
            leave: &leave,
            now_s: now_ms / 1_000,
            deadline: Instant::now() + LIMIT,
        };
        let tried = try_out(&client, asker).await;
        tracing::info!(project_id = %project.id(), client_id = client.client_id(), is_success = tried.is_ok(), "token endpoint tried out");
        answered(&match tried {
            Ok(token) => shown(&token, trials.clock.now_ms()),
            Err(unavailable) => json!({
                "success": false,
                "error": &*unavailable.reason,
                "message": "no token could be fetched",
            }),
        })
    }
}

fn shown(token: &Token, now_ms: i64) -> Value {
    let value = token.value.to_str().unwrap_or_default();
    let (kind, text) = value.split_once(' ').unwrap_or_default();
    let lifetime_ms = i64::try_from(token.lifetime.as_millis()).unwrap_or(i64::MAX);
    json!({
        "success": true,
        "access_token": masked(text),
        "token_type": kind,
        "expires_at": rfc3339(now_ms.saturating_add(lifetime_ms)),
        "message": "a token was fetched",
    })
}

/// Enough to tell one kind of token from another.
fn masked(token: &str) -> String {
    let begin = token.get(..SHOWN_CHARS).unwrap_or_default();
    let is_long = token.len() >= SHOWN_FROM_BYTES;
    format!("{}***", if is_long { begin } else { "" })
}

fn joined(errors: &[FieldError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_token_its_begin_is_shown_at_most() {
        assert_eq!(masked(""), "***");
        assert_eq!(masked(&"a".repeat(23)), "***");
        assert_eq!(masked("eyJhbGciOiJIUzI1NiJ9.e30.x"), "eyJh***");
    }
}
