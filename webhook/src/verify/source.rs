//! Where a single value of a request is, and how to read it.

use std::borrow::Cow;

use http::HeaderName;
use percent_encoding::percent_decode;

use crate::event::RawEvent;

use super::pointers::{Slot, Value, is_null, scalar};
use super::reading::Reading;

/// The place of a value that may stand only once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A request header.
    Header(HeaderName),
    /// A query parameter, by its decoded name.
    Query(Box<str>),
    /// A field of a form body, by its decoded name.
    Form(Box<str>),
    /// A scalar in a JSON body.
    Json(Slot),
}

/// What is at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'r> {
    /// Nothing, a header without a value, or JSON's `null`.
    Missing,
    /// One value; of a query parameter it may be empty.
    Once(Cow<'r, [u8]>),
    /// Several, or an object or array where one scalar belongs. Picking one would let a proxy
    /// in front and this check disagree about which.
    Repeated,
    /// The body is not in the format that has such a place.
    Unreadable,
}

impl Source {
    /// Whether it is in the head of the request.
    pub(super) const fn is_outside_body(&self) -> bool {
        matches!(self, Self::Header(_) | Self::Query(_))
    }

    pub(super) fn find<'a>(&self, reading: &'a Reading<'_>) -> Found<'a> {
        match self {
            Self::Header(name) => header(reading.request, name),
            Self::Query(name) => query(&reading.request.query, name),
            Self::Form(name) => form(reading, name),
            Self::Json(slot) => json(reading, *slot),
        }
    }
}

/// The value of a header without its outer spaces.
pub(super) fn header<'r>(request: &'r RawEvent, name: &HeaderName) -> Found<'r> {
    let mut values = request.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Found::Missing,
        (Some(value), None) => match trim(value.as_bytes()) {
            [] => Found::Missing,
            value => Found::Once(Cow::Borrowed(value)),
        },
        (Some(_), Some(_)) => Found::Repeated,
    }
}

/// The decoded value of a query parameter. Names are compared decoded as well: `%74oken` is
/// `token` to whoever reads the query after us.
pub(super) fn query<'r>(query: &'r str, name: &str) -> Found<'r> {
    let mut values = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*decode(key.as_bytes()) == *name.as_bytes()).then_some(value)
    });
    match (values.next(), values.next()) {
        (None, _) => Found::Missing,
        (Some(value), None) => Found::Once(decode(value.as_bytes())),
        (Some(_), Some(_)) => Found::Repeated,
    }
}

/// The decoded value of a form field.
pub(super) fn form<'a>(reading: &'a Reading<'_>, name: &str) -> Found<'a> {
    reading
        .form()
        .map_or(Found::Unreadable, |form| form.find(name))
}

/// The text of a scalar in a JSON body.
pub(super) fn json<'a>(reading: &'a Reading<'_>, slot: Slot) -> Found<'a> {
    let Some(values) = reading.json() else {
        return Found::Unreadable;
    };
    match values.get(slot) {
        Value::Missing => Found::Missing,
        Value::Once(raw) if is_null(raw) => Found::Missing,
        Value::Once(raw) => scalar(raw).map_or(Found::Repeated, Found::Once),
        Value::Repeated => Found::Repeated,
    }
}

/// Without spaces and tabs at both ends: the optional white space of HTTP, nothing else.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Form decoding: `+` is a space, `%XX` a byte; a broken escape stays as it is.
pub(super) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr2(b'+', b'%', text) else {
        return Cow::Borrowed(text);
    };
    let mut spaced = text.to_vec();
    for byte in spaced.iter_mut().skip(first) {
        if *byte == b'+' {
            *byte = b' ';
        }
    }
    Cow::Owned(percent_decode(&spaced).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_given_twice_is_repeated_also_when_its_name_is_escaped() {
        assert_eq!(query("token=a&token=b", "token"), Found::Repeated);
        assert_eq!(query("token=a&%74oken=b", "token"), Found::Repeated);
        assert_eq!(query("token&token", "token"), Found::Repeated);
    }

    #[test]
    fn query_values_are_decoded_and_broken_escapes_kept() {
        assert_eq!(
            query("a=1&token=k%2F1%2b+%zz%4", "token"),
            Found::Once(Cow::Borrowed(b"k/1+ %zz%4"))
        );
        assert_eq!(query("", "token"), Found::Missing);
        assert_eq!(query("token", "token"), Found::Once(Cow::Borrowed(b"")));
        assert_eq!(query("xtoken=1", "token"), Found::Missing);
    }

    #[test]
    fn only_outer_spaces_and_tabs_are_trimmed() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"\x0ba\n"), b"\x0ba\n");
    }
}
