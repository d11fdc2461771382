//! Subscriptions by event type, so that an event never looks at those that cannot match.
//!
//! A few are a shared slice that is walked; that is what most endpoints and owners have. More are
//! found by name: by the type itself, and for patterns with stars by what every type they match
//! begins or ends with. Only a pattern with a star at both ends is looked at for every event.
//! Of those that want the type, the ones with filters are found by what these demand.

mod bucket;
mod filter_index;

use std::sync::Arc;

use outrider_webhook::event_type::{Glob, Pattern};
use outrider_webhook::id::SubscriptionId;

use crate::resource::Subscription;
use bucket::{Bucket, Globs};

pub use filter_index::FilterIndex;

/// In the order of their ids.
type Ordered = imbl::OrdMap<SubscriptionId, Arc<Subscription>>;

/// Up to so many patterns, all told, walking is as cheap as looking up.
const FEW_PATTERNS: usize = 16;

/// Subscriptions by event type.
#[derive(Clone)]
pub struct TypeIndex(Shape);

#[derive(Clone)]
enum Shape {
    /// In the order of their ids.
    Few(Arc<[Arc<Subscription>]>),
    Many(Arc<Many>),
}

/// Who wants an event type.
#[derive(Clone, Copy)]
pub enum Wanting<'i> {
    /// This one.
    One(&'i Arc<Subscription>),
    /// All of these; which of them can match is found by their filters.
    Filtered(&'i FilterIndex),
}

impl Default for TypeIndex {
    fn default() -> Self {
        Self(Shape::Few(Arc::from([])))
    }
}

impl TypeIndex {
    /// Those that want this event type, each once, in no particular order.
    pub fn matching<'i>(&'i self, event_type: &'i str) -> impl Iterator<Item = Wanting<'i>> {
        let (few, many) = match &self.0 {
            Shape::Few(few) => (&few[..], None),
            Shape::Many(many) => (&[][..], Some(many)),
        };
        let few = few.iter().filter(|one| one.wants(event_type));
        let few = few.map(Wanting::One);
        few.chain(many.into_iter().flat_map(|many| many.matching(event_type)))
    }

    /// All of them, in the order of their ids.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        let (few, many) = match &self.0 {
            Shape::Few(few) => (&few[..], None),
            Shape::Many(many) => (&[][..], Some(many)),
        };
        few.iter()
            .chain(many.into_iter().flat_map(|many| many.all.values()))
    }

    /// How many subscriptions there are, of any type.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Shape::Few(few) => few.len(),
            Shape::Many(many) => many.all.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The subscription must not be in the index.
    pub(super) fn insert(&mut self, subscription: &Arc<Subscription>) {
        match &mut self.0 {
            Shape::Many(many) => Arc::make_mut(many).insert(subscription),
            Shape::Few(few) => {
                let mut entries = few.to_vec();
                let at = entries.partition_point(|one| one.id() < subscription.id());
                entries.insert(at, Arc::clone(subscription));
                let patterns: usize = entries.iter().map(|one| one.patterns().count()).sum();
                if patterns <= FEW_PATTERNS {
                    *few = entries.into();
                    return;
                }
                let mut many = Many::default();
                entries.iter().for_each(|one| many.insert(one));
                self.0 = Shape::Many(Arc::new(many));
            }
        }
    }

    /// The subscription must be in the index, as it is given.
    pub(super) fn remove(&mut self, subscription: &Subscription) {
        match &mut self.0 {
            Shape::Few(few) => {
                let others = few.iter().filter(|one| one.id() != subscription.id());
                *few = others.cloned().collect();
            }
            Shape::Many(many) => Arc::make_mut(many).remove(subscription),
        }
    }
}

/// Subscriptions by what they want.
#[derive(Clone, Default)]
struct Many {
    all: Ordered,
    any: Arc<Bucket>,
    exact: imbl::HashMap<Box<str>, Arc<Bucket>>,
    prefixes: Anchored,
    suffixes: Anchored,
    /// Patterns that begin and end with a star.
    loose: Globs,
}

/// Patterns by what they begin, or end, with.
#[derive(Clone, Default)]
struct Anchored {
    by_text: imbl::HashMap<Box<str>, Globs>,
    /// How many texts there are of each length: no other lengths need be tried.
    lengths: imbl::OrdMap<usize, usize>,
}

/// Under what a pattern with stars is found: the longer of its ends.
enum Anchor<'p> {
    Prefix(&'p str),
    Suffix(&'p str),
    None,
}

fn anchor(glob: &Glob) -> Anchor<'_> {
    match (glob.prefix(), glob.suffix()) {
        ("", "") => Anchor::None,
        (prefix, suffix) if prefix.len() >= suffix.len() => Anchor::Prefix(prefix),
        (_, suffix) => Anchor::Suffix(suffix),
    }
}

impl Many {
    fn matching<'i>(&'i self, event_type: &'i str) -> impl Iterator<Item = Wanting<'i>> {
        let exact = self.exact.get(event_type).into_iter();
        let exact = exact.flat_map(|bucket| bucket.wanting());
        let prefixes = self.prefixes.lengths.keys();
        let prefixes = prefixes.filter_map(move |length| event_type.get(..*length));
        let prefixed = prefixes.filter_map(|text| self.prefixes.by_text.get(text));
        let tail = move |length: &usize| event_type.get(event_type.len().checked_sub(*length)?..);
        let suffixes = self.suffixes.lengths.keys().filter_map(tail);
        let suffixed = suffixes.filter_map(|text| self.suffixes.by_text.get(text));
        let globs = prefixed.chain(suffixed).chain([&self.loose]);
        let globs = globs.flat_map(move |globs| globs.wanting(event_type));
        self.any.wanting().chain(exact).chain(globs)
    }

    fn insert(&mut self, subscription: &Arc<Subscription>) {
        self.all.insert(subscription.id(), Arc::clone(subscription));
        if wants_all(subscription) {
            let any = Arc::make_mut(&mut self.any);
            any.insert(subscription, &Subscription::sole_filter);
            return;
        }
        for pattern in subscription.patterns() {
            match pattern {
                Pattern::Any => {}
                Pattern::Exact(name) => {
                    let of_type = self.exact.entry(name.clone()).or_default();
                    Arc::make_mut(of_type).insert(subscription, &|one| one.filter(name));
                }
                Pattern::Glob(glob) => match anchor(glob) {
                    Anchor::Prefix(text) => self.prefixes.insert(text, glob, subscription),
                    Anchor::Suffix(text) => self.suffixes.insert(text, glob, subscription),
                    Anchor::None => self.loose.insert(glob, subscription),
                },
            }
        }
    }

    fn remove(&mut self, subscription: &Subscription) {
        self.all.remove(&subscription.id());
        if wants_all(subscription) {
            let any = Arc::make_mut(&mut self.any);
            any.remove(subscription, &Subscription::sole_filter);
            return;
        }
        for pattern in subscription.patterns() {
            match pattern {
                Pattern::Any => {}
                Pattern::Exact(name) => self.remove_exact(name, subscription),
                Pattern::Glob(glob) => match anchor(glob) {
                    Anchor::Prefix(text) => self.prefixes.remove(text, glob, subscription),
                    Anchor::Suffix(text) => self.suffixes.remove(text, glob, subscription),
                    Anchor::None => self.loose.remove(glob, subscription),
                },
            }
        }
    }

    fn remove_exact(&mut self, name: &str, subscription: &Subscription) {
        let Some(of_type) = self.exact.get_mut(name) else {
            return;
        };
        let of_type = Arc::make_mut(of_type);
        of_type.remove(subscription, &|one| one.filter(name));
        if of_type.is_empty() {
            self.exact.remove(name);
        }
    }
}

impl Anchored {
    fn insert(&mut self, text: &str, glob: &Glob, subscription: &Arc<Subscription>) {
        let of_text = self.by_text.entry(text.into()).or_default();
        if of_text.is_empty() {
            *self.lengths.entry(text.len()).or_default() += 1;
        }
        of_text.insert(glob, subscription);
    }

    fn remove(&mut self, text: &str, glob: &Glob, subscription: &Subscription) {
        let Some(of_text) = self.by_text.get_mut(text) else {
            return;
        };
        of_text.remove(glob, subscription);
        if !of_text.is_empty() {
            return;
        }
        self.by_text.remove(text);
        let count = self.lengths.get(&text.len()).copied().unwrap_or_default();
        match count {
            0 | 1 => self.lengths.remove(&text.len()),
            count => self.lengths.insert(text.len(), count - 1),
        };
    }
}

/// With `*` among its types the others add nothing to what is found.
fn wants_all(subscription: &Subscription) -> bool {
    subscription
        .patterns()
        .any(|pattern| *pattern == Pattern::Any)
}
