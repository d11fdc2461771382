//! URL templates of endpoints: `https://customer.example/{account}/hook?v={version}`.
//!
//! An endpoint with a template has no one place to deliver to: an event names a concrete URL,
//! and the template says whether that is one of the endpoint's. What it may say is narrow, since
//! requests signed with the endpoint's secret go wherever it says yes: scheme, host and port are
//! always literal, and a token stays within its segment of the path or its pair of the query.
//!
//! Templates are compiled once, and the URL of an event is taken apart once for all that are asked
//! about it ([`Concrete`]); asking one takes neither an expression nor an allocation.

mod concrete;
mod pair;
mod pattern;
mod segment;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

pub use self::concrete::Concrete;
use self::pair::PairPattern;
use self::pattern::Pattern;
use crate::address::{Denied, TargetUrl};

/// Tokens of a template.
const TOKENS_MAX: usize = 16;
/// Pairs of the query of a template.
const PAIRS_MAX: usize = 8;

/// Why a text is no URL of an endpoint. Holds nothing of the text: a query may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is no URL to deliver to, whatever its tokens stand for.
    #[error(transparent)]
    Url(#[from] Denied),
    /// A brace where a token would decide where requests go, or nothing.
    #[error(
        "a token like `{{name}}` may stand in the path and the query, not in scheme, host, port or fragment"
    )]
    Place,
    /// A token that does not end within its segment or pair.
    #[error("the `{{` at position {0} has no `}}` in its segment of the path or pair of the query")]
    NotClosed(usize),
    /// An end without a beginning.
    #[error("the `}}` at position {0} has no `{{` before it")]
    NotOpened(usize),
    /// What stands between the braces is no name.
    #[error(
        "the `{{` at position {0} begins no token: its name has to be a letter or `_`, then letters, digits and `_`"
    )]
    Name(usize),
    /// A segment whose literal part is one that a token could not be told from reaching beyond.
    #[error(
        "the segment at position {0} has a token in a dot segment, or beside what could end a segment once decoded: nothing could match it"
    )]
    Segment(usize),
    /// A semicolon in the query.
    #[error(
        "the query has a `;` at position {0}, which some receivers take for a `&`: nothing could match it, but `%3B` is a character as any other"
    )]
    Separator(usize),
    /// Too many tokens.
    #[error("a URL template may have at most {TOKENS_MAX} tokens, this one has {0}")]
    TooManyTokens(usize),
    /// Too many pairs.
    #[error("the query of a URL template may have at most {PAIRS_MAX} pairs, this one has {0}")]
    TooManyPairs(usize),
}

/// Whether a URL is meant as a template: it has a brace that is not percent-encoded.
#[must_use]
pub fn is_template(url: &str) -> bool {
    url.contains(['{', '}'])
}

/// The same URL with its braces percent-encoded, so that it is no template.
#[must_use]
pub fn without_braces(url: &str) -> Cow<'_, str> {
    match is_template(url) {
        true => Cow::Owned(url.replace('{', "%7B").replace('}', "%7D")),
        false => Cow::Borrowed(url),
    }
}

/// The URL of an endpoint.
#[derive(Debug, Clone)]
pub enum EndpointUrl {
    /// The one place where its deliveries go.
    Plain(Arc<TargetUrl>),
    /// Each delivery goes where its event says, within this.
    Template(Arc<UrlTemplate>),
}

impl EndpointUrl {
    /// Parses what was written of an endpoint.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(match is_template(text) {
            true => Self::Template(Arc::new(UrlTemplate::parse(text)?)),
            false => Self::Plain(Arc::new(TargetUrl::parse(text)?)),
        })
    }

    /// A URL with the scheme, host and port of every delivery; its path says nothing.
    #[must_use]
    pub fn site(&self) -> &TargetUrl {
        match self {
            Self::Plain(url) => url,
            Self::Template(template) => &template.site,
        }
    }

    /// Where a delivery goes whose event names the URL `named`, if it names one. `None` when the
    /// endpoint has a template that this URL does not match: it is not, or not any more, one of
    /// the endpoint's.
    #[must_use]
    pub fn resolve(&self, named: Option<&str>) -> Option<Arc<TargetUrl>> {
        match self {
            Self::Plain(url) => Some(Arc::clone(url)),
            Self::Template(template) => {
                let url = TargetUrl::parse(named?).ok()?;
                let is_match = template.matches(&Concrete::of(&url));
                is_match.then(|| Arc::new(url))
            }
        }
    }

    /// For people to read, without the query.
    #[must_use]
    pub fn redacted(&self) -> String {
        match self {
            Self::Plain(url) => url.redacted(),
            Self::Template(template) => template.redacted(),
        }
    }
}

/// A URL with tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    /// The same without path and query.
    site: TargetUrl,
    /// The parts between the slashes, without a last empty one.
    segments: Box<[Pattern]>,
    pairs: Box<[PairPattern]>,
    has_query: bool,
}

impl UrlTemplate {
    /// Compiles a template. A fragment is dropped, as that of any URL.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let site_start = text.find("://").map_or(0, |at| at + 3);
        let (_, after) = text.split_at(site_start);
        let site_end = site_start + after.find(['/', '?', '#']).unwrap_or(after.len());
        let (site, tail) = text.split_at(site_end);
        let (tail, fragment) = tail.split_once('#').unwrap_or((tail, ""));
        if is_template(site) || is_template(fragment) {
            return Err(TemplateError::Place);
        }
        TargetUrl::parse(text)?; // nothing odd anywhere
        let (path, query) = match tail.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (tail, None),
        };
        let pairs_start = site_end + path.len() + 1;
        let path = path.strip_suffix('/').unwrap_or(path);
        let (segment, pair) = (Pattern::parse_segment, PairPattern::parse);
        let template = Self {
            site: TargetUrl::parse(site)?,
            segments: patterns(path, '/', site_end, segment)?,
            pairs: patterns(query.unwrap_or_default(), '&', pairs_start, pair)?,
            has_query: query.is_some(),
        };
        template.within_bounds()
    }

    fn within_bounds(mut self) -> Result<Self, TemplateError> {
        let pairs = self.pairs.iter().map(PairPattern::pattern);
        let all = self.segments.iter().chain(pairs);
        let tokens = all.map(Pattern::tokens).sum();
        if tokens > TOKENS_MAX {
            return Err(TemplateError::TooManyTokens(tokens));
        }
        self.pairs = self
            .pairs
            .into_iter()
            .filter(|pair| !pair.pattern().is_empty())
            .collect();
        match self.pairs.len() {
            pairs if pairs > PAIRS_MAX => Err(TemplateError::TooManyPairs(pairs)),
            _ => Ok(self),
        }
    }

    /// A URL with its scheme, host and port.
    #[must_use]
    pub const fn site(&self) -> &TargetUrl {
        &self.site
    }

    /// Whether a concrete URL is one of those it stands for.
    ///
    /// Scheme, host and port are the same, and so is the path, but for a slash at its end and for
    /// tokens: each stands for one or more characters of its segment. Each pair of the query is
    /// among those of the URL, where a token stands for one or more characters, and the URL has no
    /// other pair of such a name. A segment with tokens that a receiver could decode to a dot
    /// segment, to several segments or to the end of a path matches nothing: the token would reach
    /// beyond its place.
    #[must_use]
    pub fn matches(&self, url: &Concrete<'_>) -> bool {
        self.site.is_of_site(url.url) && self.matches_path(url) && self.matches_query(url)
    }

    /// What is literal comes first: it decides most, and costs least.
    fn matches_path(&self, url: &Concrete<'_>) -> bool {
        let matches = |is_literal: bool| {
            let mut both = self.segments.iter().zip(&url.segments);
            both.all(|(own, found)| own.is_literal() != is_literal || own.matches_segment(found))
        };
        self.segments.len() == url.segments.len() && matches(true) && matches(false)
    }

    fn matches_query(&self, url: &Concrete<'_>) -> bool {
        let matches = |found| pair::all_match(&self.pairs, found);
        self.pairs.is_empty() || url.pairs().is_some_and(matches)
    }

    fn redacted(&self) -> String {
        let segments = self.segments.iter();
        let path: Vec<String> = segments.map(|segment| segment.with_tokens("{}")).collect();
        let path = path.join("/");
        let (scheme, authority) = (self.site.scheme().as_str(), self.site.authority());
        let query = if self.has_query { "?***" } else { "" };
        format!("{scheme}://{authority}{path}{query}")
    }
}

/// The parts of a text, which begins at this byte of its URL.
fn patterns<P>(
    text: &str,
    separator: char,
    mut at: usize,
    parse: impl Fn(&str, usize) -> Result<P, TemplateError>,
) -> Result<Box<[P]>, TemplateError> {
    let compile = |part: &str| {
        let pattern = parse(part, at);
        at += part.len() + 1;
        pattern
    };
    text.split(separator).map(compile).collect()
}
