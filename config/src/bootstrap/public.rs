//! The public listener, and the certificates it shows.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::spec::Checks;

/// Certificates of one listener; each is a chain that may have several names.
const CERTIFICATES_MAX: usize = 1000;

/// TLS on the public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicTls {
    /// At least one. The first is for clients that ask for a name nobody has, or for none.
    pub certificates: Vec<CertificateFiles>,
    /// Roots of client certificates, where a source names none of its own.
    pub client_ca: Option<PathBuf>,
    /// Whether clients are asked for a certificate; default whether there is a `client_ca`.
    pub asks_clients: bool,
    /// The least version of TLS; default 1.2.
    pub version_min: TlsVersion,
    /// For a handshake; default 10 s.
    pub handshake_timeout: Duration,
    /// Another listener beside it, without TLS.
    pub plain_listen: Option<SocketAddr>,
}

/// PEM files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, with what leads to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PublicSpec {
    pub(super) listen: Option<String>,
    pub(super) url: Option<String>,
    plain_listen: Option<String>,
    tls: Option<TlsSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsSpec {
    certificates: Option<Vec<CertificateSpec>>,
    client_ca: Option<String>,
    request_client_certificates: Option<bool>,
    min_version: Option<String>,
    handshake_timeout_ms: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CertificateSpec {
    certificate: Option<String>,
    key: Option<String>,
}

impl PublicSpec {
    /// Whether there is a section for TLS, right or wrong.
    pub(super) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn tls(&mut self, checks: &mut Checks) -> Option<PublicTls> {
        let plain_listen = self.plain_listen.take().map(|text| {
            let placeholder = SocketAddr::from(([127, 0, 0, 1], 1)); // reported, and not used
            checks.listener("public.plain_listen", Some(text), placeholder)
        });
        let Some(tls) = self.tls.take() else {
            if plain_listen.is_some() {
                let say = "belongs to `public.tls`: without it `public.listen` is plain already";
                checks.fail("public.plain_listen", say);
            }
            return None;
        };
        Some(tls.check(plain_listen, checks))
    }
}

impl TlsSpec {
    fn check(self, plain_listen: Option<SocketAddr>, checks: &mut Checks) -> PublicTls {
        let specs = self.certificates.unwrap_or_default();
        if specs.is_empty() || specs.len() > CERTIFICATES_MAX {
            let say = format!("needs 1 to {CERTIFICATES_MAX} certificates");
            checks.fail("public.tls.certificates", say);
        }
        let certificates = specs
            .into_iter()
            .enumerate()
            .map(|(index, spec)| spec.check(index, checks))
            .collect();
        let version_min = match self.min_version.as_deref() {
            None | Some("1.2") => TlsVersion::Tls12,
            Some("1.3") => TlsVersion::Tls13,
            Some(_) => {
                checks.fail("public.tls.min_version", "must be `1.2` or `1.3`");
                TlsVersion::Tls12
            }
        };
        let path = "public.tls.handshake_timeout_ms";
        let client_ca = self.client_ca.filter(|path| !path.is_empty());
        PublicTls {
            certificates,
            asks_clients: self
                .request_client_certificates
                .unwrap_or(client_ca.is_some()),
            client_ca: client_ca.map(PathBuf::from),
            version_min,
            handshake_timeout: checks.duration(path, self.handshake_timeout_ms, 10_000),
            plain_listen,
        }
    }
}

impl CertificateSpec {
    fn check(self, index: usize, checks: &mut Checks) -> CertificateFiles {
        let mut file = |name: &str, path: Option<String>| {
            let path = path.unwrap_or_default();
            if path.is_empty() {
                let field = format!("public.tls.certificates[{index}].{name}");
                checks.fail(field, "must be the path of a PEM file");
            }
            PathBuf::from(path)
        };
        CertificateFiles {
            certificate: file("certificate", self.certificate),
            key: file("key", self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bootstrap;
    use super::*;

    fn load(text: &str) -> Result<Bootstrap, Vec<String>> {
        Bootstrap::load(Some(text), std::iter::empty()).map_err(|problems| {
            let text = |problem: &crate::problem::Problem| problem.to_string();
            problems.iter().map(text).collect()
        })
    }

    #[test]
    fn what_is_wrong_with_tls_is_named() {
        for (public, expected) in [
            ("{tls: {}}", "public.tls.certificates: needs 1 to 1000"),
            (
                "{tls: {certificates: []}}",
                "public.tls.certificates: needs 1 to 1000",
            ),
            (
                "{tls: {certificates: [{key: k}]}}",
                "certificates[0].certificate: must be the path",
            ),
            (
                "{tls: {certificates: [{certificate: c}]}}",
                "certificates[0].key: must be the path",
            ),
            (
                "{tls: {certificates: [{certificate: c, key: k}], min_version: '1.1'}}",
                "public.tls.min_version: must be",
            ),
            (
                "{plain_listen: '127.0.0.1:80'}",
                "public.plain_listen: belongs to `public.tls`",
            ),
            (
                "{plain_listen: '127.0.0.1:5010', tls: {certificates: [{certificate: c, key: k}]}}",
                "public.plain_listen: 127.0.0.1:5010 is also",
            ),
        ] {
            let found = load(&format!("public: {public}")).unwrap_err();
            assert!(
                found.len() == 1 && found[0].contains(expected),
                "{public} {found:?}"
            );
        }
    }

    #[test]
    fn clients_are_asked_for_certificates_when_there_are_roots_or_it_is_said() {
        let tls = |more: &str| {
            let text =
                format!("public: {{tls: {{certificates: [{{certificate: c, key: k}}]{more}}}}}");
            load(&text).unwrap()
        };
        let plain = tls("");
        assert_eq!(plain.public_url, "https://127.0.0.1:5005");
        let plain = plain.public_tls.unwrap();
        assert!(!plain.asks_clients && plain.version_min == TlsVersion::Tls12);
        assert!(tls(", client_ca: ca.pem").public_tls.unwrap().asks_clients);
        let asked = tls(", request_client_certificates: true, min_version: '1.3'");
        let asked = asked.public_tls.unwrap();
        assert!(asked.asks_clients && asked.version_min == TlsVersion::Tls13);
    }
}
