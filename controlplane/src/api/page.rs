//! Pages of lists, as the contract has them (section 2.5): which rows to fetch for a request, and
//! what to say about those that came. Pure: where rows come from is for others to know.
//!
//! A page is made in four steps: [`PageRequest::scan`] says what to fetch, [`PageRequest::cut`]
//! takes what was fetched, [`Cut::before`] and [`Cut::after`] say what is still to be looked up,
//! and [`Cut::finish`] gives the rows and the [`Pagination`] of the reply.

#[cfg(test)]
mod tests;

use serde::Serialize;

/// Rows of a page unless the client says otherwise.
const PER_PAGE_DEFAULT: usize = 20;
/// Most rows of a page; Convoy has no limit.
const PER_PAGE_MAX: usize = 1000;
/// Longest cursor that is looked at; ours are shorter.
const CURSOR_BYTES_MAX: usize = 128;

/// An order by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

impl Order {
    const fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    per_page: usize,
    order: Order,
    is_backwards: bool,
    cursor: Option<String>,
}

/// The rows to fetch: in this order from this id on, itself included; from the very first one
/// when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan<'a> {
    /// Order to fetch in, which may not be the one of the page.
    pub order: Order,
    /// Where to begin.
    pub from: Option<&'a str>,
    /// How many at most.
    pub limit: usize,
}

/// A look for the nearest row beyond an id, in this order; the id itself does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The id.
    pub beyond: String,
    /// Where to look.
    pub order: Order,
}

/// The rows of a page, and what is still unknown about their neighbours.
#[derive(Debug)]
pub struct Cut<T> {
    rows: Vec<T>,
    before: Option<Look>,
    after: Option<Look>,
    pagination: Pagination,
}

/// What the reply says beside the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pagination {
    /// Rows of a full page.
    pub per_page: usize,
    /// Whether there are rows after these.
    pub has_next_page: bool,
    /// Whether there are rows before these.
    pub has_prev_page: bool,
    /// Cursor of the page before.
    pub prev_page_cursor: String,
    /// Cursor of the page after.
    pub next_page_cursor: String,
}

impl Scan<'_> {
    /// The oldest rows.
    #[must_use]
    pub const fn first(limit: usize) -> Self {
        Self {
            order: Order::Ascending,
            from: None,
            limit,
        }
    }
}

impl PageRequest {
    /// Reads the parameters of a query; what makes no sense has its default.
    pub fn parse<'q>(get: impl Fn(&str) -> Option<&'q str>) -> Self {
        let is = |name, word: &str| get(name).is_some_and(|text| text.eq_ignore_ascii_case(word));
        let is_backwards = is("direction", "prev");
        let cursor = get(match is_backwards {
            true => "prev_page_cursor",
            false => "next_page_cursor",
        });
        let per_page = get("perPage").and_then(|text| text.trim().parse::<i64>().ok());
        Self {
            per_page: per_page
                .and_then(|count| usize::try_from(count).ok())
                .filter(|count| *count > 0)
                .map_or(PER_PAGE_DEFAULT, |count| count.min(PER_PAGE_MAX)),
            order: match is("sort", "asc") {
                true => Order::Ascending,
                false => Order::Descending,
            },
            is_backwards,
            cursor: cursor
                .filter(|cursor| !cursor.is_empty() && cursor.len() <= CURSOR_BYTES_MAX)
                .map(str::to_owned),
        }
    }

    /// Rows of a full page.
    #[must_use]
    pub fn per_page(&self) -> usize {
        self.per_page
    }

    /// The order of the page.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// Whether the page before the cursor is asked for.
    #[must_use]
    pub fn is_backwards(&self) -> bool {
        self.is_backwards
    }

    /// Where to begin.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// What to fetch: one row more than the page holds.
    #[must_use]
    pub fn scan(&self) -> Scan<'_> {
        Scan {
            order: match self.is_backwards {
                true => self.order.reversed(),
                false => self.order,
            },
            from: self.cursor.as_deref(),
            limit: self.per_page + 1,
        }
    }

    /// Makes the page of the rows of [`PageRequest::scan`], in the order in which they came.
    pub fn cut<T>(&self, fetched: Vec<T>, uid: impl Fn(&T) -> String) -> Cut<T> {
        let mut rows = fetched;
        if self.is_backwards {
            rows.reverse();
        }
        let is_full = rows.len() > self.per_page;
        // Backwards from the end there is no row that the client has seen: the extra one is then
        // the one before the page.
        let is_from_end = self.is_backwards && self.cursor.is_none();
        if is_full && is_from_end {
            rows.remove(0);
        }
        let extra = match is_full && !is_from_end {
            true => rows.pop(),
            false => None,
        };
        let first = rows.first().map(&uid);
        let last = rows.last().map(&uid);
        // A client that walked back to the beginning must be able to walk on.
        let is_short_of_cursor = self.is_backwards && !is_from_end && extra.is_none();
        let look = |beyond: Option<&String>, order| {
            let beyond = beyond?.clone();
            Some(Look { beyond, order })
        };
        let next = match (&extra, rows.len()) {
            (Some(extra), _) => uid(extra),
            (None, 0 | 1) => String::new(),
            (None, _) => last.clone().unwrap_or_default(),
        };
        Cut {
            before: look(first.as_ref(), self.order.reversed()),
            after: look(last.as_ref().filter(|_| is_short_of_cursor), self.order),
            pagination: Pagination {
                per_page: self.per_page,
                has_next_page: extra.is_some(),
                has_prev_page: false,
                prev_page_cursor: first.unwrap_or_default(),
                next_page_cursor: next,
            },
            rows,
        }
    }
}

impl<T> Cut<T> {
    /// The row before the page, if it has to be looked up.
    #[must_use]
    pub fn before(&self) -> Option<&Look> {
        self.before.as_ref()
    }

    /// The row after the page, if it has to be looked up.
    #[must_use]
    pub fn after(&self) -> Option<&Look> {
        self.after.as_ref()
    }

    /// The page, given what the looks found.
    #[must_use]
    pub fn finish(self, has_before: bool, after: Option<String>) -> (Vec<T>, Pagination) {
        let mut pagination = self.pagination;
        pagination.has_prev_page = has_before;
        if let Some(after) = after {
            pagination.has_next_page = true;
            pagination.next_page_cursor = after;
        }
        (self.rows, pagination)
    }
}
