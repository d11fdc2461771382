//! Event types: their names, and the patterns subscriptions choose by.

use std::fmt;

/// Longest event type, bytes.
pub const NAME_BYTES_MAX: usize = 255;

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
    /// A star that does not stand alone.
    #[error("`{0}`: a pattern is one event type, or `*` for all of them")]
    Pattern(String),
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
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// As [`check_name`]; a star inside a longer text is refused.
    pub fn parse(text: &str) -> Result<Self, EventTypeError> {
        check_name(text)?;
        match text {
            "*" => Ok(Self::Any),
            other if other.contains('*') => Err(EventTypeError::Pattern(other.to_owned())),
            other => Ok(Self::Exact(other.into())),
        }
    }

    /// Whether an event of this type is wanted. Case matters.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => &**name == event_type,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "*",
            Self::Exact(name) => name,
        })
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
        assert!(matches!(
            Pattern::parse("invoice.*"),
            Err(EventTypeError::Pattern(_))
        ));
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
}
