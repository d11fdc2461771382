//! The events and deliveries that an audit has come across, in few bytes each. Ids only ever
//! grow along a log, so a sorted list does without hashes.

use outrider_webhook::id::EventId;

use super::report::Fates;
use crate::event::Position;
use crate::record::DeliveryStatus;

/// A delivery: 8 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery {
    /// Attempts made so far.
    pub(super) attempts: u32,
    /// Stretches that were missing before its last record.
    pub(super) missing: u16,
    pub(super) status: DeliveryStatus,
    /// Whether its end is a STATE.
    pub(super) is_ended_by_state: bool,
}

/// An event: 24 bytes. Offsets of a segment fit in 32 bits, see the segment size's bound.
#[derive(Debug, Clone, Copy)]
struct Event {
    id: EventId,
    segment: u32,
    offset: u32,
    /// Its first delivery in the list of all.
    first: usize,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Known {
    events: Vec<Event>,
    deliveries: Vec<Delivery>,
    /// Ids that were given out in stretches that are missing: behind the first, up to the second.
    gaps: Vec<(EventId, EventId)>,
}

/// What is known of an event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It was accepted: its place in the list.
    Event(usize),
    /// It may have been accepted in a stretch that is missing.
    Missing,
    /// It was never accepted.
    Never,
}

impl Known {
    /// Adds an event that is newer than all others.
    pub(super) fn add(&mut self, id: EventId, position: Position, targets: u32, missing: u16) {
        self.events.push(Event {
            id,
            segment: position.segment,
            offset: u32::try_from(position.offset).unwrap_or(u32::MAX),
            first: self.deliveries.len(),
        });
        let delivery = Delivery {
            attempts: 0,
            missing,
            status: DeliveryStatus::Scheduled,
            is_ended_by_state: false,
        };
        self.deliveries
            .extend(std::iter::repeat_n(delivery, targets as usize));
    }

    /// Ids behind `after` up to `through` were given out where nothing can be read.
    pub(super) fn add_gap(&mut self, after: EventId, through: EventId) {
        if through > after {
            self.gaps.push((after, through));
        }
    }

    pub(super) fn find(&self, id: EventId) -> Found {
        if let Ok(at) = self.events.binary_search_by_key(&id, |event| event.id) {
            return Found::Event(at);
        }
        // They are in order as well: the last one that begins before the id.
        let before = self.gaps.partition_point(|(after, _)| *after < id);
        let gap = before.checked_sub(1).and_then(|at| self.gaps.get(at));
        match gap {
            Some((_, through)) if id <= *through => Found::Missing,
            _ => Found::Never,
        }
    }

    /// Where the ACCEPT record of an event is.
    pub(super) fn position(&self, event: usize) -> Option<Position> {
        self.events.get(event).map(|event| Position {
            segment: event.segment,
            offset: u64::from(event.offset),
        })
    }

    /// One delivery of an event; `None` when it has not so many.
    pub(super) fn delivery(&mut self, event: usize, ordinal: u32) -> Option<&mut Delivery> {
        let first = self.events.get(event)?.first;
        let end = self
            .events
            .get(event + 1)
            .map_or(self.deliveries.len(), |next| next.first);
        self.deliveries
            .get_mut(first..end)?
            .get_mut(usize::try_from(ordinal).ok()?)
    }

    pub(super) fn first(&self) -> Option<EventId> {
        self.events.first().map(|event| event.id)
    }

    pub(super) fn last(&self) -> Option<EventId> {
        self.events.last().map(|event| event.id)
    }

    /// Counts the fates.
    pub(super) fn fates(&self) -> Fates {
        let mut fates = Fates::default();
        for delivery in &self.deliveries {
            fates.total += 1;
            match delivery.status {
                DeliveryStatus::Success => fates.delivered += 1,
                DeliveryStatus::Failure => fates.failed += 1,
                DeliveryStatus::Discarded => fates.discarded += 1,
                DeliveryStatus::Retry => fates.retrying += 1,
                DeliveryStatus::Scheduled | DeliveryStatus::Processing => fates.scheduled += 1,
            }
        }
        fates
    }

    /// Bytes taken.
    pub(super) fn bytes(&self) -> usize {
        self.events.capacity() * size_of::<Event>()
            + self.deliveries.capacity() * size_of::<Delivery>()
            + self.gaps.capacity() * size_of::<(EventId, EventId)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(raw: i64) -> EventId {
        EventId::from_raw(raw).unwrap()
    }

    #[test]
    fn a_delivery_takes_8_bytes_and_an_event_24() {
        assert_eq!((size_of::<Delivery>(), size_of::<Event>()), (8, 24));
    }

    #[test]
    fn an_id_is_known_missing_or_never_was() {
        let mut known = Known::default();
        let position = Position {
            segment: 3,
            offset: 64,
        };
        known.add_gap(id(0), id(10));
        known.add(id(12), position, 2, 0);
        known.add_gap(id(12), id(12)); // nothing was given out in it
        known.add_gap(id(15), id(20));
        known.add(id(30), position, 0, 0);
        let never = [0, 11, 13, 15, 21, 29, 31].map(|raw| (raw, Found::Never));
        let missing = [1, 10, 16, 20].map(|raw| (raw, Found::Missing));
        let events = [(12, Found::Event(0)), (30, Found::Event(1))];
        for (raw, expected) in never.into_iter().chain(missing).chain(events) {
            assert_eq!(known.find(id(raw)), expected, "{raw}");
        }
        assert!(known.delivery(0, 1).is_some());
        assert!(known.delivery(0, 2).is_none() && known.delivery(1, 0).is_none());
    }
}
