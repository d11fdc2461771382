//! One part of a signed text or of an answer.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::digest::Update;
use http::HeaderName;

use crate::verify::VerifyError;
use crate::verify::compile::{CompileError, Draft, hmac_hash};
use crate::verify::pointers::Slot;
use crate::verify::public_url::Form as UrlForm;
use crate::verify::scheme::{KeyedHmac, Text};
use crate::verify::source::{Found, form, header, json, query};

use super::sns::Sns;
use super::{Inputs, Scope, header_name};

/// Longest text of which an answer that anybody may ask for gives the MAC away, bytes.
const OPEN_MAC_BYTES_MAX: usize = 256;

/// The only escapes that `{url_lenient_decoded}` decodes.
const LENIENT: [(&[u8; 2], u8); 12] = [
    (b"3A", b':'),
    (b"2F", b'/'),
    (b"3F", b'?'),
    (b"40", b'@'),
    (b"21", b'!'),
    (b"24", b'$'),
    (b"27", b'\''),
    (b"28", b'('),
    (b"29", b')'),
    (b"2A", b'*'),
    (b"2C", b','),
    (b"3B", b';'),
];

pub(super) enum Part {
    Text(Box<[u8]>),
    Body,
    Timestamp,
    Method,
    Url(Url),
    Header(HeaderName),
    Query(Arc<str>),
    Form(Arc<str>),
    /// A scalar; nothing when it is missing, unless the text is an answer.
    Json {
        slot: Slot,
        is_needed: bool,
    },
    FormSorted,
    Crc32,
    Sns(Sns),
    /// The key itself, for plain digests.
    Secret,
    Mac(Box<Mac>),
}

/// The public URL: `base`, the request's path if that is only an origin, the raw query.
pub(super) struct Url {
    base: Box<str>,
    is_origin: bool,
    is_decoded: bool,
}

/// The MAC of another part, for answers.
pub(super) struct Mac {
    keyed: KeyedHmac,
    is_hex: bool,
    is_open: bool,
    of: Part,
}

impl Part {
    pub(super) fn compile(
        field: &str,
        placeholder: (&str, Option<&str>),
        draft: &mut Draft<'_>,
        scope: &Scope<'_>,
    ) -> Result<Self, CompileError> {
        Ok(match placeholder {
            ("body", None) => Self::Body,
            ("timestamp", None) if scope.has_timestamp => Self::Timestamp,
            ("timestamp", None) => {
                let reason = "`{timestamp}` needs a `timestamp`";
                return Err(CompileError::invalid(field, reason));
            }
            ("method", None) => Self::Method,
            ("url", None) => Self::url(field, UrlForm::AsConfigured, false, scope)?,
            ("url_with_port", None) => Self::url(field, UrlForm::WithPort, false, scope)?,
            ("url_without_port", None) => Self::url(field, UrlForm::WithoutPort, false, scope)?,
            ("url_lenient_decoded", None) => Self::url(field, UrlForm::AsConfigured, true, scope)?,
            ("header", Some(name)) => Self::Header(header_name(field, name)?),
            ("query_param", Some(name)) if !name.is_empty() => Self::Query(name.into()),
            ("form", Some(name)) if !name.is_empty() => Self::Form(name.into()),
            ("json", Some(pointer)) => Self::Json {
                slot: draft.pointers.slot(field, pointer)?,
                is_needed: scope.answer.is_some(),
            },
            ("form_sorted", None) => Self::FormSorted,
            ("crc32", None) => Self::Crc32,
            ("sns", None) => Self::Sns(Sns::compile(field, &mut draft.pointers)?),
            ("param", Some(name)) => Self::Text(draft.params.get(field, name)?.as_bytes().into()),
            ("secret", None) if scope.answer.is_none() => Self::Secret,
            ("mac", Some(argument)) => Self::mac(field, argument, draft, scope)?,
            (name, _) => {
                let reason =
                    format!("`{{{name}}}` is no placeholder, or is not written as one here");
                return Err(CompileError::invalid(field, reason));
            }
        })
    }

    fn url(
        field: &str,
        form: UrlForm,
        is_decoded: bool,
        scope: &Scope<'_>,
    ) -> Result<Self, CompileError> {
        let url = scope
            .public_url
            .as_ref()
            .ok_or_else(|| CompileError::PublicUrlMissing {
                field: field.to_owned(),
            })?;
        Ok(Self::Url(Url {
            base: url.base(form).into(),
            is_origin: url.is_origin(),
            is_decoded,
        }))
    }

    /// `{mac:ALGORITHM:ENCODING:placeholder}`.
    fn mac(
        field: &str,
        argument: &str,
        draft: &mut Draft<'_>,
        scope: &Scope<'_>,
    ) -> Result<Self, CompileError> {
        let invalid = |reason: &str| CompileError::invalid(field, format!("`{{mac}}` {reason}"));
        let answer = scope.answer.as_ref();
        let answer = answer.ok_or_else(|| invalid("is for answers only"))?;
        let mut words = argument.splitn(3, ':');
        let (Some(algorithm), Some(encoding), Some(of)) =
            (words.next(), words.next(), words.next())
        else {
            return Err(invalid("needs an algorithm, an encoding and a placeholder"));
        };
        let is_hex = match encoding {
            "hex" => true,
            "base64" => false,
            _ => return Err(invalid("takes the encodings `hex` and `base64`")),
        };
        let (secret, form) = answer
            .key
            .ok_or_else(|| invalid("needs a secret and a first scheme with a shared key"))?;
        let key = form
            .derive(secret)
            .ok_or_else(|| invalid("needs a first secret that is a key"))?;
        let keyed = hmac_hash(field, algorithm).and_then(|hash| {
            KeyedHmac::new(hash, &key).ok_or_else(|| invalid("cannot take this key"))
        })?;
        let (name, argument) = match of.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (of, None),
        };
        let of = Self::compile(field, (name, argument), draft, scope)?;
        if matches!(of, Self::Mac(_) | Self::Text(_) | Self::Body) {
            return Err(invalid("takes one value of the request"));
        }
        Ok(Self::Mac(Box::new(Mac {
            keyed,
            is_hex,
            is_open: answer.is_open,
            of,
        })))
    }

    /// Whether it gives a MAC to whoever asks.
    pub(super) const fn is_open_mac(&self) -> bool {
        matches!(self, Self::Mac(mac) if mac.is_open)
    }

    /// Streams the part into `sink`.
    pub(super) fn feed(
        &self,
        inputs: &Inputs<'_, '_>,
        secret: &[u8],
        sink: &mut impl Update,
    ) -> Result<(), VerifyError> {
        let reading = inputs.reading;
        let request = reading.request;
        match self {
            Self::Text(text) => sink.update(text),
            Self::Body => sink.update(&request.body),
            Self::Timestamp => sink.update(inputs.timestamp),
            Self::Method => sink.update(request.method.as_str().as_bytes()),
            Self::Secret => sink.update(secret),
            Self::Crc32 => sink.update(crc32fast::hash(&request.body).to_string().as_bytes()),
            // Empty for other bodies: those are covered by a digest in the URL.
            Self::FormSorted => {
                if let Some(form) = reading.form() {
                    form.feed_sorted(sink);
                }
            }
            Self::Url(url) => url.feed(&request.path, &request.query, sink),
            Self::Sns(sns) => sns.feed(reading, sink)?,
            Self::Mac(mac) => mac.feed(inputs, sink)?,
            Self::Header(name) => sink.update(&self.one(header(request, name), name.as_str())?),
            Self::Query(name) => sink.update(&self.one(query(&request.query, name), name)?),
            Self::Form(name) => sink.update(&self.one(form(reading, name), name)?),
            Self::Json { slot, is_needed } => match json(reading, *slot) {
                Found::Once(value) => sink.update(&value),
                Found::Missing if !is_needed => {}
                _ => return Err(VerifyError::MalformedBody),
            },
        }
        Ok(())
    }

    /// The one value there is, or what its absence is called.
    fn one<'r>(&self, found: Found<'r>, name: &str) -> Result<Cow<'r, [u8]>, VerifyError> {
        match (found, self) {
            (Found::Once(value), _) => Ok(value),
            (Found::Missing, Self::Header(name)) => Err(VerifyError::MissingHeader(name.clone())),
            (Found::Missing, _) => Err(VerifyError::MissingParameter(name.into())),
            (Found::Repeated, _) => Err(VerifyError::RepeatedInput(name.into())),
            (Found::Unreadable, _) => Err(VerifyError::MalformedBody),
        }
    }
}

impl Url {
    fn feed(&self, path: &str, query: &str, sink: &mut impl Update) {
        let path = if self.is_origin { path } else { "" };
        let mark = if query.is_empty() { "" } else { "?" };
        for piece in [&*self.base, path, mark, query] {
            if self.is_decoded {
                feed_lenient(piece.as_bytes(), sink);
            } else {
                sink.update(piece.as_bytes());
            }
        }
    }
}

/// Decodes the escapes of [`LENIENT`] and leaves all others as they are.
fn feed_lenient(text: &[u8], sink: &mut impl Update) {
    let mut pieces = text.split(|byte| *byte == b'%');
    sink.update(pieces.next().unwrap_or_default());
    for piece in pieces {
        let escape = |(code, _): &&(&[u8; 2], u8)| {
            piece
                .get(..2)
                .is_some_and(|digits| digits.eq_ignore_ascii_case(*code))
        };
        match LENIENT.iter().find(escape) {
            Some((_, byte)) => {
                sink.update(&[*byte]);
                sink.update(piece.get(2..).unwrap_or_default());
            }
            None => {
                sink.update(b"%");
                sink.update(piece);
            }
        }
    }
}

impl Mac {
    fn feed(&self, inputs: &Inputs<'_, '_>, sink: &mut impl Update) -> Result<(), VerifyError> {
        let mut text = Text(Vec::new());
        self.of.feed(inputs, &[], &mut text)?;
        if self.is_open && !is_challenge(&text.0) {
            return Err(VerifyError::MalformedChallenge);
        }
        let mac = self.keyed.of(&text.0);
        let shown = if self.is_hex {
            hex::encode(mac)
        } else {
            STANDARD.encode(mac)
        };
        sink.update(shown.as_bytes());
        Ok(())
    }
}

/// Whether a text is one that an open answer gives the MAC of. Where the body is signed with the
/// same key that MAC is a signature, so a body like this is no event: the two never meet. A list
/// of what is let through, since what must not be has no end: JSON behind a byte order mark, a
/// compressed body, a multipart one.
pub(in crate::verify) fn is_challenge(text: &[u8]) -> bool {
    let is_plain = |letter: char| match letter {
        '-' | '_' | '.' | '~' | '+' | '/' | '=' | ':' => true,
        '\u{feff}' => false,
        _ if letter.is_ascii() => letter.is_ascii_alphanumeric(),
        _ => !letter.is_control() && !letter.is_whitespace(),
    };
    (1..=OPEN_MAC_BYTES_MAX).contains(&text.len())
        && std::str::from_utf8(text).is_ok_and(|text| text.chars().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_answer_never_signs_what_could_be_an_event() {
        for text in [
            &b"{\"a\":1}"[..],
            b" \n[1]",
            b"<a/>",
            b"a=1&b=2",
            b"\xef\xbb\xbf{\"a\":1}",
            b"\x1f\x8b\x08\x00",
            b"x\x9c\xabV",
            b"\x00{\x00}",
            b"--b\r\n",
            b"a: b",
            b"\xff",
            b"",
            b" ",
            &[b'a'; 257],
        ] {
            assert!(!is_challenge(text), "{text:?}");
        }
        for text in [
            &b"bc7f1a9e"[..],
            b"20f9f8ed05f77439fe955c977e4c8a53",
            b"\xc3\xbf\xe2\x82\xac",
            b"YWJj==",
        ] {
            assert!(is_challenge(text), "{text:?}");
        }
    }

    #[test]
    fn only_the_listed_escapes_are_decoded() {
        let mut text = Text(Vec::new());
        feed_lenient(b"a%3a%2Fb%20%25%3%4", &mut text);
        assert_eq!(text.0, b"a:/b%20%25%3%4");
    }
}
