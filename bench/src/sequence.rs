//! Which events of a run were seen: a set of the numbers the generator gave out.
//!
//! Counting alone cannot tell a repeated delivery from a lost one that another repeat hides.

/// A set of numbers from `first` upwards, one bit each.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    first: u64,
    words: Vec<u64>,
    count: u64,
}

/// Numbers above `first` that are remembered; more than any run sends. 128 MiB of bits.
const SPAN_MAX: u64 = 1 << 30;

/// What adding a number found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    New,
    Repeated,
    /// Not of this run.
    Foreign,
}

impl Sequence {
    pub(crate) const fn from(first: u64) -> Self {
        Self {
            first,
            words: Vec::new(),
            count: 0,
        }
    }

    pub(crate) fn add(&mut self, number: u64) -> Added {
        let Some((word, bit)) = self.place(number) else {
            return Added::Foreign;
        };
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        match self.words.get_mut(word) {
            Some(bits) if *bits & bit == 0 => {
                *bits |= bit;
                self.count += 1;
                Added::New
            }
            _ => Added::Repeated,
        }
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.place(number)
            .and_then(|(word, bit)| Some(self.words.get(word)? & bit != 0))
            .unwrap_or(false)
    }

    /// How many distinct numbers were added.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    fn place(&self, number: u64) -> Option<(usize, u64)> {
        let offset = number.checked_sub(self.first)?;
        if offset >= SPAN_MAX {
            return None;
        }
        Some((usize::try_from(offset / 64).ok()?, 1 << (offset % 64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_another_run_are_foreign() {
        let mut sequence = Sequence::from(1_000);
        assert_eq!(sequence.add(999), Added::Foreign);
        assert_eq!(sequence.add(1_000 + SPAN_MAX), Added::Foreign);
        assert_eq!(sequence.count(), 0);
    }

    #[test]
    fn a_number_is_new_once() {
        let mut sequence = Sequence::from(1_000);
        for number in [1_000, 1_063, 1_064, 5_000] {
            assert!(!sequence.contains(number));
            assert_eq!(sequence.add(number), Added::New);
            assert_eq!(sequence.add(number), Added::Repeated);
            assert!(sequence.contains(number));
        }
        assert_eq!(sequence.count(), 4);
        assert!(!sequence.contains(1_001));
    }
}
