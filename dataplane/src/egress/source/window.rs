//! What connections from one address came to lately: whether it reaches fewer than its neighbours.
//!
//! Counted in destinations, not in connections: a receiver that is gone, however often it is
//! called, is one of many and marks nobody. Pure: the time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// How long a result counts.
pub(crate) const WINDOW: Duration = Duration::from_secs(30);
/// Destinations below which nothing is concluded.
const DESTINATIONS_MIN: usize = 20;
/// Share of destinations that do not answer, above which an address may be suspect: 1 in 5.
const SHARE_INVERSE: usize = 5;
/// So many times the share of its neighbours.
const TIMES: usize = 3;
/// Destinations remembered per address; beyond, new ones are not looked at.
const DESTINATIONS_MAX: usize = 1_024;

/// Destinations of an address in the window, and those of them that never answered in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) destinations: usize,
    pub(crate) silent: usize,
}

impl Tally {
    /// Of several addresses together.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            destinations: self.destinations + other.destinations,
            silent: self.silent + other.silent,
        }
    }

    /// Of several without one of them.
    pub(crate) const fn minus(self, one: Self) -> Self {
        Self {
            destinations: self.destinations.saturating_sub(one.destinations),
            silent: self.silent.saturating_sub(one.silent),
        }
    }
}

/// Whether an address reaches so much less than its neighbours that it is the address.
pub(crate) const fn is_suspect(own: Tally, others: Tally) -> bool {
    own.destinations >= DESTINATIONS_MIN
        && others.destinations >= DESTINATIONS_MIN
        && own.silent * SHARE_INVERSE > own.destinations
        && own.silent * others.destinations > TIMES * others.silent * own.destinations
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    answered: Option<Instant>,
    silent: Option<Instant>,
}

impl Seen {
    fn is_over(self, now: Instant) -> bool {
        !lately(self.answered, now) && !lately(self.silent, now)
    }
}

/// The results of one address.
#[derive(Debug, Default)]
pub(crate) struct Window {
    seen: HashMap<IpAddr, Seen>,
}

impl Window {
    /// Whether `destination` answered, be it by a refusal, or let the time run out.
    pub(crate) fn note(&mut self, destination: IpAddr, has_answered: bool, now: Instant) {
        if self.seen.len() >= DESTINATIONS_MAX && !self.seen.contains_key(&destination) {
            return; // those there are tell enough
        }
        let seen = self.seen.entry(destination).or_default();
        if has_answered {
            seen.answered = Some(now);
        } else {
            seen.silent = Some(now);
        }
    }

    /// What is in the window at `now`; what has left it is forgotten.
    pub(crate) fn tally(&mut self, now: Instant) -> Tally {
        self.seen.retain(|_, seen| !seen.is_over(now));
        let silent = self
            .seen
            .values()
            .filter(|seen| !lately(seen.answered, now));
        Tally {
            destinations: self.seen.len(),
            silent: silent.count(),
        }
    }
}

fn lately(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) < WINDOW)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const fn of(destinations: usize, silent: usize) -> Tally {
        Tally {
            destinations,
            silent,
        }
    }

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(number))
    }

    #[test]
    fn suspect_is_only_who_reaches_much_less_than_the_others() {
        for (own, others, expected) in [
            (of(19, 19), of(100, 0), false), // too few to tell
            (of(20, 20), of(19, 0), false),
            (of(20, 4), of(100, 0), false), // one in five is not above one in five
            (of(20, 5), of(100, 0), true),
            (of(100, 60), of(100, 20), false), // three times is not above three times
            (of(100, 61), of(100, 20), true),
            (of(100, 100), of(100, 50), false), // everybody has trouble
            (of(0, 0), of(0, 0), false),
        ] {
            assert_eq!(is_suspect(own, others), expected, "{own:?} {others:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_does_not_count() {
        let mut window = Window::default();
        let start = Instant::now();
        window.note(ip(1), false, start);
        window.note(ip(2), true, start + WINDOW / 2);
        assert_eq!(window.tally(start + WINDOW / 2), of(2, 1));
        assert_eq!(window.tally(start + WINDOW), of(1, 0));
        assert_eq!(window.tally(start + 2 * WINDOW), of(0, 0));
        assert_eq!(window.seen.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_answers_now_and_then_is_reached() {
        let mut window = Window::default();
        let now = Instant::now();
        for answer in [false, true, false] {
            window.note(ip(1), answer, now);
        }
        assert_eq!(window.tally(now), of(1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_is_bounded() {
        let mut window = Window::default();
        let now = Instant::now();
        for number in 0..5_000 {
            window.note(ip(number), false, now);
        }
        window.note(ip(0), true, now); // known ones are still heard
        assert_eq!(
            window.tally(now),
            of(DESTINATIONS_MAX, DESTINATIONS_MAX - 1)
        );
    }

    proptest! {
        /// However often it is called, and whatever else happens: with all others answering, one
        /// dead receiver marks no address.
        #[test]
        fn one_dead_destination_never_marks_an_address(
            calls in proptest::collection::vec(0_u32..100, 0..500),
            dead in 0_u32..100,
            others in 0_usize..1_000,
        ) {
            let now = tokio::time::Instant::now();
            let mut window = Window::default();
            for called in calls {
                window.note(ip(called), called != dead, now);
            }
            prop_assert!(!is_suspect(window.tally(now), of(others, 0)));
        }

        /// Not both of two addresses that are compared with each other: one is always left.
        #[test]
        fn two_addresses_never_suspect_each_other(a in 0_usize..200, b in 0_usize..200, c in 0_usize..200, d in 0_usize..200) {
            let (one, other) = (of(a.max(b), b.min(a)), of(c.max(d), d.min(c)));
            prop_assert!(!(is_suspect(one, other) && is_suspect(other, one)));
        }
    }
}
