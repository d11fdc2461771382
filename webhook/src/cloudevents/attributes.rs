//! The attributes of one event as they are collected, whatever mode they came in.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, CloudEventError, Envelope};

/// Longest name of an attribute; the specification asks for 20, and senders do not listen.
const NAME_BYTES_MAX: usize = 64;

/// What is known of an event so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    count: usize,
    has_specversion: bool,
    id: Option<Box<str>>,
    source: Option<Box<str>>,
    event_type: Option<Box<str>>,
}

impl Draft {
    /// Takes an attribute that is text, and says what is wrong with it.
    pub(super) fn text(&mut self, name: &str, value: &str) -> Result<(), CloudEventError> {
        self.named(name)?;
        let wrong = |expected| CloudEventError::Value {
            name: name.to_owned(),
            expected,
        };
        if value.len() > ATTRIBUTE_BYTES_MAX {
            return Err(CloudEventError::TooLong {
                name: name.to_owned(),
                bytes: value.len(),
            });
        }
        if value.chars().any(char::is_control) {
            return Err(wrong("text without control characters"));
        }
        let is_context = matches!(
            name,
            "id" | "source" | "type" | "subject" | "dataschema" | "datacontenttype" | "time"
        );
        if is_context && value.is_empty() {
            return Err(CloudEventError::Empty(name.to_owned()));
        }
        match name {
            "specversion" if value != "1.0" => return Err(wrong("\"1.0\"")),
            "specversion" => self.has_specversion = true,
            "id" => self.id = Some(value.into()),
            "source" if !is_uri_reference(value) => return Err(wrong("a URI reference")),
            "source" => self.source = Some(value.into()),
            "type" => self.event_type = Some(value.into()),
            "dataschema" if !is_uri(value) => return Err(wrong("an absolute URI")),
            "time" if OffsetDateTime::parse(value, &Rfc3339).is_err() => {
                return Err(wrong("an RFC 3339 time"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes an extension that is a number or a truth value.
    pub(super) fn scalar(&mut self, name: &str) -> Result<(), CloudEventError> {
        self.named(name)?;
        let is_text = matches!(
            name,
            "specversion"
                | "id"
                | "source"
                | "type"
                | "subject"
                | "dataschema"
                | "datacontenttype"
                | "time"
        );
        if is_text {
            return Err(CloudEventError::Value {
                name: name.to_owned(),
                expected: "a string",
            });
        }
        Ok(())
    }

    fn named(&mut self, name: &str) -> Result<(), CloudEventError> {
        let is_name = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !is_name {
            let shown = name.chars().take(NAME_BYTES_MAX).collect();
            return Err(CloudEventError::Name(shown));
        }
        self.count += 1;
        if self.count > ATTRIBUTES_MAX {
            return Err(CloudEventError::TooMany);
        }
        Ok(())
    }

    /// The event, when nothing that it needs is missing.
    pub(super) fn finish(self) -> Result<Envelope, CloudEventError> {
        let missing = |name| move || CloudEventError::Missing(name);
        if !self.has_specversion {
            return Err(CloudEventError::Missing("specversion"));
        }
        Ok(Envelope {
            id: self.id.ok_or_else(missing("id"))?,
            source: self.source.ok_or_else(missing("source"))?,
            event_type: self.event_type.ok_or_else(missing("type"))?,
        })
    }
}

/// No more than what keeps it apart from text: senders write names, paths and URNs there.
fn is_uri_reference(value: &str) -> bool {
    !value.contains(|found: char| found.is_whitespace() || matches!(found, '<' | '>' | '"'))
}

fn is_uri(value: &str) -> bool {
    let has_scheme = value.split_once(':').is_some_and(|(scheme, rest)| {
        let is_scheme = scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        is_scheme
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && !rest.is_empty()
    });
    has_scheme && is_uri_reference(value)
}
