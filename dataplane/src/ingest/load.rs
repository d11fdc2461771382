//! How much each thread of the public listener has to do, and which one is given the next
//! connection.
//!
//! Connections alone say little: hundreds of them may be idle on one thread, and a few on another
//! one ask all the time. So what counts first is requests under way, and connections after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a thread has to do. On cache lines of its own, since its thread writes it with every
/// request, and others write theirs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Load {
    open: AtomicUsize,
    under_way: AtomicUsize,
}

impl Load {
    fn weight(&self) -> (usize, usize) {
        // A count that is a moment old will do.
        let now = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (now(&self.under_way), now(&self.open))
    }
}

/// Which of the loads is the least; among equals the first one from `start` on, all around.
pub(super) fn least<'l>(
    loads: impl ExactSizeIterator<Item = &'l Load>,
    start: usize,
) -> Option<usize> {
    let count = loads.len().max(1);
    let from_start = |index: usize| (index + count - start % count) % count;
    let weighed = loads
        .enumerate()
        .map(|(index, load)| (load.weight(), from_start(index), index));
    weighed.min().map(|(.., index)| index)
}

/// A connection as it counts for its thread, until it is dropped.
///
/// A new one counts as a request under way until it has been answered once: of many that come
/// at the same moment the first ones must not look as if they had nothing to ask.
#[derive(Debug)]
pub(super) struct Counted {
    load: Arc<Load>,
    is_under_way: bool,
}

impl Counted {
    /// A new connection of the thread with this load.
    pub(super) fn new(load: &Arc<Load>) -> Self {
        load.open.fetch_add(1, Ordering::Relaxed);
        load.under_way.fetch_add(1, Ordering::Relaxed);
        Self {
            load: Arc::clone(load),
            is_under_way: true,
        }
    }

    /// It has a request under way.
    pub(super) fn begin(&mut self) {
        if !std::mem::replace(&mut self.is_under_way, true) {
            self.load.under_way.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It waits for the next one.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.is_under_way) {
            self.load.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.end();
        self.load.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(count: usize) -> Vec<Arc<Load>> {
        (0..count).map(|_| Arc::default()).collect()
    }

    fn chosen(loads: &[Arc<Load>], start: usize) -> usize {
        least(loads.iter().map(|load| &**load), start).unwrap()
    }

    #[test]
    fn without_threads_nobody_is_chosen() {
        assert_eq!(least([].into_iter(), 7), None);
    }

    #[test]
    fn requests_under_way_come_before_connections() {
        let loads = loads(2);
        let mut idle: Vec<_> = (0..9).map(|_| Counted::new(&loads[0])).collect();
        let mut busy = Counted::new(&loads[1]);
        assert_eq!(chosen(&loads, 0), 1, "all are new");
        idle.iter_mut().for_each(Counted::end);
        assert_eq!(chosen(&loads, 0), 0);
        busy.end();
        assert_eq!(chosen(&loads, 0), 1, "none is busy");
        busy.begin();
        busy.begin();
        busy.end();
        assert_eq!(chosen(&loads, 0), 1, "a request counts once");
    }

    #[test]
    fn equals_take_turns() {
        let loads = loads(3);
        for start in 0..7 {
            assert_eq!(chosen(&loads, start), start % 3);
        }
        let _one = Counted::new(&loads[1]);
        assert_eq!(chosen(&loads, 1), 2);
    }

    #[test]
    fn a_connection_that_ends_is_forgotten_whatever_it_was_about() {
        let load = Arc::<Load>::default();
        let mut idle = Counted::new(&load);
        idle.end();
        let busy = Counted::new(&load);
        assert_eq!(load.weight(), (1, 2));
        drop(idle);
        assert_eq!(load.weight(), (1, 1));
        drop(busy);
        assert_eq!(load.weight(), (0, 0));
    }
}
