//! Pages of a list, by cursor: never by offset, so nothing is missed or shown twice while rows
//! come in between.

/// The order of a list, by id, which is the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

/// Which way from the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// On.
    #[default]
    Next,
    /// Back.
    Prev,
}

/// Which page of a list. `K` is what identifies a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest<K> {
    /// Rows of a page, at least 1.
    pub rows: usize,
    /// The order.
    pub sort: Sort,
    /// Which way.
    pub direction: Direction,
    /// Where: this row is the first one looked at. `None`: from the end of the list that
    /// `direction` starts at.
    pub cursor: Option<K>,
}

impl<K> PageRequest<K> {
    /// Whether rows are looked at from new to old.
    pub(super) fn is_backwards(&self) -> bool {
        matches!(
            (self.sort, self.direction),
            (Sort::Descending, Direction::Next) | (Sort::Ascending, Direction::Prev)
        )
    }
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K> {
    /// Its rows, in the order asked for.
    pub rows: Vec<T>,
    /// The row after the last one; `None` at the end of the list. The page may be shorter than
    /// asked for and still have one: a search looks at so many rows only.
    pub next: Option<K>,
    /// The first row of the page.
    pub first: Option<K>,
    /// Whether there is a row before the first one.
    pub has_prev: bool,
}

/// Nothing.
impl<T, K> Default for Page<T, K> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            next: None,
            first: None,
            has_prev: false,
        }
    }
}
