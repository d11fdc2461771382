//! What event number so-and-so of the load is: pure, so that every reply can be checked against it.
//!
//! One in twenty comes through a source of the incoming project. The others are posted to one of
//! four outgoing projects: one in seven fanned out to an owner of five endpoints, the rest for one
//! endpoint. One endpoint in five wants every second event type only, which leaves about
//! 1.5 deliveries per event.

use super::chance::scatter;

/// Outgoing projects; the project after them is the incoming one.
pub(super) const OUTGOING: usize = 4;
/// Number of the incoming project.
pub(super) const INCOMING: usize = OUTGOING;
/// Endpoints of an outgoing project.
pub(super) const ENDPOINTS: usize = 25;
/// Endpoints of an owner.
pub(super) const OWNED: usize = 5;
/// Owners of an outgoing project.
pub(super) const OWNERS: usize = ENDPOINTS / OWNED;
/// Sources of the incoming project.
pub(super) const SOURCES: usize = 2;
/// The source whose events all have one type: its mask.
pub(super) const PLAIN_SOURCE: usize = 1;
/// Endpoints of the incoming project; each has all events of all sources.
pub(super) const BACKENDS: usize = 2;

/// Event types, each with its share in a thousand.
pub(super) const TYPES: [(&str, u64); 20] = [
    ("order.created", 300),
    ("order.paid", 200),
    ("order.shipped", 120),
    ("order.delivered", 80),
    ("customer.updated", 60),
    ("customer.created", 50),
    ("invoice.created", 40),
    ("invoice.paid", 30),
    ("refund.created", 25),
    ("refund.paid", 20),
    ("cart.abandoned", 18),
    ("cart.restored", 15),
    ("payout.created", 12),
    ("payout.paid", 10),
    ("dispute.opened", 7),
    ("dispute.closed", 5),
    ("quote.accepted", 3),
    ("quote.expired", 2),
    ("account.merged", 2),
    ("account.closed", 1),
];

/// Every so manieth event is a repeat of the one half as many before.
const REPEAT_EVERY: u64 = 1_000;
/// Values of the commonest field that searches look for.
pub(super) const REGIONS: u64 = 10;
/// Values of the rarest one.
pub(super) const CUSTOMERS: u64 = 1_000;

/// For whom an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Endpoint(usize),
    Owner(usize),
    Source(usize),
}

/// An event of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) project: usize,
    pub(super) to: To,
    /// Place in [`TYPES`]; means nothing for the plain source.
    pub(super) kind: usize,
    /// Whose idempotency key it has: its own number, or the one it repeats.
    pub(super) key: Option<u64>,
    pub(super) region: u64,
    pub(super) customer: u64,
}

/// The event with this number, counted from the first of the load.
pub(super) fn event(number: u64) -> Event {
    let half = REPEAT_EVERY / 2;
    if is_repeat(number) {
        return event(number - half);
    }
    let is_repeated = number % REPEAT_EVERY == half - 1;
    let dice = scatter(number);
    // Parts of the dice that do not overlap, so that choices do not hang together.
    let part = |shift: u32, end: u64| (dice >> shift) % (1 << 12) * end / (1 << 12);
    let place = |shift, end: usize| {
        let part = part(shift, u64::try_from(end).unwrap_or(1));
        usize::try_from(part).unwrap_or(0)
    };
    let (project, to) = if part(0, 20) == 0 && !is_repeated {
        (INCOMING, To::Source(place(12, SOURCES)))
    } else {
        let to = match part(12, 1_000) < 150 {
            true => To::Owner(place(24, OWNERS)),
            false => To::Endpoint(place(24, ENDPOINTS)),
        };
        (place(36, OUTGOING), to)
    };
    let more = scatter(dice);
    let has_key = project != INCOMING && (is_repeated || (more >> 48).is_multiple_of(10));
    Event {
        project,
        to,
        kind: kind(more % 1_000),
        key: has_key.then_some(number),
        region: (more >> 16) % REGIONS,
        customer: (more >> 24) % CUSTOMERS,
    }
}

/// Whether the event has the idempotency key of an earlier one.
pub(super) const fn is_repeat(number: u64) -> bool {
    number % REPEAT_EVERY == REPEAT_EVERY - 1
}

/// The number of the event that repeats this one.
pub(super) const fn repeated_by(number: u64) -> Option<u64> {
    match number % REPEAT_EVERY == REPEAT_EVERY / 2 - 1 {
        true => Some(number + REPEAT_EVERY / 2),
        false => None,
    }
}

fn kind(thousandth: u64) -> usize {
    let mut sum = 0;
    let found = TYPES.iter().position(|(_, share)| {
        sum += share;
        thousandth < sum
    });
    found.unwrap_or(0)
}

/// Event types that the subscription of an endpoint wants; `None` for all.
pub(super) fn wanted_types(endpoint: usize) -> Option<Vec<&'static str>> {
    let names = TYPES.iter().map(|(name, _)| *name);
    (endpoint % 5 == 4).then(|| names.step_by(2).collect())
}

fn wants(endpoint: usize, kind: usize) -> bool {
    endpoint % 5 != 4 || kind.is_multiple_of(2)
}

/// Whether the receiver refuses everything for this endpoint: one in twenty.
pub(super) const fn fails(project: usize, endpoint: usize) -> bool {
    project < OUTGOING && (project * ENDPOINTS + endpoint) % 20 == 7
}

/// The endpoints of an owner.
pub(super) fn owned(owner: usize) -> std::ops::Range<usize> {
    owner * OWNED..(owner + 1) * OWNED
}

/// The owner of an endpoint.
pub(super) const fn owner_of(endpoint: usize) -> usize {
    endpoint / OWNED
}

impl Event {
    /// The endpoints it is delivered to, repeats aside.
    pub(super) fn endpoints(&self) -> Vec<usize> {
        let all = match self.to {
            To::Endpoint(endpoint) => endpoint..endpoint + 1,
            To::Owner(owner) => owned(owner),
            To::Source(_) => return (0..BACKENDS).collect(),
        };
        all.filter(|endpoint| wants(*endpoint, self.kind)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_like_the_first_and_has_its_key() {
        let first = event(1_499);
        assert_eq!(first.key, Some(1_499));
        assert_eq!(repeated_by(1_499), Some(1_999));
        assert!(is_repeat(1_999) && !is_repeat(1_499));
        assert_eq!(event(1_999), first);
    }

    #[test]
    fn shares_are_those_that_are_promised() {
        let count = 200_000_u64;
        let (mut deliveries, mut incoming, mut keys, mut owners) = (0, 0, 0, 0);
        for number in (0..count).filter(|number| !is_repeat(*number)) {
            let event = event(number);
            deliveries += event.endpoints().len();
            incoming += usize::from(event.project == INCOMING);
            keys += usize::from(event.key.is_some());
            owners += usize::from(matches!(event.to, To::Owner(_)));
        }
        assert!((290_000..310_000).contains(&deliveries), "{deliveries}");
        assert!((9_500..10_500).contains(&incoming), "{incoming}");
        assert!((18_000..21_000).contains(&keys), "{keys}");
        assert!((27_000..30_000).contains(&owners), "{owners}");
        assert_eq!(TYPES.iter().map(|(_, share)| share).sum::<u64>(), 1_000);
        let failing = (0..OUTGOING * ENDPOINTS).filter(|n| fails(n / ENDPOINTS, n % ENDPOINTS));
        assert_eq!(failing.count(), 5);
    }
}
