//! HTTP message signatures (RFC 9421), with the digest of the body that they cover (RFC 9530).

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::{SignError, SigningKey};
use crate::address::TargetUrl;

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("signature");
pub(super) const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// What is covered unless the project says otherwise.
const COMPONENTS_DEFAULT: [&str; 5] = [
    "@method",
    "@target-uri",
    "content-digest",
    "content-type",
    "webhook-id",
];
/// Fields that every delivery has, so that nothing can be missing when it is signed.
const FIELDS: [&str; 5] = [
    "content-digest",
    "content-type",
    "webhook-id",
    "x-convoy-event-id",
    "x-convoy-eventdelivery-id",
];
/// Longest tag, bytes.
const TAG_BYTES_MAX: usize = 64;

/// How requests are signed as HTTP messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageSignature {
    components: Box<[Component]>,
    expires_in_s: Option<u32>,
    tag: Option<Box<str>>,
}

/// What a signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Component {
    Method,
    TargetUri,
    Authority,
    Scheme,
    RequestTarget,
    Path,
    Query,
    Field(HeaderName),
}

/// A setting of message signatures that cannot be used: a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not a component of every delivery.
    #[error(
        "`{0}` is no component that every delivery has: `@method`, `@target-uri`, `@authority`, `@scheme`, `@request-target`, `@path`, `@query`, `content-digest`, `content-type`, `webhook-id`, `x-convoy-event-id`, `x-convoy-eventdelivery-id`"
    )]
    UnknownComponent(String),
    /// The RFC forbids it.
    #[error("`{0}` is listed twice")]
    RepeatedComponent(String),
    /// The body would not be signed.
    #[error("must have `content-digest`, without which the body is not signed")]
    NoDigest,
    /// Not a tag.
    #[error("must be from 1 to {TAG_BYTES_MAX} printable ASCII characters, without `\"` and `\\`")]
    Tag,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Where<'a> {
    pub(super) target: &'a TargetUrl,
    pub(super) path_and_query: &'a PathAndQuery,
}

impl Component {
    fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "@method" => Self::Method,
            "@target-uri" => Self::TargetUri,
            "@authority" => Self::Authority,
            "@scheme" => Self::Scheme,
            "@request-target" => Self::RequestTarget,
            "@path" => Self::Path,
            "@query" => Self::Query,
            word => {
                let known = FIELDS.iter().find(|field| **field == word)?;
                Self::Field(HeaderName::from_static(known))
            }
        })
    }

    fn name(&self) -> &str {
        match self {
            Self::Method => "@method",
            Self::TargetUri => "@target-uri",
            Self::Authority => "@authority",
            Self::Scheme => "@scheme",
            Self::RequestTarget => "@request-target",
            Self::Path => "@path",
            Self::Query => "@query",
            Self::Field(name) => name.as_str(),
        }
    }

    /// Appends its value (RFC 9421 sections 2.1 and 2.2). Deliveries are POST requests.
    fn push(&self, text: &mut String, to: Where<'_>, headers: &HeaderMap) -> Result<(), SignError> {
        match self {
            Self::Method => text.push_str("POST"),
            Self::TargetUri => text.push_str(&to.url()),
            Self::Authority => text.push_str(to.target.authority()),
            Self::Scheme => text.push_str(to.target.scheme().as_str()),
            Self::RequestTarget => text.push_str(to.path_and_query.as_str()),
            Self::Path => text.push_str(to.path_and_query.path()),
            Self::Query => {
                text.push('?');
                text.push_str(to.path_and_query.query().unwrap_or_default());
            }
            Self::Field(name) => {
                let bad = || SignError::BadHeader(name.clone());
                let mut values = headers.get_all(name).iter();
                let first = values.next().ok_or_else(bad)?;
                text.push_str(first.to_str().map_err(|_| bad())?.trim());
                for value in values {
                    text.push_str(", ");
                    text.push_str(value.to_str().map_err(|_| bad())?.trim());
                }
            }
        }
        Ok(())
    }
}

impl Where<'_> {
    /// The URL that is called, with the query of the event.
    pub(super) fn url(self) -> String {
        let (scheme, authority) = (self.target.scheme().as_str(), self.target.authority());
        format!("{scheme}://{authority}{}", self.path_and_query)
    }
}

impl MessageSignature {
    /// Checks what is written. No components are the default ones; without `expires_in_s` a
    /// signature has no end.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn compile(
        components: &[&str],
        expires_in_s: Option<u32>,
        tag: Option<&str>,
    ) -> Result<Self, MessageError> {
        let words = match components {
            [] => &COMPONENTS_DEFAULT[..],
            words => words,
        };
        let mut known: Vec<Component> = Vec::new();
        for word in words {
            let component = Component::of_word(word);
            let component =
                component.ok_or_else(|| MessageError::UnknownComponent((*word).to_owned()))?;
            if known.contains(&component) {
                return Err(MessageError::RepeatedComponent((*word).to_owned()));
            }
            known.push(component);
        }
        if !known.contains(&Component::Field(CONTENT_DIGEST)) {
            return Err(MessageError::NoDigest);
        }
        let is_tag = |tag: &str| (1..=TAG_BYTES_MAX).contains(&tag.len()) && is_plain(tag);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(MessageError::Tag);
        }
        Ok(Self {
            components: known.into(),
            expires_in_s,
            tag: tag.map(Box::from),
        })
    }

    /// Names of the covered components, in order.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.components.iter().map(Component::name)
    }

    /// Seconds from an attempt to the end of its signature.
    #[must_use]
    pub const fn expires_in_s(&self) -> Option<u32> {
        self.expires_in_s
    }

    /// What tells signatures of ours from others.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Adds the digest of the body, and a signature of each live key, newest first. The headers
    /// have to be complete; keys come in order of creation.
    pub(super) fn sign(
        &self,
        headers: &mut HeaderMap,
        to: Where<'_>,
        body: &[u8],
        (keys, now_s): (&[SigningKey], i64),
    ) -> Result<(), SignError> {
        headers.insert(CONTENT_DIGEST, content_digest(body)?);
        let covered = lines(&self.components, headers, to)?;
        let (mut inputs, mut signatures) = (String::new(), String::new());
        let live = keys.iter().rev().filter(|key| key.is_live(now_s));
        for (key, number) in live.zip(1_u32..) {
            let params = self.params(key, now_s)?;
            let signature = key.sign_message(&base(&covered, &params))?;
            let comma = if number > 1 { ", " } else { "" };
            let bad = |_| SignError::BadHeader(SIGNATURE);
            write!(inputs, "{comma}sig{number}={params}").map_err(bad)?;
            write!(signatures, "{comma}sig{number}=:{signature}:").map_err(bad)?;
        }
        if inputs.is_empty() {
            return Err(SignError::NoSecret);
        }
        for (name, text) in [(SIGNATURE_INPUT, inputs), (SIGNATURE, signatures)] {
            let value = HeaderValue::try_from(text);
            let value = value.map_err(|_| SignError::BadHeader(name.clone()))?;
            headers.insert(name, value);
        }
        Ok(())
    }

    /// The inner list with its parameters, as it stands in `Signature-Input`.
    fn params(&self, key: &SigningKey, now_s: i64) -> Result<String, SignError> {
        let mut text = inner_list(&self.components);
        let bad = |_| SignError::BadHeader(SIGNATURE_INPUT);
        write!(text, ";created={now_s}").map_err(bad)?;
        if let Some(s) = self.expires_in_s {
            write!(text, ";expires={}", now_s.saturating_add(s.into())).map_err(bad)?;
        }
        let (id, algorithm) = (key.id(), key.message_algorithm());
        write!(text, ";keyid=\"{id}\";alg=\"{algorithm}\"").map_err(bad)?;
        if let Some(tag) = &self.tag {
            write!(text, ";tag=\"{tag}\"").map_err(bad)?;
        }
        Ok(text)
    }
}

/// Whether a text can stand between quotes as it is (RFC 8941 section 3.3.3).
pub(super) fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    text.bytes().all(is_plain)
}

/// `("@method" "content-digest")`.
pub(super) fn inner_list(components: &[Component]) -> String {
    let names: Vec<String> = components
        .iter()
        .map(|component| format!("\"{}\"", component.name()))
        .collect();
    format!("({})", names.join(" "))
}

/// The lines of the signature base but its last (RFC 9421 section 2.5).
pub(super) fn lines(
    components: &[Component],
    headers: &HeaderMap,
    to: Where<'_>,
) -> Result<String, SignError> {
    let mut text = String::new();
    for component in components {
        text.push('"');
        text.push_str(component.name());
        text.push_str("\": ");
        component.push(&mut text, to, headers)?;
        text.push('\n');
    }
    Ok(text)
}

/// The signature base.
pub(super) fn base(covered: &str, params: &str) -> String {
    format!("{covered}\"@signature-params\": {params}")
}

/// `sha-256=:<base64>:` of the body.
pub(super) fn content_digest(body: &[u8]) -> Result<HeaderValue, SignError> {
    let digest = STANDARD.encode(Sha256::digest(body));
    HeaderValue::try_from(format!("sha-256=:{digest}:"))
        .map_err(|_| SignError::BadHeader(CONTENT_DIGEST))
}
