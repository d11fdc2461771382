//! What lists of events and of deliveries share: the index, pages by cursor, dates, ids.

use std::str::FromStr;

use outrider_store::{Direction, Index, Page, PageRequest as Request, Sort};
use outrider_webhook::id::{EventId, Uid};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{PrimitiveDateTime, UtcOffset};

use super::Api;
use super::error::ApiError;
use super::page::{Order, PageRequest, Pagination};
use super::query::Query;

/// Values a repeated parameter may have.
const REPEATED_MAX: usize = 100;
/// Days back from today that a list begins, unless it is said (contract 2.4).
const DAYS_DEFAULT: i64 = 7;
const DAY_S: i64 = 24 * 3600;
/// Dates of queries: no zone, which means UTC (contract 2.4).
const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");

impl Api {
    /// The index, where this control plane has one (RULINGS 38).
    pub(super) fn index(&self) -> Result<&Index, ApiError> {
        self.inner.settings.index.as_ref().ok_or(ApiError::NoIndex)
    }
}

/// The page a query asks for. `key` reads a cursor.
pub(super) fn request<K>(
    query: &Query,
    key: impl Fn(Uid) -> Option<K>,
) -> Result<(PageRequest, Request<K>), ApiError> {
    let page = PageRequest::parse(|name| query.get(name));
    let cursor = match page.cursor() {
        None => None,
        Some(text) => {
            let cursor = text.parse().ok().and_then(key);
            Some(cursor.ok_or(ApiError::Parameter("the cursor is not one of this list"))?)
        }
    };
    let request = Request {
        rows: page.per_page(),
        sort: match page.order() {
            Order::Ascending => Sort::Ascending,
            Order::Descending => Sort::Descending,
        },
        direction: match page.is_backwards() {
            true => Direction::Prev,
            false => Direction::Next,
        },
        cursor,
    };
    Ok((page, request))
}

/// What the reply says of a page (contract 2.5).
pub(super) fn pagination<T, K>(
    page: &Page<T, K>,
    per_page: usize,
    uid: impl Fn(&K) -> Uid,
    key: impl Fn(&T) -> Uid,
) -> Pagination {
    let text = |cursor: &Option<K>| cursor.as_ref().map(|key| uid(key).to_string());
    let last = page.rows.last().filter(|_| page.rows.len() > 1);
    Pagination {
        per_page,
        has_next_page: page.next.is_some(),
        has_prev_page: page.has_prev,
        prev_page_cursor: text(&page.first).unwrap_or_default(),
        next_page_cursor: text(&page.next)
            .or(last.map(|last| key(last).to_string()))
            .unwrap_or_default(),
    }
}

/// The values of a repeated parameter. Those that are no ids name nothing; `None` when some were
/// given and none names anything: then nothing can match.
pub(super) fn ids<I: FromStr>(
    query: &Query,
    name: &'static str,
) -> Result<Option<Vec<I>>, ApiError> {
    let texts: Vec<&str> = query.all(name).filter(|text| !text.is_empty()).collect();
    if texts.len() > REPEATED_MAX {
        return Err(ApiError::Repeated {
            name,
            max: REPEATED_MAX,
        });
    }
    let ids: Vec<I> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    Ok((!ids.is_empty() || texts.is_empty()).then_some(ids))
}

/// The ids of the events between `startDate` and `endDate`, both included.
pub(super) fn between(query: &Query, now_ms: i64) -> Result<(EventId, EventId), ApiError> {
    // In seconds: the years that a date can have are few for them, so no sum overflows.
    let now_s = now_ms.div_euclid(1000);
    let midnight_s = now_s - now_s.rem_euclid(DAY_S);
    let start_s = match date(query, "startDate")? {
        Some(start_s) => start_s,
        None => midnight_s - DAYS_DEFAULT * DAY_S,
    };
    let end_s = match date(query, "endDate")? {
        Some(end_s) => end_s + 1,
        None => midnight_s + DAY_S,
    };
    if start_s >= end_s {
        let message = "startDate cannot be greater than endDate";
        return Err(ApiError::Parameter(message));
    }
    let first_at = |at_s: i64| EventId::first_at(at_s.saturating_mul(1000));
    let before_end = EventId::from_raw(first_at(end_s).raw().saturating_sub(1));
    Ok((first_at(start_s), before_end.unwrap_or(EventId::ZERO)))
}

/// A date of the query, Unix seconds.
fn date(query: &Query, name: &'static str) -> Result<Option<i64>, ApiError> {
    let Some(text) = query.text(name) else {
        return Ok(None);
    };
    let plain = PrimitiveDateTime::parse(&text, DATE).map(PrimitiveDateTime::assume_utc);
    let at = match plain {
        Ok(at) => Some(at),
        // Beyond the year 9999 in UTC there is no date.
        Err(_) => super::time::parse(&text).and_then(|at| at.checked_to_offset(UtcOffset::UTC)),
    };
    let at = at.ok_or(ApiError::Date(name))?;
    Ok(Some(at.unix_timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_767_225_600_000 + 45_296_789; // 2026-01-01T12:34:56.789Z
    const DAY_MS: i64 = 86_400_000;

    fn query(text: &str) -> Query {
        Query::of(&format!("/?{text}").parse().unwrap())
    }

    #[test]
    fn dates_that_make_no_sense_are_refused() {
        for text in [
            "startDate=yesterday",
            "endDate=2026-01-01",
            "startDate=2026-13-01T00:00:00",
            "startDate=2026-01-03T00:00:00&endDate=2026-01-02T00:00:00",
            "endDate=9999-12-31T23:59:59-23:59",
            "startDate=99999-01-01T00:00:00",
            "startDate=9999-12-31T23:59:59",
        ] {
            assert!(between(&query(text), NOW_MS).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_begins_a_week_back_unless_it_is_said() {
        let midnight = 1_767_225_600_000;
        let at = EventId::first_at;
        let (from, to) = between(&query(""), NOW_MS).unwrap();
        assert_eq!(from, at(midnight - 7 * DAY_MS));
        assert_eq!(to.raw(), at(midnight + DAY_MS).raw() - 1);
        let said = query("startDate=2026-01-01T00:00:01&endDate=2026-01-01T00:00:01");
        let (from, to) = between(&said, NOW_MS).unwrap();
        assert_eq!(from, at(midnight + 1_000));
        assert_eq!(to.raw(), at(midnight + 2_000).raw() - 1);
        let zoned = query("startDate=2026-01-01T01:00:00%2B01:00");
        assert_eq!(between(&zoned, NOW_MS).unwrap().0, at(midnight));
    }

    #[test]
    fn the_last_date_that_can_be_said_is_as_good_as_any() {
        for end in ["9999-12-31T23:59:59", "9999-12-31T23:59:59.9Z"] {
            let (_, to) = between(&query(&format!("endDate={end}")), NOW_MS).unwrap();
            assert_eq!(to.raw(), EventId::MAX.raw() - 1, "{end}");
        }
        let first = query("startDate=0000-01-01T00:00:00");
        assert_eq!(between(&first, NOW_MS).unwrap().0, EventId::ZERO);
    }

    #[test]
    fn ids_that_are_none_match_nothing_and_too_many_are_refused() {
        let none: Option<Vec<Uid>> = ids(&query("a=x&a=y"), "a").unwrap();
        assert_eq!(none, None);
        let all: Option<Vec<Uid>> = ids(&query("b=x&a="), "a").unwrap();
        assert_eq!(all, Some(vec![]));
        let many = "a=x&".repeat(REPEATED_MAX + 1);
        assert!(ids::<Uid>(&query(&many), "a").is_err());
    }
}
