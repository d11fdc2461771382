//! Deliveries that wait for long, packed: there may be millions of them. Their events are in the
//! log, and what they have in common with others is kept once.

use outrider_store::{Interned, Interner, PackedKey, PackedPosition, Route};
use outrider_webhook::id::{DeliveryKey, EventId};

use super::Entry;

/// What packed deliveries have in common, for all of one owner.
pub(super) type Routes = Interner<Route>;

/// Where a delivery stands among others.
pub(super) type Place = (i64, EventId, u32);

/// One that was never tried: due since it was accepted.
#[derive(Debug)]
pub(super) struct Fresh {
    key: PackedKey,
    position: PackedPosition,
    route: Interned,
    /// The configuration may have changed with each event: no part of what they share.
    revision: u32,
}

/// Any other one.
#[derive(Debug)]
pub(super) struct Tried {
    fresh: Fresh,
    attempts: u32,
    attempts_free: u32,
    flags: Flags,
    due_ms: i64,
    turn_ms: i64,
    opening: u64,
    order_key: u64,
}

#[derive(Debug, Clone, Copy)]
struct Flags {
    has_order_key: bool,
    has_begun: bool,
    is_out_of_order: bool,
    losses: u8,
}

/// A delivery, as small as it gets.
#[derive(Debug)]
pub(super) enum Packed {
    /// One that was never tried.
    Fresh(Fresh),
    /// Any other one.
    Tried(Tried),
}

impl Packed {
    /// Packs all of a delivery but its event in memory. `order_key`: what fresh ones of this
    /// owner have. `None` where there is no room for it; then it has to be kept as it is.
    pub(super) fn new(entry: &Entry, routes: &mut Routes, order_key: Option<u64>) -> Option<Self> {
        let fresh = Fresh {
            key: entry.key.into(),
            position: PackedPosition::new(entry.position)?,
            revision: u32::try_from(entry.revision).ok()?,
            route: routes.take(Route::new(entry.project, &entry.target))?, // the last that may fail
        };
        if is_fresh(entry, order_key) {
            return Some(Self::Fresh(fresh));
        }
        Some(Self::Tried(Tried {
            fresh,
            attempts: entry.attempts,
            attempts_free: entry.attempts_free,
            flags: Flags {
                has_order_key: entry.target.order_key.is_some(),
                has_begun: entry.has_begun,
                is_out_of_order: entry.is_out_of_order,
                losses: entry.losses,
            },
            due_ms: entry.due_ms,
            turn_ms: entry.turn_ms,
            opening: entry.opening,
            order_key: entry.target.order_key.unwrap_or_default(),
        }))
    }

    /// The delivery again; `None` when its route was released before, which is a fault.
    pub(super) fn unpack(self, routes: &mut Routes, order_key: Option<u64>) -> Option<Entry> {
        let key = self.key();
        let entry = match self {
            Self::Fresh(fresh) => fresh.unpack(routes, order_key),
            Self::Tried(tried) => tried.unpack(routes),
        };
        if entry.is_none() {
            tracing::error!(
                event = key.event.raw(),
                "the route of a delivery is gone; it goes on when the process starts again"
            );
        }
        entry
    }

    pub(super) fn key(&self) -> DeliveryKey {
        match self {
            Self::Fresh(fresh) => fresh.key.into(),
            Self::Tried(tried) => tried.fresh.key.into(),
        }
    }
}

/// Whether everything about it follows from its event and its owner. When the turn of one without
/// an order key came, nobody asks.
fn is_fresh(entry: &Entry, order_key: Option<u64>) -> bool {
    entry.target.order_key == order_key
        && entry.attempts == 0
        && entry.attempts_free == 0
        && entry.opening == 0
        && !entry.has_begun
        && entry.losses == 0
        && !entry.is_out_of_order
        && entry.due_ms == entry.key.event.unix_ms()
}

impl Fresh {
    pub(super) fn place(&self) -> Place {
        let key = DeliveryKey::from(self.key);
        (key.event.unix_ms(), key.event, key.ordinal)
    }

    fn unpack(self, routes: &mut Routes, order_key: Option<u64>) -> Option<Entry> {
        let route = routes.release(self.route)?;
        let key = DeliveryKey::from(self.key);
        let accepted_ms = key.event.unix_ms();
        Some(Entry {
            key,
            position: self.position.into(),
            project: route.project,
            target: route.target(order_key),
            revision: u64::from(self.revision),
            attempts: 0,
            attempts_free: 0,
            accepted_ms,
            due_ms: accepted_ms,
            turn_ms: accepted_ms,
            has_begun: false,
            losses: 0,
            opening: 0,
            is_out_of_order: false,
            event: None,
        })
    }
}

impl Tried {
    pub(super) fn place(&self) -> Place {
        let key = DeliveryKey::from(self.fresh.key);
        (self.due_ms, key.event, key.ordinal)
    }

    fn unpack(self, routes: &mut Routes) -> Option<Entry> {
        let order_key = self.flags.has_order_key.then_some(self.order_key);
        let fresh = self.fresh.unpack(routes, order_key)?;
        Some(Entry {
            attempts: self.attempts,
            attempts_free: self.attempts_free,
            due_ms: self.due_ms,
            turn_ms: self.turn_ms,
            has_begun: self.flags.has_begun,
            losses: self.flags.losses,
            opening: self.opening,
            is_out_of_order: self.flags.is_out_of_order,
            ..fresh
        })
    }
}

impl Entry {
    /// Where it stands among others that come back.
    pub(super) fn place(&self) -> Place {
        (self.due_ms, self.key.event, self.key.ordinal)
    }
}
