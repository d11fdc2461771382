//! What the catalogue of event types says of an event, before it goes to the log: whether its
//! type is known, and whether it is as the schema of its type wants it.
//!
//! Comes after verification: what an unknown sender sends is not worth the work. A repeat of an
//! accepted event is answered as one, also when the catalogue has changed since: its sender may
//! have missed the reply, and must not learn that what was delivered was refused.
//!
//! Costs nothing for a project that asks for nothing, a look-up for a type without a schema, and
//! otherwise one more reading of the body. What could take long goes to a thread of its own.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use outrider_config::snapshot::{Enforcement, EventType, ProjectTable};
use outrider_store::{AcceptError, Accepted, LocalLog};
use outrider_webhook::event::{EventFacts, Origin, RoutedEvent};
use outrider_webhook::schema::Schema;
use outrider_webhook::view;
use serde_json::Value;

use super::reply::Reply;
use crate::metrics::Metrics;

/// Steps of a check that are made on the request's own thread: a millisecond, about.
const STEPS_INLINE: u64 = 100_000;

/// What is to be done with an event.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing is said against it.
    Fits,
    /// It is accepted with this mark.
    Flawed(Box<str>),
    /// It is refused, unless it is a repeat.
    Refused(Misfit),
}

/// Why the catalogue refuses an event.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Misfit {
    /// Its type is not there.
    #[error("event type `{name}` is not in the catalogue of this project")]
    UnknownType {
        /// The type.
        name: Box<str>,
        /// Whether a backend sent it, and not a provider.
        is_api: bool,
    },
    /// It is not as the schema wants it.
    #[error("the event is not as the schema of its type `{name}` wants it: {flaw}")]
    Schema {
        /// The type.
        name: Box<str>,
        /// Places and rules.
        flaw: Box<str>,
        /// Whether a backend sent it, and not a provider.
        is_api: bool,
    },
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// The catalogue refuses it.
    #[error(transparent)]
    Catalogue(#[from] Misfit),
    /// The log refuses it.
    #[error(transparent)]
    Log(#[from] AcceptError),
}

impl NotTaken {
    /// Stable code: a closed set.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Catalogue(Misfit::UnknownType { .. }) => "unknown_event_type",
            Self::Catalogue(Misfit::Schema { .. }) => "schema_mismatch",
            Self::Log(error) => error.code(),
        }
    }

    /// A backend sent a bad request; a provider sent a good one that we do not want.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Catalogue(Misfit::UnknownType { is_api, .. } | Misfit::Schema { is_api, .. }) => {
                if *is_api {
                    StatusCode::BAD_REQUEST
                } else {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
            }
            Self::Log(error) => Reply::status_of(error),
        }
    }

    /// When trying again makes sense, seconds.
    pub(super) const fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Catalogue(_) => None,
            Self::Log(error) => error.retry_after_s(),
        }
    }
}

impl From<NotTaken> for Reply {
    fn from(error: NotTaken) -> Self {
        Self {
            retry_after_s: error.retry_after_s(),
            ..Self::refuse(error.status(), error.code(), &error.to_string())
        }
    }
}

/// What the catalogue of its project says of an event.
pub(super) async fn judge(metrics: &Metrics, facts: &EventFacts, table: &ProjectTable) -> Verdict {
    let policy = table.project().type_policy();
    if policy.is_idle() {
        return Verdict::Fits;
    }
    let (name, is_api) = (&facts.event_type, facts.origin == Origin::Api);
    let Some(event_type) = table.event_type(name) else {
        return match policy.refuses_unknown {
            true => Verdict::Refused(Misfit::UnknownType {
                name: name.clone(),
                is_api,
            }),
            false => Verdict::Fits,
        };
    };
    let is_checked = policy.enforcement != Enforcement::Off && event_type.schema().is_some();
    let flaw = match is_checked {
        true => flaw_of(event_type, facts).await,
        false => return Verdict::Fits,
    };
    let (result, verdict) = match (flaw, policy.enforcement) {
        (None, _) => ("valid", Verdict::Fits),
        (Some(flaw), Enforcement::Reject) => {
            let name = name.clone();
            (
                "refused",
                Verdict::Refused(Misfit::Schema { name, flaw, is_api }),
            )
        }
        (Some(flaw), _) => ("flagged", Verdict::Flawed(flaw)),
    };
    metrics.schema_checks.with_label_values(&[result]).inc();
    verdict
}

/// Refuses an event, unless it repeats one that was accepted.
pub(super) async fn refuse(
    log: &LocalLog,
    event: RoutedEvent,
    misfit: Misfit,
) -> Result<Accepted, NotTaken> {
    match log.accept_repeat(event).await {
        Err(AcceptError::NoRepeat) => Err(misfit.into()),
        other => Ok(other?),
    }
}

/// What the schema has against the event.
async fn flaw_of(event_type: &Arc<EventType>, facts: &EventFacts) -> Option<Box<str>> {
    let schema = event_type.schema()?;
    // What a coded body unfolds to is not known yet.
    let is_coded = facts
        .headers
        .iter()
        .any(|(name, _)| *name == header::CONTENT_ENCODING);
    if !is_coded && schema.steps(facts.body.len()) <= STEPS_INLINE {
        return flaw_in(schema, &Content::of(facts));
    }
    let (event_type, content) = (Arc::clone(event_type), Content::of(facts));
    let checked = tokio::task::spawn_blocking(move || flaw_in(event_type.schema()?, &content));
    let failed = |_| Some("the check failed".into()); // a panic in it, which is a bug
    checked.await.unwrap_or_else(failed)
}

fn flaw_in(schema: &Schema, content: &Content) -> Option<Box<str>> {
    let Some(view) = content.view() else {
        return Some("the body has no JSON view".into());
    };
    let mismatch = schema.check(&view).err()?;
    Some(mismatch.to_string().into())
}

/// What a JSON view is made of.
struct Content {
    is_api: bool,
    headers: HeaderMap,
    query: Box<str>,
    body: Bytes,
}

impl Content {
    fn of(facts: &EventFacts) -> Self {
        Self {
            is_api: facts.origin == Origin::Api,
            headers: facts.headers.iter().cloned().collect(),
            query: facts.query.clone(),
            body: facts.body.clone(),
        }
    }

    /// The value that the schema is about.
    fn view(&self) -> Option<Value> {
        let data = || serde_json::from_slice(&self.body).ok();
        // `data` of a call is JSON, whatever headers it is to travel with.
        let data = if self.is_api { data() } else { None };
        data.or_else(|| view::of_request(&self.headers, &self.query, &self.body))
    }
}
