//! Where a value of a request is, as people write it: `request.header.X-Event`,
//! `request.query.id`, `request.body.data.items.0.id`.
//!
//! Header and query parameters may stand once only: of several, a proxy in front and this
//! gateway could mean different ones. A body is looked at through its [`view`](crate::view), so forms,
//! parts and XML have selectors as JSON has.

use std::borrow::Cow;
use std::fmt;

use http::HeaderName;
use serde_json::Value;

use crate::event::RawEvent;
use crate::view::Lazy;

/// Parts of a path in a body.
pub const PARTS_MAX: usize = 32;
/// Beyond this a number in JSON may have lost digits: two would be taken for one.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A text that is no selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be like `request.header.X-Event-Type`, `request.query.type` or `request.body.data.type`, \
     with at most {PARTS_MAX} parts of a body"
)]
pub struct SelectorError;

/// The place of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// A request header.
    Header(HeaderName),
    /// A query parameter, by its decoded name.
    Query(Box<str>),
    /// A value in the body: member names, and places in lists from 0 on.
    Body(Box<[Box<str>]>),
}

impl Selector {
    /// Parses `request|req` `.` `header|query|queryparam|body` `.` selector; the second word in
    /// either spelling of Convoy's. In a body `\.` is a dot within a name.
    ///
    /// # Errors
    /// [`SelectorError`] when the text is in another form.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut words = text.splitn(3, '.');
        let (Some("request" | "req"), Some(place), Some(selector)) =
            (words.next(), words.next(), words.next())
        else {
            return Err(SelectorError);
        };
        if selector.is_empty() {
            return Err(SelectorError);
        }
        match place {
            "header" | "Header" => selector
                .parse()
                .map(Self::Header)
                .map_err(|_| SelectorError),
            "query" | "Query" | "queryparam" | "QueryParam" => Ok(Self::Query(selector.into())),
            "body" | "Body" => parts(selector).map(Self::Body),
            _ => Err(SelectorError),
        }
    }

    /// The value as text: texts, numbers and truth values have one. `None` when it is missing,
    /// empty or given twice.
    #[must_use]
    pub fn text<'v>(&self, request: &'v RawEvent, view: &'v Lazy<'_>) -> Option<Cow<'v, str>> {
        let found = match self {
            Self::Header(name) => Cow::Borrowed(std::str::from_utf8(header(request, name)?).ok()?),
            Self::Query(name) => query(request, name)?,
            Self::Body(parts) => match value(view.get()?, parts)? {
                Value::String(text) => Cow::Borrowed(&**text),
                Value::Number(number) => Cow::Owned(number.to_string()),
                Value::Bool(is) => Cow::Borrowed(if *is { "true" } else { "false" }),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            },
        };
        (!found.is_empty()).then_some(found)
    }

    /// The value as bytes that are equal for equal values only: of a body its JSON, so that the
    /// text `"1"` and the number `1` differ. `None` when it is missing, empty, null, given twice,
    /// or a number too large to be told from its neighbours.
    #[must_use]
    pub fn bytes<'v>(&self, request: &'v RawEvent, view: &'v Lazy<'_>) -> Option<Cow<'v, [u8]>> {
        match self {
            Self::Header(name) => header(request, name).map(Cow::Borrowed),
            Self::Query(name) => {
                let found = query(request, name).filter(|found| !found.is_empty())?;
                Some(Cow::Owned(found.into_owned().into_bytes()))
            }
            Self::Body(parts) => match value(view.get()?, parts)? {
                Value::Null => None,
                Value::String(text) if text.is_empty() => None,
                found if !is_exact(found) => None,
                found => Some(Cow::Owned(found.to_string().into_bytes())),
            },
        }
    }
}

fn parts(selector: &str) -> Result<Box<[Box<str>]>, SelectorError> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut characters = selector.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some('.')) => {
                part.push('.');
                characters.next();
            }
            ('.', _) => parts.push(std::mem::take(&mut part).into_boxed_str()),
            _ => part.push(character),
        }
    }
    parts.push(part.into_boxed_str());
    let is_good = parts.len() <= PARTS_MAX && parts.iter().all(|part| !part.is_empty());
    is_good
        .then(|| parts.into_boxed_slice())
        .ok_or(SelectorError)
}

/// The one value of a header that is not empty.
fn header<'r>(request: &'r RawEvent, name: &HeaderName) -> Option<&'r [u8]> {
    let mut values = request.headers.get_all(name).iter();
    let value = values.next()?.as_bytes();
    (values.next().is_none() && !value.is_empty()).then_some(value)
}

fn query<'r>(request: &'r RawEvent, name: &str) -> Option<Cow<'r, str>> {
    let pairs = form_urlencoded::parse(request.query.as_bytes());
    let mut values = pairs.filter(|(key, _)| *key == *name);
    let (_, value) = values.next()?;
    values.next().is_none().then_some(value)
}

fn value<'v>(mut value: &'v Value, parts: &[Box<str>]) -> Option<&'v Value> {
    for part in parts {
        value = match value {
            Value::Object(members) => members.get(&**part)?,
            Value::Array(items) => items.get(place(part)?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// A place in a list: digits only, so that there is one way to write it.
fn place(part: &str) -> Option<usize> {
    let is_plain = part == "0" || !part.starts_with('0');
    (is_plain && part.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| part.parse().ok())
        .flatten()
}

fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) if number.is_f64() => number
            .as_f64()
            .is_some_and(|number| number.abs() < EXACT_MAX),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        _ => true,
    }
}

/// As it is written: `request.header.x-event-type`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "request.header.{name}"),
            Self::Query(name) => write!(f, "request.query.{name}"),
            Self::Body(parts) => {
                f.write_str("request.body")?;
                parts
                    .iter()
                    .try_for_each(|part| write!(f, ".{}", part.replace('.', "\\.")))
            }
        }
    }
}

#[cfg(test)]
mod tests;
