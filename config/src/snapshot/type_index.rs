//! Subscriptions by event type, so that an event never looks at those that cannot match.
//!
//! A few are a shared slice that is walked; that is what most endpoints and owners have. More are
//! found by name: by the type itself, and for patterns with stars by what every type they match
//! begins or ends with. Only a pattern with a star at both ends is looked at for every event.

use std::sync::Arc;

use outrider_webhook::event_type::{Glob, Pattern};
use outrider_webhook::id::SubscriptionId;

use crate::resource::Subscription;

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

impl Default for TypeIndex {
    fn default() -> Self {
        Self(Shape::Few(Arc::from([])))
    }
}

impl TypeIndex {
    /// Those that want this event type, each once, in no particular order.
    pub fn matching<'i>(
        &'i self,
        event_type: &'i str,
    ) -> impl Iterator<Item = &'i Arc<Subscription>> {
        let (few, many) = match &self.0 {
            Shape::Few(few) => (&few[..], None),
            Shape::Many(many) => (&[][..], Some(many)),
        };
        let few = few.iter().filter(|one| one.wants(event_type));
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
    any: Ordered,
    exact: imbl::HashMap<Box<str>, Ordered>,
    prefixes: Anchored,
    suffixes: Anchored,
    /// Patterns that begin and end with a star.
    loose: Ordered,
}

/// Patterns by what they begin, or end, with.
#[derive(Clone, Default)]
struct Anchored {
    by_text: imbl::HashMap<Box<str>, Ordered>,
    /// How many texts there are of each length: no other lengths need be tried.
    lengths: imbl::OrdMap<usize, usize>,
}

/// Under what a pattern with stars is found: the longer of its ends.
#[derive(PartialEq, Eq)]
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
    fn matching<'i>(&'i self, event_type: &'i str) -> impl Iterator<Item = &'i Arc<Subscription>> {
        let exact = self
            .exact
            .get(event_type)
            .into_iter()
            .flat_map(imbl::OrdMap::values);
        let prefixes = self
            .prefixes
            .lengths
            .keys()
            .filter_map(move |length| event_type.get(..*length));
        let prefixed = prefixes.flat_map(move |text| {
            let found = self.prefixes.by_text.get(text);
            let found = found.into_iter().flat_map(imbl::OrdMap::values);
            found.filter(move |one| finds(one, event_type, &Anchor::Prefix(text)))
        });
        let tail = move |length: &usize| event_type.get(event_type.len().checked_sub(*length)?..);
        let suffixes = self.suffixes.lengths.keys().filter_map(tail);
        let suffixed = suffixes.flat_map(move |text| {
            let found = self.suffixes.by_text.get(text);
            let found = found.into_iter().flat_map(imbl::OrdMap::values);
            found.filter(move |one| finds(one, event_type, &Anchor::Suffix(text)))
        });
        let loose = self.loose.values();
        let loose = loose.filter(move |one| finds(one, event_type, &Anchor::None));
        self.any
            .values()
            .chain(exact)
            .chain(prefixed)
            .chain(suffixed)
            .chain(loose)
    }

    fn insert(&mut self, subscription: &Arc<Subscription>) {
        let id = subscription.id();
        self.all.insert(id, Arc::clone(subscription));
        if wants_all(subscription) {
            self.any.insert(id, Arc::clone(subscription));
            return;
        }
        for pattern in subscription.patterns() {
            match pattern {
                Pattern::Any => {}
                Pattern::Exact(name) => {
                    let of_type = self.exact.entry(name.clone()).or_default();
                    of_type.insert(id, Arc::clone(subscription));
                }
                Pattern::Glob(glob) => match anchor(glob) {
                    Anchor::Prefix(text) => self.prefixes.insert(text, subscription),
                    Anchor::Suffix(text) => self.suffixes.insert(text, subscription),
                    Anchor::None => {
                        self.loose.insert(id, Arc::clone(subscription));
                    }
                },
            }
        }
    }

    fn remove(&mut self, subscription: &Subscription) {
        let id = subscription.id();
        self.all.remove(&id);
        self.any.remove(&id);
        self.loose.remove(&id);
        for pattern in subscription.patterns() {
            match pattern {
                Pattern::Any => {}
                Pattern::Exact(name) => {
                    take(&mut self.exact, name, id);
                }
                Pattern::Glob(glob) => match anchor(glob) {
                    Anchor::Prefix(text) => self.prefixes.remove(text, id),
                    Anchor::Suffix(text) => self.suffixes.remove(text, id),
                    Anchor::None => {}
                },
            }
        }
    }
}

impl Anchored {
    fn insert(&mut self, text: &str, subscription: &Arc<Subscription>) {
        let of_text = self.by_text.entry(text.into()).or_default();
        if of_text.is_empty() {
            *self.lengths.entry(text.len()).or_default() += 1;
        }
        of_text.insert(subscription.id(), Arc::clone(subscription));
    }

    fn remove(&mut self, text: &str, id: SubscriptionId) {
        if !take(&mut self.by_text, text, id) {
            return;
        }
        let count = self.lengths.get(&text.len()).copied().unwrap_or_default();
        match count {
            0 | 1 => self.lengths.remove(&text.len()),
            count => self.lengths.insert(text.len(), count - 1),
        };
    }
}

/// Takes a subscription out, and answers whether it was the last under this text. One that has
/// several patterns with the same end is there once.
fn take(map: &mut imbl::HashMap<Box<str>, Ordered>, text: &str, id: SubscriptionId) -> bool {
    let is_empty = map.get_mut(text).is_some_and(|of_text| {
        of_text.remove(&id);
        of_text.is_empty()
    });
    if is_empty {
        map.remove(text);
    }
    is_empty
}

/// With `*` among its types the others add nothing to what is found.
fn wants_all(subscription: &Subscription) -> bool {
    subscription
        .patterns()
        .any(|pattern| *pattern == Pattern::Any)
}

/// Whether a subscription is to be found here for an event of this type: it stands under the
/// type itself, if that is among its patterns, and else under the first pattern that matches.
fn finds(subscription: &Subscription, event_type: &str, here: &Anchor<'_>) -> bool {
    let mut first = None;
    for pattern in subscription.patterns() {
        match pattern {
            Pattern::Exact(name) if **name == *event_type => return false,
            Pattern::Glob(glob) if first.is_none() && glob.matches(event_type) => {
                first = Some(anchor(glob));
            }
            Pattern::Any | Pattern::Exact(_) | Pattern::Glob(_) => {}
        }
    }
    first.as_ref() == Some(here)
}
