//! The JSON view of a body: what filters, event-type locations and idempotency selectors look
//! at. The body itself is stored, signed and sent as it came; the view is never stored.
//!
//! - JSON, whatever its content type says: itself.
//! - `application/x-www-form-urlencoded`: an object of first values, the query's among them where
//!   the body has none of that name (contract, section 4).
//! - `multipart/form-data`: an object of first parts. A text is its text, a file
//!   `{"filename", "content_type", "size"}`.
//! - XML: `{"root": {"@attribute": "..", "child": .., "#text": ".."}}`; a child that is there
//!   more than once is an array, an element with nothing but text is that text.
//! - Nothing at all: an empty object. Other bytes have no view.
//!
//! Content codings are taken off first, within the bounds of [`crate::decode`].

mod form;
mod multipart;
mod xml;

use std::borrow::Cow;
use std::sync::OnceLock;

use http::{HeaderMap, header};
use serde_json::{Map, Value};

use crate::decode;

/// Values in a view. A body with more has none: a view is many times as large as its text, and
/// the largest payloads of providers stay far below.
pub const VALUES_MAX: usize = 1_000_000;
/// Longest body after decoding, bytes, where no smaller limit is set (RULINGS section E).
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The view of a body with the headers it came with. `None` when it has no JSON view.
#[must_use]
pub fn of(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    of_request(headers, "", body)
}

/// As [`of`], with the raw query of the request, whose parameters belong to a form.
#[must_use]
pub fn of_request(headers: &HeaderMap, query: &str, body: &[u8]) -> Option<Value> {
    let decoded = decode::body(headers, body, BODY_BYTES_MAX).ok()?;
    of_decoded(headers, query, &decoded)
}

/// As [`of_request`], of a body whose content codings were taken off.
#[must_use]
pub fn of_decoded(headers: &HeaderMap, query: &str, body: &[u8]) -> Option<Value> {
    match Kind::of(headers) {
        Kind::Form => form::view(query, body),
        _ if body.is_empty() => Some(Value::Object(Map::new())),
        Kind::Multipart { boundary } => multipart::view(&boundary?, body),
        Kind::Xml => xml::view(body),
        Kind::Other => json(body),
    }
}

/// A view that is made once: empty until then, `None` when there is none.
pub type Cell = OnceLock<Option<Value>>;

/// The view of one request, made when it is first asked for and then kept.
#[derive(Debug)]
pub struct Lazy<'r> {
    headers: &'r HeaderMap,
    query: &'r str,
    /// Without its content codings.
    body: Cow<'r, [u8]>,
    view: Cell,
}

impl<'r> Lazy<'r> {
    /// Of a body whose content codings were taken off.
    #[must_use]
    pub fn new(headers: &'r HeaderMap, query: &'r str, body: Cow<'r, [u8]>) -> Self {
        Self {
            headers,
            query,
            body,
            view: Cell::new(),
        }
    }

    /// The view. `None` when the body has none.
    #[must_use]
    pub fn get(&self) -> Option<&Value> {
        let view = || of_decoded(self.headers, self.query, &self.body);
        self.view.get_or_init(view).as_ref()
    }

    /// The view, if it was asked for, for others who may want it.
    #[must_use]
    pub fn into_cell(self) -> Cell {
        self.view
    }

    /// The body without its content codings.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// What a body is, as its content type says.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Form,
    /// `None`: the parameter is missing or cannot be one.
    Multipart {
        boundary: Option<String>,
    },
    Xml,
    /// JSON, or nothing we know.
    Other,
}

impl Kind {
    fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(header::CONTENT_TYPE);
        let text = value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        match &*essence {
            "application/x-www-form-urlencoded" => Self::Form,
            "multipart/form-data" => Self::Multipart {
                boundary: multipart::boundary(text),
            },
            "application/xml" | "text/xml" => Self::Xml,
            other if other.ends_with("+xml") => Self::Xml,
            _ => Self::Other,
        }
    }
}

/// SNS sends JSON as `text/plain`, and others say nothing: the bytes decide.
fn json(body: &[u8]) -> Option<Value> {
    // Each value but the first stands behind one of these, so this is never too few.
    let is_many = body.len() > VALUES_MAX
        && memchr::memchr3_iter(b',', b'[', b'{', body)
            .nth(VALUES_MAX)
            .is_some();
    if is_many {
        return None;
    }
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests;
