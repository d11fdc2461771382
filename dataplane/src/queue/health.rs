//! How the receiver behind a lane is doing: its circuit breaker, and the pace of its backlog.

use outrider_webhook::breaker::{self, Breaker, Change, State};
use outrider_webhook::pace::{Load, Pace};

/// A pace that has not fallen for so long, in a lane where nothing waits, has done its work.
const CALM_MS: i64 = 10_000;

/// What an attempt says about its receiver.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'p> {
    /// When its breaker opens.
    pub policy: &'p breaker::Policy,
    /// What it says; `None` when the receiver had no part in how it ended.
    pub load: Option<Load>,
    /// When the attempt began, Unix milliseconds.
    pub started_ms: i64,
    /// The activation epoch of its endpoint then.
    pub epoch: u64,
}

/// A breaker that was open when the process ended.
#[derive(Debug, Clone, Copy)]
pub struct Trip {
    /// Until when, Unix milliseconds.
    pub until_ms: i64,
    /// How often it had opened in a row.
    pub trips: u32,
    /// The activation epoch of its endpoint then.
    pub epoch: u64,
}

/// The health of one receiver.
#[derive(Debug, Default)]
pub(super) struct Health {
    breaker: Breaker,
    /// Most receivers need none.
    pace: Option<Box<Pace>>,
    took: Meter,
    /// Since somebody switched it on again, its trips are counted anew.
    epoch: u64,
}

impl Health {
    /// One whose breaker was open when the process ended.
    pub(super) fn opened(trip: &Trip) -> Self {
        Self {
            breaker: Breaker::opened(trip.until_ms, trip.trips),
            epoch: trip.epoch,
            ..Self::default()
        }
    }

    pub(super) fn state(&self) -> State {
        self.breaker.state()
    }

    pub(super) fn trips(&self) -> u32 {
        self.breaker.trips()
    }

    /// Attempts that count now, and those of them that failed.
    pub(super) fn seen(&self, now_ms: i64) -> (u32, u32) {
        self.breaker.seen(now_ms)
    }

    pub(super) fn pace_per_s(&self) -> Option<f64> {
        self.pace.as_ref().map(|pace| pace.per_s())
    }

    /// Whether one attempt at a time is made, to see how it goes.
    pub(super) fn is_probing(&self) -> bool {
        self.breaker.state() == State::HalfOpen
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.breaker.state(), State::Open { .. })
    }

    pub(super) fn is_paced(&self) -> bool {
        self.pace.is_some()
    }

    /// Whether nothing of it is worth keeping.
    pub(super) fn is_blank(&self, now_ms: i64) -> bool {
        self.pace.is_none() && self.breaker.is_blank(now_ms)
    }

    /// The breaker's time may be over.
    pub(super) fn half_open(&mut self, now_ms: i64) {
        self.breaker.half_open(now_ms);
    }

    /// Takes the next place of the pace, if there is one, or says when it comes.
    pub(super) fn take(&mut self, now_ms: i64) -> Result<(), i64> {
        match &mut self.pace {
            None => Ok(()),
            Some(pace) => pace.take(now_ms).map_err(|wait_ms| now_ms + wait_ms),
        }
    }

    /// A place was taken for nothing.
    pub(super) fn give_place_back(&mut self) {
        if let Some(pace) = &mut self.pace {
            pace.give_back();
        }
    }

    /// An attempt is over.
    pub(super) fn answered(&mut self, answer: &Answer<'_>, now_ms: i64) -> Option<Change> {
        if answer.epoch > self.epoch {
            self.epoch = answer.epoch;
            self.breaker.forget_trips();
        }
        let load = answer.load?;
        if load == Load::Fine {
            self.took.count(now_ms);
        }
        if let Some(pace) = &mut self.pace {
            let is_needed = pace.answered(load, answer.started_ms, now_ms);
            self.pace = self.pace.take().filter(|_| is_needed);
        } else if load == Load::Busy {
            let pace = Pace::below(self.took.per_s(now_ms), now_ms);
            self.pace = Some(Box::new(pace));
        }
        if load == Load::Busy {
            return None; // it is there, and says so
        }
        let is_success = load == Load::Fine;
        let change = self
            .breaker
            .record(answer.policy, is_success, answer.started_ms, now_ms);
        match change {
            Some(Change::Closed) => {
                let pace = Pace::from_rest(self.took.best(), now_ms);
                self.pace = Some(Box::new(pace));
            }
            Some(Change::Opened { .. }) => self.pace = None,
            None => {}
        }
        change
    }

    /// Nothing waits for this receiver.
    pub(super) fn rest(&mut self, now_ms: i64) {
        if self
            .pace
            .as_ref()
            .is_some_and(|pace| pace.calm_ms(now_ms) >= CALM_MS)
        {
            self.pace = None;
        }
    }

    /// The wall clock was set.
    pub(super) fn shift(&mut self, by_ms: i64) {
        self.breaker.shift(by_ms);
        if let Some(pace) = &mut self.pace {
            pace.shift(by_ms);
        }
    }
}

/// The best second of a receiver is known for so many others of its seconds.
const BEST_S: i64 = 600;

/// Deliveries that a receiver took in this second, in the one before, and in its best one lately.
#[derive(Debug, Default)]
struct Meter {
    second: i64,
    this: u32,
    before: u32,
    best: u32,
    best_second: i64,
}

impl Meter {
    fn count(&mut self, now_ms: i64) {
        self.advance(now_ms);
        self.this = self.this.saturating_add(1);
    }

    /// In the better one of the two: this one is not over.
    fn per_s(&mut self, now_ms: i64) -> u32 {
        self.advance(now_ms);
        self.this.max(self.before)
    }

    /// In the best one before this, however long it was away since.
    fn best(&self) -> u32 {
        self.best
    }

    fn advance(&mut self, now_ms: i64) {
        let second = now_ms.div_euclid(1_000);
        if second != self.second {
            let is_old = self.second.saturating_sub(self.best_second) > BEST_S;
            if self.this >= self.best || is_old {
                (self.best, self.best_second) = (self.this, self.second);
            }
            let is_next = second == self.second + 1;
            self.before = if is_next { self.this } else { 0 };
            (self.second, self.this) = (second, 0);
        }
    }
}
