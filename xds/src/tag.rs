//! The tag of a response: which transaction it belongs to, and which part of it is.
//!
//! It travels in `system_version_info` as text:
//!
//! ```text
//! <journal>/<revision>/<full|delta>/<part>/<more|last>
//! 01JD4N3T8Q2W5X6Y7Z8A9B0C1D/42/delta/0/last
//! ```
//!
//! - `journal`: 26 characters; new whenever the journal is created or restored.
//! - `revision`: the revision that is in force once the `last` part was applied. In a `more` part
//!   of a full transaction it is a lower bound (the head when the read began), because the read
//!   knows its version only at its end; the one of the `last` part is exact.
//! - `full` replaces everything; `delta` is a change of what the client has.
//! - `part`: counts the responses of the transaction from 0. Part 0 begins a new transaction and
//!   drops an unfinished one; a gap is an error.

use std::fmt;
use std::str::FromStr;

use outrider_config::Version;

/// Which part of which transaction a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) version: Version,
    pub(crate) is_full: bool,
    pub(crate) part: u32,
    pub(crate) is_last: bool,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extent = if self.is_full { "full" } else { "delta" };
        let end = if self.is_last { "last" } else { "more" };
        let Version { journal, revision } = self.version;
        write!(f, "{journal}/{revision}/{extent}/{}/{end}", self.part)
    }
}

/// Text that is not a tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a transaction tag: <journal>/<revision>/<full|delta>/<part>/<more|last> is expected"
)]
pub(crate) struct TagError(String);

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        parse(text).ok_or_else(|| TagError(text.chars().take(128).collect()))
    }
}

fn parse(text: &str) -> Option<Tag> {
    let mut fields = text.split('/');
    let journal = fields.next()?.parse().ok()?;
    let revision = number(fields.next()?)?;
    let is_full = choice(fields.next()?, "full", "delta")?;
    let part = number(fields.next()?)?;
    let is_last = choice(fields.next()?, "last", "more")?;
    if fields.next().is_some() {
        return None;
    }
    let version = Version { journal, revision };
    Some(Tag {
        version,
        is_full,
        part,
        is_last,
    })
}

/// One spelling per number: no sign, no leading zero.
fn number<N: FromStr + fmt::Display>(text: &str) -> Option<N> {
    let number: N = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn choice(text: &str, yes: &str, no: &str) -> Option<bool> {
    if text == yes {
        Some(true)
    } else {
        (text == no).then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::Uid;
    use proptest::prelude::*;

    #[test]
    fn text_that_is_not_a_tag_is_refused() {
        let journal = Uid::from_bits(7);
        for text in [
            String::new(),
            "v1".into(),
            format!("{journal}/1/full/0"),
            format!("{journal}/1/full/0/last/"),
            format!("{journal}/+1/full/0/last"),
            format!("{journal}/01/full/0/last"),
            format!("{journal}/1/half/0/last"),
            format!("{journal}/1/full/-1/last"),
            format!("{journal}/1/full/0/end"),
            format!("{journal}/18446744073709551616/full/0/last"),
            "short/1/full/0/last".into(),
        ] {
            assert!(text.parse::<Tag>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn decode_after_encode_is_the_same(
            journal: u128, revision: u64, is_full: bool, part: u32, is_last: bool,
        ) {
            let version = Version { journal: Uid::from_bits(journal), revision };
            let tag = Tag { version, is_full, part, is_last };
            prop_assert_eq!(tag.to_string().parse::<Tag>(), Ok(tag));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = text.parse::<Tag>();
        }
    }
}
