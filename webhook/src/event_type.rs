//! Event types: their names, and the patterns subscriptions choose by.

use std::fmt;

/// Longest event type, bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Most stars in a pattern.
pub const STARS_MAX: usize = 8;

/// A text that cannot be an event type or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventTypeError {
    /// Empty or too long.
    #[error("an event type has 1 to {NAME_BYTES_MAX} bytes, this one has {bytes}")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// A control character or white space at an end.
    #[error("an event type has no control characters and no white space at its ends")]
    Character,
    /// Too many stars.
    #[error("a pattern has at most {STARS_MAX} stars, this one has {stars}")]
    Stars {
        /// How many it has.
        stars: usize,
    },
}

/// Checks the name of an event type: 1 to [`NAME_BYTES_MAX`] bytes, no control characters.
///
/// # Errors
/// [`EventTypeError`] says which rule it breaks.
pub fn check_name(name: &str) -> Result<(), EventTypeError> {
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Err(EventTypeError::Length { bytes: name.len() });
    }
    if name.chars().any(char::is_control) || name.trim() != name {
        return Err(EventTypeError::Character);
    }
    Ok(())
}

/// Which event types a subscription wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// `*`: all of them.
    Any,
    /// Exactly this one.
    Exact(Box<str>),
    /// All that look like this.
    Glob(Glob),
}

impl Pattern {
    /// Parses a pattern: an event type in which each `*` stands for any run of characters, dots
    /// included, or none.
    ///
    /// # Errors
    /// As [`check_name`], and when there are more than [`STARS_MAX`] stars.
    pub fn parse(text: &str) -> Result<Self, EventTypeError> {
        check_name(text)?;
        match text.matches('*').count() {
            0 => Ok(Self::Exact(text.into())),
            stars if stars > STARS_MAX => Err(EventTypeError::Stars { stars }),
            stars if stars == text.len() => Ok(Self::Any),
            _ => Ok(Self::Glob(Glob(text.into()))),
        }
    }

    /// Whether an event of this type is wanted. Case matters.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => &**name == event_type,
            Self::Glob(glob) => glob.matches(event_type),
        }
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Any => "*",
            Self::Exact(name) => name,
            Self::Glob(glob) => &glob.0,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A pattern with stars and other characters: `invoice.*`, `*.created`, `a.*.b`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Glob(Box<str>);

impl Glob {
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an event type looks like this. No backtracking: each part between stars is taken
    /// where it comes first, which leaves the most for those behind it.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        let (prefix, suffix) = (self.prefix(), self.suffix());
        let inner = event_type.strip_prefix(prefix);
        let Some(mut rest) = inner.and_then(|rest| rest.strip_suffix(suffix)) else {
            return false;
        };
        let end = self.0.len().saturating_sub(suffix.len());
        let middle = self.0.get(prefix.len()..end).unwrap_or_default();
        for part in middle.split('*') {
            let Some((_, behind)) = rest.split_once(part) else {
                return false;
            };
            rest = behind;
        }
        true
    }

    /// What every event type that looks like this begins with; may be empty.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0.split('*').next().unwrap_or_default()
    }

    /// What every event type that looks like this ends with; may be empty.
    #[must_use]
    pub fn suffix(&self) -> &str {
        self.0.rsplit('*').next().unwrap_or_default()
    }

    /// Characters other than stars, bytes: the more there are, the more it says.
    #[must_use]
    pub fn literal_bytes(&self) -> usize {
        self.0.bytes().filter(|byte| *byte != b'*').count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_and_patterns_are_refused() {
        assert_eq!(check_name(""), Err(EventTypeError::Length { bytes: 0 }));
        assert_eq!(
            check_name(&"x".repeat(256)),
            Err(EventTypeError::Length { bytes: 256 })
        );
        assert_eq!(check_name("a\nb"), Err(EventTypeError::Character));
        assert_eq!(check_name(" a"), Err(EventTypeError::Character));
        assert_eq!(
            Pattern::parse("a*b*c*d*e*f*g*h*i*"),
            Err(EventTypeError::Stars { stars: 9 })
        );
        assert!(Pattern::parse("a*b*c*d*e*f*g*h*i").is_ok());
    }

    #[test]
    fn a_star_matches_all_and_a_name_itself_only() {
        assert!(Pattern::parse("*").unwrap().matches("anything"));
        let exact = Pattern::parse("invoice.paid").unwrap();
        assert!(
            exact.matches("invoice.paid")
                && !exact.matches("Invoice.paid")
                && !exact.matches("invoice")
        );
    }

    #[test]
    fn a_star_in_a_pattern_is_any_run_of_characters() {
        for (pattern, yes, no) in [
            (
                "invoice.*",
                &["invoice.paid", "invoice.", "invoice.a.b"][..],
                &["invoice", "invoices.paid", "x.invoice.a"][..],
            ),
            (
                "*.created",
                &["a.created", ".created", "a.b.created"],
                &["created", "a.created.b", "a.Created"],
            ),
            (
                "a.*.b",
                &["a.x.b", "a..b", "a.x.y.b"],
                &["a.b", "a.x.c", "b.x.b"],
            ),
            ("aa*aa", &["aaaa", "aaxaa"], &["aa", "aaa"]),
            ("*x*x*", &["xx", "axbxc"], &["x", "ab"]),
            ("**", &["", "a"], &[]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(
                parsed.to_string(),
                if pattern == "**" { "*" } else { pattern }
            );
            for name in yes {
                assert!(parsed.matches(name), "{pattern} {name}");
            }
            for name in no {
                assert!(!parsed.matches(name), "{pattern} {name}");
            }
        }
    }

    /// Tries every length for a star.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|taken| naive(rest, &name[taken..])),
            [first, rest @ ..] => name.first() == Some(first) && naive(rest, &name[1..]),
        }
    }

    proptest::proptest! {
        #[test]
        fn a_pattern_matches_what_trying_everything_matches(pattern in "[ab.*]{1,8}", name in "[ab.]{1,10}") {
            let parsed = Pattern::parse(&pattern).unwrap();
            proptest::prop_assert_eq!(parsed.matches(&name), naive(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
