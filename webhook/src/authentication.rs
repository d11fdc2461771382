//! How a receiver knows its caller beside the signature: a header of every delivery to its
//! endpoint.
//!
//! A fixed credential is prepared when it is configured. A token of OAuth 2.0 has to be fetched
//! first: what is asked and how the answer is read is in `oauth2`, the keys of assertions in `jwk`.

pub mod jwk;
pub mod oauth2;

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// How deliveries of an endpoint are authenticated.
#[derive(Debug, Clone)]
pub enum Authentication {
    /// By the same header always.
    Fixed(Credential),
    /// By a token that a client of a token endpoint gets, in `Authorization`.
    OAuth2(Arc<oauth2::Client>),
}

static AUTHORIZATION: HeaderName = header::AUTHORIZATION;

impl Authentication {
    /// The header that it sets.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        match self {
            Self::Fixed(credential) => &credential.name,
            Self::OAuth2(_) => &AUTHORIZATION,
        }
    }
}

/// A credential that cannot be sent: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Not the value of a header.
    #[error(
        "must be from 1 to 4096 bytes without control characters and without blanks at its ends"
    )]
    Value,
    /// Not a user of RFC 7617.
    #[error("must be without `:` and control characters")]
    Username,
}

/// Longest value, bytes: what common servers take of one header.
const VALUE_BYTES_MAX: usize = 4096;

/// A header with a secret value, ready to be sent.
#[derive(Clone)]
pub struct Credential {
    name: HeaderName,
    value: HeaderValue,
}

/// Says nothing of the value, which is marked as sensitive as well.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}: ***)", self.name)
    }
}

impl Credential {
    /// A fixed value in a header of its own.
    ///
    /// # Errors
    /// [`CredentialError::Value`].
    pub fn api_key(name: HeaderName, value: &Secret) -> Result<Self, CredentialError> {
        Self::new(name, value.expose())
    }

    /// HTTP Basic (RFC 7617), in UTF-8.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn basic(username: &str, password: &Secret) -> Result<Self, CredentialError> {
        if username.contains([':']) || username.contains(char::is_control) {
            return Err(CredentialError::Username);
        }
        if password.expose().contains(char::is_control) {
            return Err(CredentialError::Value);
        }
        let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        Self::new(header::AUTHORIZATION, &value)
    }

    fn new(name: HeaderName, value: &str) -> Result<Self, CredentialError> {
        let fits =
            (1..=VALUE_BYTES_MAX).contains(&value.len()) && value.trim().len() == value.len();
        let value = HeaderValue::from_str(value).ok().filter(|_| fits);
        let mut value = value.ok_or(CredentialError::Value)?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }

    /// The header.
    #[must_use]
    pub const fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Its value, marked as sensitive: for the wire only.
    #[must_use]
    pub const fn value(&self) -> &HeaderValue {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HeaderName = HeaderName::from_static("x-api-key");

    #[test]
    fn what_no_header_can_carry_is_refused() {
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        for value in ["", " a", "a ", "a\r\nb: c", "a\0", &long] {
            let refused = Credential::api_key(KEY, &Secret::new(value));
            assert_eq!(refused.unwrap_err(), CredentialError::Value, "{value:?}");
        }
        for (user, password, expected) in [
            ("a:b", "c", CredentialError::Username),
            ("a\n", "c", CredentialError::Username),
            ("a", "c\n", CredentialError::Value),
            ("a", &long, CredentialError::Value),
        ] {
            let refused = Credential::basic(user, &Secret::new(password));
            assert_eq!(refused.unwrap_err(), expected, "{user:?}");
        }
    }

    #[test]
    fn a_credential_is_ready_to_be_sent_and_never_printed() {
        let basic = Credential::basic("Aladdin", &Secret::new("open sesame")).unwrap();
        assert_eq!(basic.name(), header::AUTHORIZATION);
        // The example of RFC 7617, section 2.
        assert_eq!(basic.value(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        // And that of its section 2.1: UTF-8.
        let utf8 = Credential::basic("test", &Secret::new("123\u{a3}")).unwrap();
        assert_eq!(utf8.value(), "Basic dGVzdDoxMjPCow==");
        let key = Credential::api_key(KEY, &Secret::new("hunter2")).unwrap();
        assert_eq!(
            (key.name(), key.value().as_bytes()),
            (&KEY, &b"hunter2"[..])
        );
        let printed = format!("{:?} {:?}", Authentication::Fixed(key.clone()), key.value());
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
