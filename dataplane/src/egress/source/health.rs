//! How one address of ours is doing: whether it is on this host, whether it reaches anything, and
//! whether it reaches less than others. Pure: what was found out and the time are arguments.

use std::time::Duration;

use tokio::time::Instant;

use super::choice::Standing;
use super::window::WINDOW;

/// Rounds of reflectors that fail, one after the other, until an address is down.
const FAILURES_MAX: u8 = 3;
/// Rounds that succeed, one after the other, until it is up again.
const SUCCESSES_MIN: u8 = 5;
/// How long it counts that an address was found not to be here: if nobody looks any more, it is
/// tried again.
const ABSENT_FOR: Duration = Duration::from_secs(10);
/// How long an address is left alone for what was seen of it: then nothing of that counts any more.
const SUSPECT_FOR: Duration = WINDOW;

/// What has changed for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Down,
    Up,
}

/// Whether an address reaches the reflectors.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    failures: u8,
    successes: u8,
    is_down: bool,
}

/// What is known of an address.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// `None`: nobody has looked yet. It is tried then: `bind` knows.
    is_here: Option<bool>,
    looked_at: Option<Instant>,
    was_here: bool,
    reach: Reach,
    suspect_until: Option<Instant>,
}

impl Health {
    /// Whether connections may be opened from it, as far as is known.
    const fn is_up(&self) -> bool {
        !matches!(self.is_here, Some(false)) && !self.reach.is_down
    }

    /// Whether it is known to be on this host.
    pub(crate) fn is_here(&self) -> bool {
        self.is_here == Some(true)
    }

    /// Whether it is down because it reached no reflector: only further rounds mend that.
    pub(crate) const fn is_unreached(&self) -> bool {
        self.reach.is_down
    }

    pub(crate) fn standing(&self, now: Instant) -> Standing {
        let is_absent =
            self.is_here == Some(false) && self.looked_at.is_some_and(|at| now < at + ABSENT_FOR);
        if is_absent || self.reach.is_down {
            Standing::Down
        } else if self.suspect_until.is_some_and(|until| now < until) {
            Standing::Suspect
        } else {
            Standing::Good
        }
    }

    /// The word for it in metrics.
    pub(crate) fn word(&self, now: Instant) -> &'static str {
        match self.standing(now) {
            Standing::Good => "active",
            Standing::Suspect => "suspect",
            _ if self.is_here == Some(false) && !self.was_here => "elsewhere",
            _ => "down",
        }
    }

    /// Somebody looked whether it is on this host. One that never was is another host's: that is
    /// no change.
    pub(crate) fn looked(&mut self, is_here: bool, now: Instant) -> Option<Change> {
        self.looked_at = Some(now);
        let (was_up, was_known) = (self.is_up(), self.is_here.is_some());
        self.is_here = Some(is_here);
        self.was_here |= is_here;
        if !is_here {
            self.reach = Reach::default(); // nothing is known of where it comes back
        }
        self.change(was_up).filter(|_| was_known)
    }

    /// A round of reflectors is over.
    pub(crate) fn reached(&mut self, has_reached: bool) -> Option<Change> {
        let was_up = self.is_up();
        let reach = &mut self.reach;
        if has_reached {
            reach.failures = 0;
            reach.successes = reach.successes.saturating_add(1);
            reach.is_down &= reach.successes < SUCCESSES_MIN;
        } else {
            reach.successes = 0;
            reach.failures = reach.failures.saturating_add(1);
            reach.is_down |= reach.failures >= FAILURES_MAX;
        }
        self.change(was_up)
    }

    /// It reaches less than the others. `true` when that is news.
    pub(crate) fn suspect(&mut self, now: Instant) -> bool {
        let is_news = self.suspect_until.is_none_or(|until| until <= now);
        self.suspect_until = Some(now + SUSPECT_FOR);
        is_news
    }

    fn change(&self, was_up: bool) -> Option<Change> {
        match (was_up, self.is_up()) {
            (true, false) => Some(Change::Down),
            (false, true) => Some(Change::Up),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_of_another_host_is_down_and_no_news() {
        let mut health = Health::default();
        assert_eq!(
            health.standing(Instant::now()),
            Standing::Good,
            "`bind` decides"
        );
        assert_eq!(health.looked(false, Instant::now()), None);
        assert_eq!(health.standing(Instant::now()), Standing::Down);
        assert_eq!(health.looked(false, Instant::now()), None);
        assert_eq!(health.word(Instant::now()), "elsewhere");
        assert_eq!(health.looked(true, Instant::now()), Some(Change::Up));
        health.looked(false, Instant::now());
        assert_eq!(health.word(Instant::now()), "down");
    }

    #[test]
    fn an_address_that_goes_is_down_at_once_and_up_when_it_is_back() {
        let mut health = Health::default();
        assert_eq!(health.looked(true, Instant::now()), None);
        assert_eq!(health.looked(false, Instant::now()), Some(Change::Down));
        assert!(!health.is_up() && !health.is_here());
        assert_eq!(health.looked(true, Instant::now()), Some(Change::Up));
        assert!(health.is_up() && health.is_here());
    }

    #[test]
    fn three_failed_rounds_are_down_and_five_good_ones_up() {
        let mut health = Health::default();
        health.looked(true, Instant::now());
        let mut round = |has_reached| health.reached(has_reached);
        for has_reached in [false, false, true, false, false] {
            assert_eq!(round(has_reached), None, "never three in a row");
        }
        assert_eq!(round(false), Some(Change::Down));
        for has_reached in [true, true, true, true, false, true, true, true, true] {
            assert_eq!(round(has_reached), None, "never five in a row");
        }
        assert_eq!(round(true), Some(Change::Up));
        for _ in 0..1_000 {
            assert_eq!(round(true), None);
        }
        for _ in 0..2 {
            assert_eq!(round(false), None);
        }
        assert_eq!(round(false), Some(Change::Down));
        for _ in 0..1_000 {
            assert_eq!(round(false), None);
        }
    }

    #[test]
    fn one_that_comes_back_begins_anew() {
        let mut health = Health::default();
        health.looked(true, Instant::now());
        for _ in 0..3 {
            health.reached(false);
        }
        assert_eq!(
            health.looked(false, Instant::now()),
            None,
            "it was down already"
        );
        assert_eq!(health.looked(true, Instant::now()), Some(Change::Up));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_nobody_looks_for_is_tried_again() {
        let mut health = Health::default();
        health.looked(false, Instant::now());
        assert_eq!(health.standing(Instant::now()), Standing::Down);
        tokio::time::advance(ABSENT_FOR).await;
        assert_eq!(health.standing(Instant::now()), Standing::Good);
    }

    #[tokio::test(start_paused = true)]
    async fn suspicion_ends_with_what_it_was_drawn_from() {
        let mut health = Health::default();
        assert!(health.suspect(Instant::now()));
        assert!(!health.suspect(Instant::now()), "no news");
        assert_eq!(health.standing(Instant::now()), Standing::Suspect);
        assert!(health.is_up());
        health.looked(false, Instant::now());
        assert_eq!(health.standing(Instant::now()), Standing::Down);
        health.looked(true, Instant::now());
        tokio::time::advance(SUSPECT_FOR).await;
        assert_eq!(health.standing(Instant::now()), Standing::Good);
        assert!(health.suspect(Instant::now()));
    }
}
