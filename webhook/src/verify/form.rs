//! Fields of a form body, and the one sorted text that Twilio's kind of signature is made of.

use std::borrow::Cow;

use hmac::digest::Update;
use http::header::CONTENT_TYPE;
use memchr::memchr_iter;

use super::source::{Found, decode};
use crate::event::RawEvent;

/// Most fields of a form. One that has more is taken for unreadable: each costs memory.
const FIELDS_MAX: usize = 10_000;

/// The fields of a form in the order they were sent, decoded.
#[derive(Debug)]
pub(super) struct Form<'r>(Vec<Field<'r>>);

/// Name and value.
type Field<'r> = (Cow<'r, [u8]>, Cow<'r, [u8]>);

impl<'r> Form<'r> {
    /// The form of a request; `None` when its content type is another one, or it has too many
    /// fields.
    pub(super) fn of(request: &'r RawEvent) -> Option<Self> {
        let body = &*request.body;
        if !is_form(request) || memchr_iter(b'&', body).count() >= FIELDS_MAX {
            return None;
        }
        let fields = body
            .split(|byte| *byte == b'&')
            .filter(|field| !field.is_empty());
        let fields = fields.map(|field| {
            let (name, value) = match memchr::memchr(b'=', field) {
                Some(at) => field.split_at(at),
                None => (field, &[][..]),
            };
            (decode(name), decode(value.get(1..).unwrap_or_default()))
        });
        Some(Self(fields.collect()))
    }

    pub(super) fn find(&self, name: &str) -> Found<'_> {
        let mut values = self
            .0
            .iter()
            .filter(|(key, _)| **key == *name.as_bytes())
            .map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Found::Missing,
            (Some(value), None) => Found::Once(Cow::Borrowed(value)),
            (Some(_), Some(_)) => Found::Repeated,
        }
    }

    /// Streams names and values without separators: names in byte order, of each name the
    /// distinct values in byte order, each value behind its name.
    pub(super) fn feed_sorted(&self, sink: &mut impl Update) {
        let mut fields: Vec<_> = self.0.iter().collect();
        fields.sort_unstable();
        fields.dedup();
        for (name, value) in fields {
            sink.update(name);
            sink.update(value);
        }
    }
}

/// Whether the content type, given once, is that of a form.
fn is_form(request: &RawEvent) -> bool {
    let Found::Once(value) = super::source::header(request, &CONTENT_TYPE) else {
        return false;
    };
    let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default();
    media_type
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    const FORM: (&str, &str) = (
        "content-type",
        "Application/X-WWW-Form-Urlencoded ; charset=x",
    );

    fn sorted(body: &str) -> Vec<u8> {
        struct Text(Vec<u8>);
        impl Update for Text {
            fn update(&mut self, data: &[u8]) {
                self.0.extend_from_slice(data);
            }
        }
        let mut text = Text(Vec::new());
        let event = request(&[FORM], body.as_bytes());
        Form::of(&event).unwrap().feed_sorted(&mut text);
        text.0
    }

    #[test]
    fn other_content_types_and_floods_of_fields_are_no_form() {
        assert!(Form::of(&request(&[], b"a=1")).is_none());
        assert!(Form::of(&request(&[("content-type", "text/plain")], b"a=1")).is_none());
        assert!(Form::of(&request(&[FORM, FORM], b"a=1")).is_none());
        let flood = "&".repeat(FIELDS_MAX);
        assert!(Form::of(&request(&[FORM], flood.as_bytes())).is_none());
        assert!(Form::of(&request(&[FORM], &flood.as_bytes()[1..])).is_some());
    }

    #[test]
    fn fields_are_decoded_and_one_given_twice_is_repeated() {
        let event = request(&[FORM], b"a=%41+b&c&%64=1&d=2&=x&&e=%zz");
        let form = Form::of(&event).unwrap();
        let once = |text: &'static [u8]| Found::Once(Cow::Borrowed(text));
        assert_eq!(form.find("a"), once(b"A b"));
        assert_eq!(form.find("c"), once(b""));
        assert_eq!(form.find("d"), Found::Repeated);
        assert_eq!(form.find("e"), once(b"%zz"));
        assert_eq!(form.find("f"), Found::Missing);
    }

    #[test]
    fn the_sorted_text_has_each_pair_once_in_byte_order() {
        assert_eq!(sorted("b=2&a=2&Z=1&a=1&a=2&c"), b"Z1a1a2b2c");
        assert_eq!(sorted(""), b"");
    }
}
