//! Subscriptions by what their filters demand, so that an event asks only those that can match.
//!
//! A filter that demands one of a few values at a place stands under those values. It stands under
//! one of its demands only: the one that had the fewest subscriptions when it came, which keeps
//! apart those that have other conditions in common.

use std::sync::Arc;

use outrider_webhook::filter::{Budget, Demand, Mode, Place, Sighting, ValueKey, Views};
use outrider_webhook::id::SubscriptionId;

use super::super::small_map::SmallMap;
use crate::resource::Subscription;

/// Subscriptions that want the same event types, each with a filter that demands something.
#[derive(Clone, Default)]
pub struct FilterIndex {
    all: imbl::OrdMap<SubscriptionId, Arc<Subscription>>,
    places: imbl::OrdMap<Place, Arc<ByValue>>,
}

/// Under the values that are demanded at one place.
type ByValue = imbl::OrdMap<ValueKey, SmallMap<SubscriptionId, Arc<Subscription>>>;

impl FilterIndex {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, in the order of their ids.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.all.values()
    }

    /// All whose filters can match the event, in the order of their ids: the filters of those have
    /// to be asked, the others' do not match. `mode` is the project's; one look at a place costs
    /// steps of `budget` as a filter does.
    #[must_use]
    pub fn candidates(
        &self,
        views: &Views<'_>,
        mode: Mode,
        budget: &mut Budget,
    ) -> Vec<&Arc<Subscription>> {
        let (mut found, mut keys) = (Vec::new(), Vec::new());
        for (place, by_value) in &self.places {
            keys.clear();
            let sighting = place.look(views, mode, budget, |key| keys.push(key));
            let is_passed_over = mode == Mode::Convoy && sighting == Sighting::Nothing;
            if sighting == Sighting::Unknown || is_passed_over {
                found.extend(by_value.values().flat_map(SmallMap::values));
                continue;
            }
            keys.sort_unstable();
            keys.dedup();
            let wanted = keys.iter().filter_map(|key| by_value.get(key));
            found.extend(wanted.flat_map(SmallMap::values));
        }
        found.sort_unstable_by_key(|one| one.id());
        found.dedup_by_key(|one| one.id());
        found
    }

    /// The subscription must not be there; without demands it cannot be.
    pub(super) fn insert(&mut self, subscription: &Arc<Subscription>, demands: &[Demand]) {
        let Some(demand) = demands.iter().min_by_key(|demand| self.load(demand)) else {
            return;
        };
        let id = subscription.id();
        for (place, value) in demand.any_of() {
            let by_value = Arc::make_mut(self.places.entry(place.clone()).or_default());
            let of_value = by_value.entry(value).or_default();
            of_value.insert(id, Arc::clone(subscription));
        }
        self.all.insert(id, Arc::clone(subscription));
    }

    /// Nothing happens when it is not there. Under which of its demands it is depends on who came
    /// when, so it is taken from under all of them.
    pub(super) fn remove(&mut self, id: SubscriptionId, demands: &[Demand]) {
        if self.all.remove(&id).is_none() {
            return;
        }
        for (place, value) in demands.iter().flat_map(Demand::any_of) {
            let Some(by_value) = self.places.get_mut(place) else {
                continue;
            };
            let by_value = Arc::make_mut(by_value);
            let is_empty = by_value.get_mut(&value).is_some_and(|of_value| {
                of_value.remove(&id);
                of_value.is_empty()
            });
            if is_empty {
                by_value.remove(&value);
            }
            if by_value.is_empty() {
                self.places.remove(place);
            }
        }
    }

    /// How many stand where this demand would put another one.
    fn load(&self, demand: &Demand) -> usize {
        let of_value = |(place, value)| self.places.get(place)?.get(&value);
        let loads = demand.any_of().filter_map(of_value).map(SmallMap::len);
        loads.sum()
    }
}
