//! Specifications of endpoints out of what clients send.

use outrider_config::resource::{EndpointSecretSpec, EndpointSpec, EndpointStatus};
use outrider_config::snapshot::{Project, ProjectKind};

use super::shape::status;
use super::{authentication, secrets};
use crate::Author;

/// What is not given stays.
pub(in crate::api) fn keep<T>(given: &mut Option<T>, old: Option<T>) {
    if given.is_none() {
        *given = old;
    }
}

/// What is not given stays; an empty text, which clients send for absent, gives nothing.
pub(in crate::api) fn keep_text(given: &mut Option<String>, old: Option<String>) {
    if given.as_deref().is_none_or(str::is_empty) {
        *given = old;
    }
}

/// A new endpoint: what is not given gets its value here, so that a later default changes nothing.
pub(in crate::api) fn created(
    mut given: EndpointSpec,
    project: &Project,
    is_advanced: bool,
    by: &Author<'_>,
) -> EndpointSpec {
    let is_advanced = given.advanced_signatures.unwrap_or(is_advanced);
    given.advanced_signatures = Some(is_advanced || project.kind() == ProjectKind::Incoming);
    if secrets::is_without(&given) {
        given.secret = Some(secrets::made_up(project, project.signature().secret_type()));
    }
    settled(given, by)
}

/// The endpoint with what is given of it. What this version does not act on is left in, to be
/// refused by the check. Name and URL have to be given.
pub(super) fn merged(
    old: EndpointSpec,
    mut given: EndpointSpec,
    project: &Project,
    by: &Author<'_>,
) -> EndpointSpec {
    let (was, is_disabled) = (status(&old), given.is_disabled.take());
    let wanted = match is_disabled {
        Some(true) => "inactive",
        // Clients send it with everything else: it ends what it began, and no pause.
        Some(false) if was == "inactive" => "active",
        Some(false) | None => was,
    };
    given.status = Some(wanted.to_owned());
    if secrets::is_without(&given) || secrets::is_newest(&old, given.secret.as_ref()) {
        given.secret = old.secret;
        given.secrets = old.secrets;
    }
    keep_text(&mut given.owner_id, old.owner_id);
    keep_text(&mut given.support_email, old.support_email);
    keep(&mut given.slack_webhook_url, old.slack_webhook_url);
    keep(&mut given.teams_webhook_url, old.teams_webhook_url);
    keep_text(&mut given.content_type, old.content_type);
    keep(&mut given.description, old.description);
    if given.http_timeout.is_none_or(|timeout| timeout == 0) {
        given.http_timeout = old.http_timeout;
    }
    keep(&mut given.rate_limit, old.rate_limit);
    keep(&mut given.concurrency, old.concurrency);
    keep(&mut given.rate_limit_duration, old.rate_limit_duration);
    authentication::keep(&mut given.authentication, old.authentication);
    authentication::keep_certificate(&mut given.mtls_client_cert, old.mtls_client_cert);
    keep(&mut given.tls, old.tls);
    keep(&mut given.connect_timeout_s, old.connect_timeout_s);
    keep(&mut given.strategy, old.strategy);
    keep(&mut given.egress_pool, old.egress_pool);
    keep(&mut given.failure_rate_alert, old.failure_rate_alert);
    keep(&mut given.advanced_signatures, old.advanced_signatures);
    if project.kind() == ProjectKind::Incoming {
        given.advanced_signatures = Some(true);
    }
    settled(given, by)
}

pub(in crate::api) fn with_status(mut spec: EndpointSpec, status: EndpointStatus) -> EndpointSpec {
    spec.status = Some(status.as_str().to_owned());
    spec.is_disabled = None;
    spec
}

/// The endpoint that a person wants to receive again.
pub(super) fn activated(mut spec: EndpointSpec) -> EndpointSpec {
    spec.activate();
    spec
}

/// One way to say each thing: secrets as a list, each with its id; a status.
fn settled(mut spec: EndpointSpec, by: &Author<'_>) -> EndpointSpec {
    // With both the check has something to say.
    if spec.secrets.as_ref().is_none_or(Vec::is_empty)
        && let Some(value) = spec.secret.take()
    {
        spec.secrets = Some(vec![EndpointSecretSpec {
            value: Some(value),
            ..EndpointSecretSpec::default()
        }]);
    }
    for secret in spec.secrets.iter_mut().flatten() {
        secrets::name(secret, by);
    }
    if spec.is_disabled == Some(true) && spec.status.as_deref().is_none_or(str::is_empty) {
        spec.status = Some(EndpointStatus::Inactive.as_str().to_owned());
        spec.is_disabled = None;
    }
    spec
}
