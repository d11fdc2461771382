//! The pace against receivers that count, simulated to the millisecond.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const NOW_MS: i64 = 1_800_000_000_000;
const SECOND_MS: i64 = 1_000;
/// So many more than its limit a receiver may get in any second where a tenth of it is less.
const LEAST_MORE: usize = 20;

/// What a receiver takes for its second.
#[derive(Debug, Clone, Copy)]
enum Window {
    /// The clock's, which begin so many milliseconds late.
    Clock(i64),
    /// One begins with the first request after the one before.
    FromFirst,
    /// The last one, at any time.
    Sliding,
}

/// A receiver that takes so many in each second, and answers 429 beyond.
struct Receiver {
    window: Window,
    limit: usize,
    began_ms: i64,
    in_window: usize,
    /// When those of the last second came, taken or not.
    recent: VecDeque<i64>,
    /// When those of the last second were taken.
    taken: VecDeque<i64>,
    most: usize,
}

impl Receiver {
    fn new(window: Window, limit: usize) -> Self {
        Self {
            window,
            limit,
            began_ms: i64::MIN,
            in_window: 0,
            recent: VecDeque::new(),
            taken: VecDeque::new(),
            most: 0,
        }
    }

    fn get(&mut self, now_ms: i64) -> Load {
        self.recent.push_back(now_ms);
        forget(&mut self.recent, now_ms);
        self.most = self.most.max(self.recent.len());
        let in_window = match self.window {
            Window::Sliding => {
                forget(&mut self.taken, now_ms);
                self.taken.len()
            }
            Window::Clock(late_ms) => {
                let began_ms = now_ms - (now_ms - late_ms).rem_euclid(SECOND_MS);
                self.in_window_from(began_ms)
            }
            Window::FromFirst if now_ms - SECOND_MS < self.began_ms => self.in_window,
            Window::FromFirst => self.in_window_from(now_ms),
        };
        if in_window >= self.limit {
            return Load::Busy;
        }
        self.in_window += 1;
        self.taken.push_back(now_ms);
        Load::Fine
    }

    fn in_window_from(&mut self, began_ms: i64) -> usize {
        if self.began_ms != began_ms {
            (self.began_ms, self.in_window) = (began_ms, 0);
        }
        self.in_window
    }

    /// As many as it may get in any second.
    fn most_allowed(&self) -> usize {
        self.limit + self.limit.div_ceil(10).max(LEAST_MORE)
    }
}

fn forget(times: &mut VecDeque<i64>, now_ms: i64) {
    while times.front().is_some_and(|at| now_ms - at >= SECOND_MS) {
        times.pop_front();
    }
}

/// A lane with more than enough to send.
struct Lane {
    pace: Pace,
    receiver: Receiver,
    latency_ms: i64,
    concurrency: usize,
    /// When an answer comes, when its attempt began, and what it says.
    in_flight: VecDeque<(i64, i64, Load)>,
    held_ms: i64,
    now_ms: i64,
    fine: u64,
    refused: u64,
    first_refused: Option<(i64, u64)>,
}

impl Lane {
    fn new(receiver: Receiver, latency_ms: i64, concurrency: usize) -> Self {
        Self {
            pace: Pace::from_rest(0, NOW_MS),
            receiver,
            latency_ms,
            concurrency,
            in_flight: VecDeque::new(),
            held_ms: NOW_MS,
            now_ms: NOW_MS,
            fine: 0,
            refused: 0,
            first_refused: None,
        }
    }

    fn step(&mut self) {
        let now_ms = self.now_ms;
        while let Some((_, started_ms, load)) =
            self.in_flight.pop_front_if(|(at_ms, ..)| *at_ms <= now_ms)
        {
            assert!(self.pace.answered(load, started_ms, now_ms));
            match load {
                Load::Fine => self.fine += 1,
                Load::Busy | Load::Failing => {
                    self.refused += 1;
                    self.first_refused.get_or_insert((now_ms, self.fine));
                    self.held_ms = now_ms + SECOND_MS;
                }
            }
        }
        while self.held_ms <= now_ms
            && self.in_flight.len() < self.concurrency
            && self.pace.take(now_ms).is_ok()
        {
            let load = self.receiver.get(now_ms + self.latency_ms / 2);
            let answer = (now_ms + self.latency_ms, now_ms, load);
            self.in_flight.push_back(answer);
        }
        self.now_ms += 1;
    }

    fn run(&mut self, seconds: i64) -> u64 {
        let (end_ms, before) = (self.now_ms + seconds * SECOND_MS, self.fine);
        while self.now_ms < end_ms {
            self.step();
        }
        self.fine - before
    }

    /// Until so many have arrived; the seconds it took.
    fn drain(&mut self, count: u64) -> f64 {
        let begin_ms = self.now_ms;
        while self.fine < count {
            self.step();
            assert!(self.now_ms - begin_ms < 3_600 * SECOND_MS, "stuck");
        }
        (self.now_ms - begin_ms) as f64 / SECOND_MS as f64
    }

    /// What can arrive in a second.
    fn possible(&self) -> u64 {
        let in_flight = self.concurrency as u64 * 1_000 / self.latency_ms.unsigned_abs();
        in_flight.min(self.receiver.limit as u64)
    }
}

/// The time until the rate reaches this when nothing is in the way: 20 more in each second, then
/// 9 % more; and with an answer that comes late.
fn search_s(per_s: f64, latency_ms: i64) -> f64 {
    let least_until = GROWTH_LEAST_PER_S / GROWTH;
    let straight = (per_s.min(least_until) - START_PER_S).max(0.0) / GROWTH_LEAST_PER_S;
    let curved = (per_s / least_until).max(1.0).ln() / GROWTH;
    (straight + curved + 2.0) * (1.0 + latency_ms as f64 / 1_000.0) + 1.0
}

/// Part of what is possible that is used at least.
const LEAST_USE: f64 = 0.85;

const WINDOWS: [Window; 6] = [
    Window::Sliding,
    Window::FromFirst,
    Window::Clock(0),
    Window::Clock(250),
    Window::Clock(500),
    Window::Clock(850),
];

/// Never too much, and after the search nearly all that is possible, for so many seconds and then
/// once more.
fn check(limit: usize, window: Window, latency_ms: i64, concurrency: usize, seconds: u32) {
    let mut lane = Lane::new(Receiver::new(window, limit), latency_ms, concurrency);
    let what = format!("{limit}/s, {window:?}, {latency_ms} ms, {concurrency} at once");
    let possible = lane.possible() * u64::from(seconds);
    let drained_s = lane.drain(possible);
    let most_s = f64::from(seconds) / LEAST_USE + search_s(lane.possible() as f64, latency_ms);
    assert!(
        drained_s <= most_s,
        "{what}: drained in {drained_s:.1} s, not {most_s:.1} s"
    );
    let used = lane.run(i64::from(seconds)) as f64 / possible as f64;
    assert!(used >= LEAST_USE, "{what}: {used:.3} of it used");
    let (most, allowed) = (lane.receiver.most, lane.receiver.most_allowed());
    assert!(
        most <= allowed,
        "{what}: {most} in a second, {allowed} would do"
    );
}

#[test]
fn a_receiver_with_a_limit_gets_what_it_can_take_and_hardly_more() {
    for limit in [5, 20, 100, 500, 3_000] {
        for window in WINDOWS {
            for latency_ms in [1, 20, 200, 2_000] {
                let seconds = if limit > 1_000 { 30 } else { 100 };
                check(limit, window, latency_ms, 256, seconds);
            }
        }
    }
}

#[test]
fn also_one_that_takes_twenty_thousand() {
    for window in [Window::Sliding, Window::Clock(0)] {
        check(20_000, window, 1, 256, 25);
    }
}

#[test]
fn it_falls_once_for_all_that_began_before() {
    let mut pace = Pace::below(100, NOW_MS);
    assert!((pace.per_s() - 95.0).abs() < 0.01);
    for _ in 0..16 {
        pace.answered(Load::Busy, NOW_MS - 1, NOW_MS + 5);
        pace.answered(Load::Busy, NOW_MS + ON_ITS_WAY_MS - 1, NOW_MS + 60);
    }
    assert!((pace.per_s() - 95.0).abs() < 0.01);
    // Nothing was taken: nothing is known.
    pace.answered(Load::Busy, NOW_MS + ON_ITS_WAY_MS, NOW_MS + 61);
    assert!((pace.per_s() - 47.5).abs() < 0.01);
    assert_eq!(pace.calm_ms(NOW_MS + 65), 4);
}

#[test]
fn single_failures_do_not_slow_it_and_many_do() {
    let (mut pace, at_ms) = (Pace::below(100, NOW_MS), NOW_MS + 100);
    for _ in 0..100 {
        pace.answered(Load::Fine, at_ms, at_ms);
        pace.answered(Load::Fine, at_ms, at_ms);
        pace.answered(Load::Failing, at_ms, at_ms);
    }
    assert!(pace.per_s() >= 95.0);
    for _ in 0..ANSWERS_MIN {
        pace.answered(Load::Failing, at_ms, NOW_MS + 2_000);
    }
    assert!(pace.per_s() < 60.0);
}

#[test]
fn a_bad_while_is_forgotten_soon() {
    let mut lane = Lane::new(Receiver::new(Window::Sliding, 0), 20, 16);
    lane.run(60);
    assert!(lane.pace.per_s() < 1.5, "{}", lane.pace.per_s());
    assert!(lane.refused < 80, "{} refused", lane.refused);
    lane.receiver.limit = 500;
    let fine = lane.run(60);
    assert!(fine > 500 * 35, "{fine} arrived in 60 s");
}

#[test]
fn a_limit_that_is_another_one_is_found() {
    for (limit, latency_ms) in [(2_000, 20), (100, 20), (40, 200)] {
        let mut lane = Lane::new(Receiver::new(Window::Clock(300), 500), latency_ms, 256);
        lane.run(60);
        lane.receiver.limit = limit;
        lane.run(100);
        let share = lane.run(60) as f64 / 60.0 / limit as f64;
        assert!(share > 0.85, "{limit}: {share:.2} of it");
    }
}

#[test]
fn where_it_was_before_is_where_it_begins() {
    assert!((Pace::from_rest(0, NOW_MS).per_s() - START_PER_S).abs() < 0.01);
    assert!((Pace::from_rest(4_000, NOW_MS).per_s() - 1_000.0).abs() < 0.01);
}

#[test]
fn it_does_not_rise_while_something_else_is_the_limit() {
    for start in [Pace::below(100, NOW_MS), Pace::from_rest(400, NOW_MS)] {
        let mut pace = start;
        for at in 1..100 {
            let at_ms = NOW_MS + SECOND_MS * at;
            while pace.take(at_ms).is_ok() {}
            pace.answered(Load::Fine, at_ms, at_ms);
        }
        assert!(pace.per_s() < 101.0, "{}", pace.per_s());
    }
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
    for at in 1..100 {
        pace.answered(Load::Busy, NOW_MS + 100 * at, NOW_MS + 100 * at);
    }
    assert!(pace.take(NOW_MS + 10_000).is_ok());
    let wait_ms = pace.take(NOW_MS + 10_000).unwrap_err();
    assert!((1..=1_000).contains(&wait_ms), "{wait_ms}");

    let (mut pace, mut is_needed) = (Pace::from_rest(0, NOW_MS), true);
    let mut now_ms = NOW_MS;
    while is_needed && now_ms < NOW_MS + 90 * SECOND_MS {
        while is_needed && pace.take(now_ms).is_ok() {
            is_needed = pace.answered(Load::Fine, now_ms, now_ms);
        }
        now_ms += 1;
    }
    assert!(!is_needed, "{} after {} ms", pace.per_s(), now_ms - NOW_MS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_receiver_with_a_limit_gets_what_it_can_take_and_hardly_more(
        limit in prop_oneof![5_usize..30, 30_usize..300, 300_usize..2_000],
        window in prop_oneof![
            Just(Window::Sliding), Just(Window::FromFirst), (0..SECOND_MS).prop_map(Window::Clock),
        ],
        latency_ms in prop_oneof![1_i64..20, 20_i64..200, 200_i64..2_000],
        concurrency in prop_oneof![Just(16_usize), Just(64), Just(256)],
    ) {
        check(limit, window, latency_ms, concurrency, 60);
    }
}

proptest! {
    /// Whatever the clock does, a place comes within a second.
    #[test]
    fn a_place_comes_within_a_second(
        steps in prop::collection::vec((0_u8..5, 0_i64..3_000), 1..200),
    ) {
        let (mut pace, mut now_ms) = (Pace::below(10, NOW_MS), NOW_MS);
        for (what, ms) in steps {
            match what {
                0 => now_ms += ms,
                1 => { pace.answered(Load::Fine, now_ms - ms, now_ms); }
                2 => { pace.answered(Load::Busy, now_ms - ms, now_ms); }
                3 => { pace.answered(Load::Failing, now_ms - ms, now_ms); }
                _ => {
                    now_ms -= 10 * ms;
                    pace.shift(-10 * ms);
                }
            }
            prop_assert!(pace.per_s() >= LEAST_PER_S);
            if let Err(wait_ms) = pace.take(now_ms) {
                prop_assert!((1..=1_000).contains(&wait_ms), "{}", wait_ms);
            }
        }
    }
}
