//! How many may be at something at once, in all and for one of those who share it: whoever is slow
//! or floods must not keep everybody else away (decision 0005).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The slots, by whom they are in use.
pub(crate) struct Slots<K> {
    at_once_max: usize,
    of_one_max: usize,
    used: Mutex<Used<K>>,
}

struct Used<K> {
    in_all: usize,
    /// Only those who have any: so there are never more entries than slots.
    of: HashMap<K, usize>,
}

/// Why there is no slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are in use.
    All,
    /// This one has as many as one may have.
    One,
}

/// A slot, until it is dropped.
pub(crate) struct Slot<'s, K: Copy + Eq + Hash> {
    slots: &'s Slots<K>,
    of: K,
}

impl<K: Copy + Eq + Hash> Slots<K> {
    /// `at_once_max` slots, of which one may have `of_one_max`.
    pub(crate) fn new(at_once_max: usize, of_one_max: usize) -> Self {
        let used = Used {
            in_all: 0,
            of: HashMap::new(),
        };
        Self {
            at_once_max,
            of_one_max,
            used: Mutex::new(used),
        }
    }

    /// A slot for this one.
    pub(crate) fn take(&self, of: K) -> Result<Slot<'_, K>, Full> {
        let mut used = self.used();
        if used.in_all >= self.at_once_max {
            return Err(Full::All);
        }
        let of_one = used.of.entry(of).or_insert(0);
        if *of_one >= self.of_one_max {
            return Err(Full::One);
        }
        *of_one += 1;
        used.in_all += 1;
        Ok(Slot { slots: self, of })
    }

    fn used(&self) -> MutexGuard<'_, Used<K>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Drop for Slot<'_, K> {
    fn drop(&mut self) {
        let mut used = self.slots.used();
        used.in_all -= 1;
        let left = used.of.get_mut(&self.of).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            used.of.remove(&self.of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gets_some_and_the_others_the_rest() {
        let slots = Slots::new(8, 3);
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(slots.take("a").ok().unwrap());
        }
        assert_eq!(slots.take("a").err(), Some(Full::One));
        for other in ["b", "c", "d", "e", "f"] {
            taken.push(slots.take(other).ok().unwrap());
        }
        assert_eq!(slots.take("g").err(), Some(Full::All));
        assert_eq!(slots.used().of.len(), 6);
        taken.clear();
        assert!(slots.used().of.is_empty() && slots.used().in_all == 0);
        assert!(slots.take("a").is_ok());
    }
}
