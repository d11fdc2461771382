//! Dynamic events: the endpoint is named by its URL, and found or made (RULINGS 15).
//!
//! An endpoint of the configuration with the very URL is used as it is: its secret and what its
//! subscriptions want are not an event's to change. Otherwise the event makes one.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use outrider_config::snapshot::{ProjectKind, ProjectTable};
use outrider_webhook::address::TargetUrl;
use outrider_webhook::dynamic::{self, UrlKey};
use outrider_webhook::event::{Audience, Dynamic, EventFacts};
use outrider_webhook::secret::Secret;

use super::refused::Refused;
use crate::ingest::Intake;
use crate::made::{Claim, NotMade, Unresolved, Wish};

/// Event types that an endpoint may be made with.
const EVENT_TYPES_MAX: usize = 100;
/// Longest URL and secret, bytes: what configuration allows.
const URL_BYTES_MAX: usize = 2048;
const SECRET_BYTES_MAX: usize = 1024;
/// How long an event of a project that verifies waits for its endpoint (contract 3.1).
const VERIFY_LIMIT: Duration = Duration::from_secs(30);
/// When to come again while the control plane does not take endpoints, seconds.
const RETRY_AFTER_S: u32 = 5;

/// An event on its way into the log.
pub(super) struct Candidate {
    pub(super) facts: EventFacts,
    /// The endpoint it makes, if it does.
    pub(super) claim: Option<Claim>,
}

impl From<EventFacts> for Candidate {
    fn from(facts: EventFacts) -> Self {
        Self { facts, claim: None }
    }
}

/// The fields of an event that are about its endpoint.
pub(super) struct Named {
    pub(super) url: Option<String>,
    pub(super) secret: Option<Secret>,
    pub(super) event_types: Option<Vec<String>>,
}

/// The endpoint of an event: one that is there, or one that it makes.
pub(super) fn audience(
    intake: &Intake,
    table: &ProjectTable,
    named: Named,
) -> Result<(Audience, Option<Claim>), Refused> {
    let text = named.url.filter(|url| !url.is_empty());
    let text = text.ok_or_else(|| Refused::invalid("please provide an endpoint url"))?;
    let at_most = |what: &str, bytes: usize, max: usize| {
        let message = || Refused::invalid(format!("`{what}` is longer than {max} bytes"));
        (bytes <= max).then_some(()).ok_or_else(message)
    };
    at_most("url", text.len(), URL_BYTES_MAX)?;
    let url = TargetUrl::parse(&text);
    let url = url.map_err(|denied| Refused::invalid(format!("`url`: {denied}")))?;
    let secret = named.secret.filter(|secret| !secret.expose().is_empty());
    let secret_bytes = secret.as_ref().map_or(0, |secret| secret.expose().len());
    at_most("secret", secret_bytes, SECRET_BYTES_MAX)?;
    let event_types = named.event_types.unwrap_or_default();
    if event_types.len() > EVENT_TYPES_MAX {
        return Err(Refused::invalid(format!(
            "`event_types` has more than {EVENT_TYPES_MAX} items"
        )));
    }
    let project = table.project();
    if project.kind() != ProjectKind::Outgoing {
        return Err(Refused::invalid(
            "dynamic events are for outgoing projects: this one receives",
        ));
    }
    let key = UrlKey::of(&url);
    if let Some(endpoint) = table.endpoint_of_url(key) {
        return Ok((found(endpoint), None));
    }
    // One of these ids is taken when a person gave the endpoint of this URL another one.
    let ids = (0..dynamic::GENERATIONS).map(|n| dynamic::endpoint_id(project.id(), key, n));
    let endpoint = ids.into_iter().find(|id| table.endpoint(*id).is_none());
    let endpoint = endpoint.ok_or_else(|| {
        Refused::invalid("`url`: its endpoints were given other URLs too often; make one by hand")
    })?;
    let wish = Wish {
        endpoint,
        url: text,
        secret,
        event_types,
    };
    let claim = intake.made.claim(project, wish)?;
    Ok((Audience::Dynamic(Box::new(claim.audience())), Some(claim)))
}

fn found(endpoint: outrider_webhook::id::EndpointId) -> Audience {
    let made = None;
    Audience::Dynamic(Box::new(Dynamic { endpoint, made }))
}

/// In a project that verifies: waits until the endpoint of an event is configuration. True when
/// it is now, and was not before.
pub(super) async fn verify(
    table: &ProjectTable,
    candidate: &mut Candidate,
) -> Result<bool, Refused> {
    let Some(claim) = &candidate.claim else {
        return Ok(false);
    };
    if !table.project().verifies_dynamic_events() {
        return Ok(false);
    }
    let endpoint = claim.audience().endpoint;
    claim.resolved(VERIFY_LIMIT).await?;
    candidate.claim = None;
    candidate.facts.audience = found(endpoint);
    Ok(true)
}

impl From<NotMade> for Refused {
    fn from(error: NotMade) -> Self {
        match &error {
            NotMade::Fields(_) | NotMade::Denied(_) => Self::invalid(error.to_string()),
            NotMade::Full => Self {
                retry_after_s: Some(RETRY_AFTER_S),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too_many_new_endpoints",
                    error.to_string(),
                )
            },
            NotMade::NotSealed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_sealed",
                error.to_string(),
            ),
        }
    }
}

impl From<Unresolved> for Refused {
    fn from(error: Unresolved) -> Self {
        match error {
            Unresolved::Refused(message) => Self::new(
                StatusCode::BAD_REQUEST,
                "endpoint_refused",
                refusal(&message),
            ),
            Unresolved::Late => Self {
                retry_after_s: Some(RETRY_AFTER_S),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "endpoint_unresolved",
                    "the endpoint is not configuration yet, and the project verifies dynamic events",
                )
            },
        }
    }
}

fn refusal(message: &Arc<str>) -> String {
    format!("the endpoint cannot be made: {message}")
}
