//! Whatever happens, and in whatever order: every delivery is in exactly one state, has an end or
//! a time at which it goes on, and the order of a line is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use outrider_store::{Clock, Pending};
use outrider_webhook::breaker::Policy;
use outrider_webhook::id::DeliveryKey;
use outrider_webhook::pace::Load;
use proptest::prelude::*;

use super::super::{Answer, Hold, Lease, Missing, Queue};
use super::{NOW_MS, TestClock, pending, queue};

const COUNT: u16 = 24;
/// Longer than anything here holds a lane: a breaker, and a step of the pace.
const LONG_MS: i64 = 60_000;

#[derive(Debug, Clone, Copy)]
enum Step {
    Lease,
    Answer(Load),
    Succeed,
    Fail,
    Retry { wait_ms: i64, is_parked: bool },
    Pause,
    Resume,
    Hold(i64),
    LoseWorkers,
    Resend(u16),
    Replay(u16),
    Crash,
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let load = prop_oneof![Just(Load::Fine), Just(Load::Busy), Just(Load::Failing)];
    let step = prop_oneof![
        6 => Just(Step::Lease),
        6 => load.prop_map(Step::Answer),
        2 => Just(Step::Succeed),
        1 => Just(Step::Fail),
        3 => (0_i64..2_000, prop::bool::weighted(0.2)).prop_map(|(wait_ms, is_parked)| Step::Retry { wait_ms, is_parked }),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => (0_i64..2_000).prop_map(Step::Hold),
        1 => Just(Step::LoseWorkers),
        1 => (0..COUNT).prop_map(Step::Resend),
        1 => (0..COUNT).prop_map(Step::Replay),
        1 => Just(Step::Crash),
        2 => (0_i64..5_000).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..150)
}

/// What the log would say of a delivery.
#[derive(Debug, Clone)]
enum Fate {
    Open(Pending),
    Delivered,
    Dead(Pending),
}

struct World {
    queue: Queue,
    clock: Arc<TestClock>,
    concurrency: u32,
    log: BTreeMap<DeliveryKey, Fate>,
    replays: u16,
    leases: Vec<(Lease, Hand)>,
}

/// Whose a lease is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hand {
    Worker,
    /// Its receiver has answered: it is not taken back.
    Answered,
    /// Its worker was too slow: what it says does not count any more.
    Nobody,
}

/// Its number stands in its position, and says which line it keeps to: a third keep to none.
fn delivery(number: u16) -> Pending {
    let mut one = pending(
        u128::from(number % 2),
        u128::from(number % 4),
        number,
        NOW_MS,
    );
    let line = u64::from(number % 3);
    one.target.order_key = (line > 0).then_some(line);
    one
}

impl World {
    fn new(concurrency: u32) -> Self {
        let (queue, clock) = queue(concurrency);
        let all: Vec<_> = (0..COUNT).map(delivery).collect();
        queue.restore(all.clone());
        let log = all.into_iter().map(|one| (one.key, Fate::Open(one)));
        Self {
            queue,
            clock,
            concurrency,
            log: log.collect(),
            replays: 0,
            leases: Vec::new(),
        }
    }

    fn open(&self) -> usize {
        let fates = self.log.values();
        fates.filter(|fate| matches!(fate, Fate::Open(_))).count()
    }

    /// Of a line no delivery goes while an earlier one is open that has not left it.
    fn check_turn(&self, lease: &Lease) -> Result<(), TestCaseError> {
        let entry = &lease.entry;
        if entry.target.order_key.is_none() || entry.is_out_of_order {
            return Ok(());
        }
        for (key, fate) in self.log.range(..entry.key) {
            if let Fate::Open(earlier) = fate {
                let is_before = earlier.target == entry.target && !earlier.is_apart();
                prop_assert!(!is_before, "{:?} before {:?}", entry.key, key);
            }
        }
        // What is missing is what has not arrived, and all of it that is open.
        for Missing { key: missing, .. } in &lease.gaps.known {
            let fate = self.log.get(missing);
            let is_missing =
                matches!(fate, Some(Fate::Open(one) | Fate::Dead(one)) if !one.is_replay);
            prop_assert!(is_missing, "{missing:?}: {fate:?}");
        }
        Ok(())
    }

    async fn lease(&mut self) -> Result<(), TestCaseError> {
        let next = tokio::time::timeout(Duration::from_millis(1), self.queue.lease()).await;
        if let Ok(lease) = next {
            self.check_turn(&lease)?;
            self.leases.push((lease, Hand::Worker));
        }
        Ok(())
    }

    fn answer(&mut self, load: Load) {
        let policy = Policy {
            requests_min: 3,
            open: Duration::from_secs(3),
            ..Policy::default()
        };
        if let Some((lease, hand)) = self.leases.last_mut() {
            let answer = Answer {
                policy: &policy,
                load: Some(load),
                started_ms: self.clock.now_ms(),
                epoch: 0,
            };
            self.queue.answered(lease, &answer);
            if *hand == Hand::Worker {
                *hand = Hand::Answered;
            }
        }
    }

    fn end(&mut self, is_delivered: bool) {
        if let Some((lease, hand)) = self.leases.pop() {
            let fate = self.log.get_mut(&lease.entry.key).unwrap();
            if let (Fate::Open(one), true) = (&*fate, hand != Hand::Nobody) {
                *fate = match is_delivered {
                    true => Fate::Delivered,
                    false => Fate::Dead(one.clone()),
                };
            }
            self.queue.complete(&lease, is_delivered);
        }
    }

    fn retry(&mut self, wait_ms: i64, is_parked: bool) {
        let due_ms = self.clock.now_ms() + wait_ms;
        if let Some((lease, hand)) = self.leases.pop() {
            let fate = self.log.get_mut(&lease.entry.key);
            if let (Some(Fate::Open(one)), true) = (fate, hand != Hand::Nobody) {
                one.due_ms = due_ms;
                one.is_parked |= is_parked && one.is_of_line() && one.target.order_key.is_some();
            }
            self.queue.retry(lease, due_ms, is_parked);
        }
    }

    /// The deadline of all that have no answer passes.
    async fn lose_workers(&mut self) -> Result<(), TestCaseError> {
        tokio::time::advance(Duration::from_secs(181)).await;
        let without_answer = self
            .leases
            .iter_mut()
            .filter(|(_, hand)| *hand == Hand::Worker);
        without_answer.for_each(|(_, hand)| *hand = Hand::Nobody);
        self.lease().await // which takes them back
    }

    fn resend(&mut self, number: u16) {
        let key = delivery(number).key;
        if let Some(Fate::Dead(one)) = self.log.get(&key).cloned() {
            let one = Pending {
                is_reopened: true,
                due_ms: self.clock.now_ms(),
                ..one
            };
            self.queue.reopen(vec![one.clone()]);
            self.log.insert(key, Fate::Open(one));
        }
    }

    /// Another delivery of the same line, for the same event.
    fn replay(&mut self, number: u16) {
        let own = delivery(COUNT + self.replays);
        self.replays += 1;
        let one = Pending {
            is_replay: true,
            due_ms: self.clock.now_ms(),
            key: own.key,
            position: own.position,
            ..delivery(number)
        };
        self.queue.restore(vec![one.clone()]);
        self.log.insert(one.key, Fate::Open(one));
    }

    /// A new process finds what is in the log.
    fn crash(&mut self) {
        self.leases.clear();
        let (queue, clock) = queue(self.concurrency);
        clock.0.store(self.clock.now_ms(), Ordering::Relaxed);
        let open = self.log.values().filter_map(|fate| match fate {
            Fate::Open(one) => Some(one.clone()),
            Fate::Delivered | Fate::Dead(_) => None,
        });
        for fate in self.log.values() {
            if let Fate::Dead(one) = fate
                && !one.is_replay
            {
                queue.restore_gap(&one.gap());
            }
        }
        queue.restore(open);
        (self.queue, self.clock) = (queue, clock);
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Lease => self.lease().await?,
            Step::Answer(load) => self.answer(load),
            Step::Succeed => self.end(true),
            Step::Fail => self.end(false),
            Step::Retry { wait_ms, is_parked } => self.retry(wait_ms, is_parked),
            Step::Pause => {
                if let Some((lease, _)) = self.leases.pop() {
                    self.queue.park(lease);
                }
            }
            Step::Resume => self.queue.unpark(),
            Step::Hold(ms) => {
                if let Some((lease, _)) = self.leases.last() {
                    let why = if ms % 2 == 0 { Hold::Asked } else { Hold::Rate };
                    self.queue.hold(lease, why, self.clock.now_ms() + ms);
                }
            }
            Step::LoseWorkers => self.lose_workers().await?,
            Step::Resend(number) => self.resend(number),
            Step::Replay(number) => self.replay(number),
            Step::Crash => self.crash(),
            Step::Pass(ms) => {
                self.clock.0.fetch_add(ms, Ordering::Relaxed);
            }
        }
        let depth = self.queue.depth();
        let queued = depth.ready + depth.scheduled + depth.held + depth.leased + depth.in_line;
        prop_assert_eq!(queued, self.open(), "{:?} after {:?}", depth, step);
        Ok(())
    }

    /// Nothing but time passes and receivers answer: all of it ends.
    async fn drain(&mut self) -> Result<(), TestCaseError> {
        self.queue.unpark();
        self.lose_workers().await?;
        while !self.leases.is_empty() {
            self.end(true);
        }
        for _ in 0..10 * (COUNT + self.replays) {
            if self.open() == 0 {
                return Ok(());
            }
            self.clock.0.fetch_add(LONG_MS, Ordering::Relaxed);
            self.lease().await?;
            self.answer(Load::Fine);
            self.end(true);
        }
        prop_assert_eq!(self.open(), 0, "stuck: {:?}", self.queue.depth());
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_delivery_ends_or_has_a_time_at_which_it_goes_on(steps in steps(), concurrency in 1_u32..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(concurrency);
            for step in steps {
                world.step(step).await?;
            }
            world.drain().await
        })?;
    }
}
