//! TLS to one endpoint: our certificate there, and whom its own has to come from.

use std::sync::Arc;

use outrider_webhook::client_tls::{self, ClientIdentity, ClientTls, ClientTlsError};
use outrider_webhook::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::authentication::secret;
use super::check::{Checks, Reason};
use super::endpoint_spec::EndpointSpec;
use super::field::{at_most, given};
use super::spec::expose;

/// Longest PEM text, bytes.
const PEM_BYTES_MAX: usize = 64 * 1024;

/// What people write of the certificate that we show to an endpoint (contract 3.2).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientCertSpec {
    /// PEM of our certificate and what lies between it and a root; at most 64 KiB.
    pub client_cert: Option<String>,
    /// PEM of its key, without a pass phrase; at most 64 KiB.
    #[serde(serialize_with = "expose")]
    pub client_key: Option<Secret>,
}

impl ClientCertSpec {
    /// Whether it says that there is none: the way to end one.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let has_key = self.client_key.as_ref();
        given(self.client_cert.as_deref()).is_none()
            && has_key.is_none_or(|key| key.expose().is_empty())
    }

    fn compile(&self, checks: &mut Checks) -> Option<ClientIdentity> {
        let (cert, key) = (
            "mtls_client_cert.client_cert",
            "mtls_client_cert.client_key",
        );
        at_most(checks, cert, self.client_cert.as_deref(), PEM_BYTES_MAX);
        let key_text = self.client_key.as_ref().map(Secret::expose);
        at_most(checks, key, key_text, PEM_BYTES_MAX);
        let pem = checks.require(cert, given(self.client_cert.as_deref()));
        let key_pem = secret(checks, key, self.client_key.as_ref());
        let chain = ClientIdentity::chain(pem?).map_err(Reason::refused);
        let chain = checks.take(cert, chain)?;
        match ClientIdentity::new(chain, key_pem?) {
            Ok(identity) => Some(identity),
            Err(error) => {
                let is_of_chain = error == ClientTlsError::BadCertificate;
                checks.fail(if is_of_chain { cert } else { key }, Reason::refused(error));
                None
            }
        }
    }
}

/// What people write of the TLS of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointTlsSpec {
    /// PEM of the only roots that its certificate may come from, instead of the public ones; at
    /// most 64 KiB.
    pub ca: Option<String>,
    /// The name of a certificate that only the hosts have which connect to the endpoint: 1 to 63
    /// of `a-z`, `0-9` and `-` (bootstrap, `egress.client_certificates`). Its key is in no
    /// configuration that travels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
}

/// What an endpoint has of TLS.
#[derive(Debug, Default, PartialEq)]
pub(super) struct OwnTls {
    /// Settings other than those of the process.
    pub(super) settings: Option<ClientTls>,
    /// A certificate that is known by its name.
    pub(super) certificate: Option<Arc<str>>,
}

impl OwnTls {
    pub(super) fn is_some(&self) -> bool {
        self.settings.is_some() || self.certificate.is_some()
    }
}

impl EndpointTlsSpec {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let certificate = self.client_certificate.as_deref();
        given(self.ca.as_deref()).is_none() && given(certificate).is_none()
    }
}

/// All settings of an endpoint together; `None` when something was reported.
pub(super) fn compile(spec: &EndpointSpec, checks: &mut Checks) -> Option<OwnTls> {
    let reports = checks.len();
    let shown = spec.mtls_client_cert.as_ref().filter(|one| !one.is_blank());
    let identity = shown.and_then(|one| one.compile(checks));
    let tls = spec.tls.as_ref();
    let ca = tls.and_then(|tls| given(tls.ca.as_deref()));
    at_most(checks, "tls.ca", ca, PEM_BYTES_MAX);
    let roots = ca.and_then(|pem| {
        let roots = client_tls::roots(pem).map_err(Reason::refused);
        checks.take("tls.ca", roots)
    });
    let field = "tls.client_certificate";
    let named = tls.and_then(|tls| tls.client_certificate.as_deref());
    let certificate = certificate_name(checks, field, named);
    if certificate.is_some() && (shown.is_some() || ca.is_some()) {
        let says = "brings its own roots and key: `tls.ca` and `mtls_client_cert` must be left out";
        checks.fail(field, Reason::Rule(says.to_owned()));
    }
    if checks.len() > reports {
        return None;
    }
    let made = ClientTls::new(roots, identity).map_err(Reason::refused);
    Some(OwnTls {
        settings: checks.take("tls.ca", made)?,
        certificate,
    })
}

/// The name of a certificate of the hosts.
fn certificate_name(checks: &mut Checks, field: &str, name: Option<&str>) -> Option<Arc<str>> {
    let name = given(name)?;
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let checked = match name.len() <= 63 && name.bytes().all(is_letter) {
        true => Ok(name.into()),
        false => Err(Reason::Shape("1 to 63 of `a-z`, `0-9` and `-`")),
    };
    checks.take(field, checked)
}

pub(super) fn dump(tls: Option<&ClientTls>, certificate: Option<&str>) -> Value {
    if tls.is_none() && certificate.is_none() {
        return Value::Null;
    }
    json!({
        "has_own_ca": tls.is_some_and(|tls| tls.roots().is_some()),
        "has_client_certificate": tls.is_some_and(|tls| tls.identity().is_some()),
        "client_certificate": certificate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKEN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn errors(spec: Value) -> String {
        let spec: EndpointSpec = serde_json::from_value(spec).unwrap();
        let mut checks = Checks::default();
        assert!(compile(&spec, &mut checks).is_none());
        let errors = checks.finish(Some(())).unwrap_err();
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        errors.join("; ")
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let long = "hunter2".repeat(10_000);
        for (spec, expected) in [
            (
                json!({"client_cert": "x"}),
                "`mtls_client_cert.client_key`: is missing",
            ),
            (
                json!({"client_key": "hunter2"}),
                "`mtls_client_cert.client_cert`: is missing",
            ),
            (
                json!({"client_cert": "x", "client_key": "[REDACTED]"}),
                "`mtls_client_cert.client_key`: is what replies show",
            ),
            (
                json!({"client_cert": "hunter2", "client_key": "hunter2"}),
                "`mtls_client_cert.client_cert`: must be PEM with",
            ),
            (
                json!({"client_cert": BROKEN, "client_key": "hunter2"}),
                "`mtls_client_cert.client_key`: must be PEM with one private key",
            ),
            (
                json!({"client_cert": BROKEN, "client_key": long}),
                "`mtls_client_cert.client_key`: must be from 0 to 65536 bytes",
            ),
        ] {
            let found = errors(json!({"mtls_client_cert": spec}));
            assert!(found.starts_with(expected), "{found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
        for (tls, expected) in [
            (
                json!({"client_certificate": "A b"}),
                "`tls.client_certificate`: must be 1 to 63",
            ),
            (
                json!({"client_certificate": "bank", "ca": "hunter2"}),
                "`tls.ca`: must be PEM with",
            ),
        ] {
            let found = errors(json!({"tls": tls}));
            assert_eq!(found.find(expected), Some(0), "{found}");
        }
        for (ca, expected) in [
            ("hunter2", "`tls.ca`: must be PEM with"),
            (BROKEN, "`tls.ca`: has a certificate that cannot be a root"),
        ] {
            let found = errors(json!({"tls": {"ca": ca}}));
            assert_eq!(found.find(expected), Some(0), "{found}");
        }
    }

    #[test]
    fn what_clients_send_for_none_is_none() {
        for spec in [
            json!({}),
            json!({"mtls_client_cert": {"client_cert": "", "client_key": ""}, "tls": {"ca": ""}}),
        ] {
            let spec: EndpointSpec = serde_json::from_value(spec).unwrap();
            let mut checks = Checks::default();
            assert_eq!(compile(&spec, &mut checks), Some(OwnTls::default()));
        }
    }
}
