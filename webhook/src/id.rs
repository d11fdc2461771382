//! Identifiers: what the log counts with, and what people and receivers see.
//!
//! An event is an [`EventId`] (64 bits, time-ordered) inside and a 26 character uid outside.
//! The uid is a ULID that carries the id and a keyed tag, so decoding needs no table and ids
//! cannot be guessed (RULINGS 5). Configuration objects have random ULIDs, one newtype each.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use ulid::Ulid;

/// Milliseconds from the Unix epoch to the epoch of [`EventId`]: 2025-01-01T00:00:00Z.
/// 41 bits of milliseconds reach until 2094.
pub const EPOCH_MS: i64 = 1_735_689_600_000;

/// Readings from here on cannot be right: a year before the 41 bits end. Without the year to
/// spare, one such reading would use up all ids there are.
const MS_MAX: i64 = (1 << 41) - 366 * 24 * 3_600 * 1_000;

/// Bits of node and sequence below the milliseconds.
const LOW_BITS: u32 = 22;
/// Bits of the sequence inside one millisecond of one node.
const SEQUENCE_BITS: u32 = 12;
const TAG_BITS: u32 = 34;
const ORDINAL_BITS: u32 = 24;

/// Largest delivery ordinal a uid can carry; ordinal 0 of the uid is the event itself.
pub const ORDINAL_MAX: u32 = (1 << ORDINAL_BITS) - 2;

/// A node of the installation, 0 to 1023. Part of every event id, so two nodes never make the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u16);

impl NodeId {
    /// Largest node number: ten bits.
    pub const MAX: u16 = 1023;

    /// Returns `None` above [`NodeId::MAX`].
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number <= Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// An accepted event. Positive, and ordered by acceptance on one node:
/// 41 bits of milliseconds since [`EPOCH_MS`], 10 bits of node, 12 bits of sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct EventId(i64);

impl TryFrom<i64> for EventId {
    type Error = &'static str;

    fn try_from(raw: i64) -> Result<Self, Self::Error> {
        Self::from_raw(raw).ok_or("an event's number is not negative")
    }
}

impl From<EventId> for i64 {
    fn from(id: EventId) -> Self {
        id.0
    }
}

impl EventId {
    /// The smallest id; no event ever has it.
    pub const ZERO: Self = Self(0);
    /// The largest id; no event ever has it.
    pub const MAX: Self = Self(i64::MAX);

    /// The first id of a millisecond (Unix): no event accepted in it or later has a smaller one.
    /// Clamped to what ids can say.
    #[must_use]
    pub const fn first_at(unix_ms: i64) -> Self {
        let ms = unix_ms.saturating_sub(EPOCH_MS);
        if ms < 0 {
            Self::ZERO
        } else if ms >= 1 << 41 {
            Self::MAX
        } else {
            Self(ms << LOW_BITS)
        }
    }

    /// Takes an id that was written earlier; `None` when negative.
    #[must_use]
    pub const fn from_raw(raw: i64) -> Option<Self> {
        if raw < 0 { None } else { Some(Self(raw)) }
    }

    /// The 64 bit number, as stored.
    #[must_use]
    pub const fn raw(self) -> i64 {
        self.0
    }

    /// The number's upper and lower half, for places where an id may need no more alignment than
    /// they do.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of 64 bits")]
    pub const fn halves(self) -> [u32; 2] {
        let bits = self.0.cast_unsigned();
        [(bits >> 32) as u32, bits as u32]
    }

    /// The id of [`EventId::halves`].
    #[must_use]
    pub const fn from_halves([high, low]: [u32; 2]) -> Self {
        let bits = (high as u64) << 32 | low as u64;
        Self((bits & i64::MAX.cast_unsigned()).cast_signed())
    }

    /// The id after `self` for `node` at `now_ms` (Unix milliseconds). Always larger than
    /// `self`, also when the clock stepped back: it then counts on from the last one.
    #[must_use]
    pub fn next(self, node: NodeId, now_ms: i64) -> Self {
        let ms = now_ms.saturating_sub(EPOCH_MS);
        // A reading that cannot be right is not believed: ids then count on from the last one.
        let ms = if (0..MS_MAX).contains(&ms) { ms } else { 0 };
        let node_bits = i64::from(node.0) << SEQUENCE_BITS;
        let fresh = (ms << LOW_BITS) | node_bits;
        if fresh > self.0 {
            return Self(fresh);
        }
        // Same millisecond, or the clock went back: count on, and stay on this node's bits.
        let sequence_mask = (1_i64 << SEQUENCE_BITS) - 1;
        if self.0 & sequence_mask < sequence_mask {
            Self((self.0 & !(((1_i64 << 10) - 1) << SEQUENCE_BITS) | node_bits) + 1)
                .max(Self(self.0 + 1))
        } else {
            Self((((self.0 >> LOW_BITS) + 1) << LOW_BITS) | node_bits)
        }
    }

    /// When the event was accepted, Unix milliseconds (exact unless the clock stepped back).
    #[must_use]
    pub const fn unix_ms(self) -> i64 {
        (self.0 >> LOW_BITS) + EPOCH_MS
    }

    /// The node that accepted it.
    #[must_use]
    pub fn node(self) -> NodeId {
        let bits = (self.0 >> SEQUENCE_BITS) & i64::from(NodeId::MAX);
        NodeId(u16::try_from(bits).unwrap_or(NodeId::MAX))
    }
}

/// One delivery: the event, and which of its targets (0 is the first).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeliveryKey {
    /// The event that is delivered.
    pub event: EventId,
    /// Position among the targets of the event, 0 to [`ORDINAL_MAX`].
    pub ordinal: u32,
}

/// What a uid stands for once decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// The uid of an event.
    Event(EventId),
    /// The uid of a delivery.
    Delivery(DeliveryKey),
}

/// Makes and checks uids. One secret key per installation, kept with the log.
#[derive(Clone)]
pub struct UidCodec {
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for UidCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UidCodec(***)")
    }
}

impl UidCodec {
    /// Prepares the codec for a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let mut block = [0_u8; 64]; // a whole block, so that construction cannot fail
        block[..32].copy_from_slice(key);
        Self {
            keyed: Hmac::new(&block.into()),
        }
    }

    /// The public id of an event.
    #[must_use]
    pub fn event(&self, event: EventId) -> Uid {
        self.encode(event, 0)
    }

    /// The public id of a delivery. Ordinals above [`ORDINAL_MAX`] do not exist; the log refuses them.
    #[must_use]
    pub fn delivery(&self, key: DeliveryKey) -> Uid {
        self.encode(key.event, key.ordinal.min(ORDINAL_MAX) + 1)
    }

    /// The public id of an attempt: stateless to make, and looked for among those of its delivery.
    /// `started_ms` is Unix milliseconds.
    #[must_use]
    pub fn attempt(&self, key: DeliveryKey, number: u32, started_ms: i64) -> Uid {
        let mut mac = self.keyed.clone();
        mac.update(b"attempt");
        mac.update(&key.event.raw().to_be_bytes());
        mac.update(&key.ordinal.to_be_bytes());
        mac.update(&number.to_be_bytes());
        mac.update(&started_ms.to_be_bytes());
        let ms = u128::try_from(started_ms.clamp(0, (1 << 48) - 1)).unwrap_or(0);
        let digest = mac.finalize().into_bytes();
        let rest = digest
            .iter()
            .take(10)
            .fold(0_u128, |rest, byte| (rest << 8) | u128::from(*byte));
        Uid(Ulid((ms << 80) | rest))
    }

    /// What a uid stands for; `None` when it was not made with this key.
    #[must_use]
    pub fn decode(&self, uid: Uid) -> Option<Decoded> {
        let bits = u128::from(uid.0);
        let ordinal = u32::try_from((bits >> TAG_BITS) & ((1 << ORDINAL_BITS) - 1)).ok()?;
        let low =
            i64::try_from((bits >> (TAG_BITS + ORDINAL_BITS)) & ((1 << LOW_BITS) - 1)).ok()?;
        let ms = i64::try_from(bits >> 80).ok()?.checked_sub(EPOCH_MS)?;
        if !(0..1 << 41).contains(&ms) {
            return None;
        }
        let event = EventId((ms << LOW_BITS) | low);
        (self.encode(event, ordinal) == uid).then(|| match ordinal {
            0 => Decoded::Event(event),
            n => Decoded::Delivery(DeliveryKey {
                event,
                ordinal: n - 1,
            }),
        })
    }

    fn encode(&self, event: EventId, ordinal: u32) -> Uid {
        let ms = u128::try_from(event.unix_ms()).unwrap_or(0);
        let low = u128::try_from(event.0 & ((1 << LOW_BITS) - 1)).unwrap_or(0);
        let head = (ms << 46) | (low << ORDINAL_BITS) | u128::from(ordinal);
        let mut mac = self.keyed.clone();
        mac.update(&head.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        let tag = digest
            .iter()
            .take(8)
            .fold(0_u128, |tag, byte| (tag << 8) | u128::from(*byte))
            >> (64 - TAG_BITS);
        Uid(Ulid((head << TAG_BITS) | tag))
    }
}

/// A public id: 26 characters, Crockford base32, upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(Ulid);

impl Uid {
    /// From its 128 bits.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(Ulid(bits))
    }

    /// Its 128 bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0.0
    }

    /// An id for a part of what this is the id of, when the part has none of its own: always the
    /// same one.
    #[must_use]
    pub fn part(self, index: usize) -> Self {
        let index = u128::try_from(index).unwrap_or(0);
        Self::from_bits(self.bits() ^ (index + 1))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Text that is not a uid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a uid: 26 characters of Crockford base32 are expected")]
pub struct UidError(String);

impl FromStr for Uid {
    type Err = UidError;
    fn from_str(text: &str) -> Result<Self, UidError> {
        // The ulid crate takes lower case too; there is one spelling on our wire.
        match Ulid::from_string(text) {
            Ok(ulid) if ulid.to_string() == text => Ok(Self(ulid)),
            _ => Err(UidError(text.chars().take(64).collect())),
        }
    }
}

macro_rules! resource_ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uid);

        impl $name {
            /// From a uid of this kind of resource.
            #[must_use]
            pub const fn new(uid: Uid) -> Self {
                Self(uid)
            }

            /// The uid.
            #[must_use]
            pub const fn uid(self) -> Uid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = UidError;
            fn from_str(text: &str) -> Result<Self, UidError> {
                text.parse().map(Self)
            }
        }
    )+};
}

resource_ids! {
    /// A project: owns everything below.
    ProjectId,
    /// A source: where incoming events come from.
    SourceId,
    /// An endpoint: a receiver's URL and its settings.
    EndpointId,
    /// A subscription: source and filter to endpoint.
    SubscriptionId,
    /// An API key of a project.
    ApiKeyId,
    /// An event type in a project's catalogue.
    EventTypeId,
    /// A pool of source addresses of the whole installation.
    EgressPoolId,
    /// A policy of the whole installation that closes destinations.
    EgressPolicyId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codec() -> UidCodec {
        UidCodec::new(&[7; 32])
    }

    #[test]
    fn a_uid_of_another_installation_is_refused() {
        let uid = UidCodec::new(&[8; 32]).event(EventId::ZERO.next(NodeId(3), EPOCH_MS + 5));
        assert_eq!(codec().decode(uid), None);
    }

    #[test]
    fn attempts_of_a_delivery_have_different_uids_in_the_order_of_time() {
        let key = |ordinal| DeliveryKey {
            event: EventId::ZERO.next(NodeId(0), EPOCH_MS + 5),
            ordinal,
        };
        let uid = codec().attempt(key(0), 1, EPOCH_MS + 5);
        assert_eq!(uid, codec().attempt(key(0), 1, EPOCH_MS + 5));
        for other in [(key(1), 1, 5), (key(0), 2, 5), (key(0), 1, 6)] {
            assert_ne!(uid, codec().attempt(other.0, other.1, EPOCH_MS + other.2));
        }
        assert!(uid < codec().attempt(key(0), 2, EPOCH_MS + 6));
    }

    #[test]
    fn lower_case_and_short_texts_are_no_uids() {
        let text = codec()
            .event(EventId::ZERO.next(NodeId(0), EPOCH_MS + 1))
            .to_string();
        assert!(text.to_lowercase().parse::<Uid>().is_err());
        assert!(text[..25].parse::<Uid>().is_err());
        assert_eq!(text.len(), 26);
    }

    #[test]
    fn a_clock_that_steps_back_still_gives_larger_ids_of_the_same_node() {
        let node = NodeId(1023);
        let mut last = EventId::ZERO.next(node, EPOCH_MS + 10_000);
        for step in 0..10_000 {
            let next = last.next(node, EPOCH_MS + 9_000 - step);
            assert!(next > last);
            assert_eq!(next.node(), node);
            last = next;
        }
    }

    #[test]
    fn a_wild_reading_of_the_clock_does_not_use_up_the_ids() {
        let node = NodeId(1);
        let good = EventId::ZERO.next(node, EPOCH_MS + 1_000);
        let mut last = good.next(node, i64::MAX);
        assert_eq!(last.unix_ms(), good.unix_ms());
        let latest = EventId::ZERO.next(node, EPOCH_MS + MS_MAX - 1);
        for _ in 0..10_000 {
            let next = latest.max(last).next(node, i64::MAX);
            assert!(next > last && next.raw() > 0);
            last = next;
        }
    }

    proptest! {
        #[test]
        fn decode_after_encode_is_the_same(ms in 0_i64..(1 << 41), node in 0_u16..1024, ordinal in 0_u32..=ORDINAL_MAX) {
            let event = EventId::ZERO.next(NodeId(node), EPOCH_MS + ms);
            let key = DeliveryKey { event, ordinal };
            prop_assert_eq!(codec().decode(codec().event(event)), Some(Decoded::Event(event)));
            prop_assert_eq!(codec().decode(codec().delivery(key)), Some(Decoded::Delivery(key)));
        }

        #[test]
        fn a_flipped_bit_is_refused(ms in 0_i64..(1 << 41), bit in 0_u32..128) {
            let uid = codec().event(EventId::ZERO.next(NodeId(1), EPOCH_MS + ms));
            prop_assert_eq!(codec().decode(Uid::from_bits(uid.bits() ^ (1 << bit))), None);
        }

        #[test]
        fn uids_sort_as_the_ids_do(a in 0_i64..(1 << 41), b in 0_i64..(1 << 41)) {
            let (x, y) = (EventId::ZERO.next(NodeId(1), EPOCH_MS + a), EventId::ZERO.next(NodeId(1), EPOCH_MS + b));
            let (u, v) = (codec().event(x).to_string(), codec().event(y).to_string());
            prop_assert_eq!(x.cmp(&y), u.cmp(&v));
        }
    }
}
