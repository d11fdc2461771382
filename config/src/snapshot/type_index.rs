//! Subscriptions of one source by event type, so that an event never looks at those that cannot
//! match.

use std::sync::Arc;

use outrider_webhook::event_type::Pattern;
use outrider_webhook::id::SubscriptionId;

use crate::resource::Subscription;

/// In the order of their ids, so that the order of an event's deliveries does not depend on the
/// order in which subscriptions were made known.
type Ordered = imbl::OrdMap<SubscriptionId, Arc<Subscription>>;

/// Subscriptions by event type.
#[derive(Clone, Default)]
pub struct TypeIndex {
    any: Ordered,
    exact: imbl::HashMap<Box<str>, Ordered>,
    len: usize,
}

impl TypeIndex {
    /// Those that want this event type, each once.
    pub fn matching(&self, event_type: &str) -> impl Iterator<Item = &Arc<Subscription>> {
        self.any.values().chain(
            self.exact
                .get(event_type)
                .into_iter()
                .flat_map(imbl::OrdMap::values),
        )
    }

    /// All of them, each once.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        let exact = self.exact.iter().flat_map(|(name, of_type)| {
            // One with several types stands under each: count it under its first.
            of_type
                .values()
                .filter(move |one| exact_names(one).next() == Some(&**name))
        });
        self.any.values().chain(exact)
    }

    /// How many subscriptions there are, of any type.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The subscription must not be in the index.
    pub(super) fn insert(&mut self, subscription: &Arc<Subscription>) {
        self.len += 1;
        if wants_all(subscription) {
            self.any.insert(subscription.id(), Arc::clone(subscription));
            return;
        }
        for name in exact_names(subscription) {
            let of_type = self.exact.entry(name.into()).or_default();
            of_type.insert(subscription.id(), Arc::clone(subscription));
        }
    }

    /// The subscription must be in the index, as it is given.
    pub(super) fn remove(&mut self, subscription: &Subscription) {
        self.len = self.len.saturating_sub(1);
        if wants_all(subscription) {
            self.any.remove(&subscription.id());
            return;
        }
        for name in exact_names(subscription) {
            let is_empty = self.exact.get_mut(name).is_some_and(|of_type| {
                of_type.remove(&subscription.id());
                of_type.is_empty()
            });
            if is_empty {
                self.exact.remove(name);
            }
        }
    }
}

/// With `*` among its types the others add nothing, and would make it match twice.
fn wants_all(subscription: &Subscription) -> bool {
    subscription.event_types().contains(&Pattern::Any)
}

fn exact_names(subscription: &Subscription) -> impl Iterator<Item = &str> {
    subscription
        .event_types()
        .iter()
        .filter_map(|pattern| match pattern {
            Pattern::Exact(name) => Some(&**name),
            Pattern::Any => None,
        })
}
