//! What waits for the writer: bounded in records and in bytes.
//!
//! An entry that somebody waits for wakes the writer. One that nobody waits for, as the record of
//! an attempt, goes along with the next that does, or after [`PATIENCE`]: at moderate load that
//! halves the groups, and with them the syncs and the switches between threads, which are most of
//! what an event costs there.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// What an entry takes of the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

impl Cost {
    pub(crate) fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// How long an entry that nobody waits for waits for company. Less than a person notices; what is
/// not written when the process is killed is an attempt that is made again.
const PATIENCE: Duration = Duration::from_millis(5);

/// So many of them are company enough: half a group.
const PATIENT_MAX: usize = 256;

/// Whether somebody waits for what becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Now,
    /// Within [`PATIENCE`].
    Soon,
}

/// There is no room, or nobody to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushError {
    Full,
    Closed,
}

/// A queue of `T` for one consumer, which is a thread.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    records: Semaphore,
    bytes: Semaphore,
    records_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct State<T> {
    entries: VecDeque<T>,
    waiting: Waiting,
    /// Whether an entry is there that somebody waits for.
    is_urgent: bool,
    /// When the oldest entry has waited long enough.
    due: Option<Instant>,
    /// Nothing may be added any more.
    is_closed: bool,
}

/// What the consumer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    No,
    /// It looks again by itself, soon enough for an entry without urgency.
    Briefly,
    Long,
}

impl<T> State<T> {
    fn is_ready(&self, now: Instant) -> bool {
        self.is_closed
            || self.is_urgent
            || self.entries.len() >= PATIENT_MAX
            || self.due.is_some_and(|due| due <= now)
    }
}

impl<T> Queue<T> {
    /// At most `records_max` records and `bytes_max` bytes; an entry larger than a bound counts
    /// as the bound, so it passes when it is alone.
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        let limit = |max: usize| max.clamp(1, u32::MAX as usize);
        let (records_max, bytes_max) = (limit(records_max), limit(bytes_max));
        Self {
            state: Mutex::new(State {
                entries: VecDeque::new(),
                waiting: Waiting::No,
                is_urgent: false,
                due: None,
                is_closed: false,
            }),
            wake: Condvar::new(),
            records: Semaphore::new(records_max),
            bytes: Semaphore::new(bytes_max),
            records_max,
            bytes_max,
        }
    }

    /// Adds an entry if there is room for it right now.
    pub(crate) fn try_push(&self, cost: Cost, entry: T) -> Result<(), PushError> {
        let (records, bytes) = self.permits(cost);
        let full = |error| match error {
            tokio::sync::TryAcquireError::Closed => PushError::Closed,
            tokio::sync::TryAcquireError::NoPermits => PushError::Full,
        };
        let records = self.records.try_acquire_many(records).map_err(full)?;
        let bytes = self.bytes.try_acquire_many(bytes).map_err(full)?;
        self.add(entry, Urgency::Now, records, bytes)
    }

    /// Adds an entry as soon as there is room. Cancel-safe: either it was added or it was not.
    pub(crate) async fn push(
        &self,
        cost: Cost,
        urgency: Urgency,
        entry: T,
    ) -> Result<(), PushError> {
        let (records, bytes) = self.permits(cost);
        let records = self
            .records
            .acquire_many(records)
            .await
            .map_err(|_| PushError::Closed)?;
        let bytes = self
            .bytes
            .acquire_many(bytes)
            .await
            .map_err(|_| PushError::Closed)?;
        self.add(entry, urgency, records, bytes)
    }

    /// Adds an entry beyond the bounds: for the one that ends the queue.
    pub(crate) fn push_last(&self, entry: T) -> Result<(), PushError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(PushError::Closed);
        }
        state.entries.push_back(entry);
        state.is_closed = true; // urgent enough
        self.wake.notify_one();
        Ok(())
    }

    fn add(
        &self,
        entry: T,
        urgency: Urgency,
        records: SemaphorePermit<'_>,
        bytes: SemaphorePermit<'_>,
    ) -> Result<(), PushError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(PushError::Closed);
        }
        // Given back by the consumer, through `release`.
        records.forget();
        bytes.forget();
        state.entries.push_back(entry);
        let is_enough = match urgency {
            Urgency::Now => {
                state.is_urgent = true;
                true
            }
            Urgency::Soon => {
                state.due.get_or_insert_with(|| Instant::now() + PATIENCE);
                state.entries.len() >= PATIENT_MAX
            }
        };
        let must_wake = match state.waiting {
            Waiting::No => false,
            Waiting::Briefly => is_enough,
            Waiting::Long => true,
        };
        if must_wake {
            state.waiting = Waiting::No; // once is enough
            drop(state);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes everything there is into `taken`, which is empty. Waits until there is something that
    /// is urgent or has waited long enough, the queue is closed, or `deadline` has come. `false`:
    /// closed, and nothing will come.
    pub(crate) fn take(&self, taken: &mut VecDeque<T>, deadline: Option<Instant>) -> bool {
        let mut state = self.state();
        let mut now = Instant::now();
        // Right after work more is likely to come: until then no waking is needed for what has time.
        let mut brief_until = Some(now + PATIENCE);
        while !state.is_ready(now) && deadline.is_none_or(|deadline| now < deadline) {
            if brief_until.is_some_and(|until| until <= now) {
                brief_until = None;
            }
            let until = [state.due.or(brief_until), deadline]
                .into_iter()
                .flatten()
                .min();
            state.waiting = match until {
                Some(until) if until <= now + PATIENCE => Waiting::Briefly,
                _ => Waiting::Long,
            };
            state = match until {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    self.wake
                        .wait_timeout(state, until.saturating_duration_since(now))
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
            now = Instant::now();
        }
        state.waiting = Waiting::No;
        (state.is_urgent, state.due) = (false, None);
        std::mem::swap(&mut state.entries, taken);
        !(state.is_closed && taken.is_empty())
    }

    /// Takes out the entries `is_unwanted` picks; the others keep their order.
    pub(crate) fn take_out(&self, is_unwanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut state = self.state();
        let (unwanted, kept): (VecDeque<T>, VecDeque<T>) = std::mem::take(&mut state.entries)
            .into_iter()
            .partition(is_unwanted);
        state.entries = kept;
        unwanted.into()
    }

    /// Gives back room.
    pub(crate) fn release(&self, cost: Cost) {
        self.records.add_permits(cost.records);
        self.bytes.add_permits(cost.bytes);
    }

    /// What an entry of this cost really takes; to be given back as such.
    pub(crate) fn charge(&self, cost: Cost) -> Cost {
        Cost {
            records: cost.records.min(self.records_max),
            bytes: cost.bytes.min(self.bytes_max),
        }
    }

    /// Nothing is added any more; who waits for room is told.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.records.close();
        self.bytes.close();
        self.wake.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Records and bytes that wait or are being written.
    pub(crate) fn depth(&self) -> Cost {
        Cost {
            records: self
                .records_max
                .saturating_sub(self.records.available_permits()),
            bytes: self
                .bytes_max
                .saturating_sub(self.bytes.available_permits()),
        }
    }

    fn permits(&self, cost: Cost) -> (u32, u32) {
        let charged = self.charge(cost);
        let permits = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        (permits(charged.records), permits(charged.bytes))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // The state is whole between statements; a panic elsewhere must not stop the log too.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::task::Poll;

    use super::*;

    const fn cost(records: usize, bytes: usize) -> Cost {
        Cost { records, bytes }
    }

    fn taken(queue: &Queue<u32>) -> Vec<u32> {
        let mut taken = VecDeque::new();
        queue.take(&mut taken, Some(Instant::now()));
        taken.into()
    }

    #[test]
    fn beyond_either_bound_nothing_is_added() {
        let queue = Queue::new(2, 100);
        queue.try_push(cost(1, 60), 1).unwrap();
        assert_eq!(queue.try_push(cost(1, 60), 2), Err(PushError::Full));
        assert_eq!(queue.depth(), cost(1, 60), "a refused entry takes no room");
        queue.try_push(cost(1, 1), 3).unwrap();
        assert_eq!(queue.try_push(cost(1, 1), 4), Err(PushError::Full));
        assert_eq!(taken(&queue), [1, 3]);
        assert_eq!(
            queue.try_push(cost(1, 1), 5),
            Err(PushError::Full),
            "room is given back by release alone"
        );
        queue.release(cost(2, 61));
        queue.try_push(cost(1, 1), 6).unwrap();
    }

    #[test]
    fn an_entry_larger_than_a_bound_passes_alone() {
        let queue = Queue::new(2, 100);
        let charged = queue.charge(cost(9, 900));
        queue.try_push(charged, 1).unwrap();
        assert_eq!(queue.try_push(cost(1, 1), 2), Err(PushError::Full));
        queue.release(charged);
        assert_eq!(queue.depth(), cost(0, 0));
    }

    #[tokio::test]
    async fn a_push_that_is_cancelled_leaves_nothing_behind() {
        let queue = Arc::new(Queue::new(1, 100));
        queue.try_push(cost(1, 1), 1).unwrap();
        let mut push = Box::pin(queue.push(cost(1, 1), Urgency::Now, 2));
        let is_pending =
            std::future::poll_fn(|context| Poll::Ready(push.as_mut().poll(context).is_pending()));
        assert!(is_pending.await);
        drop(push);
        assert_eq!(taken(&queue), [1]);
        queue.release(cost(1, 1));
        assert_eq!(queue.depth(), cost(0, 0));
        queue.push(cost(1, 1), Urgency::Soon, 3).await.unwrap();
    }

    #[tokio::test]
    async fn after_the_end_nothing_is_added_and_what_is_there_comes_out() {
        let queue = Queue::new(1, 100);
        queue.try_push(cost(1, 1), 1).unwrap();
        queue.push_last(2).unwrap();
        assert_eq!(queue.push_last(3), Err(PushError::Closed));
        assert_eq!(taken(&queue), [1, 2]);
        queue.release(cost(1, 1));
        assert_eq!(
            queue.push(cost(1, 1), Urgency::Now, 4).await,
            Err(PushError::Closed)
        );
        queue.close();
        assert_eq!(queue.try_push(cost(1, 1), 5), Err(PushError::Closed));
        assert!(!queue.take(&mut VecDeque::new(), None));
    }

    /// Takes on a thread of its own, and says when it has something.
    fn taking(queue: &Arc<Queue<u32>>) -> mpsc::Receiver<Vec<u32>> {
        let (sender, receiver) = mpsc::sync_channel(8);
        let queue = Arc::clone(queue);
        std::thread::spawn(move || {
            let mut taken = VecDeque::new();
            while queue.take(&mut taken, None) {
                if sender.send(taken.drain(..).collect()).is_err() {
                    return;
                }
            }
        });
        receiver
    }

    #[tokio::test]
    async fn what_has_time_goes_with_what_has_none_and_comes_by_itself_too() {
        let queue = Arc::new(Queue::new(1_000, 1_000));
        // Nobody takes yet, so these are there together.
        queue.push(cost(1, 1), Urgency::Soon, 1).await.unwrap();
        queue.push(cost(1, 1), Urgency::Now, 2).await.unwrap();
        let batches = taking(&queue);
        let next = || batches.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(next(), [1, 2]);
        // Alone, both while the consumer waits briefly and when it has waited for long.
        queue.push(cost(1, 1), Urgency::Soon, 3).await.unwrap();
        assert_eq!(next(), [3]);
        tokio::time::sleep(4 * PATIENCE).await;
        queue.push(cost(1, 1), Urgency::Soon, 4).await.unwrap();
        assert_eq!(next(), [4]);
        queue.push(cost(1, 1), Urgency::Now, 5).await.unwrap();
        assert_eq!(next(), [5]);
        queue.close();
    }

    #[tokio::test]
    async fn many_that_have_time_do_not_wait() {
        let queue = Arc::new(Queue::new(1_000, 1_000));
        for number in 0..PATIENT_MAX {
            let number = u32::try_from(number).unwrap();
            let is_ready = |queue: &Queue<u32>| {
                let state = queue.state();
                state.is_ready(Instant::now() - PATIENCE)
            };
            assert!(!is_ready(&queue), "{number}");
            queue.push(cost(1, 1), Urgency::Soon, number).await.unwrap();
        }
        assert!(queue.state().is_ready(Instant::now() - PATIENCE));
    }
}
