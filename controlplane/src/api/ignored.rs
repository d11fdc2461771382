//! Fields of a request that nobody knows: listed in a header, or refused when the client wants
//! that (RULINGS 33).

use axum::http::{HeaderMap, HeaderValue};

use super::error::ApiError;

/// Most names in the header.
const NAMES_MAX: usize = 32;
/// Longest name in the header, bytes.
const NAME_BYTES_MAX: usize = 64;

/// Names of fields that were ignored.
#[derive(Debug, Default)]
pub(super) struct Ignored(Vec<String>);

impl Ignored {
    /// The names, unless the client asked for a refusal.
    pub(super) fn new(names: Vec<String>, headers: &HeaderMap) -> Result<Self, ApiError> {
        let ignored = Self(names);
        if ignored.0.is_empty() || !is_strict(headers) {
            return Ok(ignored);
        }
        Err(ApiError::UnknownFields(ignored.list(", ")))
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        if self.0.is_empty() {
            return None;
        }
        HeaderValue::from_str(&self.list(",")).ok()
    }

    /// A client's own words, so only so many of them, and nothing that a header cannot hold.
    fn list(&self, separator: &str) -> String {
        let plain = |letter: char| match letter {
            ',' | ';' | '"' => '?',
            letter if letter.is_ascii_graphic() => letter,
            _ => '?',
        };
        let mut names: Vec<String> = self
            .0
            .iter()
            .take(NAMES_MAX)
            .map(|name| name.chars().take(NAME_BYTES_MAX).map(plain).collect())
            .collect();
        if self.0.len() > NAMES_MAX {
            names.push("...".to_owned());
        }
        names.join(separator)
    }
}

/// `Prefer: handling=strict` (RFC 7240).
fn is_strict(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .any(|one| {
            let one: String = one.split_whitespace().collect();
            one.replace('"', "").eq_ignore_ascii_case("handling=strict")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_kind_fit_a_header() {
        let names = vec!["a,b\r\n".to_owned(), "é".repeat(100)];
        let header = Ignored(names).header().unwrap();
        assert_eq!(header, format!("a?b??,{}", "?".repeat(64)).as_str());
        let many = Ignored(vec!["x".to_owned(); 1000]).header().unwrap();
        assert_eq!(many.len(), 32 * 2 + 3);
        assert!(Ignored::default().header().is_none());
    }

    #[test]
    fn strict_handling_is_found_among_other_preferences() {
        for (value, expected) in [
            ("handling=strict", true),
            ("return=minimal, Handling = \"strict\"", true),
            ("wait=5; handling=strict", true),
            ("handling=lenient", false),
            ("strict", false),
        ] {
            let headers =
                HeaderMap::from_iter([("prefer".parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(is_strict(&headers), expected, "{value}");
        }
    }
}
