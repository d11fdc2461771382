//! Certificates that providers publish at an address. Fetching them and checking their chain is
//! the data plane's; here is what a verifier asks for and what it is given.

use std::fmt;

use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::address::TargetUrl;

use super::preset::TrustSpec;
use super::public_key::PublicKey;

/// A certificate a verifier needs before it can judge a request.
#[derive(Debug, Clone)]
pub struct CertificateNeed<'v> {
    /// Where it is. The URL passed the preset's `url_allowed`.
    pub url: TargetUrl,
    /// How far it is to be checked.
    pub trust: TrustSpec,
    /// Names it may be for, any when there is none; [`Certificate::is_for`] compares.
    pub names: &'v [Box<str>],
}

/// The public key of a certificate, from when to when it holds and for whom. Whether to trust it
/// is decided by who fetched it.
pub struct Certificate {
    pub(super) key: PublicKey,
    not_before_s: i64,
    not_after_s: i64,
    names: Vec<Box<str>>,
}

/// Bytes that are no certificate with a key we can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No X.509 certificate.
    #[error("not an X.509 certificate in DER")]
    NotACertificate,
    /// Its key is none of RSA, P-256 and Ed25519.
    #[error("the key is none of RSA, P-256 and Ed25519")]
    KeyType,
}

impl Certificate {
    /// Reads a certificate. Its signature is not checked.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let Ok(([], parsed)) = X509Certificate::from_der(der) else {
            return Err(CertificateError::NotACertificate);
        };
        let validity = parsed.validity();
        Ok(Self {
            key: PublicKey::of(parsed.public_key()).ok_or(CertificateError::KeyType)?,
            not_before_s: validity.not_before.timestamp(),
            not_after_s: validity.not_after.timestamp(),
            names: names(&parsed),
        })
    }

    /// Whether it holds at this time, Unix seconds; both ends included.
    #[must_use]
    pub const fn is_valid_at(&self, now_s: i64) -> bool {
        self.not_before_s <= now_s && now_s <= self.not_after_s
    }

    /// The last second it holds, Unix.
    #[must_use]
    pub const fn not_after_s(&self) -> i64 {
        self.not_after_s
    }

    /// Whether it is for a name of this list; an empty list takes any. `*.` in front of an
    /// allowed name stands for any labels.
    #[must_use]
    pub fn is_for(&self, allowed: &[Box<str>]) -> bool {
        allowed.is_empty()
            || self
                .names
                .iter()
                .any(|name| allowed.iter().any(|allowed| is_name(name, allowed)))
    }
}

fn is_name(name: &str, allowed: &str) -> bool {
    match allowed.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
        None => name == allowed,
    }
}

/// The DNS names, lower case; without any, the common name, as certificates for messages have it.
fn names(parsed: &X509Certificate<'_>) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = Vec::new();
    for extension in parsed.extensions() {
        if let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension() {
            names.extend(
                alternative
                    .general_names
                    .iter()
                    .filter_map(|name| match name {
                        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
                        _ => None,
                    }),
            );
        }
    }
    if names.is_empty() {
        let subject = parsed.subject().iter_common_name();
        names.extend(
            subject.filter_map(|name| Some(name.as_str().ok()?.to_ascii_lowercase().into())),
        );
    }
    names
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_after_s", &self.not_after_s)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        for der in [&b""[..], b"x", b"\x30\x00"] {
            assert_eq!(
                Certificate::from_der(der).unwrap_err(),
                CertificateError::NotACertificate
            );
        }
    }

    #[test]
    fn a_star_stands_for_labels_and_never_for_the_whole_name() {
        for (name, allowed, expected) in [
            ("a.paypal.com", "*.paypal.com", true),
            ("a.b.paypal.com", "*.paypal.com", true),
            ("paypal.com", "*.paypal.com", false),
            (".paypal.com", "*.paypal.com", false),
            ("evilpaypal.com", "*.paypal.com", false),
            ("a.paypal.com.evil.example", "*.paypal.com", false),
            ("a.example", "a.example", true),
            ("b.a.example", "a.example", false),
        ] {
            assert_eq!(is_name(name, allowed), expected, "{name} {allowed}");
        }
    }
}
