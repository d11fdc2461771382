//! Deliveries that are not final, and in which segment the payload of each is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;

use outrider_webhook::id::DeliveryKey;

use crate::packed::{Mixed, PackedKey};

/// The segment of each open delivery. A set and not a count: the same end may be recorded twice
/// (a lease that was taken back), and a count would then let go of a payload that is still needed.
#[derive(Debug, Default)]
pub(crate) struct OpenSegments {
    segments: HashMap<PackedKey, u32, BuildHasherDefault<Mixed>>,
}

/// What a change means for a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Opened(u32),
    Closed(u32),
}

impl OpenSegments {
    /// The delivery is open; its payload is in `segment`.
    pub(crate) fn open(&mut self, key: DeliveryKey, segment: u32) -> Change {
        match self.segments.entry(key.into()) {
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
            .remove(&key.into())
            .map_or(Change::None, Change::Closed)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::EventId;

    #[test]
    fn an_end_recorded_twice_closes_once() {
        let mut open = OpenSegments::default();
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
