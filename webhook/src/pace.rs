//! How fast a backlog is sent to a receiver that did not keep up: a rate that rises with its good
//! answers and falls with its bad ones (additive increase, multiplicative decrease).
//!
//! It begins slowly and doubles each second until the receiver objects, as TCP does. After that it
//! rises by a twentieth of what the receiver took each second, and falls by a fifth when it is too
//! much: so it is above the limit one second in five at most, by 5 %. When nothing was too much for
//! ten seconds, which is twice as long as it takes to get back, the limit is not where it was: it
//! doubles again.
//!
//! Single failures say nothing about load, they are the circuit breaker's: it falls when half of
//! what was answered in a second failed.

use std::f64::consts::LN_2;

/// First rate towards a receiver that comes back, deliveries per second.
const START_PER_S: f64 = 20.0;
/// No slower than this: below, what the receiver asks for in `Retry-After` decides.
const LEAST_PER_S: f64 = 1.0;
/// Beyond this nothing is paced any more.
const MOST_PER_S: f64 = 20_000.0;
/// What is left of the rate when the receiver is busy.
const BUSY_FACTOR: f64 = 0.8;
/// What is left of the rate when it fails.
const FAILED_FACTOR: f64 = 0.5;
/// Rise in a second, as a part of the rate of the last fall.
const RISE: f64 = 0.05;
/// Without an objection for so long it doubles again.
const CALM_MS: i64 = 10_000;
/// With fewer answers in a second their share says nothing.
const ANSWERS_MIN: u32 = 5;
/// What was missed in so many microseconds may be sent at once: timers are not finer.
const SLACK_US: f64 = 5_000.0;

/// What the receiver's answer says about its load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// It takes what it gets.
    Fine,
    /// It says that it is too much: 429, or 503 with a time.
    Busy,
    /// It fails.
    Failing,
}

/// The pace of one receiver.
#[derive(Debug, Clone)]
pub struct Pace {
    per_s: f64,
    /// When the next delivery is due, microseconds of the clock.
    next_us: f64,
    /// Rise per second; `None` until the receiver objected: then the rate doubles.
    rise_per_s: Option<f64>,
    /// When it last fell: attempts that began before say nothing about the new rate.
    fell_ms: i64,
    /// When a delivery last had to wait: only then does it matter how fast it is.
    bound_ms: i64,
    /// Answers of one second.
    second: Second,
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    number: i64,
    answers: u32,
    failures: u32,
}

impl Pace {
    /// For a receiver that was away.
    #[must_use]
    pub fn from_rest(now_ms: i64) -> Self {
        Self {
            per_s: START_PER_S,
            next_us: micros(now_ms),
            rise_per_s: None,
            fell_ms: now_ms,
            bound_ms: now_ms,
            second: Second::default(),
        }
    }

    /// For a receiver that took `per_s` deliveries in the last second and now objects.
    #[must_use]
    pub fn below(per_s: u32, now_ms: i64) -> Self {
        let took = f64::from(per_s).max(LEAST_PER_S);
        Self {
            per_s: (took * BUSY_FACTOR).max(LEAST_PER_S),
            next_us: micros(now_ms),
            rise_per_s: Some(took * RISE),
            fell_ms: now_ms,
            bound_ms: now_ms,
            second: Second::default(),
        }
    }

    /// Deliveries per second now.
    #[must_use]
    pub fn per_s(&self) -> f64 {
        self.per_s
    }

    /// Takes the next place, or says how many milliseconds it is away, at least 1.
    ///
    /// # Errors
    /// The wait.
    pub fn take(&mut self, now_ms: i64) -> Result<(), i64> {
        let now_us = micros(now_ms);
        let earliest_us = self.next_us.max(now_us - SLACK_US);
        let wait_us = earliest_us - now_us;
        if wait_us > 0.0 {
            self.bound_ms = now_ms;
            return Err(whole_ms(wait_us));
        }
        self.next_us = earliest_us + 1_000_000.0 / self.per_s;
        Ok(())
    }

    /// A place that was taken is not needed.
    pub fn give_back(&mut self) {
        self.next_us -= 1_000_000.0 / self.per_s;
    }

    /// An attempt that began at `started_ms` was answered. False: it is so fast now that there is
    /// nothing to pace.
    pub fn answered(&mut self, load: Load, started_ms: i64, now_ms: i64) -> bool {
        if started_ms < self.fell_ms {
            return true;
        }
        let second = self.second.count(load, now_ms);
        match load {
            Load::Fine => self.rise(now_ms),
            Load::Busy => self.fall(BUSY_FACTOR, now_ms),
            Load::Failing => {
                let is_much = second.failures.saturating_mul(2) >= second.answers;
                if is_much && second.answers >= ANSWERS_MIN {
                    self.fall(FAILED_FACTOR, now_ms);
                }
            }
        }
        self.per_s < MOST_PER_S
    }

    /// As many answers as there are in a second make it rise by as much as it should.
    fn rise(&mut self, now_ms: i64) {
        if now_ms.saturating_sub(self.bound_ms) >= 1_000 {
            return; // something else is the limit
        }
        let is_calm = self.calm_ms(now_ms) >= CALM_MS;
        let rise_per_s = self.rise_per_s.filter(|_| !is_calm);
        self.per_s += rise_per_s.map_or(LN_2, |rise| rise / self.per_s);
    }

    /// How long the rate has not fallen, milliseconds.
    #[must_use]
    pub fn calm_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.fell_ms)
    }

    /// The wall clock was set.
    pub fn shift(&mut self, by_ms: i64) {
        self.fell_ms = self.fell_ms.saturating_add(by_ms);
        self.bound_ms = self.bound_ms.saturating_add(by_ms);
        self.next_us += micros(by_ms);
    }

    fn fall(&mut self, factor: f64, now_ms: i64) {
        self.rise_per_s = Some((self.per_s * RISE).max(LEAST_PER_S * RISE));
        self.per_s = (self.per_s * factor).max(LEAST_PER_S);
        self.fell_ms = now_ms;
        self.second = Second::default();
    }
}

impl Second {
    fn count(&mut self, load: Load, now_ms: i64) -> Self {
        let number = now_ms.div_euclid(1_000);
        if number != self.number {
            *self = Self {
                number,
                ..Self::default()
            };
        }
        self.answers = self.answers.saturating_add(1);
        self.failures += u32::from(load == Load::Failing);
        *self
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of this millennium fit in 53 bits to less than 2 us"
)]
fn micros(ms: i64) -> f64 {
    ms as f64 * 1_000.0
}

#[expect(clippy::cast_possible_truncation, reason = "at most seconds")]
fn whole_ms(us: f64) -> i64 {
    ((us / 1_000.0).ceil() as i64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    /// A receiver that takes so many in each second, and answers 429 beyond.
    struct Receiver {
        limit: u32,
        second: i64,
        got: u32,
    }

    impl Receiver {
        fn get(&mut self, now_ms: i64) -> Load {
            if now_ms / 1000 != self.second {
                (self.second, self.got) = (now_ms / 1000, 0);
            }
            self.got += 1;
            if self.got > self.limit {
                Load::Busy
            } else {
                Load::Fine
            }
        }
    }

    /// Sends for `seconds`; how many arrived, and the most in one second.
    fn drive(pace: &mut Pace, limit: u32, seconds: i64) -> (u32, u32) {
        let mut receiver = Receiver {
            limit,
            second: 0,
            got: 0,
        };
        let (mut fine, mut most, mut held_ms) = (0, 0, 0);
        for now_ms in NOW_MS..NOW_MS + seconds * 1000 {
            while held_ms <= now_ms && pace.take(now_ms).is_ok() {
                let load = receiver.get(now_ms);
                most = most.max(receiver.got);
                pace.answered(load, now_ms, now_ms);
                match load {
                    Load::Fine => fine += 1,
                    Load::Busy | Load::Failing => held_ms = now_ms + 1_000,
                }
            }
        }
        (fine, most)
    }

    #[test]
    fn a_receiver_with_a_limit_gets_what_it_can_take_and_hardly_more() {
        for limit in [20, 500, 3_000] {
            let (fine, most) = drive(&mut Pace::from_rest(NOW_MS), limit, 100);
            assert!(fine > limit * 70, "limit {limit}: {fine} arrived in 100 s");
            assert!(
                most <= limit + limit.div_ceil(10),
                "limit {limit}: {most} in a second"
            );
        }
    }

    #[test]
    fn it_falls_once_for_all_that_began_before() {
        let mut pace = Pace::below(100, NOW_MS);
        assert!((pace.per_s() - 80.0).abs() < 0.01);
        for _ in 0..16 {
            pace.answered(Load::Busy, NOW_MS - 1, NOW_MS + 5);
        }
        assert!((pace.per_s() - 80.0).abs() < 0.01);
        pace.answered(Load::Busy, NOW_MS, NOW_MS + 6);
        assert!((pace.per_s() - 64.0).abs() < 0.01);
        assert_eq!(pace.calm_ms(NOW_MS + 10), 4);
    }

    #[test]
    fn single_failures_do_not_slow_it_and_many_do() {
        let mut pace = Pace::below(100, NOW_MS);
        for _ in 0..100 {
            pace.answered(Load::Fine, NOW_MS, NOW_MS);
            pace.answered(Load::Fine, NOW_MS, NOW_MS);
            pace.answered(Load::Failing, NOW_MS, NOW_MS);
        }
        assert!(pace.per_s() >= 80.0);
        for _ in 0..ANSWERS_MIN {
            pace.answered(Load::Failing, NOW_MS, NOW_MS + 2_000);
        }
        assert!(pace.per_s() < 50.0);
    }

    #[test]
    fn after_a_bad_while_it_is_back_soon() {
        let mut pace = Pace::from_rest(NOW_MS);
        for at in 0..100 {
            pace.answered(Load::Busy, NOW_MS + at, NOW_MS + at);
        }
        assert!(pace.per_s() < 1.5);
        let (fine, _) = drive(&mut pace, 500, 60);
        assert!(fine > 500 * 30, "{fine} arrived in 60 s");
    }

    #[test]
    fn it_does_not_rise_while_something_else_is_the_limit() {
        let mut pace = Pace::below(100, NOW_MS);
        for at in 0..100 {
            pace.answered(Load::Fine, NOW_MS + 1_000 * at, NOW_MS + 1_000 * at);
        }
        assert!(pace.per_s() < 85.0);
    }

    #[test]
    fn a_place_that_is_given_back_is_there_again() {
        let mut pace = Pace::below(100, NOW_MS);
        while pace.take(NOW_MS).is_ok() {}
        pace.give_back();
        assert!(pace.take(NOW_MS).is_ok());
    }

    #[test]
    fn it_never_stands_still_and_ends_when_nothing_objects() {
        let mut pace = Pace::below(0, NOW_MS);
        for at in 0..100 {
            pace.answered(Load::Busy, NOW_MS + at, NOW_MS + at);
        }
        assert!(pace.take(NOW_MS + 100).is_ok());
        let wait_ms = pace.take(NOW_MS + 100).unwrap_err();
        assert!((1..=1_000).contains(&wait_ms), "{wait_ms}");
        let mut pace = Pace::from_rest(NOW_MS);
        let answers = (0..30_000).take_while(|_| pace.answered(Load::Fine, NOW_MS, NOW_MS));
        assert!(answers.count() < 30_000);
    }
}
