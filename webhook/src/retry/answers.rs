//! Which statuses are a success, and which end a delivery at once.

use std::fmt;
use std::ops::RangeInclusive;

/// Most entries of one list.
const ENTRIES_MAX: usize = 50;

/// What the statuses of an endpoint mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The delivery has arrived; 200 to 299 unless told otherwise.
    pub success: Statuses,
    /// No further attempt is of use; none unless told otherwise. 410 and 413 always are.
    pub permanent: Statuses,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            success: Statuses([200..=299].into()),
            permanent: Statuses::default(),
        }
    }
}

/// A set of HTTP statuses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statuses(Box<[RangeInclusive<u16>]>);

/// What is no set of statuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadStatuses {
    /// Not one of the forms.
    #[error("`{0}` is no status from 100 to 599: like 404, 4xx, or 400-403")]
    Entry(String),
    /// More than anybody needs.
    #[error("has more than {ENTRIES_MAX} entries")]
    TooMany,
}

impl Statuses {
    /// Reads statuses written as `404`, `4xx` or `400-403`.
    ///
    /// # Errors
    /// [`BadStatuses`] for the first that is none of these, and for more than 50.
    pub fn parse<'t>(entries: impl IntoIterator<Item = &'t str>) -> Result<Self, BadStatuses> {
        let read = |text: &'t str| entry(text).ok_or_else(|| BadStatuses::Entry(text.to_owned()));
        let entries = entries.into_iter().take(ENTRIES_MAX + 1).map(read);
        let entries: Box<[_]> = entries.collect::<Result<_, _>>()?;
        (entries.len() <= ENTRIES_MAX)
            .then_some(Self(entries))
            .ok_or(BadStatuses::TooMany)
    }

    /// Whether a status is one of them.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            match (range.start(), range.end()) {
                (start, end) if start == end => write!(f, "{separator}{start}")?,
                (start, end) => write!(f, "{separator}{start}-{end}")?,
            }
        }
        Ok(())
    }
}

fn entry(text: &str) -> Option<RangeInclusive<u16>> {
    if let Some(class) = text.strip_suffix("xx") {
        let class = number(class).filter(|class| (1..=5).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    let status = |text| number(text).filter(|status| (100..=599).contains(status));
    match text.split_once('-') {
        Some((start, end)) => {
            let (start, end) = (status(start)?, status(end)?);
            (start <= end).then_some(start..=end)
        }
        None => status(text).map(|status| status..=status),
    }
}

/// Digits only: the parser of the standard library takes a sign as well.
fn number(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_status_is_refused_by_its_text() {
        for bad in [
            "", "99", "600", "6xx", "0xx", "xx", "40x", "403-400", "+404", "404-", "-1", "4XX",
        ] {
            let refused = Statuses::parse(["200", bad]);
            assert_eq!(refused, Err(BadStatuses::Entry(bad.to_owned())), "{bad}");
        }
        assert_eq!(Statuses::parse(["404"; 51]), Err(BadStatuses::TooMany));
        assert!(Statuses::parse(["404"; 50]).is_ok());
    }

    #[test]
    fn each_form_means_what_it_says() {
        let statuses = Statuses::parse(["2xx", "404", "421-423"]).unwrap();
        assert_eq!(statuses.to_string(), "200-299, 404, 421-423");
        for (status, is_in) in [
            (199, false),
            (200, true),
            (299, true),
            (300, false),
            (404, true),
            (405, false),
            (420, false),
            (421, true),
            (423, true),
            (424, false),
        ] {
            assert_eq!(statuses.contains(status), is_in, "{status}");
        }
        assert!(!Statuses::default().contains(200));
        let usual = Answers::default();
        assert!(usual.success.contains(204) && !usual.success.contains(301));
        assert!(usual.permanent.is_empty());
    }
}
