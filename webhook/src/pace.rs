//! How fast a backlog is sent to a receiver that did not keep up, without knowing what it takes.
//!
//! What it takes is a number in each second, and which seconds those are is its own affair. So what
//! counts is any second: at no time may more have been sent in the second before than a tenth above
//! the limit, or than 20 above it where that is more.
//!
//! * **Search.** As long as the limit is not known, each second gets at most that much more than
//!   the one before. Twice as much, as TCP has it, would be far too much at once: a receiver that
//!   counts by the clock says so only at the end of a second whose beginning was within the limit.
//! * **Near the limit.** When the receiver objects, what it took in the last second is its limit.
//!   The rate falls a little below it and comes back along a cubic curve, as CUBIC does: soon close
//!   to the limit, long beside it, and then beyond. A limit that is where it was is met again
//!   after some 40 seconds; one that is not is searched for.
//! * **Objections that tell nothing**, because hardly anything was taken before, halve the rate.
//!
//! Single failures say nothing about load, they are the circuit breaker's: it falls when half of
//! what was answered in a second failed.

mod taken;
#[cfg(test)]
mod tests;

use self::taken::Taken;

/// First rate towards a receiver that comes back, deliveries per second, where no other is known.
const START_PER_S: f64 = 20.0;
/// No slower than this: below, what the receiver asks for in `Retry-After` decides.
const LEAST_PER_S: f64 = 1.0;
/// So few that were taken before an objection do not say that more would be too much.
const LITTLE_PER_S: u32 = 1;
/// Beyond this nothing is paced any more: no gateway sends that much.
const MOST_PER_S: f64 = 50_000.0;
/// Rise in a second while the limit is searched for, as a part of the rate. With this one the
/// worst that a receiver which counts by the clock can get in any second is 9 % more than it takes.
const GROWTH: f64 = 0.09;
/// The least rise in a second: not more than what it begins with.
const GROWTH_LEAST_PER_S: f64 = START_PER_S;
/// What is left of the limit when the receiver is busy.
const BUSY_FACTOR: f64 = 0.95;
/// What is left of the rate when it fails, or is busy and nothing is known of its limit.
const FAILED_FACTOR: f64 = 0.5;
/// After so many seconds of sending the rate is back at the limit.
const BACK_S: f64 = 25.0;
/// This part of the limit was sent without objection, after seconds beyond it: it is another one.
const BEYOND: f64 = 1.03;
/// It rises only where so much of it is used: else something other than the pace is the limit.
const USED: f64 = 0.6;
/// What begins so shortly after a fall was on its way already.
const ON_ITS_WAY_MS: i64 = 50;
/// With fewer answers in a second their share says nothing.
const ANSWERS_MIN: u32 = 5;
/// What was missed in so many microseconds may be sent at once: timers are not finer.
const SLACK_US: f64 = 10_000.0;
/// Part of a new answer in the mean time until one.
const LATENCY_PART: f64 = 0.125;

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
    /// Where the limit is, as far as that is known.
    limit: Option<Limit>,
    taken: Taken,
    /// Mean time until an answer; what is sent meanwhile is sent without knowing.
    latency_s: f64,
    /// When it last fell: attempts that began before say nothing about the new rate.
    fell_ms: i64,
    /// When a delivery last had to wait: only then does it matter how fast it is.
    bound_ms: i64,
    /// Answers of one second.
    second: Second,
}

/// What a receiver took when it objected, and the way back there.
#[derive(Debug, Clone, Copy)]
struct Limit {
    per_s: f64,
    /// By which part of the limit the rate fell below it.
    depth: f64,
    /// Seconds of sending since then.
    sent_s: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    number: i64,
    answers: u32,
    failures: u32,
}

impl Pace {
    /// For a receiver that was away, and took `before_per_s` at best before that, as far as known.
    #[must_use]
    pub fn from_rest(before_per_s: u32, now_ms: i64) -> Self {
        // It may be a smaller one now, or a cold one.
        let start = f64::from(before_per_s) / 4.0;
        Self::new(start.max(START_PER_S), None, now_ms)
    }

    /// For a receiver that took `per_s` deliveries in the last second and now objects.
    #[must_use]
    pub fn below(per_s: u32, now_ms: i64) -> Self {
        if per_s <= LITTLE_PER_S {
            return Self::new(LEAST_PER_S, None, now_ms); // what it takes is still to be found
        }
        let limit = Limit::met(f64::from(per_s).max(LEAST_PER_S));
        Self::new(limit.rate(), Some(limit), now_ms)
    }

    fn new(per_s: f64, limit: Option<Limit>, now_ms: i64) -> Self {
        Self {
            per_s,
            next_us: micros(now_ms),
            limit,
            taken: Taken::default(),
            latency_s: 0.0,
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
        if load == Load::Fine {
            self.taken.count(now_ms);
            self.learn_latency(now_ms.saturating_sub(started_ms));
        }
        if started_ms < self.fell_ms.saturating_add(ON_ITS_WAY_MS) {
            return true;
        }
        let second = self.second.count(load, now_ms);
        match load {
            Load::Fine => self.rise(now_ms),
            Load::Busy => self.object(now_ms),
            Load::Failing => {
                let is_much = second.failures.saturating_mul(2) >= second.answers;
                if is_much && second.answers >= ANSWERS_MIN {
                    let limit = Limit {
                        depth: 1.0 - FAILED_FACTOR,
                        ..Limit::met(self.per_s)
                    };
                    self.fall(limit.rate(), Some(limit), now_ms);
                }
            }
        }
        self.per_s < MOST_PER_S
    }

    /// As many answers as there are in a second make it rise by as much as it should.
    fn rise(&mut self, now_ms: i64) {
        let is_bound = now_ms.saturating_sub(self.bound_ms) < 1_000;
        if !is_bound || self.taken.per_s(now_ms) < self.per_s * USED {
            return; // something else is the limit
        }
        match &mut self.limit {
            None => {
                let rise = (GROWTH_LEAST_PER_S / self.per_s).max(GROWTH) / (1.0 + self.latency_s);
                self.per_s += rise.min(self.per_s);
            }
            Some(limit) => {
                limit.sent_s += 1.0 / self.per_s;
                self.per_s = limit.rate();
                self.limit = self.limit.filter(|limit| !limit.is_passed());
            }
        }
    }

    /// The receiver is busy.
    fn object(&mut self, now_ms: i64) {
        // Limits are whole numbers; what is a second ago almost was still a part of it.
        let took = self.taken.per_s(now_ms).ceil();
        if took >= self.per_s * FAILED_FACTOR {
            let limit = Limit::met(took.min(self.per_s).max(LEAST_PER_S));
            self.fall(limit.rate(), Some(limit), now_ms);
        } else {
            self.fall(self.per_s * FAILED_FACTOR, None, now_ms);
        }
    }

    fn fall(&mut self, to_per_s: f64, limit: Option<Limit>, now_ms: i64) {
        self.per_s = to_per_s.max(LEAST_PER_S);
        self.limit = limit;
        self.fell_ms = now_ms;
        self.second = Second::default();
    }

    fn learn_latency(&mut self, took_ms: i64) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "an attempt takes minutes at most"
        )]
        let took_s = took_ms.clamp(0, 600_000) as f64 / 1_000.0;
        self.latency_s += (took_s - self.latency_s) * LATENCY_PART;
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
        self.taken.shift(by_ms);
    }
}

impl Limit {
    /// The receiver has objected at this rate.
    fn met(per_s: f64) -> Self {
        Self {
            per_s,
            depth: 1.0 - BUSY_FACTOR,
            sent_s: 0.0,
        }
    }

    /// How fast it may be now.
    fn rate(&self) -> f64 {
        let away = (self.sent_s - BACK_S) / BACK_S;
        (self.per_s * (1.0 + self.depth * away.powi(3))).max(LEAST_PER_S)
    }

    /// Whether the receiver takes more by now.
    fn is_passed(&self) -> bool {
        self.sent_s > BACK_S && self.rate() >= self.per_s * BEYOND
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
