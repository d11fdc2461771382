//! Deliveries that are not final, packed: there may be millions of them.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use outrider_webhook::event::{DeliveryMode, Target};
use outrider_webhook::id::{DeliveryKey, EventId, ProjectId};

use crate::codec::Malformed;
use crate::event::Position;
use crate::intern::{Interned, Interner};
use crate::packed::{Mixed, PackedKey, PackedPosition, Route};

/// A delivery that is not final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Which delivery.
    pub key: DeliveryKey,
    /// Where the ACCEPT record of its event is.
    pub position: Position,
    /// Whose it is.
    pub project: ProjectId,
    /// Where it goes.
    pub target: Target,
    /// Attempts made so far.
    pub attempts: u32,
    /// Those of them that do not count against the limit.
    pub attempts_free: u32,
    /// Whether it was parked: it goes apart from the others of its order key.
    pub is_parked: bool,
    /// When it is due, Unix milliseconds.
    pub due_ms: i64,
    /// Configuration revision it was routed under.
    pub revision: u64,
    /// Whether it had ended, and somebody asked for one more attempt.
    pub is_reopened: bool,
    /// Whether its event is a replay of another one.
    pub is_replay: bool,
}

impl Pending {
    /// Whether it goes apart from the others of its order key: it left its line, or was never in
    /// it (RULINGS 26).
    #[must_use]
    pub const fn is_apart(&self) -> bool {
        self.is_parked || !self.is_of_line()
    }

    /// Whether its line misses it until it arrives. What was asked for again is no part of the
    /// line: another attempt changes nothing in what is known of its delivery, and a replay is
    /// another delivery.
    #[must_use]
    pub const fn is_of_line(&self) -> bool {
        !self.is_reopened && !self.is_replay
    }

    /// What is missing in its line when it does not arrive.
    #[must_use]
    pub fn gap(&self) -> Gap {
        Gap {
            key: self.key,
            position: self.position,
            target: self.target.clone(),
        }
    }
}

/// A delivery with an order key that did not arrive in its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Which delivery.
    pub key: DeliveryKey,
    /// Where the ACCEPT record of its event is, or was.
    pub position: Position,
    /// Where it was to go.
    pub target: Target,
}

/// A delivery without what its route knows.
#[derive(Debug, Clone, Copy)]
struct Row {
    position: PackedPosition,
    route: Interned,
    /// The configuration may have changed with each event: no part of what they share.
    revision: u32,
}

/// What a delivery has that one without an attempt and without an order key has not.
#[derive(Debug, Clone, Copy)]
struct More {
    order_key: Option<u64>,
    attempts: u32,
    attempts_free: u32,
    is_parked: bool,
    is_reopened: bool,
    is_replay: bool,
    due_ms: i64,
}

type Map<T> = HashMap<PackedKey, T, BuildHasherDefault<Mixed>>;

/// What is open, as far as the log was read.
#[derive(Debug)]
pub(super) struct Found {
    rows: Map<Row>,
    facts: Facts,
}

/// What the rows do not say.
#[derive(Debug)]
struct Facts {
    more: Map<More>,
    routes: Interner<Route>,
    /// No event is of a later time.
    now_ms: i64,
}

/// Open deliveries in the order of their acceptance.
#[derive(Debug)]
pub struct OpenDeliveries {
    rows: Vec<(PackedKey, Row)>,
    facts: Facts,
}

impl Found {
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            rows: Map::default(),
            facts: Facts {
                more: Map::default(),
                routes: Interner::default(),
                now_ms,
            },
        }
    }

    pub(super) fn contains(&self, key: DeliveryKey) -> bool {
        self.rows.contains_key(&key.into())
    }

    pub(super) fn mode(&self, key: DeliveryKey) -> Option<DeliveryMode> {
        let row = self.rows.get(&key.into())?;
        Some(self.facts.routes.get(row.route)?.mode)
    }

    /// Adds a delivery that is not among them.
    pub(super) fn insert(&mut self, pending: &Pending) -> Result<(), Malformed> {
        let key = pending.key.into();
        let position = PackedPosition::new(pending.position);
        let position = position.ok_or(Malformed("position: beyond the largest segment"))?;
        let revision = u32::try_from(pending.revision);
        let revision = revision.map_err(|_| Malformed("revision: more than 32 bits"))?;
        let route = Route::new(pending.project, &pending.target);
        let route = self.facts.routes.take(route);
        let route = route.ok_or(Malformed("targets: too many different ones"))?;
        let row = Row {
            position,
            route,
            revision,
        };
        if let Some(replaced) = self.rows.insert(key, row) {
            self.facts.routes.release(replaced.route);
        }
        self.facts.note(key, pending);
        Ok(())
    }

    pub(super) fn remove(&mut self, key: DeliveryKey) -> Option<Pending> {
        let key = key.into();
        let row = self.rows.remove(&key)?;
        let pending = self.facts.pending(key, row);
        self.facts.more.remove(&key);
        self.facts.routes.release(row.route);
        pending
    }

    /// Changes what an attempt changes. Whether it is open.
    pub(super) fn change(&mut self, key: DeliveryKey, change: impl FnOnce(&mut Pending)) -> bool {
        let key = key.into();
        let row = self.rows.get(&key);
        let Some(mut pending) = row.and_then(|row| self.facts.pending(key, *row)) else {
            return false;
        };
        change(&mut pending);
        self.facts.note(key, &pending);
        true
    }

    pub(super) fn in_order(self) -> OpenDeliveries {
        let mut rows: Vec<_> = self.rows.into_iter().collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        OpenDeliveries {
            rows,
            facts: self.facts,
        }
    }
}

impl Facts {
    /// When a delivery without attempts is due.
    fn first_due_ms(&self, event: EventId) -> i64 {
        event.unix_ms().min(self.now_ms)
    }

    fn note(&mut self, key: PackedKey, pending: &Pending) {
        let is_plain = pending.target.order_key.is_none()
            && pending.attempts == 0
            && pending.attempts_free == 0
            && !pending.is_parked
            && !pending.is_reopened
            && !pending.is_replay
            && pending.due_ms == self.first_due_ms(pending.key.event);
        if is_plain {
            self.more.remove(&key);
            return;
        }
        let more = More {
            order_key: pending.target.order_key,
            attempts: pending.attempts,
            attempts_free: pending.attempts_free,
            is_parked: pending.is_parked,
            is_reopened: pending.is_reopened,
            is_replay: pending.is_replay,
            due_ms: pending.due_ms,
        };
        self.more.insert(key, more);
    }

    fn pending(&self, key: PackedKey, row: Row) -> Option<Pending> {
        let route = self.routes.get(row.route)?;
        let plain = More {
            order_key: None,
            attempts: 0,
            attempts_free: 0,
            is_parked: false,
            is_reopened: false,
            is_replay: false,
            due_ms: self.first_due_ms(key.event()),
        };
        let more = self.more.get(&key).copied().unwrap_or(plain);
        Some(Pending {
            key: key.into(),
            position: row.position.into(),
            project: route.project,
            target: route.target(more.order_key),
            attempts: more.attempts,
            attempts_free: more.attempts_free,
            is_parked: more.is_parked,
            due_ms: more.due_ms,
            revision: u64::from(row.revision),
            is_reopened: more.is_reopened,
            is_replay: more.is_replay,
        })
    }
}

impl OpenDeliveries {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The deliveries in order, unpacked one by one.
    pub fn iter(&self) -> impl Iterator<Item = Pending> {
        let rows = self.rows.iter();
        rows.filter_map(|(key, row)| self.facts.pending(*key, *row))
    }

    /// Where the payload of each is.
    pub(crate) fn places(&self) -> impl Iterator<Item = (DeliveryKey, Position)> {
        let rows = self.rows.iter();
        rows.map(|(key, row)| ((*key).into(), row.position.into()))
    }
}

#[cfg(test)]
mod tests {
    use outrider_webhook::id::{EndpointId, Uid};
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn any_pending() -> impl Strategy<Value = Pending> {
        let key = (0..20_i64, 0..3_u32);
        let flags = any::<(bool, bool, bool, bool, bool)>();
        (key, flags, 0..3_u32, 0..4_u64, -2..2_i64).prop_map(
            |((event, ordinal), flags, attempts, number, later_ms)| {
                let event = EventId::from_raw(event << 40).unwrap();
                let (is_plain, is_parked, is_reopened, is_once, has_order_key) = flags;
                let mode = match is_once {
                    true => DeliveryMode::AtMostOnce,
                    false => DeliveryMode::AtLeastOnce,
                };
                let due_ms = event.unix_ms().min(NOW_MS);
                Pending {
                    key: DeliveryKey { event, ordinal },
                    position: Position {
                        segment: 1 + ordinal,
                        offset: number,
                    },
                    project: ProjectId::new(Uid::from_bits(1)),
                    target: Target {
                        endpoint: EndpointId::new(Uid::from_bits(u128::from(number))),
                        subscription: None,
                        mode,
                        order_key: (has_order_key && !is_plain).then_some(number),
                    },
                    attempts: if is_plain { 0 } else { attempts },
                    attempts_free: if is_plain { 0 } else { attempts / 2 },
                    is_parked: is_parked && !is_plain,
                    due_ms: if is_plain { due_ms } else { due_ms + later_ms },
                    revision: number,
                    is_reopened: is_reopened && !is_plain,
                    is_replay: ordinal == 2 && !is_plain,
                }
            },
        )
    }

    proptest! {
        /// Beside a map of whole ones: inserted, removed and changed in any order.
        #[test]
        fn what_is_packed_is_what_was_put_in(
            steps in prop::collection::vec((any_pending(), 0..3_u8), 0..120)
        ) {
            let (mut found, mut model) = (Found::new(NOW_MS), std::collections::BTreeMap::new());
            for (pending, step) in steps {
                let key = pending.key;
                match step {
                    0 => prop_assert_eq!(found.remove(key), model.remove(&key)),
                    1 => {
                        let change = |one: &mut Pending| {
                            (one.attempts, one.due_ms) = (pending.attempts, pending.due_ms);
                        };
                        prop_assert_eq!(found.change(key, change), model.contains_key(&key));
                        model.entry(key).and_modify(change);
                    }
                    _ if model.contains_key(&key) => prop_assert!(found.contains(key)),
                    _ => {
                        found.insert(&pending).unwrap();
                        model.insert(key, pending);
                    }
                }
            }
            let open = found.in_order();
            prop_assert_eq!(open.len(), model.len());
            let places: Vec<_> = model.values().map(|one| (one.key, one.position)).collect();
            prop_assert_eq!(open.places().collect::<Vec<_>>(), places);
            prop_assert_eq!(open.iter().collect::<Vec<_>>(), model.into_values().collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_without_attempts_takes_few_bytes() {
        assert_eq!(size_of::<(PackedKey, Row)>(), 28);
    }
}
