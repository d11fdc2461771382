//! Handshakes: requests that ask whether somebody is there, and what they are answered. Nothing
//! of them becomes an event.

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderValue, Method, StatusCode};
use regex::bytes::Regex;
use subtle::ConstantTimeEq;

use crate::address::TargetUrl;

use super::VerifyError;
use super::allowed_url::AllowedUrl;
use super::pointers::{Slot, Value, elements};
use super::reading::Reading;
use super::scheme::Text;
use super::source::{Found, Source, header};
use super::template::{Inputs, Template};

/// A compiled responder of a preset.
pub(super) struct Responder {
    pub(super) when: When,
    pub(super) requires: Vec<Require>,
    pub(super) is_signed: bool,
    pub(super) respond: Respond,
    pub(super) call: Option<(Template, AllowedUrl)>,
    pub(super) reject_status: u16,
}

/// What makes a request this handshake.
pub(super) struct When {
    pub(super) method: Method,
    pub(super) conditions: Vec<Condition>,
}

pub(super) enum Condition {
    Present(Source),
    Absent(HeaderName),
    Equals(Source, Box<[u8]>),
    /// An array without elements.
    Empty(Slot),
}

/// What must hold for a handshake to be answered.
pub(super) enum Require {
    /// Equal to a parameter, which may be a secret.
    Equals(Source, Box<[u8]>),
    Matches(Source, Regex),
    /// One of these; `None` is any.
    In(Source, Option<Vec<Box<[u8]>>>),
}

pub(super) struct Respond {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) body: Vec<Piece>,
}

/// A piece of the body of an answer.
pub(super) enum Piece {
    /// As it is.
    Fixed(Box<[u8]>),
    Text(Template),
    /// The content of a string in JSON, with its quotes.
    Quoted(Template),
}

/// A request that is a handshake of a verifier's preset.
#[derive(Clone, Copy)]
pub struct Handshake<'v> {
    pub(super) responder: &'v Responder,
}

/// What a handshake is answered.
#[derive(Debug)]
pub struct HandshakeAnswer {
    /// Status.
    pub status: StatusCode,
    /// Content type of the body; `None` when there is none.
    pub content_type: Option<HeaderValue>,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// A URL to be fetched before the answer: it passed the preset's rule for hosts.
    pub call: Option<TargetUrl>,
}

impl Handshake<'_> {
    /// Whether the request must be verified before it is answered.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.responder.is_signed
    }

    /// Status when it is not answered.
    #[must_use]
    pub fn reject_status(&self) -> u16 {
        self.responder.reject_status
    }

    /// The answer. The caller has verified the request if it [is signed](Self::is_signed).
    ///
    /// # Errors
    /// [`VerifyError::ChallengeTokenMismatch`], [`VerifyError::ChallengeValueNotAllowed`],
    /// [`VerifyError::MalformedChallenge`] or [`VerifyError::UntrustedUrl`].
    pub fn answer(&self, reading: &Reading<'_>) -> Result<HandshakeAnswer, VerifyError> {
        let responder = self.responder;
        responder
            .requires
            .iter()
            .try_for_each(|require| require.check(reading))?;
        let call = match &responder.call {
            None => None,
            Some((template, allowed)) => {
                let url = allowed.parse(&render(template, reading)?);
                Some(url.ok_or(VerifyError::UntrustedUrl)?)
            }
        };
        let respond = &responder.respond;
        let headers = respond.headers.iter().map(|(name, template)| {
            let value = HeaderValue::from_bytes(&render(template, reading)?);
            Ok((
                name.clone(),
                value.map_err(|_| VerifyError::MalformedChallenge)?,
            ))
        });
        Ok(HandshakeAnswer {
            status: respond.status,
            content_type: respond.content_type.clone(),
            headers: headers.collect::<Result<_, _>>()?,
            body: respond.body(reading)?,
            call,
        })
    }
}

impl Responder {
    /// Whether it gives a MAC to whoever asks.
    pub(super) fn has_open_mac(&self) -> bool {
        let Respond { headers, body, .. } = &self.respond;
        let in_body = |piece: &Piece| match piece {
            Piece::Fixed(_) => false,
            Piece::Text(text) | Piece::Quoted(text) => text.has_open_mac(),
        };
        headers.iter().any(|(_, text)| text.has_open_mac()) || body.iter().any(in_body)
    }
}

impl Respond {
    fn body(&self, reading: &Reading<'_>) -> Result<Bytes, VerifyError> {
        let mut body = Vec::new();
        for piece in &self.body {
            match piece {
                Piece::Fixed(text) => body.extend_from_slice(text),
                Piece::Text(template) => body.extend_from_slice(&render(template, reading)?),
                Piece::Quoted(template) => {
                    let text = String::from_utf8(render(template, reading)?)
                        .map_err(|_| VerifyError::MalformedChallenge)?;
                    body.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
                }
            }
        }
        Ok(body.into())
    }
}

/// The text of a template; whatever is missing makes the question malformed.
fn render(template: &Template, reading: &Reading<'_>) -> Result<Vec<u8>, VerifyError> {
    let inputs = Inputs {
        reading,
        timestamp: &[],
        certificate: None,
    };
    let mut text = Text(Vec::new());
    template
        .feed(&inputs, &[], &mut text)
        .map_err(|_| VerifyError::MalformedChallenge)?;
    Ok(text.0)
}

impl When {
    pub(super) fn matches(&self, reading: &Reading<'_>) -> bool {
        reading.request.method == self.method
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(reading))
    }
}

impl Condition {
    fn holds(&self, reading: &Reading<'_>) -> bool {
        match self {
            Self::Present(source) => {
                matches!(source.find(reading), Found::Once(_) | Found::Repeated)
            }
            Self::Absent(name) => header(reading.request, name) == Found::Missing,
            Self::Equals(source, value) => {
                matches!(source.find(reading), Found::Once(found) if *found == **value)
            }
            Self::Empty(slot) => match reading.json().map(|values| values.get(*slot)) {
                Some(Value::Once(raw)) => elements(raw, 0).is_some(),
                _ => false,
            },
        }
    }
}

impl Require {
    fn check(&self, reading: &Reading<'_>) -> Result<(), VerifyError> {
        match self {
            Self::Equals(source, value) => match source.find(reading) {
                Found::Once(found) if found.ct_eq(value).into() => Ok(()),
                _ => Err(VerifyError::ChallengeTokenMismatch),
            },
            Self::Matches(source, regex) => match source.find(reading) {
                Found::Once(found) if regex.is_match(&found) => Ok(()),
                _ => Err(VerifyError::MalformedChallenge),
            },
            Self::In(source, values) => match (source.find(reading), values) {
                (Found::Once(_), None) => Ok(()),
                (Found::Once(found), Some(values))
                    if values.iter().any(|value| found.eq_ignore_ascii_case(value)) =>
                {
                    Ok(())
                }
                _ => Err(VerifyError::ChallengeValueNotAllowed),
            },
        }
    }
}
