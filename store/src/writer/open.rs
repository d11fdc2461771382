//! Deliveries that are not final, and in which segment the payload of each is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use outrider_webhook::id::DeliveryKey;

/// The open deliveries. A set and not a count: the same end may be recorded twice (a lease
/// that was taken back), and a count would then let go of a payload that is still needed.
#[derive(Debug, Default)]
pub(crate) struct OpenDeliveries {
    segments: HashMap<DeliveryKey, u32, BuildHasherDefault<Mixed>>,
}

/// What a change means for a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Opened(u32),
    Closed(u32),
}

impl OpenDeliveries {
    /// The delivery is open; its payload is in `segment`.
    pub(crate) fn open(&mut self, key: DeliveryKey, segment: u32) -> Change {
        match self.segments.entry(key) {
            Entry::Occupied(_) => Change::None,
            Entry::Vacant(place) => {
                place.insert(segment);
                Change::Opened(segment)
            }
        }
    }

    /// The delivery has its final state.
    pub(crate) fn close(&mut self, key: DeliveryKey) -> Change {
        self.segments
            .remove(&key)
            .map_or(Change::None, Change::Closed)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }
}

/// Event ids are unique numbers; one multiplication spreads them (the constant is 2^64 divided
/// by the golden ratio). Nobody outside can choose them, so nothing stronger is needed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mixed(u64);

impl Mixed {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }
    fn write_i64(&mut self, word: i64) {
        self.mix(word.cast_unsigned());
    }
    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::EventId;

    #[test]
    fn an_end_recorded_twice_closes_once() {
        let mut open = OpenDeliveries::default();
        let key = DeliveryKey {
            event: EventId::from_raw(5).unwrap(),
            ordinal: 1,
        };
        assert_eq!(open.open(key, 7), Change::Opened(7));
        assert_eq!(open.open(key, 7), Change::None);
        assert_eq!(open.close(key), Change::Closed(7));
        assert_eq!(open.close(key), Change::None);
        assert_eq!(open.open(key, 7), Change::Opened(7));
        assert_eq!(open.len(), 1);
    }
}
