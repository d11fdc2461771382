//! Deliveries in line: a few whole ones with their events, and behind them perhaps millions,
//! packed.

use std::collections::{BTreeMap, VecDeque};

use super::Entry;
use super::packed::{Fresh, Packed, Place, Routes, Tried};

/// Deliveries of a run at most, so that a line of millions is never copied to grow.
const RUN_MAX: usize = 1_024;
/// The room an empty line keeps, for the next ones.
const KEPT_MAX: usize = 64;

/// Deliveries in the order in which they go.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Those that have a place among the others, by it.
    front: BTreeMap<(Rank, Place, u64), Kept>,
    runs: VecDeque<Run>,
    len: usize,
    /// How many in the runs are whole.
    whole: usize,
    counter: u64,
    /// What all have, if any does that was never tried.
    order_key: Option<u64>,
}

/// Where in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Before all that have not had their turn.
    First,
    /// Before those whose place is a later one.
    InPlace,
}

#[derive(Debug)]
enum Kept {
    Whole(Box<Entry>),
    Packed(Packed),
}

/// Neighbours that are packed alike.
#[derive(Debug)]
enum Run {
    Whole(VecDeque<Entry>),
    Fresh(VecDeque<Fresh>),
    Tried(VecDeque<Tried>),
}

impl Backlog {
    /// Of one line of an order.
    pub(super) fn of_line(order_key: u64) -> Self {
        Self {
            order_key: Some(order_key),
            ..Self::default()
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// When the first one was due, Unix milliseconds.
    pub(super) fn first_due_ms(&self) -> Option<i64> {
        let front = self.front.first_key_value();
        let front = front.map(|((_, place, _), _)| *place);
        let first = front.into_iter().chain(self.first_place()).min();
        first.map(|(due_ms, ..)| due_ms)
    }

    pub(super) fn push(&mut self, entry: Entry, routes: &mut Routes) {
        self.len += 1;
        self.append(entry, routes);
    }

    /// Gives one that had its turn its place in front back; several of them keep their order.
    pub(super) fn put_back(&mut self, entry: Entry, routes: &mut Routes) {
        self.put(Rank::First, entry, routes);
    }

    /// Puts one where it would stand had it been here from the time that it was due.
    pub(super) fn put_in_place(&mut self, entry: Entry, routes: &mut Routes) {
        self.put(Rank::InPlace, entry, routes);
    }

    /// Gives up the events that are in memory.
    pub(super) fn drop_cached(&mut self, routes: &mut Routes) {
        for kept in self.front.values_mut() {
            if let Kept::Whole(entry) = kept {
                entry.event = None;
            }
        }
        let mut rest = std::mem::take(&mut self.runs);
        while self.whole > 0
            && let Some(run) = rest.pop_front()
        {
            match run {
                Run::Whole(entries) => {
                    self.whole -= entries.len();
                    for mut entry in entries {
                        entry.event = None;
                        self.append(entry, routes);
                    }
                }
                packed => self.runs.push_back(packed),
            }
        }
        while let Some(run) = self.runs.pop_back() {
            rest.push_front(run);
        }
        self.runs = rest;
    }

    pub(super) fn pop(&mut self, routes: &mut Routes) -> Option<Entry> {
        while self.len > 0 {
            self.len -= 1;
            let popped = if self.is_front_next() {
                self.pop_front(routes)
            } else {
                self.pop_run(routes)
            };
            if popped.is_some() {
                return popped;
            }
        }
        None
    }

    fn put(&mut self, rank: Rank, entry: Entry, routes: &mut Routes) {
        self.len += 1;
        self.counter += 1; // one that is cancelled and its successor have the same place
        let at = (rank, entry.place(), self.counter);
        let kept = match self.pack(&entry, routes) {
            Some(packed) => Kept::Packed(packed),
            None => Kept::Whole(Box::new(entry)),
        };
        self.front.insert(at, kept);
    }

    fn is_front_next(&self) -> bool {
        let Some(((rank, place, _), _)) = self.front.first_key_value() else {
            return false;
        };
        let first = self.first_place();
        *rank == Rank::First || first.is_none_or(|first| *place <= first)
    }

    fn pop_front(&mut self, routes: &mut Routes) -> Option<Entry> {
        match self.front.pop_first()?.1 {
            Kept::Whole(entry) => Some(*entry),
            Kept::Packed(packed) => packed.unpack(routes, self.order_key),
        }
    }

    /// Whole is what has its event in memory, which takes more than it.
    fn pack(&self, entry: &Entry, routes: &mut Routes) -> Option<Packed> {
        match entry.event {
            Some(_) => None,
            None => Packed::new(entry, routes, self.order_key),
        }
    }

    fn pop_run(&mut self, routes: &mut Routes) -> Option<Entry> {
        let run = self.runs.front_mut()?;
        let popped = match run {
            Run::Whole(run) => {
                let first = run.pop_front();
                self.whole -= usize::from(first.is_some());
                first
            }
            Run::Fresh(run) => {
                let first = run.pop_front().map(Packed::Fresh);
                first.and_then(|first| first.unpack(routes, self.order_key))
            }
            Run::Tried(run) => {
                let first = run.pop_front().map(Packed::Tried);
                first.and_then(|first| first.unpack(routes, self.order_key))
            }
        };
        let (len, room) = run.len_and_room();
        if len == 0 && (self.runs.len() > 1 || room > KEPT_MAX) {
            self.runs.pop_front();
        }
        popped
    }

    fn first_place(&self) -> Option<Place> {
        self.runs.front()?.first_place()
    }

    /// Behind all others.
    fn append(&mut self, entry: Entry, routes: &mut Routes) {
        let packed = self.pack(&entry, routes);
        self.whole += usize::from(packed.is_none());
        let run = self.runs.back_mut();
        match (packed, run.filter(|run| run.len_and_room().0 < RUN_MAX)) {
            (None, Some(Run::Whole(run))) => run.push_back(entry),
            (Some(Packed::Fresh(fresh)), Some(Run::Fresh(run))) => run.push_back(fresh),
            (Some(Packed::Tried(tried)), Some(Run::Tried(run))) => run.push_back(tried),
            (packed, _) => self.begin(match packed {
                None => Run::Whole(VecDeque::from([entry])),
                Some(Packed::Fresh(fresh)) => Run::Fresh(VecDeque::from([fresh])),
                Some(Packed::Tried(tried)) => Run::Tried(VecDeque::from([tried])),
            }),
        }
    }

    fn begin(&mut self, run: Run) {
        let last = self.runs.back();
        if last.is_some_and(|last| last.len_and_room().0 == 0) {
            self.runs.pop_back();
        }
        self.runs.push_back(run);
    }
}

impl Run {
    fn len_and_room(&self) -> (usize, usize) {
        match self {
            Self::Whole(run) => (run.len(), run.capacity()),
            Self::Fresh(run) => (run.len(), run.capacity()),
            Self::Tried(run) => (run.len(), run.capacity()),
        }
    }

    fn first_place(&self) -> Option<Place> {
        match self {
            Self::Whole(run) => run.front().map(Entry::place),
            Self::Fresh(run) => run.front().map(Fresh::place),
            Self::Tried(run) => run.front().map(Tried::place),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrider_store::Position;
    use outrider_webhook::event::{DeliveryMode, Target};
    use outrider_webhook::id::{SubscriptionId, Uid};
    use proptest::prelude::*;

    use super::super::PayloadCache;
    use super::super::tests::{NOW_MS, pending, stored};
    use super::*;

    /// Of many kinds, by its number; every other one that was never tried.
    fn entry(number: u16) -> Entry {
        let one = pending(3, 4, number, NOW_MS);
        let is_fresh = number.is_multiple_of(2);
        let subscription = SubscriptionId::new(Uid::from_bits(u128::MAX - u128::from(number % 3)));
        let unless_fresh = |value: u32| if is_fresh { 0 } else { value };
        Entry {
            key: one.key,
            position: Position {
                segment: u32::MAX,
                offset: u64::from(u32::MAX) + u64::from(number % 13 == 1),
            },
            project: one.project,
            target: Target {
                subscription: (number % 4 != 1).then_some(subscription),
                order_key: (number % 3 == 1 && !is_fresh).then_some(u64::MAX),
                mode: match number % 5 {
                    1 => DeliveryMode::AtMostOnce,
                    _ => DeliveryMode::AtLeastOnce,
                },
                ..one.target
            },
            revision: 7,
            attempts: unless_fresh(8),
            attempts_free: unless_fresh(u32::from(number % 7 == 1)),
            accepted_ms: one.key.event.unix_ms(),
            due_ms: one.key.event.unix_ms() + i64::from(unless_fresh(5)),
            turn_ms: one.key.event.unix_ms() - i64::from(unless_fresh(1)),
            has_begun: !is_fresh && number % 7 == 1,
            losses: u8::from(!is_fresh && number % 17 == 1),
            is_out_of_order: !is_fresh && number % 11 == 1,
            opening: u64::from(unless_fresh(9)),
            event: None,
        }
    }

    fn is_whole(entry: &Entry) -> bool {
        entry.event.is_some() || entry.position.offset > u64::from(u32::MAX)
    }

    fn told(entry: &Entry) -> String {
        format!("{entry:?}")
    }

    #[test]
    fn what_comes_out_is_what_went_in() {
        let (mut backlog, mut routes) = (Backlog::default(), Routes::default());
        for number in 0..5_000 {
            backlog.push(entry(number), &mut routes);
        }
        assert_eq!(backlog.first_due_ms(), Some(entry(0).due_ms));
        for number in 0..5_000 {
            let out = backlog.pop(&mut routes).unwrap();
            assert_eq!(told(&out), told(&entry(number)));
        }
        assert!(backlog.pop(&mut routes).is_none());
        assert!(backlog.is_empty() && routes.is_empty());
    }

    proptest! {
        /// Beside plain lists: of those that come back, and of the others.
        #[test]
        fn it_goes_on_as_a_plain_list_does(
            steps in prop::collection::vec((0..7_u8, 0..400_u16), 1..400)
        ) {
            let cache = PayloadCache::new(usize::MAX);
            let (mut backlog, mut routes) = (Backlog::default(), Routes::default());
            let (mut front, mut line) = (Vec::<(Rank, Entry)>::new(), VecDeque::new());
            for (step, number) in steps {
                match step {
                    0 | 1 => {
                        let mut one = entry(number);
                        if step == 1 {
                            let event = Arc::new(stored(3, number, 1));
                            one.event = PayloadCache::hold(&cache, &event);
                        }
                        backlog.push(one.clone(), &mut routes);
                        line.push_back(one);
                    }
                    2 => {
                        backlog.put_back(entry(number), &mut routes);
                        front.push((Rank::First, entry(number)));
                    }
                    6 => {
                        backlog.put_in_place(entry(number), &mut routes);
                        front.push((Rank::InPlace, entry(number)));
                    }
                    3 => {
                        backlog.drop_cached(&mut routes);
                        line.iter_mut().for_each(|one| one.event = None);
                    }
                    _ => {
                        let is_front = match (front.first(), line.front()) {
                            (Some((Rank::InPlace, front)), Some(first)) => front.place() <= first.place(),
                            (front, _) => front.is_some(),
                        };
                        let out = match is_front {
                            true => Some(front.remove(0).1),
                            false => line.pop_front(),
                        };
                        let popped = backlog.pop(&mut routes);
                        prop_assert_eq!(popped.as_ref().map(told), out.as_ref().map(told));
                    }
                }
                front.sort_by_key(|(rank, one)| (*rank, one.place()));
                prop_assert_eq!(backlog.len(), front.len() + line.len());
                let whole = line.iter().filter(|one| is_whole(one)).count();
                prop_assert_eq!(backlog.whole, whole);
                let first = front.first().map(|(_, one)| one.place());
                let first = first.into_iter().chain(line.front().map(Entry::place)).min();
                prop_assert_eq!(backlog.first_due_ms(), first.map(|place| place.0));
            }
        }
    }

    #[test]
    fn what_was_never_tried_takes_28_bytes_and_gives_them_back() {
        let room = |backlog: &Backlog| -> usize {
            let runs = backlog.runs.iter();
            runs.map(|run| run.len_and_room().1).sum()
        };
        assert_eq!((size_of::<Fresh>(), size_of::<Tried>()), (28, 72));
        let (mut backlog, mut routes) = (Backlog::default(), Routes::default());
        for _ in 0..100_000 {
            backlog.push(entry(2), &mut routes);
        }
        assert!(matches!(backlog.runs.back(), Some(Run::Fresh(_))));
        assert!(room(&backlog) <= 101_000 && routes.len() == 1);
        for _ in 0..99_990 {
            backlog.pop(&mut routes).unwrap();
        }
        assert!(room(&backlog) <= RUN_MAX);
    }
}
