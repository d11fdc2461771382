//! Recent idempotency keys: key -> first event, bounded, oldest out. Older ones are asked of the
//! index, by who brings the event, before it comes to the writer.
//!
//! Between his look there and the writer's look here a key must not be let go of unseen. So keys
//! are only *said* to be gone at the bound, and stay for as many more as can be on their way.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use outrider_webhook::id::EventId;

use crate::codec::IdemKey;

/// Keys of one node, within a bound.
#[derive(Debug)]
pub(crate) struct Idempotency {
    known: HashMap<IdemKey, Known, BuildHasherDefault<FirstWord>>,
    /// Insertions, oldest first. An entry whose event is not the one known for its key any
    /// more was replaced.
    order: VecDeque<(IdemKey, EventId)>,
    keys_max: usize,
    /// The newest event whose key is gone before its time.
    dropped: EventId,
    /// Keys kept beyond the bound: at least as many as events can be on their way to the writer.
    slack: usize,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    first: EventId,
    expires_ms: i64,
}

impl Idempotency {
    pub(crate) fn new(keys_max: usize, slack: usize) -> Self {
        Self {
            known: HashMap::default(),
            order: VecDeque::new(),
            keys_max,
            slack,
            dropped: EventId::ZERO,
        }
    }

    /// Keys of events up to this one may be gone; `None` while none is.
    pub(crate) fn gone_through(&self) -> Option<EventId> {
        let newest = self.order.len().checked_sub(self.keys_max + 1)?;
        self.order.get(newest).map(|(_, event)| *event)
    }

    /// The newest event whose key is gone before its time; zero while there is none.
    pub(crate) fn dropped_through(&self) -> EventId {
        self.dropped
    }

    /// The first event with the key, if it is remembered and not expired at `now_ms`.
    pub(crate) fn first(&self, key: IdemKey, now_ms: i64) -> Option<EventId> {
        self.known
            .get(&key)
            .filter(|known| known.expires_ms > now_ms)
            .map(|known| known.first)
    }

    /// Remembers a key until `expires_ms`.
    pub(crate) fn insert(&mut self, key: IdemKey, first: EventId, expires_ms: i64, now_ms: i64) {
        if self.keys_max + self.slack == 0 || expires_ms <= now_ms {
            return;
        }
        self.known.insert(key, Known { first, expires_ms });
        self.order.push_back((key, first));
        // Two a time: what expired goes faster than what is new comes.
        for _ in 0..2 {
            let is_over = self.order.len() > self.keys_max + self.slack;
            let Some((key, event)) = self.order.front().copied() else {
                return;
            };
            match self.known.entry(key) {
                Entry::Occupied(known) if known.get().first == event => {
                    if !is_over && known.get().expires_ms > now_ms {
                        return;
                    }
                    if known.remove().expires_ms > now_ms {
                        self.dropped = self.dropped.max(event);
                    }
                }
                _ => {}
            }
            self.order.pop_front();
        }
    }

    /// Keys that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

/// Keys are hashes already: their first word is as good as any hash of it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct FirstWord(u64);

impl Hasher for FirstWord {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::EPOCH_MS;

    fn key(number: u64) -> IdemKey {
        IdemKey([number, 1])
    }

    fn event(number: i64) -> EventId {
        EventId::from_raw(number).unwrap()
    }

    #[test]
    fn an_expired_key_is_not_a_repeat_and_can_be_used_again() {
        let mut keys = Idempotency::new(10, 0);
        keys.insert(key(1), event(1), EPOCH_MS + 10, EPOCH_MS);
        assert_eq!(keys.first(key(1), EPOCH_MS + 9), Some(event(1)));
        assert_eq!(keys.first(key(1), EPOCH_MS + 10), None);
        keys.insert(key(1), event(2), EPOCH_MS + 30, EPOCH_MS + 10);
        assert_eq!(keys.first(key(1), EPOCH_MS + 20), Some(event(2)));
    }

    #[test]
    fn beyond_the_bound_the_oldest_key_is_forgotten() {
        let mut keys = Idempotency::new(3, 0);
        for number in 0..1000_i64 {
            keys.insert(key(number.unsigned_abs()), event(number), i64::MAX, 0);
            assert!(keys.len() <= 3 && keys.order.len() <= 3);
        }
        assert_eq!(keys.first(key(996), 0), None);
        assert_eq!(keys.first(key(997), 0), Some(event(997)));
    }

    #[test]
    fn a_key_is_said_to_be_gone_before_it_is() {
        let mut keys = Idempotency::new(2, 3);
        for number in 1..=5_i64 {
            keys.insert(key(number.unsigned_abs()), event(number), i64::MAX, 0);
            let gone = (number > 2).then(|| event(number - 2));
            assert_eq!(keys.gone_through(), gone);
            assert_eq!(keys.first(key(1), 0), Some(event(1)), "still here");
        }
        keys.insert(key(6), event(6), i64::MAX, 0);
        assert_eq!(keys.first(key(1), 0), None);
        assert_eq!(keys.gone_through(), Some(event(4)));
        assert_eq!(keys.dropped_through(), event(1));
    }

    #[test]
    fn a_bound_of_zero_remembers_nothing() {
        let mut keys = Idempotency::new(0, 0);
        keys.insert(key(1), event(1), i64::MAX, 0);
        assert_eq!(keys.first(key(1), 0), None);
    }

    #[test]
    fn expired_keys_go_while_new_ones_come() {
        let mut keys = Idempotency::new(1000, 0);
        for number in 0..100_i64 {
            keys.insert(key(number.unsigned_abs()), event(number), 10, 0);
        }
        for number in 100..200_i64 {
            keys.insert(key(number.unsigned_abs()), event(number), 1000, 20);
        }
        assert_eq!(keys.len(), 100);
    }
}
