//! The URL that an event names, taken apart once for all templates that are asked about it.

use std::cell::OnceCell;

use super::pair::{self, Pair};
use super::segment::stays_one;
use crate::address::TargetUrl;

/// Pairs of a query that are looked at. With the bounds of a template, this is what keeps one
/// cheap to ask; a URL with more does not match a template with a query.
const PAIRS_MAX: usize = 32;

/// A URL that an event names. What only some templates ask is found out when the first one does.
pub struct Concrete<'u> {
    pub(super) url: &'u TargetUrl,
    /// The parts of the path between its slashes, without a last empty one.
    pub(super) segments: Box<[Segment<'u>]>,
    pairs: OnceCell<Option<Box<[Pair<'u>]>>>,
}

impl<'u> Concrete<'u> {
    /// Takes a URL apart.
    #[must_use]
    pub fn of(url: &'u TargetUrl) -> Self {
        let path = url.path_and_query().path();
        let path = path.strip_suffix('/').unwrap_or(path);
        Self {
            url,
            segments: path.split('/').map(Segment::new).collect(),
            pairs: OnceCell::new(),
        }
    }

    /// The pairs of its query; `None` when no template with a query may match them.
    pub(super) fn pairs(&self) -> Option<&[Pair<'u>]> {
        let pairs = self.pairs.get_or_init(|| {
            let query = self.url.path_and_query().query().unwrap_or_default();
            let is_within = query.split('&').nth(PAIRS_MAX).is_none();
            let is_told_apart = !query.contains(pair::OTHER_SEPARATOR);
            let pairs = || {
                query
                    .split('&')
                    .filter(|text| !text.is_empty())
                    .map(Pair::new)
            };
            (is_within && is_told_apart).then(|| pairs().collect())
        });
        pairs.as_deref()
    }
}

/// A part of a path.
pub(super) struct Segment<'u> {
    pub(super) text: &'u str,
    may_be_token: OnceCell<bool>,
}

impl<'u> Segment<'u> {
    fn new(text: &'u str) -> Self {
        Self {
            text,
            may_be_token: OnceCell::new(),
        }
    }

    /// Whether it may have something in it that a token stands for.
    pub(super) fn may_be_token(&self) -> bool {
        *self.may_be_token.get_or_init(|| stays_one(self.text))
    }
}
