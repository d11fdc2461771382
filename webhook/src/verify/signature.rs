//! Where the signature is and how its text is taken apart, before anything is decoded.

use std::borrow::Cow;

use crate::event::RawEvent;

use super::VerifyError;
use super::reading::Reading;
use super::source::{Found, Source, trim};

/// The signature of a preset: place and format.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) place: Place,
    pub(super) format: Format,
    /// Where the label is, when it is not in the signature.
    pub(super) label_from: Option<Source>,
}

/// Where signatures are.
#[derive(Debug)]
pub(super) enum Place {
    /// One value.
    Single(Source),
    /// All headers whose name is this lower-case text followed by digits.
    HeaderPrefix(Box<str>),
}

/// How a signature value is written.
#[derive(Debug)]
pub(super) enum Format {
    /// The whole value.
    Plain,
    /// A fixed prefix, then the value.
    Prefixed(Box<[u8]>),
    /// `<word> <value>`, whatever the word: Convoy's API key without a header name.
    SecondWord,
    /// Labelled values: split at `pair`, each split at the first `key`.
    Pairs { pair: u8, key: u8 },
}

/// The signature values of a request, not yet taken apart.
pub(super) enum Values<'r> {
    One(Cow<'r, [u8]>),
    Many(Vec<&'r [u8]>),
}

/// One candidate signature; the label is empty unless the format is `pairs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'v> {
    pub(super) label: &'v [u8],
    pub(super) value: &'v [u8],
}

/// The candidates of a request. One without a label is by far the commonest and needs no list.
pub(super) enum Parts<'v> {
    One(Part<'v>),
    Many(Vec<Part<'v>>),
}

impl<'v> Parts<'v> {
    pub(super) fn as_slice(&self) -> &[Part<'v>] {
        match self {
            Self::One(part) => std::slice::from_ref(part),
            Self::Many(parts) => parts,
        }
    }
}

impl Signature {
    /// The one place of the signature, unless it may be in several headers.
    pub(super) fn single_source(&self) -> Option<&Source> {
        match &self.place {
            Place::Single(source) => Some(source),
            Place::HeaderPrefix(_) => None,
        }
    }

    /// The label of the whole signature, when it has one elsewhere.
    pub(super) fn label<'a>(
        &self,
        reading: &'a Reading<'_>,
    ) -> Result<Option<Cow<'a, [u8]>>, VerifyError> {
        let Some(source) = &self.label_from else {
            return Ok(None);
        };
        match source.find(reading) {
            Found::Once(label) => Ok(Some(label)),
            Found::Unreadable => Err(VerifyError::MalformedBody),
            Found::Missing | Found::Repeated => Ok(Some(Cow::Borrowed(&[]))),
        }
    }

    pub(super) fn find<'a>(&self, reading: &'a Reading<'_>) -> Result<Values<'a>, VerifyError> {
        match &self.place {
            Place::Single(source) => match source.find(reading) {
                Found::Unreadable => Err(VerifyError::MalformedBody),
                Found::Missing => Err(VerifyError::MissingSignature),
                Found::Once(value) if value.is_empty() => Err(VerifyError::MissingSignature),
                Found::Once(value) => Ok(Values::One(value)),
                Found::Repeated => Err(VerifyError::MalformedSignature),
            },
            Place::HeaderPrefix(prefix) => {
                numbered_headers(reading.request, prefix).map(Values::Many)
            }
        }
    }

    pub(super) fn parse<'v>(&self, values: &'v Values<'_>) -> Result<Parts<'v>, VerifyError> {
        let parts = match values {
            Values::One(value) => match self.format.unlabelled(value) {
                Some(part) => return Ok(Parts::One(part)),
                None => self.format.pairs(value).collect::<Vec<_>>(),
            },
            Values::Many(values) => values
                .iter()
                .flat_map(|value| {
                    self.format
                        .unlabelled(value)
                        .into_iter()
                        .chain(self.format.pairs(value))
                })
                .collect(),
        };
        if parts.is_empty() {
            Err(VerifyError::MalformedSignature)
        } else {
            Ok(Parts::Many(parts))
        }
    }
}

impl Format {
    /// The value in a format without labels; `None` when it is not in that format.
    fn unlabelled<'v>(&self, text: &'v [u8]) -> Option<Part<'v>> {
        let value = match self {
            Self::Plain => text,
            Self::Prefixed(prefix) => text.strip_prefix(&**prefix)?,
            Self::SecondWord => {
                let mut words = text.split(|byte| *byte == b' ');
                match (words.next(), words.next(), words.next()) {
                    (Some([_, ..]), Some(value), None) => value,
                    _ => return None,
                }
            }
            Self::Pairs { .. } => return None,
        };
        (!value.is_empty()).then_some(Part { label: b"", value })
    }

    /// The pairs of the text; none in a format without labels. Parts without a separator say nothing.
    fn pairs<'v>(&self, text: &'v [u8]) -> impl Iterator<Item = Part<'v>> + use<'v> {
        let separators = match *self {
            Self::Pairs { pair, key } => Some((pair, key)),
            _ => None,
        };
        separators.into_iter().flat_map(move |(pair, key)| {
            text.split(move |byte| *byte == pair)
                .filter_map(move |part| {
                    let part = trim(part);
                    let (label, rest) = part.split_at_checked(memchr::memchr(key, part)?)?;
                    Some(Part {
                        label,
                        value: rest.get(1..)?,
                    })
                })
        })
    }
}

/// The values of all headers named `prefix` + digits.
fn numbered_headers<'r>(request: &'r RawEvent, prefix: &str) -> Result<Vec<&'r [u8]>, VerifyError> {
    let mut values = Vec::new();
    for name in request.headers.keys() {
        let numbered = name.as_str().strip_prefix(prefix).is_some_and(is_number);
        if !numbered {
            continue;
        }
        match super::source::header(request, name) {
            Found::Missing => {}
            Found::Once(Cow::Borrowed(value)) => values.push(value),
            _ => {
                return Err(VerifyError::MalformedSignature);
            }
        }
    }
    if values.is_empty() {
        Err(VerifyError::MissingSignature)
    } else {
        Ok(values)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Labelled = Vec<(Vec<u8>, Vec<u8>)>;

    fn parse(format: Format, text: &[u8]) -> Result<Labelled, VerifyError> {
        let signature = Signature {
            place: Place::Single(Source::Query("s".into())),
            format,
            label_from: None,
        };
        let values = Values::One(Cow::Borrowed(text));
        let parts = signature.parse(&values)?;
        Ok(parts
            .as_slice()
            .iter()
            .map(|part| (part.label.to_vec(), part.value.to_vec()))
            .collect())
    }

    #[test]
    fn values_that_are_not_in_the_format_are_malformed() {
        let prefixed = || Format::Prefixed(b"sha256=".as_slice().into());
        for (format, text) in [
            (prefixed(), &b"sha1=00"[..]),
            (prefixed(), b"SHA256=00"),
            (prefixed(), b"sha256="),
            (Format::SecondWord, b"token"),
            (Format::SecondWord, b"Bearer  token"),
            (Format::SecondWord, b"a b c"),
            (
                Format::Pairs {
                    pair: b',',
                    key: b'=',
                },
                b"garbage,more",
            ),
        ] {
            assert_eq!(
                parse(format, text),
                Err(VerifyError::MalformedSignature),
                "{text:?}"
            );
        }
    }

    #[test]
    fn pairs_are_trimmed_and_split_at_the_first_separator() {
        let pairs = parse(
            Format::Pairs {
                pair: b' ',
                key: b',',
            },
            b"v1,a=b, v1a,cc noise  ,x",
        )
        .unwrap();
        let expected: [(&[u8], &[u8]); 3] = [(b"v1", b"a=b,"), (b"v1a", b"cc"), (b"", b"x")];
        assert_eq!(
            pairs,
            expected.map(|(label, value)| (label.to_vec(), value.to_vec()))
        );
    }

    #[test]
    fn the_second_word_is_the_value_whatever_the_first() {
        assert_eq!(
            parse(Format::SecondWord, b"Token abc").unwrap(),
            [(Vec::new(), b"abc".to_vec())]
        );
    }
}
