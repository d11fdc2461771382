//! Pairs of a query, and what receivers take for their names.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::TemplateError;
use super::pattern::Pattern;

/// What some receivers take for a `&`: it could add a pair that was not looked at.
pub(super) const OTHER_SEPARATOR: char = ';';

/// A pair of a concrete query.
pub(super) struct Pair<'u> {
    text: &'u str,
    name: Cow<'u, [u8]>,
}

impl<'u> Pair<'u> {
    pub(super) fn new(text: &'u str) -> Self {
        let (name, _) = text.split_once('=').unwrap_or((text, ""));
        let name = read_name(name);
        Self { text, name }
    }
}

/// A pair of the query of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PairPattern {
    /// The name, when no token is in it.
    name: Option<Box<[u8]>>,
    pattern: Pattern,
}

impl PairPattern {
    /// Compiles a text, which begins at byte `at` of its URL.
    pub(super) fn parse(text: &str, at: usize) -> Result<Self, TemplateError> {
        let pattern = Pattern::parse(text, at)?;
        if let Some(separator) = text.find(OTHER_SEPARATOR) {
            return Err(TemplateError::Separator(at + separator + 1));
        }
        let (first, is_whole) = pattern.first();
        let name = match first.split_once('=') {
            Some((name, _)) => Some(name),
            None => is_whole.then_some(first),
        };
        let name = name.map(|name| read_name(name).into());
        Ok(Self { name, pattern })
    }

    pub(super) fn pattern(&self) -> &Pattern {
        &self.pattern
    }
}

/// Whether each pair of a template is among those of a URL, and no pair of the URL has the name
/// of one and is none: whichever of two a receiver takes, it is one that the template allows.
/// There are at most [`super::PAIRS_MAX`] of the template.
pub(super) fn all_match(wanted: &[PairPattern], found: &[Pair<'_>]) -> bool {
    let mut met = 0_u32;
    for pair in found {
        let (mut is_bound, mut is_allowed) = (false, false);
        for (at, want) in wanted.iter().enumerate() {
            let is_named = want.name.as_deref() == Some(&*pair.name);
            if want.name.is_some() && !is_named {
                continue;
            }
            let is_match = want.pattern.matches(pair.text);
            met |= u32::from(is_match) << at;
            is_bound |= is_named;
            is_allowed |= is_named && is_match;
        }
        if is_bound && !is_allowed {
            return false;
        }
    }
    let missing = wanted
        .iter()
        .enumerate()
        .find(|(at, _)| (met >> at) & 1 == 0);
    missing.is_none()
}

/// A name as receivers may read it: decoded, without blanks around it, whatever the case of its
/// letters, and up to the bracket that makes a list of it.
fn read_name(name: &str) -> Cow<'_, [u8]> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.bytes().all(is_plain) {
        return Cow::Borrowed(name.as_bytes());
    }
    let name = name.replace('+', " ");
    let name: Vec<u8> = percent_decode_str(&name).collect();
    let end = name.iter().position(|byte| matches!(byte, b'[' | 0));
    let name = name.split_at(end.unwrap_or(name.len())).0.trim_ascii();
    Cow::Owned(name.to_ascii_lowercase())
}
