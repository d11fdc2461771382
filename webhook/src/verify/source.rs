//! Where a single value of a request is, and how to read it. Widened by form and JSON later.

use std::borrow::Cow;

use http::HeaderName;
use percent_encoding::percent_decode;

use crate::event::RawEvent;

/// The place of a value that may stand only once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A request header.
    Header(HeaderName),
    /// A query parameter, by its decoded name.
    Query(Box<str>),
}

/// What is at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'r> {
    /// Nothing, or a header without a value.
    Missing,
    /// One value; of a query parameter it may be empty.
    Once(Cow<'r, [u8]>),
    /// Several. Picking one would let a proxy in front and this check disagree about which.
    Repeated,
}

impl Source {
    pub(super) fn find<'r>(&self, request: &'r RawEvent) -> Found<'r> {
        match self {
            Self::Header(name) => header(request, name),
            Self::Query(name) => query(&request.query, name),
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
        (*decode(key) == *name.as_bytes()).then_some(value)
    });
    match (values.next(), values.next()) {
        (None, _) => Found::Missing,
        (Some(value), None) => Found::Once(decode(value)),
        (Some(_), Some(_)) => Found::Repeated,
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
fn decode(text: &str) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'+', b'%', text.as_bytes()).is_none() {
        return Cow::Borrowed(text.as_bytes());
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode(spaced.as_bytes()).collect())
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
