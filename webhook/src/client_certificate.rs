//! Who a client is by its certificate: a chain to a root, and a name in it.
//!
//! That the client has the key was shown in the handshake; here it is decided whether the
//! certificate is one of those that are meant.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// Not PEM, or no certificate in it.
    #[error("must be PEM with at least one certificate")]
    NotPem,
    /// A certificate that is no root.
    #[error("has a certificate that cannot be a root")]
    NotARoot,
}

/// Why a client's certificate is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// There is none.
    #[error("a client certificate is required here")]
    Missing,
    /// It does not lead to a root, or is not valid now, or not for clients.
    #[error("the client certificate is not valid here")]
    Untrusted,
    /// None of its names is expected.
    #[error("the client certificate has another name than is expected here")]
    WrongName,
    /// There are no roots to check it with.
    #[error("no roots are configured for the client certificates of this source")]
    NoRoots,
}

/// The roots that client certificates have to come from.
#[derive(Clone)]
pub struct ClientRoots(Arc<dyn ClientCertVerifier>);

impl fmt::Debug for ClientRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientRoots(..)")
    }
}

impl ClientRoots {
    /// The certificates of a PEM text.
    ///
    /// # Errors
    /// [`RootsError`] when one of them cannot be a root, or there is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| RootsError::NotPem)?;
            roots.add(certificate).map_err(|_| RootsError::NotARoot)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        verifier.build().map(Self).map_err(|_| RootsError::NotPem) // there was none
    }

    fn check(&self, chain: &[CertificateDer<'_>], now_s: i64) -> Result<(), CertificateRefused> {
        let (client, between) = chain.split_first().ok_or(CertificateRefused::Missing)?;
        let since_epoch = Duration::from_secs(u64::try_from(now_s).unwrap_or(0));
        let now = UnixTime::since_unix_epoch(since_epoch);
        match self.0.verify_client_cert(client, between, now) {
            Ok(_) => Ok(()),
            Err(_) => Err(CertificateRefused::Untrusted),
        }
    }
}

/// What a client's certificate has to be.
#[derive(Debug, Clone, Default)]
pub struct ClientCertificateRule {
    /// Whether a client without one is refused.
    pub is_required: bool,
    /// Roots of its own, instead of the listener's.
    pub roots: Option<ClientRoots>,
    /// Common names, one of which the subject has; any when both lists are empty.
    pub subjects: Vec<Box<str>>,
    /// Alternative names (DNS, URI, e-mail or address), one of which it has.
    pub sans: Vec<Box<str>>,
}

impl ClientCertificateRule {
    /// Judges the chain that a client has shown, its own certificate first; empty when it has
    /// shown none. `roots` are the listener's.
    ///
    /// # Errors
    /// [`CertificateRefused`].
    pub fn check(
        &self,
        chain: &[CertificateDer<'_>],
        roots: Option<&ClientRoots>,
        now_s: i64,
    ) -> Result<(), CertificateRefused> {
        let Some(client) = chain.first() else {
            return match self.is_required {
                true => Err(CertificateRefused::Missing),
                false => Ok(()),
            };
        };
        let roots = self.roots.as_ref().or(roots);
        roots
            .ok_or(CertificateRefused::NoRoots)?
            .check(chain, now_s)?;
        if self.subjects.is_empty() && self.sans.is_empty() {
            return Ok(());
        }
        let (_, parsed) =
            X509Certificate::from_der(client).map_err(|_| CertificateRefused::Untrusted)?;
        match self.names(&parsed) {
            true => Ok(()),
            false => Err(CertificateRefused::WrongName),
        }
    }

    fn names(&self, certificate: &X509Certificate<'_>) -> bool {
        let mut subjects = certificate.subject().iter_common_name();
        let is_subject = subjects.any(|name| {
            let name = name.as_str().unwrap_or_default();
            self.subjects.iter().any(|expected| **expected == *name)
        });
        let names = certificate.subject_alternative_name().ok().flatten();
        let mut names = names
            .into_iter()
            .flat_map(|names| &names.value.general_names);
        is_subject || names.any(|name| self.sans.iter().any(|expected| is_name(name, expected)))
    }
}

fn is_name(name: &GeneralName<'_>, expected: &str) -> bool {
    match name {
        GeneralName::DNSName(dns) => dns.eq_ignore_ascii_case(expected),
        GeneralName::URI(text) | GeneralName::RFC822Name(text) => *text == expected,
        GeneralName::IPAddress(bytes) => match expected.parse() {
            Ok(std::net::IpAddr::V4(v4)) => *bytes == v4.octets(),
            Ok(std::net::IpAddr::V6(v6)) => *bytes == v6.octets(),
            Err(_) => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
        KeyPair, SanType,
    };

    struct Authority {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Authority { pem, issuer }
    }

    impl Authority {
        fn roots(&self) -> ClientRoots {
            ClientRoots::from_pem(self.pem.as_bytes()).unwrap()
        }

        fn client(&self, usage: ExtendedKeyUsagePurpose) -> Vec<CertificateDer<'static>> {
            let mut params = CertificateParams::new(vec!["hooks.example.com".to_owned()]).unwrap();
            params
                .distinguished_name
                .push(DnType::CommonName, "provider");
            let uri = "spiffe://example.com/hooks".try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
            let address = "192.0.2.1".parse().unwrap();
            params.subject_alt_names.push(SanType::IpAddress(address));
            params.extended_key_usages = vec![usage];
            params.not_before = time::OffsetDateTime::from_unix_timestamp(1_000_000).unwrap();
            params.not_after = time::OffsetDateTime::from_unix_timestamp(2_000_000).unwrap();
            let key = KeyPair::generate().unwrap();
            vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()]
        }
    }

    fn rule(subjects: &[&str], sans: &[&str]) -> ClientCertificateRule {
        let owned = |texts: &[&str]| texts.iter().map(|text| Box::from(*text)).collect();
        ClientCertificateRule {
            is_required: true,
            roots: None,
            subjects: owned(subjects),
            sans: owned(sans),
        }
    }

    const NOW_S: i64 = 1_500_000;

    #[test]
    fn only_a_valid_client_certificate_of_the_right_root_passes() {
        let (ours, other) = (authority(), authority());
        let any = rule(&[], &[]);
        let client = ours.client(ExtendedKeyUsagePurpose::ClientAuth);
        let (roots, others) = (ours.roots(), other.roots());
        let refused = |found: Result<(), CertificateRefused>| found.unwrap_err();
        assert_eq!(
            refused(any.check(&[], Some(&roots), NOW_S)),
            CertificateRefused::Missing
        );
        assert_eq!(
            refused(any.check(&client, None, NOW_S)),
            CertificateRefused::NoRoots
        );
        for (chain, roots, now_s) in [
            (&client, &others, NOW_S),
            (&client, &roots, 999_999),
            (&client, &roots, 2_000_001),
            (&client, &roots, -1),
            (
                &ours.client(ExtendedKeyUsagePurpose::ServerAuth),
                &roots,
                NOW_S,
            ),
            (&vec![CertificateDer::from(vec![1, 2, 3])], &roots, NOW_S),
        ] {
            let found = any.check(chain, Some(roots), now_s);
            assert_eq!(refused(found), CertificateRefused::Untrusted);
        }
        any.check(&client, Some(&roots), NOW_S).unwrap();
        // Roots of its own count instead of the listener's.
        let own = ClientCertificateRule {
            roots: Some(roots),
            ..rule(&[], &[])
        };
        own.check(&client, Some(&others), NOW_S).unwrap();
        let optional = ClientCertificateRule {
            is_required: false,
            ..own
        };
        optional.check(&[], None, NOW_S).unwrap();
        let stranger = other.client(ExtendedKeyUsagePurpose::ClientAuth);
        assert!(optional.check(&stranger, Some(&others), NOW_S).is_err());
    }

    #[test]
    fn one_of_the_names_has_to_be_there() {
        let ours = authority();
        let client = ours.client(ExtendedKeyUsagePurpose::ClientAuth);
        let check = |rule: ClientCertificateRule| rule.check(&client, Some(&ours.roots()), NOW_S);
        for (subjects, sans) in [
            (&["Provider"][..], &[][..]),
            (&["hooks.example.com"], &["provider"]),
            (
                &[],
                &[
                    "example.com",
                    "*.example.com",
                    "192.0.2.2",
                    "spiffe://example.com",
                ],
            ),
        ] {
            let found = check(rule(subjects, sans));
            assert_eq!(
                found,
                Err(CertificateRefused::WrongName),
                "{subjects:?} {sans:?}"
            );
        }
        for (subjects, sans) in [
            (&["x", "provider"][..], &[][..]),
            (&["x"], &["HOOKS.example.com"]),
            (&[], &["spiffe://example.com/hooks"]),
            (&[], &["192.0.2.1"]),
        ] {
            check(rule(subjects, sans)).unwrap();
        }
    }

    #[test]
    fn what_is_no_root_is_refused() {
        for pem in [
            "",
            "hunter2",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(ClientRoots::from_pem(pem.as_bytes()).is_err(), "{pem}");
        }
    }
}
