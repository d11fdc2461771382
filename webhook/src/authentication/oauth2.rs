//! Client credentials of OAuth 2.0 (RFC 6749, section 4.4): what the token endpoint is asked, and
//! how its answer is read. Who fetches, keeps and renews tokens is not known here.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::{Serializer, byte_serialize};
use http::HeaderValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::jwk::AssertionKey;
use crate::address::TargetUrl;
use crate::secret::Secret;

/// How long an assertion is good for, seconds: long enough for clocks that differ.
const ASSERTION_S: i64 = 300;
/// Type of an assertion (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// For how long a token is used that does not say it.
const LIFETIME_UNKNOWN: Duration = Duration::from_secs(300);
/// For how long a token is used at most, whatever it says.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Longest token, bytes: servers take 8 KiB of one header or less.
const TOKEN_BYTES_MAX: usize = 8_000;

/// How a client shows who it is.
#[derive(Debug)]
pub enum Proof {
    /// A secret in the body, `client_secret_post`: Convoy's way.
    SecretInBody(Secret),
    /// A secret in `Authorization`, `client_secret_basic`.
    SecretInHeader(Secret),
    /// An assertion that it signs (RFC 7523, section 2.2).
    Assertion {
        /// The key.
        key: Box<AssertionKey>,
        /// Claim `iss`; the client's id when absent.
        issuer: Option<Box<str>>,
        /// Claim `sub`; the client's id when absent.
        subject: Option<Box<str>>,
    },
}

/// Names of the fields of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// The token.
    pub access_token: Box<str>,
    /// Its type.
    pub token_type: Box<str>,
    /// How long it lives.
    pub expires_in: Box<str>,
}

impl Default for Fields {
    /// Those of RFC 6749, section 5.1.
    fn default() -> Self {
        Self {
            access_token: "access_token".into(),
            token_type: "token_type".into(),
            expires_in: "expires_in".into(),
        }
    }
}

/// In what a lifetime is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpiryUnit {
    /// As RFC 6749 has it.
    #[default]
    Seconds,
    /// Thousandths of that.
    Milliseconds,
    /// 60 of that.
    Minutes,
    /// 3,600 of that.
    Hours,
}

impl ExpiryUnit {
    /// The words for it.
    pub const WORDS: &'static [&'static str] = &["seconds", "milliseconds", "minutes", "hours"];

    /// From the word for it.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "seconds" => Self::Seconds,
            "milliseconds" => Self::Milliseconds,
            "minutes" => Self::Minutes,
            "hours" => Self::Hours,
            _ => return None,
        })
    }

    const fn seconds(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Milliseconds => 0.001,
            Self::Minutes => 60.0,
            Self::Hours => 3_600.0,
        }
    }
}

/// A client of a token endpoint, as it is configured.
#[derive(Debug)]
pub struct Settings {
    /// The token endpoint.
    pub url: TargetUrl,
    /// The same as it was written: the audience of assertions.
    pub url_text: Box<str>,
    /// The client.
    pub client_id: Box<str>,
    /// How it shows who it is.
    pub proof: Proof,
    /// What the token is for, in words of the token endpoint.
    pub scope: Option<Box<str>>,
    /// For whom the token is, in words of the token endpoint.
    pub audience: Option<Box<str>>,
    /// How answers name things.
    pub fields: Fields,
    /// In what they count lifetimes.
    pub unit: ExpiryUnit,
}

/// A client of a token endpoint. Equal fingerprints get equal tokens.
pub struct Client {
    settings: Settings,
    fingerprint: [u8; 32],
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({}, ***)", self.settings.client_id)
    }
}

/// What a token endpoint is sent, by POST.
pub struct TokenRequest {
    /// `Authorization`, marked as sensitive.
    pub authorization: Option<HeaderValue>,
    /// A form.
    pub body: Zeroizing<String>,
}

/// A token as it is sent.
#[derive(Clone)]
pub struct Token {
    /// Value of `Authorization`, marked as sensitive.
    pub value: HeaderValue,
    /// How long it is good for from its arrival on.
    pub lifetime: Duration,
}

/// There is no token: a closed list. Never carries what was sent or answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No randomness.
    #[error("the assertion could not be signed")]
    NotSigned,
    /// Not what an answer is.
    #[error("the answer is not a JSON object")]
    NotJson,
    /// No token in it.
    #[error("the answer has no token where one was expected")]
    NoToken,
    /// Not the value of a header.
    #[error("the token or its type cannot be sent in a header")]
    BadToken,
}

impl Client {
    /// `identity` is all there is of it, whose it is included: what has another identity shares
    /// no token.
    #[must_use]
    pub fn new(settings: Settings, identity: &[u8]) -> Self {
        Self {
            settings,
            fingerprint: Sha256::digest(identity).into(),
        }
    }

    /// The token endpoint.
    #[must_use]
    pub const fn url(&self) -> &TargetUrl {
        &self.settings.url
    }

    /// The client's id.
    #[must_use]
    pub const fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    /// By what its token is known.
    #[must_use]
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// What the token endpoint is sent at `now_s` (Unix seconds). `nonce` is different each time.
    ///
    /// # Errors
    /// [`TokenError::NotSigned`], or [`TokenError::BadToken`] for a secret that no header carries.
    pub fn request(&self, now_s: i64, nonce: u128) -> Result<TokenRequest, TokenError> {
        let settings = &self.settings;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        let mut authorization = None;
        match &settings.proof {
            Proof::SecretInBody(secret) => {
                form.append_pair("client_id", &settings.client_id);
                form.append_pair("client_secret", secret.expose());
            }
            Proof::SecretInHeader(secret) => {
                authorization = Some(basic(&settings.client_id, secret)?);
            }
            Proof::Assertion {
                key,
                issuer,
                subject,
            } => {
                let client_id = &settings.client_id;
                let claims = json!({
                    "iss": issuer.as_ref().unwrap_or(client_id),
                    "sub": subject.as_ref().unwrap_or(client_id),
                    "aud": settings.url_text,
                    "iat": now_s,
                    "exp": now_s.saturating_add(ASSERTION_S),
                    "jti": format!("{nonce:032x}"),
                });
                let assertion = key.sign(&claims).ok_or(TokenError::NotSigned)?;
                form.append_pair("client_id", client_id);
                form.append_pair("client_assertion_type", ASSERTION_TYPE);
                form.append_pair("client_assertion", &assertion);
            }
        }
        for (name, value) in [("scope", &settings.scope), ("audience", &settings.audience)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        let body = Zeroizing::new(form.finish());
        Ok(TokenRequest {
            authorization,
            body,
        })
    }

    /// Reads the answer of a token endpoint to such a request.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(&self, body: &[u8]) -> Result<Token, TokenError> {
        let fields = &self.settings.fields;
        let answer: Value = serde_json::from_slice(body).map_err(|_| TokenError::NotJson)?;
        let answer = answer.as_object().ok_or(TokenError::NotJson)?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let token = text(&fields.access_token);
        if token.is_empty() {
            return Err(TokenError::NoToken);
        }
        let kind = match text(&fields.token_type) {
            "" => "Bearer",
            // Any case is meant (RFC 6749, section 5.1), and many receivers want this one.
            kind if kind.eq_ignore_ascii_case("bearer") => "Bearer",
            kind => kind,
        };
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain(token) || !is_plain(kind) || kind.len() + token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::BadToken);
        }
        let value = Zeroizing::new(format!("{kind} {token}"));
        let mut value = HeaderValue::from_str(&value).map_err(|_| TokenError::BadToken)?;
        value.set_sensitive(true);
        let lifetime = lifetime(answer.get(&*fields.expires_in), self.settings.unit);
        Ok(Token { value, lifetime })
    }
}

/// Why a token endpoint refuses, where it says so as RFC 6749, section 5.2, has it. A closed list:
/// nothing else of an answer is passed on.
#[must_use]
pub fn error_code(body: &[u8]) -> Option<&'static str> {
    const CODES: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    let answer: Value = serde_json::from_slice(body).ok()?;
    let said = answer.get("error")?.as_str()?;
    CODES.into_iter().find(|code| *code == said)
}

/// Id and secret are each written as in a form first (RFC 6749, section 2.3.1).
fn basic(client_id: &str, secret: &Secret) -> Result<HeaderValue, TokenError> {
    let coded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let secret = Zeroizing::new(coded(secret.expose()));
    let pair = Zeroizing::new(format!("{}:{}", coded(client_id), secret.as_str()));
    let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&value).map_err(|_| TokenError::BadToken)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A number, or a text with one; what is neither says nothing.
fn lifetime(said: Option<&Value>, unit: ExpiryUnit) -> Duration {
    let number = match said {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let seconds = number.map(|number| number * unit.seconds());
    match seconds.filter(|seconds| *seconds > 0.0) {
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .unwrap_or(LIFETIME_MAX)
            .min(LIFETIME_MAX),
        None => LIFETIME_UNKNOWN,
    }
}

#[cfg(test)]
mod tests;
