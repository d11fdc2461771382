//! What there may be millions of in memory, in as few bytes as it takes, and aligned to 4.

use std::hash::Hasher;

use outrider_webhook::event::{DeliveryMode, Target};
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ProjectId, SubscriptionId};

use crate::event::Position;

/// A [`DeliveryKey`] in 12 bytes, ordered and compared as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackedKey {
    event: [u32; 2],
    ordinal: u32,
}

impl PackedKey {
    /// The event that is delivered.
    #[must_use]
    pub const fn event(self) -> EventId {
        EventId::from_halves(self.event)
    }
}

impl From<DeliveryKey> for PackedKey {
    fn from(key: DeliveryKey) -> Self {
        Self {
            event: key.event.halves(),
            ordinal: key.ordinal,
        }
    }
}

impl From<PackedKey> for DeliveryKey {
    fn from(key: PackedKey) -> Self {
        Self {
            event: key.event(),
            ordinal: key.ordinal,
        }
    }
}

/// A [`Position`] in 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedPosition {
    segment: u32,
    offset: u32,
}

impl PackedPosition {
    /// `None` where the offset has more than 32 bits, which none has: segments are shorter.
    #[must_use]
    pub fn new(position: Position) -> Option<Self> {
        Some(Self {
            segment: position.segment,
            offset: u32::try_from(position.offset).ok()?,
        })
    }
}

impl From<PackedPosition> for Position {
    fn from(position: PackedPosition) -> Self {
        Self {
            segment: position.segment,
            offset: u64::from(position.offset),
        }
    }
}

/// What deliveries to one endpoint have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// Whose they are.
    pub project: ProjectId,
    /// Where they go.
    pub endpoint: EndpointId,
    /// The subscription that asked for them.
    pub subscription: Option<SubscriptionId>,
    /// How often they may arrive.
    pub mode: DeliveryMode,
}

impl Route {
    /// Of a target; what is left of it is its order key.
    #[must_use]
    pub const fn new(project: ProjectId, target: &Target) -> Self {
        Self {
            project,
            endpoint: target.endpoint,
            subscription: target.subscription,
            mode: target.mode,
        }
    }

    /// The target again.
    #[must_use]
    pub const fn target(&self, order_key: Option<u64>) -> Target {
        Target {
            endpoint: self.endpoint,
            subscription: self.subscription,
            mode: self.mode,
            order_key,
        }
    }
}

/// Ids are unique numbers that nobody outside chooses: one multiplication spreads them (the
/// constant is 2^64 divided by the golden ratio), and nothing stronger is needed.
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
        for chunk in bytes.chunks(8) {
            let word = chunk
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.mix(word);
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.mix(word);
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back_and_keeps_its_order(
            a in (0..=i64::MAX, any::<u32>()),
            b in (0..=i64::MAX, any::<u32>()),
            segment: u32,
            offset: u64,
        ) {
            let [a, b] = [a, b].map(|(event, ordinal)| DeliveryKey {
                event: EventId::from_raw(event).unwrap(),
                ordinal,
            });
            prop_assert_eq!(DeliveryKey::from(PackedKey::from(a)), a);
            prop_assert_eq!(PackedKey::from(a).cmp(&PackedKey::from(b)), a.cmp(&b));
            let position = Position { segment, offset };
            match PackedPosition::new(position) {
                Some(packed) => prop_assert_eq!(Position::from(packed), position),
                None => prop_assert!(offset > u64::from(u32::MAX)),
            }
        }
    }

    #[test]
    fn they_are_as_small_as_they_are_meant_to_be() {
        let key_and_position = (size_of::<PackedKey>(), size_of::<PackedPosition>());
        assert_eq!(key_and_position, (12, 8));
    }
}
