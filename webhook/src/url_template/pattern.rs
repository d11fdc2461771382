//! One segment of a path, or one pair of a query, with tokens in it.

use memchr::memmem;
use percent_encoding::percent_decode;

use super::TemplateError;
use crate::address::encode_tail;

/// How often a receiver is thought to decode a segment. What is still coded then is refused.
const DECODINGS_MAX: usize = 4;

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
        match pattern.rest.is_empty() || is_one_segment(example.as_bytes()) {
            true => Ok(pattern),
            false => Err(TemplateError::Segment(at + 1)),
        }
    }

    pub(super) fn tokens(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.rest.is_empty()
    }

    /// Whether this is the pattern with each token replaced by one or more characters.
    ///
    /// Taking each literal where it first comes leaves most for what follows it, so nothing has
    /// to be taken back.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let Some((last, inner)) = self.rest.split_last() else {
            return text == self.first.as_bytes();
        };
        let left = text.strip_prefix(self.first.as_bytes());
        let left = left.and_then(|left| left.strip_suffix(last.as_bytes()));
        let left = inner.iter().try_fold(left, |left, literal| {
            let after = left?.get(1..)?;
            let at = memmem::find(after, literal.as_bytes())?;
            Some(after.get(at + literal.len()..))
        });
        left.flatten().is_some_and(|left| !left.is_empty())
    }

    /// The same of a segment of a path, which has to be one for whoever reads it.
    pub(super) fn matches_segment(&self, text: &[u8]) -> bool {
        self.matches(text) && (self.rest.is_empty() || is_one_segment(text))
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

/// Whether a segment stays one segment, and none that leads elsewhere, however often a receiver
/// decodes it.
fn is_one_segment(segment: &[u8]) -> bool {
    if !segment.contains(&b'%') {
        return leads_nowhere_else(segment);
    }
    let mut text = segment.to_vec();
    for _ in 0..DECODINGS_MAX {
        if !leads_nowhere_else(&text) {
            return false;
        }
        let decoded: Vec<u8> = percent_decode(&text).collect();
        if decoded == text {
            return true;
        }
        text = decoded;
    }
    false
}

/// Neither a dot segment nor several segments. Some servers take a backslash for a slash, cut
/// parameters off at a semicolon before they look at dots, or end a path at a NUL.
fn leads_nowhere_else(segment: &[u8]) -> bool {
    let name = segment.split(|byte| matches!(byte, b';' | 0)).next();
    let is_dots = matches!(name, Some(b"." | b".."));
    !is_dots && memchr::memchr2(b'/', b'\\', segment).is_none()
}
