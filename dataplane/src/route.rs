//! Stage 3, route: a verified event and the table give the list of deliveries.
//!
//! Never refuses: no matching subscription is a result, recorded with its reason. Pure.

#[cfg(test)]
mod tests;

use outrider_config::snapshot::{ProjectTable, Subscription, TypeIndex};
use outrider_webhook::event::{
    Audience, Decision, DeliveryMode, Dynamic, RoutedEvent, Target, VerifiedEvent,
};
use outrider_webhook::id::EndpointId;

/// Finds the deliveries of an event under `table`, whose revision is recorded with them.
#[must_use]
pub fn route(event: VerifiedEvent, table: &ProjectTable, revision: u64) -> RoutedEvent {
    let mut found = Found {
        targets: Vec::new(),
        decision: Decision {
            revision,
            ..Decision::default()
        },
    };
    let event_type = &event.facts().event_type;
    match &event.facts().audience {
        Audience::Source(source) => {
            found.indexed(table.subscriptions_of_source(*source), event_type);
        }
        Audience::Endpoint(endpoint) => found.directed(table, *endpoint, event_type),
        Audience::Owner(owner) => {
            for endpoint in table.endpoints_of_owner(owner) {
                found.subscribed(table, endpoint, event_type);
            }
        }
        Audience::Broadcast => found.indexed(table.subscriptions_by_type(), event_type),
        Audience::Dynamic(dynamic) => found.named(table, dynamic),
    }
    // By endpoint, so that a second delivery to the same endpoint stands right behind the first.
    found.targets.sort_by_key(|target| target.endpoint);
    if event.facts().audience == Audience::Broadcast {
        // The first of an endpoint's subscriptions, by id: the same ones whenever they were made.
        found
            .targets
            .sort_by_key(|target| (target.endpoint, target.subscription));
        found.targets.dedup_by_key(|target| target.endpoint);
    }
    event.route(found.targets, found.decision)
}

struct Found {
    targets: Vec<Target>,
    decision: Decision,
}

impl Found {
    /// The one endpoint that the sender named by its URL, whatever its subscriptions want; the
    /// first of them, by id, stands for the delivery.
    fn named(&mut self, table: &ProjectTable, dynamic: &Dynamic) {
        let endpoint = dynamic.endpoint;
        let first = table.subscriptions_of_endpoint(endpoint).next();
        let made = dynamic.made.as_ref().map(|made| made.subscription);
        self.targets.push(match first {
            Some(subscription) => target(subscription),
            None => Target {
                endpoint,
                subscription: made,
                mode: DeliveryMode::AtLeastOnce,
                order_key: None,
            },
        });
    }

    /// The subscriptions of an index that want this type.
    fn indexed(&mut self, index: &TypeIndex, event_type: &str) {
        self.targets
            .extend(index.matching(event_type).map(|one| target(one)));
        let missed = index.len().saturating_sub(self.targets.len());
        self.decision.type_mismatches = u32::try_from(missed).unwrap_or(u32::MAX);
    }

    /// The subscriptions of one endpoint that want this type. Answers how many there are at all.
    fn subscribed(
        &mut self,
        table: &ProjectTable,
        endpoint: EndpointId,
        event_type: &str,
    ) -> usize {
        let mut all = 0;
        for subscription in table.subscriptions_of_endpoint(endpoint) {
            all += 1;
            if subscription
                .event_types()
                .iter()
                .any(|pattern| pattern.matches(event_type))
            {
                self.targets.push(target(subscription));
            } else {
                self.decision.type_mismatches = self.decision.type_mismatches.saturating_add(1);
            }
        }
        all
    }

    /// As above; an endpoint without any subscription has an implicit catch-all (RULINGS 15).
    fn directed(&mut self, table: &ProjectTable, endpoint: EndpointId, event_type: &str) {
        if self.subscribed(table, endpoint, event_type) == 0 && table.endpoint(endpoint).is_some() {
            self.targets.push(Target {
                endpoint,
                subscription: None,
                mode: DeliveryMode::AtLeastOnce,
                order_key: None,
            });
        }
    }
}

fn target(subscription: &Subscription) -> Target {
    Target {
        endpoint: subscription.endpoint(),
        subscription: Some(subscription.id()),
        mode: subscription.mode(),
        order_key: None,
    }
}
