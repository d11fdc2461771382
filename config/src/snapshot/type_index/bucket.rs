//! Subscriptions that stand under one pattern of event types.

use std::sync::Arc;

use outrider_webhook::event_type::Glob;
use outrider_webhook::filter::{Demand, Filter};
use outrider_webhook::id::SubscriptionId;

use super::super::small_map::SmallMap;
use super::{FilterIndex, Wanting};
use crate::resource::Subscription;

/// So many are asked one by one: about as many refusals are recorded, and an index of them would
/// take more memory than they do.
const ASKED_MAX: usize = 32;

/// Those that are asked one by one, and those that are found by what their filters demand.
#[derive(Clone, Default)]
pub(super) struct Bucket {
    single: SmallMap<SubscriptionId, Arc<Subscription>>,
    filtered: FilterIndex,
}

/// The filter of a subscription that counts for all events that are looked for in a bucket.
/// `None` if that differs from event to event: then it can only be asked.
pub(super) type FilterOf<'f> = &'f dyn Fn(&Subscription) -> Option<&Filter>;

impl Bucket {
    pub(super) fn wanting(&self) -> impl Iterator<Item = Wanting<'_>> {
        let singles = self.single().map(Wanting::One);
        singles.chain(self.filtered().map(Wanting::Filtered))
    }

    pub(super) fn single(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.single.values()
    }

    pub(super) fn filtered(&self) -> Option<&FilterIndex> {
        (!self.filtered.is_empty()).then_some(&self.filtered)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.single.is_empty() && self.filtered.is_empty()
    }

    pub(super) fn insert(&mut self, subscription: &Arc<Subscription>, filter_of: FilterOf<'_>) {
        if !self.filtered.is_empty() && self.index(subscription, filter_of) {
            return;
        }
        self.single
            .insert(subscription.id(), Arc::clone(subscription));
        if self.filtered.is_empty() && self.single.len() > ASKED_MAX {
            for one in self.single.values().cloned().collect::<Vec<_>>() {
                if self.index(&one, filter_of) {
                    self.single.remove(&one.id());
                }
            }
        }
    }

    /// `filter_of` is as it was when the subscription came.
    pub(super) fn remove(&mut self, subscription: &Subscription, filter_of: FilterOf<'_>) {
        self.single.remove(&subscription.id());
        let demands = demands(subscription, filter_of);
        self.filtered.remove(subscription.id(), &demands);
    }

    /// Puts a subscription where its filter is found, if it can be.
    fn index(&mut self, subscription: &Arc<Subscription>, filter_of: FilterOf<'_>) -> bool {
        let demands = demands(subscription, filter_of);
        self.filtered.insert(subscription, &demands);
        !demands.is_empty()
    }
}

/// None of one that has a mode of its own: it is not looked for in that mode.
fn demands(subscription: &Subscription, filter_of: FilterOf<'_>) -> Vec<Demand> {
    let is_asked_always = subscription.own_filter_mode().is_some();
    let filter = filter_of(subscription).filter(|_| !is_asked_always);
    filter.into_iter().flat_map(Filter::demands).collect()
}

/// Subscriptions by pattern with stars. What is common to many of them is decided once.
#[derive(Clone, Default)]
pub(super) struct Globs(SmallMap<Arc<str>, Arc<(Glob, Bucket)>>);

impl Globs {
    /// Those that are to be found here for an event of this type.
    pub(super) fn wanting<'i>(&'i self, event_type: &'i str) -> impl Iterator<Item = Wanting<'i>> {
        let matching = self.0.values().map(|entry| &**entry);
        let matching = matching.filter(|(glob, _)| glob.matches(event_type));
        matching.flat_map(move |(glob, bucket)| {
            let singles = bucket.single();
            let here = singles.filter(move |one| one.leading_glob(event_type) == Some(glob));
            let singles = here.map(Wanting::One);
            // Those have this pattern only, and stand nowhere else.
            singles.chain(bucket.filtered().map(Wanting::Filtered))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, glob: &Glob, subscription: &Arc<Subscription>) {
        self.edit(glob, |bucket| {
            bucket.insert(subscription, &Subscription::sole_filter);
        });
    }

    pub(super) fn remove(&mut self, glob: &Glob, subscription: &Subscription) {
        self.edit(glob, |bucket| {
            bucket.remove(subscription, &Subscription::sole_filter);
        });
    }

    fn edit(&mut self, glob: &Glob, change: impl FnOnce(&mut Bucket)) {
        let text: Arc<str> = glob.as_str().into();
        let found = self.0.get(&text).cloned();
        let mut entry = found.unwrap_or_else(|| Arc::new((glob.clone(), Bucket::default())));
        self.0.remove(&text); // so that nothing is copied that only this table has
        let bucket = &mut Arc::make_mut(&mut entry).1;
        change(bucket);
        if !bucket.is_empty() {
            self.0.insert(text, entry);
        }
    }
}
