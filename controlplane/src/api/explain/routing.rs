//! Which subscriptions an event met, and why the others did not get it: as it was recorded, with
//! the condition that failed in the words of the revision it was routed under.

use outrider_config::Kind;
use outrider_config::resource::{Subscription, SubscriptionSpec};
use outrider_store::StoredEvent;
use outrider_webhook::event::{Audience, Refusal};
use outrider_webhook::id::SubscriptionId;
use serde_json::{Value, json};

use super::super::error::ApiError;
use crate::View;

/// Deliveries that an event knows without being read to its end.
const TARGETS_KNOWN: usize = 256;

pub(super) fn explained(view: &View<'_>, event: &StoredEvent) -> Result<Value, ApiError> {
    let decision = &event.decision;
    let refused: Result<Vec<Value>, ApiError> = (decision.refusals.iter())
        .map(|refusal| refused(view, event, refusal))
        .collect();
    Ok(json!({
        "revision": decision.revision,
        "audience": audience(&event.facts.audience),
        "matched": event.targets.len(),
        "refused": refused?,
        "refused_more": decision.refusals_more,
        "type_mismatches": decision.type_mismatches,
        "says": summary(event),
    }))
}

fn summary(event: &StoredEvent) -> String {
    let decision = &event.decision;
    let refused = decision.refusals.len() as u64 + u64::from(decision.refusals_more);
    let beginning = match event.targets.len() {
        0 => "no subscription matched this event".to_owned(),
        1 => "one delivery was made".to_owned(),
        // More of them may follow in the log.
        count @ TARGETS_KNOWN.. => format!("at least {count} deliveries were made"),
        count => format!("{count} deliveries were made"),
    };
    format!(
        "{beginning}; {refused} subscriptions of matching type refused it by a filter, {} are of other types",
        decision.type_mismatches
    )
}

fn audience(audience: &Audience) -> Value {
    match audience {
        Audience::Source(source) => json!({
            "kind": "source", "source_id": source,
            "says": "the subscriptions of the source it came in through were considered",
        }),
        Audience::Endpoint(endpoint) => json!({
            "kind": "endpoint", "endpoint_id": endpoint,
            "says": "it named an endpoint, whose subscriptions were considered; one without any gets everything",
        }),
        Audience::Owner(owner) => json!({
            "kind": "owner", "owner_id": owner,
            "says": "the subscriptions of all endpoints of an owner were considered",
        }),
        Audience::Broadcast => json!({
            "kind": "broadcast",
            "says": "all subscriptions of the project were considered, with one delivery per endpoint",
        }),
        Audience::Dynamic(dynamic) => json!({
            "kind": "dynamic", "endpoint_id": dynamic.endpoint,
            "says": "it named an endpoint by its URL, and goes there whatever subscriptions want",
        }),
    }
}

fn refused(view: &View<'_>, event: &StoredEvent, refusal: &Refusal) -> Result<Value, ApiError> {
    let revision = event.decision.revision;
    let found = subscription_of(view, event, refusal.subscription)?;
    let filter = found
        .as_ref()
        .and_then(|(subscription, _)| subscription.filter(&event.facts.event_type));
    let condition = filter.and_then(|filter| filter.leaf(refusal.leaf));
    let name = found.as_ref().map(|(subscription, _)| subscription.name());
    let called = match name {
        Some(name) => format!("subscription {name}"),
        None => format!("subscription {}", refusal.subscription),
    };
    let says = match condition {
        Some(condition) => format!("{called} did not get it: `{condition}` does not hold"),
        None => format!(
            "{called} did not get it: condition {} of its filter does not hold; what that was in revision {revision} is not known any more",
            refusal.leaf
        ),
    };
    Ok(json!({
        "subscription_id": refusal.subscription,
        "name": name,
        "leaf": refusal.leaf,
        "condition": condition,
        "filter_revision": found.as_ref().map(|(_, revision)| revision),
        "says": says,
    }))
}

/// A subscription as it was when the event was routed, and the revision that had written it.
fn subscription_of(
    view: &View<'_>,
    event: &StoredEvent,
    id: SubscriptionId,
) -> Result<Option<(Subscription, u64)>, ApiError> {
    let project = event.facts.project;
    let Some(table) = view.snapshot().project(project) else {
        return Ok(None);
    };
    let written = view.as_of(
        (Kind::Subscription, project, id.uid()),
        event.decision.revision,
    )?;
    let Some((revision, spec)) = written else {
        return Ok(None);
    };
    let spec: SubscriptionSpec = spec;
    // What the project is now decides nothing of a filter.
    let compiled = Subscription::compile(id, revision, table.project(), &spec);
    Ok(compiled.ok().map(|subscription| (subscription, revision)))
}
