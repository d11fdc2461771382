//! What the catalogue of event types says of an event, before it goes to the log: whether its
//! type is known, and whether it is as the schema of its type wants it.
//!
//! Comes after verification: what an unknown sender sends is not worth the work. A repeat of an
//! accepted event is answered as one, also when the catalogue has changed since: its sender may
//! have missed the reply, and must not learn that what was delivered was refused.
//!
//! Costs nothing for a project that asks for nothing, a look-up for a type without a schema, and
//! otherwise the JSON view of the body, which the filters then share. What could take long goes to a thread of its own.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{StatusCode, header};
use outrider_config::snapshot::{Enforcement, EventType, ProjectTable};
use outrider_store::{AcceptError, Accepted, LocalLog};
use outrider_webhook::event::{Origin, RoutedEvent, VerifiedEvent};

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
    /// The check did not come to its end: a fault of ours, or we are stopping.
    #[error("the event could not be checked, try again")]
    Unchecked,
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
            Self::Unchecked => "schema_unchecked",
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
            Self::Unchecked => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Log(error) => Reply::status_of(error),
        }
    }

    /// When trying again makes sense, seconds.
    pub(super) const fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Catalogue(_) | Self::Unchecked => None,
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
///
/// # Errors
/// [`NotTaken::Unchecked`].
pub(super) async fn judge(
    metrics: &Metrics,
    event: VerifiedEvent,
    table: &ProjectTable,
) -> Result<(VerifiedEvent, Verdict), NotTaken> {
    let policy = table.project().type_policy();
    if policy.is_idle() {
        return Ok((event, Verdict::Fits));
    }
    let facts = event.facts();
    let (name, is_api) = (facts.event_type.clone(), facts.origin == Origin::Api);
    let Some(event_type) = table.event_type(&name) else {
        let verdict = match policy.refuses_unknown {
            true => Verdict::Refused(Misfit::UnknownType { name, is_api }),
            false => Verdict::Fits,
        };
        return Ok((event, verdict));
    };
    if policy.enforcement == Enforcement::Off || event_type.schema().is_none() {
        return Ok((event, Verdict::Fits));
    }
    let (event, flaw) = checked(event_type, event).await?;
    let (result, verdict) = match (flaw, policy.enforcement) {
        (None, _) => ("valid", Verdict::Fits),
        (Some(flaw), Enforcement::Reject) => (
            "refused",
            Verdict::Refused(Misfit::Schema { name, flaw, is_api }),
        ),
        (Some(flaw), _) => ("flagged", Verdict::Flawed(flaw)),
    };
    metrics.schema_checks.with_label_values(&[result]).inc();
    Ok((event, verdict))
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

/// The event, and what the schema of its type has against it.
async fn checked(
    event_type: &Arc<EventType>,
    event: VerifiedEvent,
) -> Result<(VerifiedEvent, Option<Box<str>>), NotTaken> {
    let facts = event.facts();
    // What a coded body unfolds to is not known yet.
    let is_coded = facts
        .headers
        .iter()
        .any(|(name, _)| *name == header::CONTENT_ENCODING);
    let steps = event_type
        .schema()
        .map_or(0, |schema| schema.steps(facts.body.len()));
    if !is_coded && steps <= STEPS_INLINE {
        let flaw = flaw_in(event_type, &event);
        return Ok((event, flaw));
    }
    let event_type = Arc::clone(event_type);
    let checked = tokio::task::spawn_blocking(move || {
        let flaw = flaw_in(&event_type, &event);
        (event, flaw)
    });
    checked.await.map_err(|_| NotTaken::Unchecked)
}

fn flaw_in(event_type: &EventType, event: &VerifiedEvent) -> Option<Box<str>> {
    let schema = event_type.schema()?;
    let Some(view) = event.view() else {
        return Some("the body has no JSON view".into());
    };
    let mismatch = schema.check(view).err()?;
    Some(mismatch.to_string().into())
}
