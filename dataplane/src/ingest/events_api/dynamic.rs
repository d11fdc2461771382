//! Dynamic events: the endpoint is named by its URL, and found or made (RULINGS 15).
//!
//! An endpoint of the configuration with the very URL is used as it is: its secret and what its
//! subscriptions want are not an event's to change. So is the one whose URL template it matches,
//! and the event goes to the URL it named. Otherwise the event makes an endpoint, once the control
//! plane, which may be ahead of the table, has been asked for one (RULINGS 14).

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use outrider_config::snapshot::{ProjectKind, ProjectTable};
use outrider_webhook::address::TargetUrl;
use outrider_webhook::dynamic::{self, UrlKey};
use outrider_webhook::event::{Audience, Dynamic, EventFacts};
use outrider_webhook::id::{EndpointId, ProjectId};
use outrider_webhook::secret::Secret;
use outrider_webhook::url_template::is_template;

use super::admission::Admitted;
use super::refused::Refused;
use crate::ingest::Intake;
use crate::made::{Claim, NotMade, Unresolved, Wish};
use crate::table::Missing;

/// Event types that an endpoint may be made with.
const EVENT_TYPES_MAX: usize = 100;
/// Longest URL and secret, bytes: what configuration allows.
const URL_BYTES_MAX: usize = 2048;
const SECRET_BYTES_MAX: usize = 1024;
/// Endpoints that the refusal of an ambiguous URL names.
const NAMED_MAX: usize = 10;
/// URLs of a batch that are waited for.
const URLS_ASKED_MAX: usize = 8;
/// How long an event of a project that verifies waits for its endpoint (contract 3.1).
const VERIFY_LIMIT: Duration = Duration::from_secs(30);
/// When to come again while the control plane does not take endpoints, seconds.
const RETRY_AFTER_S: u32 = 5;

/// An event on its way into the log.
pub(super) struct Candidate {
    pub(super) facts: EventFacts,
    /// The endpoint that it is for and the table does not have, until it is claimed.
    pub(super) wish: Option<NewEndpoint>,
    /// The endpoint it makes, if it does.
    pub(super) claim: Option<Claim>,
}

impl From<EventFacts> for Candidate {
    fn from(facts: EventFacts) -> Self {
        let (wish, claim) = (None, None);
        Self { facts, wish, claim }
    }
}

/// An endpoint that an event would make.
pub(super) struct NewEndpoint {
    wish: Wish,
    url: UrlKey,
    /// Events made it before.
    is_made: bool,
}

/// The fields of an event that are about its endpoint.
pub(super) struct Named {
    pub(super) url: Option<String>,
    pub(super) secret: Option<Secret>,
    pub(super) event_types: Option<Vec<String>>,
}

/// The endpoint of an event: one that is there, or one that it would make.
pub(super) fn audience(
    intake: &Intake,
    table: &ProjectTable,
    named: Named,
) -> Result<(Audience, Option<NewEndpoint>), Refused> {
    let text = named.url.filter(|url| !url.is_empty());
    let text = text.ok_or_else(|| Refused::invalid("please provide an endpoint url"))?;
    let at_most = |what: &str, bytes: usize, max: usize| {
        let message = || Refused::invalid(format!("`{what}` is longer than {max} bytes"));
        (bytes <= max).then_some(()).ok_or_else(message)
    };
    at_most("url", text.len(), URL_BYTES_MAX)?;
    if is_template(&text) {
        return Err(Refused::invalid(
            "`url` has a `{` or `}`, which is for URL templates of endpoints: an event names the URL itself",
        ));
    }
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
        return Ok((found(endpoint, None), None));
    }
    // One of these ids is taken when a person gave the endpoint of this URL another one.
    let ids = (0..dynamic::GENERATIONS).map(|n| dynamic::endpoint_id(project.id(), key, n));
    let endpoint = ids.into_iter().find(|id| table.endpoint(*id).is_none());
    // One that was made and is no configuration yet has the very URL as well.
    let is_made = endpoint.is_some_and(|id| intake.made.is_made(id));
    if !is_made && let Some(endpoint) = matched(table, &url)? {
        return Ok((found(endpoint, Some(url.to_string().into())), None));
    }
    let endpoint = endpoint.ok_or_else(|| {
        Refused::invalid("`url`: its endpoints were given other URLs too often; make one by hand")
    })?;
    let wish = Wish {
        endpoint,
        url: text,
        secret,
        event_types,
    };
    let new = NewEndpoint {
        wish,
        url: key,
        is_made,
    };
    Ok((found(endpoint, None), Some(new)))
}

/// Makes the endpoints that the table does not have: nothing is claimed while it is asked for.
pub(super) fn make(
    intake: &Intake,
    admitted: &Admitted,
    events: &mut [Result<Candidate, Refused>],
) {
    let place = (admitted.table().project(), admitted.closings());
    for event in events {
        let Ok(candidate) = event else { continue };
        let Some(NewEndpoint { wish, .. }) = candidate.wish.take() else {
            continue;
        };
        match intake.made.claim(place, wish) {
            Ok(claim) => {
                candidate.facts.audience = Audience::Dynamic(Box::new(claim.audience()));
                candidate.claim = Some(claim);
            }
            Err(error) => *event = Err(error.into()),
        }
    }
}

fn found(endpoint: EndpointId, url: Option<Box<str>>) -> Audience {
    let made = None;
    Audience::Dynamic(Box::new(Dynamic {
        endpoint,
        made,
        url,
    }))
}

/// The endpoint whose URL template a URL matches; none in a project that has no templates, or
/// makes endpoints all the same. Which of several is meant nobody can tell, and a guess would
/// sign with somebody else's secret.
fn matched(table: &ProjectTable, url: &TargetUrl) -> Result<Option<EndpointId>, Refused> {
    if !table.has_url_templates() {
        return Ok(None);
    }
    let found: Vec<EndpointId> = table.endpoints_matching(url).take(NAMED_MAX + 1).collect();
    match found.as_slice() {
        [endpoint] => Ok(Some(*endpoint)),
        [] if table.project().allows_unmatched_dynamic_urls() => Ok(None),
        [] => Err(Refused {
            unmatched: Some(UrlKey::of(url)),
            ..Refused::new(
                StatusCode::BAD_REQUEST,
                "unmatched_url",
                "`url` matches no URL template of the project's endpoints, and its setting `allow_unmatched_dynamic_urls` is off",
            )
        }),
        several => Err(Refused::new(
            StatusCode::BAD_REQUEST,
            "ambiguous_url",
            format!(
                "`url` matches the URL templates of several endpoints, and may match that of one: {}",
                listed(several)
            ),
        )),
    }
}

fn listed(endpoints: &[EndpointId]) -> String {
    let named = endpoints.iter().take(NAMED_MAX).map(ToString::to_string);
    let named = named.collect::<Vec<_>>().join(", ");
    match endpoints.len() > NAMED_MAX {
        true => format!("{named} and more"),
        false => named,
    }
}

/// The URLs that nothing in the table has, neither itself nor a template of it, as far as they
/// are waited for: an endpoint is refused, or made, by what the control plane has.
pub(super) fn missing(
    project: ProjectId,
    events: &[Result<Candidate, Refused>],
) -> Vec<Missing<'static>> {
    let url = |event: &Result<Candidate, Refused>| match event {
        Ok(candidate) => {
            let new = candidate.wish.as_ref().filter(|new| !new.is_made);
            new.map(|new| new.url)
        }
        Err(refused) => refused.unmatched,
    };
    let missing = events.iter().filter_map(url);
    let missing = missing.map(|url| Missing::Url(project, url));
    missing.take(URLS_ASKED_MAX).collect()
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
    candidate.facts.audience = found(endpoint, None);
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
