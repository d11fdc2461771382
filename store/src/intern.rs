//! Values that many others have in common, kept once each.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash};

use crate::packed::Mixed;

/// The number of a value in its [`Interner`], which counts how often it was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interned(u32);

/// Counted values. Each use is taken once and released once.
#[derive(Debug)]
pub struct Interner<T> {
    numbers: HashMap<T, u32, BuildHasherDefault<Mixed>>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    value: T,
    uses: u32,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            numbers: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T: Copy + Eq + Hash> Interner<T> {
    /// One more use of a value. `None`: there is no room for another value, or another use.
    pub fn take(&mut self, value: T) -> Option<Interned> {
        if let Some(number) = self.numbers.get(&value).copied() {
            let slot = self.slot(number)?;
            slot.uses = slot.uses.checked_add(1)?;
            return Some(Interned(number));
        }
        let slot = Slot { value, uses: 1 };
        let number = match self.free.pop() {
            Some(number) => {
                *self.slot(number)? = slot;
                number
            }
            None => {
                let number = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(slot);
                number
            }
        };
        self.numbers.insert(value, number);
        Some(Interned(number))
    }

    /// The value of a number that is in use.
    #[must_use]
    pub fn get(&self, number: Interned) -> Option<T> {
        let slot = self.slots.get(usize::try_from(number.0).ok()?)?;
        (slot.uses > 0).then_some(slot.value)
    }

    /// Ends a use, and gives its value; `None` when there was none to end.
    pub fn release(&mut self, number: Interned) -> Option<T> {
        let slot = self.slot(number.0)?;
        slot.uses = slot.uses.checked_sub(1)?;
        let (value, uses) = (slot.value, slot.uses);
        if uses == 0 {
            self.numbers.remove(&value);
            self.free.push(number.0);
        }
        Some(value)
    }

    /// How many values are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    fn slot(&mut self, number: u32) -> Option<&mut Slot<T>> {
        self.slots.get_mut(usize::try_from(number).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_kept_once_and_as_long_as_it_is_used() {
        let mut interner = Interner::default();
        let first = interner.take("a").unwrap();
        let other = interner.take("b").unwrap();
        assert_eq!(interner.take("a"), Some(first));
        assert_ne!(first, other);
        assert_eq!(interner.release(first), Some("a"));
        assert_eq!((interner.get(first), interner.len()), (Some("a"), 2));
        assert_eq!(interner.release(first), Some("a"));
        assert_eq!((interner.len(), interner.get(first)), (1, None));
        assert_eq!(interner.release(first), None);
        // Its number is used again.
        let third = interner.take("c").unwrap();
        assert_eq!((third, interner.get(third)), (first, Some("c")));
        assert_eq!(interner.get(other), Some("b"));
        assert_ne!(interner.take("a"), Some(third));
    }
}
