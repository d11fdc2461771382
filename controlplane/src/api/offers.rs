//! What data planes offer becomes configuration here. Endpoints that they made for events
//! (RULINGS 15): by the rules of an endpoint that a client makes, in one revision with its subscription.

use std::sync::Arc;

use outrider_config::Kind;
use outrider_config::resource::{
    EndpointSecretSpec, EndpointSpec, FilterConfigSpec, Subscription, SubscriptionSpec,
};
use outrider_config::snapshot::ProjectKind;
use outrider_store::Clock;
use outrider_webhook::address::{Closings, Guard, Policy, TargetUrl};
use outrider_webhook::dynamic::UrlKey;
use outrider_webhook::id::SubscriptionId;
use outrider_webhook::url_template::{is_template, without_braces};
use outrider_xds::{EndpointOffer, Offer, OfferAnswer, OfferHandler};

use super::disabling;
use super::endpoints;
use super::error::ApiError;
use super::subscriptions;
use super::write::Writing;
use crate::{Author, ChangeError, ControlPlane, Edit, Stored, View};

/// Who such a revision is recorded under.
const ACTOR: &str = "data plane";

/// Takes what data planes offer.
pub struct OfferDesk {
    control: ControlPlane,
    egress: Policy,
    clock: Arc<dyn Clock>,
}

impl OfferDesk {
    /// A desk of this control plane; `egress` is the policy of the bootstrap.
    #[must_use]
    pub fn new(control: ControlPlane, egress: Policy, clock: Arc<dyn Clock>) -> Self {
        Self {
            control,
            egress,
            clock,
        }
    }
}

#[async_trait::async_trait]
impl OfferHandler for OfferDesk {
    async fn take(&self, offer: Offer) -> OfferAnswer {
        let egress = self.egress.clone();
        let (project, endpoint) = match &offer {
            Offer::Endpoint(offer) => (offer.project, offer.endpoint),
            Offer::Disabled(disabled) => (disabled.project, disabled.endpoint),
        };
        let decide = move |view: &View<'_>, by: &Author<'_>| {
            let writing = Writing { view, by, project };
            let edits = match offer {
                Offer::Endpoint(offer) => edits(&writing, offer, &egress)?,
                Offer::Disabled(disabled) => disabling::edits(&writing, disabled)?,
            };
            Ok((edits, ()))
        };
        let now_ms = self.clock.now_ms();
        let changed = self.control.change(ACTOR.to_owned(), now_ms, decide).await;
        match changed {
            Ok(changed) => OfferAnswer::Taken(changed.version),
            Err(error) if !is_final(&error) => {
                tracing::warn!(endpoint_id = %endpoint, %error, code = error.code(), "an offer could not be taken yet");
                let code = error.code().to_owned();
                OfferAnswer::Later { code }
            }
            Err(error) => {
                tracing::warn!(endpoint_id = %endpoint, %error, code = error.code(), "an offer is refused");
                OfferAnswer::Refused {
                    code: error.code().to_owned(),
                    message: error.to_string(),
                }
            }
        }
    }
}

/// Whether the same offer would be refused another time too: deliveries of acknowledged events
/// end then, so what is not listed here counts as passing.
fn is_final(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::Fields(_)
            | ApiError::State(_)
            | ApiError::Exists(_)
            | ApiError::NotFound(_)
            | ApiError::Change(ChangeError::Refused(_) | ChangeError::FromFile { .. })
    )
}

/// What has to change; nothing when the endpoint is there.
fn edits(
    writing: &Writing<'_>,
    offer: EndpointOffer,
    egress: &Policy,
) -> Result<Vec<Edit>, ApiError> {
    let (view, project) = (writing.view, writing.rules()?);
    let (uid, subscription) = (offer.endpoint.uid(), offer.subscription.uid());
    if project.kind() != ProjectKind::Outgoing {
        return Err(ApiError::State(
            "an incoming project has no dynamic endpoints",
        ));
    }
    if let Some(stored) = view.get(Kind::Endpoint, writing.project, uid)? {
        return match is_of_url(&stored, &offer.url)? {
            true => Ok(Vec::new()),
            false => Err(ApiError::Exists(format!(
                "the endpoint {uid} has another URL by now"
            ))),
        };
    }
    // Its id is what the data plane signs under already.
    let secret = EndpointSecretSpec {
        value: Some(offer.secret),
        uid: Some(uid.part(0).to_string()),
        ..EndpointSecretSpec::default()
    };
    let spec = EndpointSpec {
        name: Some(format!("endpoint-{uid}")),
        // What an event named is one place, whatever it is made of.
        url: Some(without_braces(&offer.url).into_owned()),
        secrets: Some(vec![secret]),
        ..EndpointSpec::default()
    };
    let spec = endpoints::created(spec, project, true, writing.by);
    let endpoint = endpoints::check(writing, uid, &spec)?;
    // Events for it are acknowledged: what the configuration closes is judged when they are sent.
    let guard = Guard {
        policy: egress,
        closings: &Closings::default(),
    };
    endpoints::refuse_denied(&guard, writing, &endpoint)?;
    endpoints::refuse_duplicate(writing, spec.name.as_deref())?;
    let mut edits = vec![Edit::create(writing.made(Kind::Endpoint, uid, &spec)?)];
    // Somebody may have kept the subscription's id busy: then it is his.
    let is_free = view
        .get(Kind::Subscription, writing.project, subscription)?
        .is_none();
    if is_free {
        let mut spec = SubscriptionSpec::default();
        spec.name = Some(format!("subscription-{subscription}"));
        spec.endpoint_id = Some(uid.to_string());
        let filter = FilterConfigSpec {
            event_types: Some(offer.event_types),
            ..FilterConfigSpec::default()
        };
        spec.filter_config = Some(filter);
        subscriptions::settle(&mut spec);
        let id = SubscriptionId::new(subscription);
        Subscription::compile(id, 0, project, &spec)?;
        edits.push(Edit::create(writing.made(
            Kind::Subscription,
            subscription,
            &spec,
        )?));
    }
    Ok(edits)
}

fn is_of_url(stored: &Stored, url: &str) -> Result<bool, ApiError> {
    let spec: EndpointSpec = stored.spec()?;
    let stored = spec.url.unwrap_or_default();
    let key = |url: &str| TargetUrl::parse(url).ok().map(|url| UrlKey::of(&url));
    Ok(!is_template(&stored) && key(&stored) == key(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_wrong_ends_the_deliveries() {
        for passing in [ApiError::ProjectHeld, ApiError::Busy, ApiError::BodyTimeout] {
            assert!(!is_final(&passing), "{passing}");
        }
        let wrong = [
            ApiError::Fields(Vec::new()),
            ApiError::State("an incoming project"),
            ApiError::Exists("another URL".to_owned()),
            ApiError::not_found("project"),
            ApiError::Change(ChangeError::Refused(Vec::new())),
        ];
        for wrong in wrong {
            assert!(is_final(&wrong), "{wrong}");
        }
    }
}
