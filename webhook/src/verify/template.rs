//! The signed text as a list of parts, streamed into a hash and never assembled.

use std::sync::Arc;

use hmac::digest::Update;
use http::HeaderName;

use crate::event::RawEvent;

use super::VerifyError;
use super::compile::CompileError;
use super::params::{Params, Token, tokens};
use super::public_url::{Form, PublicUrl};
use super::source::{Found, header, query};

/// One alternative of the signed text.
pub(super) struct Template(Vec<Part>);

/// One part of a signed text.
enum Part {
    Text(Box<[u8]>),
    Body,
    Timestamp,
    Method,
    /// The public URL: `base`, the request's path if that is only an origin, the raw query.
    Url {
        base: Box<str>,
        is_origin: bool,
    },
    Header(HeaderName),
    Query(Arc<str>),
    /// The key itself, for plain digests.
    Secret,
}

/// What a request gives to a template.
pub(super) struct Inputs<'r> {
    pub(super) request: &'r RawEvent,
    /// As received; empty when the preset has none.
    pub(super) timestamp: &'r [u8],
}

/// What a template may refer to.
pub(super) struct Scope<'a> {
    pub(super) public_url: Option<PublicUrl<'a>>,
    pub(super) has_timestamp: bool,
}

/// Placeholders of the model that this version cannot fill.
const LATER: [&str; 7] = [
    "url_lenient_decoded",
    "form",
    "json",
    "crc32",
    "form_sorted",
    "sns",
    "mac",
];

impl Template {
    pub(super) fn compile(
        field: &str,
        text: &str,
        params: &mut Params<'_>,
        scope: &Scope<'_>,
    ) -> Result<Self, CompileError> {
        let mut parts = Vec::new();
        for token in tokens(field, text)? {
            parts.push(match token {
                Token::Text(text) => Part::Text(text.as_bytes().into()),
                Token::Placeholder { name, argument } => {
                    Part::compile(field, name, argument, params, scope)?
                }
            });
        }
        if parts
            .iter()
            .filter(|part| matches!(part, Part::Body))
            .count()
            > 1
        {
            return Err(CompileError::invalid(field, "`{body}` may stand once only"));
        }
        Ok(Self(parts))
    }

    /// Whether nobody without the secret can write this text down.
    pub(super) fn has_secret(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Secret))
    }

    /// Whether the text depends on the request at all.
    pub(super) fn has_input(&self) -> bool {
        self.0
            .iter()
            .any(|part| !matches!(part, Part::Text(_) | Part::Secret))
    }

    /// Streams the text into `sink`.
    ///
    /// # Errors
    /// A header or query parameter that belongs to the text is missing or repeated.
    pub(super) fn feed(
        &self,
        inputs: &Inputs<'_>,
        secret: &[u8],
        sink: &mut impl Update,
    ) -> Result<(), VerifyError> {
        let request = inputs.request;
        for part in &self.0 {
            match part {
                Part::Text(text) => sink.update(text),
                Part::Body => sink.update(&request.body),
                Part::Timestamp => sink.update(inputs.timestamp),
                Part::Method => sink.update(request.method.as_str().as_bytes()),
                Part::Url { base, is_origin } => {
                    sink.update(base.as_bytes());
                    if *is_origin {
                        sink.update(request.path.as_bytes());
                    }
                    if !request.query.is_empty() {
                        sink.update(b"?");
                        sink.update(request.query.as_bytes());
                    }
                }
                Part::Header(name) => match header(request, name) {
                    Found::Missing => return Err(VerifyError::MissingHeader(name.clone())),
                    Found::Once(value) => sink.update(&value),
                    Found::Repeated => {
                        return Err(VerifyError::RepeatedInput(name.as_str().into()));
                    }
                },
                Part::Query(name) => match query(&request.query, name) {
                    Found::Missing => return Err(VerifyError::MissingParameter(Arc::clone(name))),
                    Found::Once(value) => sink.update(&value),
                    Found::Repeated => return Err(VerifyError::RepeatedInput(Arc::clone(name))),
                },
                Part::Secret => sink.update(secret),
            }
        }
        Ok(())
    }
}

impl Part {
    fn compile(
        field: &str,
        name: &str,
        argument: Option<&str>,
        params: &mut Params<'_>,
        scope: &Scope<'_>,
    ) -> Result<Self, CompileError> {
        Ok(match (name, argument) {
            ("body", None) => Self::Body,
            ("timestamp", None) if scope.has_timestamp => Self::Timestamp,
            ("timestamp", None) => {
                return Err(CompileError::invalid(
                    field,
                    "`{timestamp}` needs a `timestamp`",
                ));
            }
            ("method", None) => Self::Method,
            ("url", None) => Self::url(field, Form::AsConfigured, scope)?,
            ("url_with_port", None) => Self::url(field, Form::WithPort, scope)?,
            ("url_without_port", None) => Self::url(field, Form::WithoutPort, scope)?,
            ("header", Some(name)) => Self::Header(header_name(field, name)?),
            ("query_param", Some(name)) if !name.is_empty() => Self::Query(name.into()),
            ("param", Some(name)) => Self::Text(params.get(field, name)?.as_bytes().into()),
            ("secret", None) => Self::Secret,
            (name, _) if LATER.contains(&name) => {
                return Err(CompileError::unsupported(
                    field,
                    format!("the placeholder `{{{name}}}`"),
                ));
            }
            (name, _) => {
                return Err(CompileError::invalid(
                    field,
                    format!("`{{{name}}}` is no placeholder, or is not written as one"),
                ));
            }
        })
    }

    fn url(field: &str, form: Form, scope: &Scope<'_>) -> Result<Self, CompileError> {
        let url = scope
            .public_url
            .as_ref()
            .ok_or_else(|| CompileError::PublicUrlMissing {
                field: field.to_owned(),
            })?;
        Ok(Self::Url {
            base: url.base(form).into(),
            is_origin: url.is_origin(),
        })
    }
}

/// A header name of a preset.
pub(super) fn header_name(field: &str, name: &str) -> Result<HeaderName, CompileError> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| CompileError::invalid(field, format!("`{name}` is no header name")))
}
