//! Subscriptions by what their filters demand, so that an event asks only those that can match.
//!
//! A filter that demands one of a few values at a place stands under those values. It stands under
//! one of its demands only: the one that had the fewest subscriptions when it came, which keeps
//! apart those that have other conditions in common. All are read in the mode of their project:
//! what is seen in one mode is no superset of what matches in the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use outrider_webhook::filter::{Budget, Demand, Mode, Place, Sighting, ValueKey, Views};
use outrider_webhook::id::SubscriptionId;

use super::super::small_map::SmallMap;
use crate::resource::Subscription;

/// Subscriptions that want the same event types, each with a filter that demands something and
/// is read in the mode of its project.
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

    /// All whose filters can match the event, each once: the filters of those have to be asked, the
    /// others' do not match. `mode` is how all of them are read; `looks` is what looking may cost,
    /// apart from what asking may. Places that it does not suffice for are as good as unknown.
    #[must_use]
    pub fn candidates(
        &self,
        views: &Views<'_>,
        mode: Mode,
        looks: &mut Budget,
    ) -> Vec<&Arc<Subscription>> {
        let mut found = Vec::new();
        for (place, by_value) in &self.places {
            // A list may have the same value many times.
            let mut hits = BTreeSet::new();
            let sighting = place.look(views, mode, looks, |key| {
                if by_value.contains_key(&key) {
                    hits.insert(key);
                }
            });
            let is_passed_over = mode == Mode::Convoy && sighting == Sighting::Nothing;
            if sighting == Sighting::Unknown || is_passed_over {
                found.extend(by_value.values().flat_map(SmallMap::iter));
            } else {
                let of_hits = hits.iter().filter_map(|key| by_value.get(key));
                found.extend(of_hits.flat_map(SmallMap::iter));
            }
            if found.len() >= self.all.len() {
                return self.all().collect();
            }
        }
        found.sort_unstable_by_key(|(id, _)| **id);
        found.dedup_by_key(|(id, _)| **id);
        found
            .into_iter()
            .map(|(_, subscription)| subscription)
            .collect()
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

    /// What an event would have to do more for another one under this demand: ask as many as stand
    /// there, and look at places that nobody looks at yet.
    fn load(&self, demand: &Demand) -> usize {
        let loads = demand.any_of().map(|(place, value)| {
            let by_value = self.places.get(place);
            by_value.map_or(1, |by_value| by_value.get(&value).map_or(0, SmallMap::len))
        });
        loads.sum()
    }
}
