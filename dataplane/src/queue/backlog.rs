//! Deliveries in line, packed: a backlog may be millions long.

use std::collections::VecDeque;
use std::sync::Arc;

use outrider_store::Position;
use outrider_webhook::event::{DeliveryMode, Target};
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ProjectId, SubscriptionId, Uid};

use super::{CachedEvent, Entry};

/// Shorter backlogs grow and stay as the collection likes.
const SHORT: usize = 1_024;

/// An [`Entry`] without what its lane knows anyway. Nothing in it needs more alignment than 8
/// bytes, which an id of 16 would.
#[derive(Debug, Clone)]
struct Waiting {
    event: EventId,
    offset: u64,
    revision: u64,
    subscription: [u64; 2],
    order_key: u64,
    due_ms: i64,
    turn_ms: i64,
    opening: u64,
    cached: Option<Arc<CachedEvent>>,
    ordinal: u32,
    segment: u32,
    attempts: u32,
    attempts_free: u32,
    flags: Flags,
}

#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "facts apart from each other")]
struct Flags {
    has_subscription: bool,
    has_order_key: bool,
    is_once: bool,
    has_begun: bool,
    is_out_of_order: bool,
}

/// Deliveries of one endpoint in the order in which they go.
#[derive(Debug)]
pub(super) struct Backlog {
    project: ProjectId,
    endpoint: EndpointId,
    waiting: VecDeque<Waiting>,
}

impl Backlog {
    pub(super) const fn new(project: ProjectId, endpoint: EndpointId) -> Self {
        Self {
            project,
            endpoint,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the first one was due, Unix milliseconds.
    pub(super) fn first_due_ms(&self) -> Option<i64> {
        self.waiting.front().map(|first| first.due_ms)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.reserve_one();
        self.waiting.push_back(Waiting::pack(entry));
    }

    /// Gives one its place in front back; at most `front_max` may stand before it.
    pub(super) fn put_back(&mut self, entry: Entry, front_max: usize) {
        self.reserve_one();
        let entry = Waiting::pack(entry);
        let first = self.waiting.iter().take(front_max);
        let at = first.take_while(|other| other.place() < entry.place());
        self.waiting.insert(at.count(), entry);
    }

    /// Gives up what is kept in memory of the first `count`.
    pub(super) fn drop_cached(&mut self, count: usize) {
        for waiting in self.waiting.iter_mut().take(count) {
            waiting.cached = None;
        }
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let first = self.waiting.pop_front()?;
        let (len, room) = (self.waiting.len(), self.waiting.capacity());
        if room > SHORT && len < room / 4 {
            self.waiting.shrink_to(len * 2);
        }
        Some(first.unpack(self.project, self.endpoint))
    }

    /// A long one grows by an eighth, not to twice its length.
    fn reserve_one(&mut self) {
        let len = self.waiting.len();
        if len >= SHORT && len == self.waiting.capacity() {
            self.waiting.reserve_exact(len / 8);
        }
    }
}

impl Waiting {
    fn pack(entry: Entry) -> Self {
        let Target {
            subscription,
            mode,
            order_key,
            ..
        } = entry.target;
        let bits = subscription.map_or(0, |id| id.uid().bits());
        Self {
            event: entry.key.event,
            offset: entry.position.offset,
            revision: entry.revision,
            subscription: [high(bits), low(bits)],
            order_key: order_key.unwrap_or_default(),
            due_ms: entry.due_ms,
            turn_ms: entry.turn_ms,
            opening: entry.opening,
            cached: entry.event,
            ordinal: entry.key.ordinal,
            segment: entry.position.segment,
            attempts: entry.attempts,
            attempts_free: entry.attempts_free,
            flags: Flags {
                has_subscription: subscription.is_some(),
                has_order_key: order_key.is_some(),
                is_once: mode == DeliveryMode::AtMostOnce,
                has_begun: entry.has_begun,
                is_out_of_order: entry.is_out_of_order,
            },
        }
    }

    fn unpack(self, project: ProjectId, endpoint: EndpointId) -> Entry {
        let [high, low] = self.subscription.map(u128::from);
        let subscription = SubscriptionId::new(Uid::from_bits(high << 64 | low));
        Entry {
            key: DeliveryKey {
                event: self.event,
                ordinal: self.ordinal,
            },
            position: Position {
                segment: self.segment,
                offset: self.offset,
            },
            project,
            target: Target {
                endpoint,
                subscription: self.flags.has_subscription.then_some(subscription),
                mode: match self.flags.is_once {
                    true => DeliveryMode::AtMostOnce,
                    false => DeliveryMode::AtLeastOnce,
                },
                order_key: self.flags.has_order_key.then_some(self.order_key),
            },
            revision: self.revision,
            attempts: self.attempts,
            attempts_free: self.attempts_free,
            accepted_ms: self.event.unix_ms(),
            due_ms: self.due_ms,
            turn_ms: self.turn_ms,
            has_begun: self.flags.has_begun,
            is_out_of_order: self.flags.is_out_of_order,
            opening: self.opening,
            event: self.cached,
        }
    }

    /// Where it stands among others that come back.
    fn place(&self) -> (i64, EventId, u32) {
        (self.due_ms, self.event, self.ordinal)
    }
}

fn high(bits: u128) -> u64 {
    low(bits >> 64)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is wanted"
)]
const fn low(bits: u128) -> u64 {
    bits as u64
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW_MS, pending};
    use super::*;

    fn entry(number: u16) -> Entry {
        let one = pending(3, 4, number, NOW_MS);
        let subscription = SubscriptionId::new(Uid::from_bits(u128::MAX - u128::from(number)));
        Entry {
            key: one.key,
            position: one.position,
            project: one.project,
            target: Target {
                subscription: (number % 2 == 1).then_some(subscription),
                order_key: (number % 3 == 1).then_some(u64::MAX),
                mode: match number % 5 {
                    1 => DeliveryMode::AtMostOnce,
                    _ => DeliveryMode::AtLeastOnce,
                },
                ..one.target
            },
            revision: 7,
            attempts: 8,
            attempts_free: 1,
            accepted_ms: one.key.event.unix_ms(),
            due_ms: NOW_MS + i64::from(number),
            turn_ms: NOW_MS - 1,
            has_begun: number % 7 == 1,
            is_out_of_order: number % 11 == 1,
            opening: u64::MAX,
            event: None,
        }
    }

    fn of(number: u16) -> Backlog {
        let one = entry(number);
        Backlog::new(one.project, one.target.endpoint)
    }

    #[test]
    fn what_comes_out_is_what_went_in() {
        let mut backlog = of(0);
        for number in 0..200 {
            backlog.push(entry(number));
        }
        for number in 0..200 {
            let out = backlog.pop().unwrap();
            assert_eq!(format!("{out:?}"), format!("{:?}", entry(number)));
        }
        assert!(backlog.pop().is_none());
    }

    #[test]
    fn those_that_come_back_are_in_the_order_they_were_in() {
        let mut backlog = of(0);
        for number in [1, 3, 2, 0] {
            backlog.put_back(entry(number), 256);
        }
        let out = std::iter::from_fn(|| backlog.pop()).map(|one| one.due_ms - NOW_MS);
        assert_eq!(out.collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_long_one_takes_little_more_than_it_needs_and_gives_it_back() {
        assert!(size_of::<Waiting>() <= 112);
        let mut backlog = of(0);
        for _ in 0..100_000 {
            backlog.push(entry(1));
        }
        assert!(backlog.waiting.capacity() <= 115_000);
        for _ in 0..99_000 {
            backlog.pop().unwrap();
        }
        assert!(backlog.waiting.capacity() <= 8_000);
    }
}
