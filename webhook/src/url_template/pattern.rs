//! One segment of a path, or one pair of a query, with tokens in it.

use super::TemplateError;
use super::concrete::Segment;
use super::segment::stays_one;
use crate::address::encode_tail;

/// Literal texts with a token between each two: `a{x}b{y}` is `a`, `b` and an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    first: Box<str>,
    rest: Box<[Box<str>]>,
}

impl Pattern {
    /// Compiles a text, which begins at byte `at` of its URL.
    pub(super) fn parse(text: &str, at: usize) -> Result<Self, TemplateError> {
        let (first, mut left) = literal(text, at)?;
        let mut rest = Vec::new();
        while !left.is_empty() {
            let opened = at + text.len() - left.len();
            let (name, after) = left
                .strip_prefix('{')
                .and_then(|inside| inside.split_once('}'))
                .ok_or(TemplateError::NotClosed(opened + 1))?;
            if !is_name(name) {
                return Err(TemplateError::Name(opened + 1));
            }
            let (next, more) = literal(after, at + text.len() - after.len())?;
            rest.push(next);
            left = more;
        }
        let rest = rest.into();
        Ok(Self { first, rest })
    }

    /// The same of a segment of a path, where a token must be able to stand for something.
    pub(super) fn parse_segment(text: &str, at: usize) -> Result<Self, TemplateError> {
        let pattern = Self::parse(text, at)?;
        let example = pattern.with_tokens("x");
        match pattern.is_literal() || stays_one(&example) {
            true => Ok(pattern),
            false => Err(TemplateError::Segment(at + 1)),
        }
    }

    pub(super) fn tokens(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn is_literal(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.is_literal()
    }

    /// What stands before its first token, and whether that is all of it.
    pub(super) fn first(&self) -> (&str, bool) {
        (&self.first, self.is_literal())
    }

    /// Whether this is the pattern with each token replaced by one or more characters.
    ///
    /// Taking each literal where it first comes leaves most for what follows it, so nothing has
    /// to be taken back. Empty texts are not compared: `memcmp` may load from where they point,
    /// with an empty mask, and where nothing is mapped that takes longer than all else here.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((last, inner)) = self.rest.split_last() else {
            let is_empty = text.is_empty() && self.first.is_empty();
            return is_empty || text == &*self.first;
        };
        let left = match self.first.is_empty() {
            true => Some(text),
            false => text.strip_prefix(&*self.first),
        };
        let left = match last.is_empty() {
            true => left,
            false => left.and_then(|left| left.strip_suffix(&**last)),
        };
        let left = inner.iter().try_fold(left, |left, literal| {
            let after = left?.get(1..)?; // what travels is ASCII
            let at = after.find(&**literal)?;
            Some(after.get(at + literal.len()..))
        });
        left.flatten().is_some_and(|left| !left.is_empty())
    }

    /// The same of a segment of a path, which has to be one for whoever reads it.
    pub(super) fn matches_segment(&self, segment: &Segment<'_>) -> bool {
        self.matches(segment.text) && (self.is_literal() || segment.may_be_token())
    }

    /// Its text with this in the place of each token.
    pub(super) fn with_tokens(&self, token: &str) -> String {
        let first = self.first.to_string();
        let rest = self.rest.iter();
        rest.fold(first, |text, literal| text + token + literal)
    }
}

/// The text up to the next token, as it travels; and the token with what follows.
fn literal(text: &str, at: usize) -> Result<(Box<str>, &str), TemplateError> {
    let (literal, left) = text.split_at(text.find(['{', '}']).unwrap_or(text.len()));
    if left.starts_with('}') {
        return Err(TemplateError::NotOpened(at + literal.len() + 1));
    }
    let mut encoded = String::with_capacity(literal.len());
    encode_tail(literal, &mut encoded);
    Ok((encoded.into(), left))
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
