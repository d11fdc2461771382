//! A read and what is known beforehand about its reply; every reply is checked against it.

use serde_json::Value;

/// Rows of a page when nothing else is asked for.
const PER_PAGE: usize = 20;
/// With so many matching rows there are full pages on both sides of a cursor from the middle.
const MANY: u64 = 2_000;

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Events,
    Deliveries,
    /// All attempts of a delivery.
    Attempts,
    /// One thing by its id.
    One,
}

/// How many rows a whole list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    Exactly(u64),
    AtLeast(u64),
}

/// What has to be true of every row.
pub(super) struct Rule {
    pub(super) says: &'static str,
    pub(super) holds: Box<dyn Fn(&Value) -> bool + Send + Sync>,
}

/// A read.
pub(super) struct Ask {
    pub(super) what: What,
    /// Number of the project it is about.
    pub(super) project: usize,
    /// Of a list without where to begin.
    pub(super) path: String,
    pub(super) rows: Rows,
    pub(super) rules: Vec<Rule>,
    /// Whether cursors from elsewhere in the project make sense.
    pub(super) is_deep: bool,
}

/// Where a page begins and how it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paging {
    pub(super) is_ascending: bool,
    pub(super) is_backwards: bool,
    pub(super) cursor: Option<String>,
}

/// What a page was like.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Where the next one begins.
    pub(super) next: Option<String>,
    /// It ended before it was full although there are more rows: the work of a page is bounded.
    pub(super) is_short: bool,
}

impl Ask {
    /// A rule that one field has one value.
    pub(super) fn whose(self, pointer: &'static str, value: &str) -> Self {
        let value = value.to_owned();
        self.rule(pointer, move |row| text(row, pointer) == value)
    }

    pub(super) fn rule(
        mut self,
        says: &'static str,
        holds: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> Self {
        let holds = Box::new(holds);
        self.rules.push(Rule { says, holds });
        self
    }

    /// Checks what came back.
    pub(super) fn check(&self, paging: &Paging, data: &Value) -> Result<Page, String> {
        match self.what {
            What::One => self
                .check_rows(std::slice::from_ref(data))
                .map(|()| Page::default()),
            What::Attempts => {
                let rows = data.as_array().ok_or("no array")?;
                self.check_rows(rows)?;
                match u64::try_from(rows.len()).map(Rows::Exactly) {
                    Ok(rows) if rows == self.rows => Ok(Page::default()),
                    _ => Err(format!(
                        "{} attempts instead of {:?}",
                        rows.len(),
                        self.rows
                    )),
                }
            }
            What::Events | What::Deliveries => self.check_page(paging, data),
        }
    }

    fn check_page(&self, paging: &Paging, data: &Value) -> Result<Page, String> {
        let rows = data
            .get("content")
            .and_then(Value::as_array)
            .ok_or("no content")?;
        self.check_rows(rows)?;
        paging.check(rows)?;
        let says = |name| data.pointer(name).and_then(Value::as_bool).unwrap_or(false);
        let has_more = match paging.is_backwards {
            true => says("/pagination/has_prev_page"),
            false => says("/pagination/has_next_page"),
        };
        let wanted = self.wanted(paging);
        let is_short = rows.len() < wanted && has_more;
        if rows.len() < wanted && (!is_short || (rows.is_empty() && self.total() >= MANY)) {
            return Err(format!("{} rows instead of {wanted}", rows.len()));
        }
        let is_bound = matches!(self.rows, Rows::Exactly(most) if most < count(rows));
        if rows.len() > PER_PAGE || is_bound {
            return Err(format!("{} rows are too many", rows.len()));
        }
        let next =
            says("/pagination/has_next_page").then(|| text(data, "/pagination/next_page_cursor"));
        Ok(Page {
            next: next.map(str::to_owned),
            is_short,
        })
    }

    fn check_rows(&self, rows: &[Value]) -> Result<(), String> {
        let broken = rows
            .iter()
            .find_map(|row| self.rules.iter().find(|rule| !(rule.holds)(row)));
        match broken {
            None => Ok(()),
            Some(rule) => Err(format!("a row breaks `{}`", rule.says)),
        }
    }

    fn total(&self) -> u64 {
        match self.rows {
            Rows::Exactly(total) | Rows::AtLeast(total) => total,
        }
    }

    /// Rows that a page must have.
    fn wanted(&self, paging: &Paging) -> usize {
        match paging.cursor {
            Some(_) if self.total() < MANY => 0,
            _ => usize::try_from(self.total()).map_or(PER_PAGE, |total| total.min(PER_PAGE)),
        }
    }
}

impl Paging {
    pub(super) const fn first(is_ascending: bool) -> Self {
        Self {
            is_ascending,
            is_backwards: false,
            cursor: None,
        }
    }

    /// As parameters of a query that has others before.
    pub(super) fn query(&self) -> String {
        let sort = if self.is_ascending { "ASC" } else { "DESC" };
        let direction = if self.is_backwards { "prev" } else { "next" };
        match &self.cursor {
            None => format!("&sort={sort}"),
            Some(cursor) => {
                format!("&sort={sort}&direction={direction}&{direction}_page_cursor={cursor}")
            }
        }
    }

    /// Rows are in order, and on the right side of the cursor.
    fn check(&self, rows: &[Value]) -> Result<(), String> {
        let uids: Vec<&str> = rows.iter().map(|row| text(row, "/uid")).collect();
        let is_ordered = uids.is_sorted_by(|one, next| match self.is_ascending {
            true => one < next,
            false => one > next,
        });
        if !is_ordered {
            return Err("the rows are not in order".to_owned());
        }
        let Some(cursor) = &self.cursor else {
            return Ok(());
        };
        let is_beyond = |uid: &&str| match self.is_ascending != self.is_backwards {
            true => *uid >= cursor.as_str(),
            false => *uid <= cursor.as_str(),
        };
        match uids.iter().all(is_beyond) {
            true => Ok(()),
            false => Err("a row is on the wrong side of the cursor".to_owned()),
        }
    }
}

/// A text in a reply; empty when there is none.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn count(rows: &[Value]) -> u64 {
    u64::try_from(rows.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(rows: Rows) -> Ask {
        Ask {
            what: What::Events,
            project: 0,
            path: String::new(),
            rows,
            rules: Vec::new(),
            is_deep: true,
        }
    }

    fn page(uids: &[&str], has_next: bool) -> Value {
        let content: Vec<Value> = uids
            .iter()
            .map(|uid| json!({"uid": uid, "a": "x"}))
            .collect();
        json!({"content": content, "pagination": {"has_next_page": has_next, "next_page_cursor": "n"}})
    }

    #[test]
    fn replies_that_are_wrong_are_told() {
        let from = |cursor: &str| Paging {
            cursor: Some(cursor.to_owned()),
            ..Paging::first(true)
        };
        let first = Paging::first(true);
        for (ask, paging, page, says) in [
            (
                ask(Rows::AtLeast(2)),
                &first,
                page(&["a"], false),
                "1 rows instead of 2",
            ),
            (
                ask(Rows::AtLeast(2_000)),
                &first,
                page(&[], true),
                "0 rows instead of 20",
            ),
            (
                ask(Rows::Exactly(1)),
                &first,
                page(&["a", "b"], false),
                "2 rows are too many",
            ),
            (
                ask(Rows::AtLeast(1)),
                &first,
                page(&["b", "a"], false),
                "the rows are not in order",
            ),
            (
                ask(Rows::AtLeast(1)),
                &from("b"),
                page(&["a"], false),
                "a row is on the wrong side of the cursor",
            ),
            (
                ask(Rows::AtLeast(1)).whose("/a", "y"),
                &first,
                page(&["a"], false),
                "a row breaks `/a`",
            ),
        ] {
            assert_eq!(ask.check(paging, &page), Err(says.to_owned()));
        }
    }

    #[test]
    fn a_short_page_that_goes_on_is_told_apart() {
        let ask = ask(Rows::AtLeast(2_000));
        let page = ask
            .check(&Paging::first(true), &page(&["a"], true))
            .unwrap();
        let expected = Page {
            next: Some("n".to_owned()),
            is_short: true,
        };
        assert_eq!(page, expected);
    }
}
