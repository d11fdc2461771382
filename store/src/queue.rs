//! What waits for the writer: bounded in records and in bytes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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
    is_waiting: bool,
    /// Nothing may be added any more.
    is_closed: bool,
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
                is_waiting: false,
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
        self.add(entry, records, bytes)
    }

    /// Adds an entry as soon as there is room. Cancel-safe: either it was added or it was not.
    pub(crate) async fn push(&self, cost: Cost, entry: T) -> Result<(), PushError> {
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
        self.add(entry, records, bytes)
    }

    /// Adds an entry beyond the bounds: for the one that ends the queue.
    pub(crate) fn push_last(&self, entry: T) -> Result<(), PushError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(PushError::Closed);
        }
        state.entries.push_back(entry);
        state.is_closed = true;
        self.wake.notify_one();
        Ok(())
    }

    fn add(
        &self,
        entry: T,
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
        if state.is_waiting {
            state.is_waiting = false;
            drop(state);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes everything there is into `taken`, which is empty. Waits until there is something,
    /// the queue is closed, or `deadline` has come. `false`: closed, and nothing will come.
    pub(crate) fn take(&self, taken: &mut VecDeque<T>, deadline: Option<Instant>) -> bool {
        let mut state = self.state();
        while state.entries.is_empty() && !state.is_closed {
            state.is_waiting = true;
            state = match deadline {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.wake
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        state.is_waiting = false;
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
    use std::sync::Arc;
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
        let mut push = Box::pin(queue.push(cost(1, 1), 2));
        let is_pending =
            std::future::poll_fn(|context| Poll::Ready(push.as_mut().poll(context).is_pending()));
        assert!(is_pending.await);
        drop(push);
        assert_eq!(taken(&queue), [1]);
        queue.release(cost(1, 1));
        assert_eq!(queue.depth(), cost(0, 0));
        queue.push(cost(1, 1), 3).await.unwrap();
    }

    #[tokio::test]
    async fn after_the_end_nothing_is_added_and_what_is_there_comes_out() {
        let queue = Queue::new(1, 100);
        queue.try_push(cost(1, 1), 1).unwrap();
        queue.push_last(2).unwrap();
        assert_eq!(queue.push_last(3), Err(PushError::Closed));
        assert_eq!(taken(&queue), [1, 2]);
        queue.release(cost(1, 1));
        assert_eq!(queue.push(cost(1, 1), 4).await, Err(PushError::Closed));
        queue.close();
        assert_eq!(queue.try_push(cost(1, 1), 5), Err(PushError::Closed));
        assert!(!queue.take(&mut VecDeque::new(), None));
    }
}
