//! The signed text as a list of parts, streamed into a hash and never assembled.

mod part;
mod sns;

use hmac::digest::Update;
use http::HeaderName;

use super::VerifyError;
use super::certificate::Certificate;
use super::compile::{CompileError, Draft};
use super::params::{Token, tokens};
use super::public_url::PublicUrl;
use super::reading::Reading;
use super::scheme::SharedForm;
use crate::secret::Secret;

use self::part::Part;
pub(super) use self::part::is_challenge;

/// One alternative of the signed text, or a piece of an answer.
pub(super) struct Template(Vec<Part>);

/// What a request gives to a template.
pub(super) struct Inputs<'a, 'r> {
    pub(super) reading: &'a Reading<'r>,
    /// As received; empty when the preset has none.
    pub(super) timestamp: &'a [u8],
    /// The certificate the request points to, once it was fetched.
    pub(super) certificate: Option<&'a Certificate>,
}

/// What a template may refer to.
pub(super) struct Scope<'a> {
    pub(super) public_url: Option<PublicUrl<'a>>,
    pub(super) has_timestamp: bool,
    /// For answers: the secret and the form of the first scheme, for `{mac:..}`.
    pub(super) answer: Option<AnswerScope<'a>>,
}

/// What the template of an answer may refer to beside the request.
pub(super) struct AnswerScope<'a> {
    pub(super) key: Option<(&'a Secret, SharedForm)>,
    /// Anybody may ask, so the MAC of a text that could be a body must not be given away.
    pub(super) is_open: bool,
}

impl Template {
    pub(super) fn compile(
        field: &str,
        text: &str,
        draft: &mut Draft<'_>,
        scope: &Scope<'_>,
    ) -> Result<Self, CompileError> {
        let mut parts = Vec::new();
        for token in tokens(field, text)? {
            parts.push(match token {
                Token::Text(text) => Part::Text(text.as_bytes().into()),
                Token::Placeholder { name, argument } => {
                    Part::compile(field, (name, argument), draft, scope)?
                }
            });
        }
        let bodies = parts.iter().filter(|part| matches!(part, Part::Body));
        if bodies.count() > 1 {
            return Err(CompileError::invalid(field, "`{body}` may stand once only"));
        }
        Ok(Self(parts))
    }

    /// Whether nobody without the secret can write this text down.
    pub(super) fn has_secret(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Secret))
    }

    /// Whether the URL is part of the text.
    pub(super) fn has_url(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Url(_)))
    }

    /// Whether the text depends on the request at all.
    pub(super) fn has_input(&self) -> bool {
        self.0
            .iter()
            .any(|part| !matches!(part, Part::Text(_) | Part::Secret))
    }

    /// Whether it gives a MAC to whoever asks.
    pub(super) fn has_open_mac(&self) -> bool {
        self.0.iter().any(Part::is_open_mac)
    }

    /// Streams the text into `sink`.
    ///
    /// # Errors
    /// A value that belongs to the text is missing or repeated.
    pub(super) fn feed(
        &self,
        inputs: &Inputs<'_, '_>,
        secret: &[u8],
        sink: &mut impl Update,
    ) -> Result<(), VerifyError> {
        self.0
            .iter()
            .try_for_each(|part| part.feed(inputs, secret, sink))
    }
}

/// A header name of a preset.
pub(super) fn header_name(field: &str, name: &str) -> Result<HeaderName, CompileError> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| CompileError::invalid(field, format!("`{name}` is no header name")))
}
