//! Stage 3, route: a verified event and the table give the list of deliveries.
//!
//! Never refuses: no matching subscription is a result, recorded with its reason. Pure.

mod line;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use outrider_config::snapshot::{
    FilterIndex, Project, ProjectTable, Subscription, TypeIndex, Wanting,
};
use outrider_webhook::event::{
    Audience, Decision, DeliveryMode, Dynamic, Origin, Refusal, RoutedEvent, Target, VerifiedEvent,
};
use outrider_webhook::filter::{Budget, Fault, Verdict, Views};
use outrider_webhook::id::{EndpointId, SubscriptionId};

/// An event with its deliveries, and what came in the way of asking filters.
#[derive(Debug)]
pub struct Routed {
    /// The event.
    pub event: RoutedEvent,
    /// Why filters could not say whether they match, which counts as no match.
    pub faults: Vec<Fault>,
}

/// Finds the deliveries of an event under `table`, whose revision is recorded with them.
#[must_use]
pub fn route(event: VerifiedEvent, table: &ProjectTable, revision: u64) -> Routed {
    let facts = event.facts();
    let mut found = Found {
        targets: Vec::new(),
        faults: Vec::new(),
        decision: Decision {
            revision,
            verified_by: match facts.origin {
                Origin::Source(id) => table
                    .source(id)
                    .map(|source| Arc::clone(source.verified_by())),
                Origin::Api => None,
            },
            ..Decision::default()
        },
        event: &event,
        views: Views::of(&event),
        project: table.project(),
        budget: Budget::for_event(),
        looks: Budget::for_event(),
    };
    match &facts.audience {
        Audience::Source(source) => {
            found.subscribed(table.subscriptions_of_source(*source), &facts.event_type);
        }
        Audience::Endpoint(endpoint) => found.directed(table, *endpoint, &facts.event_type),
        Audience::Owner(owner) => {
            found.subscribed(table.subscriptions_of_owner(owner), &facts.event_type);
        }
        Audience::Broadcast => {
            found.subscribed(table.subscriptions_by_type(), &facts.event_type);
            // The first of an endpoint's subscriptions by id.
            found.targets.dedup_by_key(|target| target.endpoint);
        }
        Audience::Dynamic(dynamic) => found.named(table, dynamic),
    }
    let Found {
        targets,
        faults,
        decision,
        ..
    } = found;
    Routed {
        event: event.route(targets, decision),
        faults,
    }
}

struct Found<'e> {
    targets: Vec<Target>,
    faults: Vec<Fault>,
    decision: Decision,
    event: &'e VerifiedEvent,
    views: Views<'e>,
    project: &'e Project,
    /// For asking filters.
    budget: Budget,
    /// For finding those that can match: not at the expense of the filters.
    looks: Budget,
}

impl Found<'_> {
    /// The subscriptions that want this type and whose filter matches.
    fn subscribed(&mut self, index: &TypeIndex, event_type: &str) {
        let mut candidates = 0;
        for wanting in index.matching(event_type) {
            candidates += match wanting {
                Wanting::One(subscription) => {
                    self.ask(subscription, event_type);
                    1
                }
                Wanting::Filtered(filters) => {
                    self.filtered(filters, event_type);
                    filters.len()
                }
            };
        }
        let missed = index.len().saturating_sub(candidates);
        self.decision.type_mismatches = u32::try_from(missed).unwrap_or(u32::MAX);
        // By endpoint, so that a second delivery to the same endpoint stands right behind the
        // first; and by subscription, so that the order does not depend on how they were found.
        self.targets
            .sort_unstable_by_key(|target| (target.endpoint, target.subscription));
    }

    /// Asks the first of them until no more refusals are recorded, and of the others those that
    /// can match: the rest is refused unasked.
    fn filtered(&mut self, filters: &FilterIndex, event_type: &str) {
        let (mut last, mut asked) = (None, 0);
        for subscription in filters.all() {
            if self.decision.refusals.len() >= Decision::REFUSALS_MAX {
                break;
            }
            self.ask(subscription, event_type);
            (last, asked) = (Some(subscription.id()), asked + 1);
        }
        if asked == filters.len() {
            return;
        }
        let mode = self.project.filter_mode();
        for subscription in filters.candidates(&self.views, mode, &mut self.looks) {
            if Some(subscription.id()) > last {
                self.ask(subscription, event_type);
                asked += 1;
            }
        }
        let unasked = u32::try_from(filters.len().saturating_sub(asked)).unwrap_or(u32::MAX);
        self.decision.refusals_more = self.decision.refusals_more.saturating_add(unasked);
    }

    fn ask(&mut self, subscription: &Subscription, event_type: &str) {
        let Some(filter) = subscription.filter(event_type) else {
            return;
        };
        // The usual case: no view is made for it.
        if filter.is_empty() {
            self.targets.push(self.target(subscription));
            return;
        }
        let mode = subscription.filter_mode(self.project);
        match filter.evaluate(&self.views, mode, &mut self.budget) {
            Verdict::Match => self.targets.push(self.target(subscription)),
            Verdict::Refused { leaf } => self.refuse(subscription, leaf),
            Verdict::Failed { leaf, fault } => {
                self.refuse(subscription, leaf);
                self.faults.push(fault);
            }
        }
    }

    /// The first ones are recorded, all are counted (RULINGS 28).
    fn refuse(&mut self, subscription: &Subscription, leaf: u16) {
        if self.decision.refusals.len() < Decision::REFUSALS_MAX {
            self.decision.refusals.push(Refusal {
                subscription: subscription.id(),
                leaf,
            });
        } else {
            self.decision.refusals_more = self.decision.refusals_more.saturating_add(1);
        }
    }

    fn target(&self, subscription: &Subscription) -> Target {
        Target {
            endpoint: subscription.endpoint(),
            subscription: Some(subscription.id()),
            mode: subscription.mode(),
            order_key: line::of(subscription, self.event),
        }
    }

    /// The subscriptions of one endpoint; without any it has an implicit catch-all (RULINGS 15).
    fn directed(&mut self, table: &ProjectTable, endpoint: EndpointId, event_type: &str) {
        let index = table.subscriptions_of_endpoint(endpoint);
        if index.is_empty() && table.endpoint(endpoint).is_some() {
            self.targets.push(unsubscribed(endpoint, None));
        } else {
            self.subscribed(index, event_type);
        }
    }

    /// The one endpoint that the sender named by its URL, whatever its subscriptions want; the
    /// first of them, by id, stands for the delivery.
    fn named(&mut self, table: &ProjectTable, dynamic: &Dynamic) {
        let endpoint = dynamic.endpoint;
        let index = table.subscriptions_of_endpoint(endpoint);
        let first = index.all().min_by_key(|subscription| subscription.id());
        let made = dynamic.made.as_ref().map(|made| made.subscription);
        self.targets.push(match first {
            Some(subscription) => self.target(subscription),
            None => unsubscribed(endpoint, made),
        });
    }
}

fn unsubscribed(endpoint: EndpointId, subscription: Option<SubscriptionId>) -> Target {
    Target {
        endpoint,
        subscription,
        mode: DeliveryMode::AtLeastOnce,
        order_key: None,
    }
}
