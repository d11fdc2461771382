//! Subscriptions that stand under one pattern of event types.

use std::sync::Arc;

use outrider_webhook::event_type::Glob;
use outrider_webhook::filter::{Demand, Filter, Mode};
use outrider_webhook::id::SubscriptionId;

use super::super::small_map::SmallMap;
use super::{FilterIndex, Wanting};
use crate::resource::Subscription;

/// Those that are looked at one by one, and those that are found by what their filters demand.
#[derive(Clone, Default)]
pub(super) struct Bucket {
    single: SmallMap<SubscriptionId, Arc<Subscription>>,
    filtered: FilterIndex,
}

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

    /// `filter` is what it asks of all events that are looked for here, `None` if that differs.
    pub(super) fn insert(&mut self, subscription: &Arc<Subscription>, filter: Option<&Filter>) {
        let demands = demands(subscription, filter);
        if demands.is_empty() {
            self.single
                .insert(subscription.id(), Arc::clone(subscription));
        } else {
            self.filtered.insert(subscription, &demands);
        }
    }

    /// `filter` is as it was when the subscription came.
    pub(super) fn remove(&mut self, subscription: &Subscription, filter: Option<&Filter>) {
        self.single.remove(&subscription.id());
        let demands = demands(subscription, filter);
        self.filtered.remove(subscription.id(), &demands);
    }
}

/// One that is read in Convoy's way whatever its project says would have to be looked for in two
/// ways at once.
fn demands(subscription: &Subscription, filter: Option<&Filter>) -> Vec<Demand> {
    let is_alone = subscription.own_filter_mode() == Some(Mode::Convoy);
    let filter = filter.filter(|_| !is_alone);
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
            singles.chain(bucket.filtered().map(Wanting::Filtered))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, glob: &Glob, subscription: &Arc<Subscription>) {
        self.edit(glob, |bucket| {
            bucket.insert(subscription, subscription.sole_filter());
        });
    }

    pub(super) fn remove(&mut self, glob: &Glob, subscription: &Subscription) {
        self.edit(glob, |bucket| {
            bucket.remove(subscription, subscription.sole_filter());
        });
    }

    fn edit(&mut self, glob: &Glob, change: impl FnOnce(&mut Bucket)) {
        let text: Arc<str> = glob.as_str().into();
        let mut bucket = match self.0.get(&text) {
            Some(entry) => entry.1.clone(),
            None => Bucket::default(),
        };
        change(&mut bucket);
        if bucket.is_empty() {
            self.0.remove(&text);
        } else {
            self.0.insert(text, Arc::new((glob.clone(), bucket)));
        }
    }
}
