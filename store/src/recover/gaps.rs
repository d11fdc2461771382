//! Deliveries with an order key that did not arrive, until a later one of their line did: that
//! one told the receiver.

use std::collections::{BTreeMap, HashMap};

use outrider_webhook::id::{DeliveryKey, EndpointId};

use super::{Gap, Pending};

/// Gaps of a line that are told of one by one.
const GAPS_MAX: usize = 16;
/// Lines whose gaps are kept; of more those are forgotten whose first gap is the oldest.
const LINES_MAX: usize = 65_536;

/// An endpoint, and the number of the subscription and the value.
type Line = (EndpointId, u64);

#[derive(Debug, Default)]
pub(super) struct Gaps {
    lines: HashMap<Line, Missing>,
    /// In which line a delivery is missing.
    places: HashMap<DeliveryKey, Line>,
    /// The lines in the order in which they got their first gap.
    order: BTreeMap<u64, Line>,
    counter: u64,
}

#[derive(Debug, Default)]
struct Missing {
    since: u64,
    gaps: Vec<Gap>,
}

impl Gaps {
    /// A delivery has ended. One that is no part of its line is not missing in it, and has told
    /// nobody what is.
    pub(super) fn ended(&mut self, ended: &Pending, is_delivered: bool) {
        let order_key = ended.target.order_key.filter(|_| ended.is_of_line());
        let Some(order_key) = order_key else {
            return;
        };
        let line = (ended.target.endpoint, order_key);
        match (is_delivered, ended.is_parked) {
            (true, false) => self.forget(line),
            (true, true) => self.arrived(ended.key),
            (false, _) => self.add(line, ended),
        }
    }

    /// A delivery that had ended without success has arrived after all.
    pub(super) fn arrived(&mut self, key: DeliveryKey) {
        let Some(line) = self.places.remove(&key) else {
            return;
        };
        let is_last = self.lines.get_mut(&line).is_some_and(|missing| {
            missing.gaps.retain(|gap| gap.key != key);
            missing.gaps.is_empty()
        });
        if is_last {
            self.forget(line);
        }
    }

    pub(super) fn take(&mut self) -> Vec<Gap> {
        let lines = std::mem::take(self).lines.into_values();
        let mut all: Vec<_> = lines.flat_map(|missing| missing.gaps).collect();
        all.sort_unstable_by_key(|gap| gap.key);
        all
    }

    fn add(&mut self, line: Line, ended: &Pending) {
        self.arrived(ended.key); // once is enough
        let missing = self.lines.entry(line).or_default();
        if missing.gaps.is_empty() {
            self.counter += 1;
            missing.since = self.counter;
            self.order.insert(self.counter, line);
        }
        if missing.gaps.len() == GAPS_MAX {
            let oldest = missing.gaps.remove(0);
            self.places.remove(&oldest.key);
        }
        missing.gaps.push(ended.gap());
        self.places.insert(ended.key, line);
        let oldest = self.order.first_key_value().map(|(_, line)| *line);
        if let Some(oldest) = oldest.filter(|_| self.lines.len() > LINES_MAX) {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, line: Line) {
        if let Some(missing) = self.lines.remove(&line) {
            self.order.remove(&missing.since);
            for gap in missing.gaps {
                self.places.remove(&gap.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use outrider_webhook::event::{DeliveryMode, Target};
    use outrider_webhook::id::{EventId, ProjectId, Uid};

    use super::*;
    use crate::event::Position;

    fn ended(line: u64, number: i64) -> Pending {
        Pending {
            key: DeliveryKey {
                event: EventId::from_raw(number).unwrap(),
                ordinal: 0,
            },
            position: Position {
                segment: 1,
                offset: 0,
            },
            project: ProjectId::new(Uid::from_bits(1)),
            target: Target {
                endpoint: EndpointId::new(Uid::from_bits(1)),
                subscription: None,
                mode: DeliveryMode::AtLeastOnce,
                order_key: Some(line),
            },
            attempts: 1,
            attempts_free: 0,
            is_parked: false,
            due_ms: 0,
            revision: 1,
            is_reopened: false,
            is_replay: false,
        }
    }

    fn numbers(gaps: &mut Gaps) -> Vec<i64> {
        let all: usize = gaps.lines.values().map(|one| one.gaps.len()).sum();
        assert_eq!(gaps.places.len(), all);
        assert_eq!(gaps.order.len(), gaps.lines.len());
        gaps.take().iter().map(|gap| gap.key.event.raw()).collect()
    }

    #[test]
    fn what_arrives_in_line_was_told_and_what_arrives_late_is_missing_no_more() {
        let mut gaps = Gaps::default();
        for number in 1..=20 {
            gaps.ended(&ended(7, number), false);
        }
        gaps.ended(&ended(8, 30), false);
        gaps.arrived(ended(7, 20).key);
        gaps.arrived(ended(7, 20).key);
        gaps.arrived(ended(9, 99).key);
        let late = Pending {
            is_parked: true,
            ..ended(7, 19)
        };
        gaps.ended(&late, true);
        gaps.ended(&ended(8, 31), true);
        assert_eq!(numbers(&mut gaps), (5..=18).collect::<Vec<_>>());
        assert_eq!(numbers(&mut gaps), [0; 0]);
    }

    #[test]
    fn a_replay_leaves_no_gap_and_closes_none() {
        let mut gaps = Gaps::default();
        let replay = |number| Pending {
            is_replay: true,
            ..ended(7, number)
        };
        gaps.ended(&replay(1), false);
        assert_eq!(numbers(&mut gaps), [0; 0]);
        gaps.ended(&ended(7, 2), false);
        gaps.ended(&replay(3), true);
        gaps.ended(&replay(4), false);
        // A build that sent replays in line may have parked one.
        let parked = Pending {
            is_parked: true,
            ..replay(5)
        };
        gaps.ended(&parked, false);
        assert_eq!(numbers(&mut gaps), [2]);
    }

    #[test]
    fn of_too_many_lines_the_oldest_are_forgotten() {
        let mut gaps = Gaps::default();
        let most = i64::try_from(LINES_MAX).unwrap();
        for number in 0..most + 3 {
            gaps.ended(&ended(number.unsigned_abs(), number), false);
        }
        assert_eq!(numbers(&mut gaps), (3..most + 3).collect::<Vec<_>>());
    }
}
