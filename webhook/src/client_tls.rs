//! TLS settings of one endpoint: whom its receiver has to be vouched for by, and as whom we come.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys, RootCertStore};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// Most certificates of a chain, and most roots of one endpoint.
const CERTIFICATES_MAX: usize = 32;

/// TLS settings that cannot be used: a closed list. Never carries what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientTlsError {
    /// Not PEM, or no certificate in it, or too many.
    #[error("must be PEM with 1 to {CERTIFICATES_MAX} certificates")]
    NotCertificates,
    /// The first certificate cannot be read.
    #[error("has a first certificate that cannot be read")]
    BadCertificate,
    /// A certificate that is no root.
    #[error("has a certificate that cannot be a root")]
    NotARoot,
    /// No private key.
    #[error("must be PEM with one private key that has no pass phrase (PKCS #8, PKCS #1 or SEC 1)")]
    NotAKey,
    /// A key of a kind that cannot sign here.
    #[error(
        "must be an ECDSA key (P-256, P-384), an Ed25519 key, or an RSA key of 2048 to 8192 bits"
    )]
    UnsupportedKey,
    /// Key and certificate have nothing to do with each other.
    #[error("is not the key of the first certificate")]
    Mismatch,
}

/// The certificate by which a receiver knows us, with its chain and key.
#[derive(Clone)]
pub struct ClientIdentity(Arc<CertifiedKey>);

impl ClientIdentity {
    /// From the PEM of a chain, our certificate first.
    ///
    /// # Errors
    /// [`ClientTlsError`] for the chain.
    pub fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, ClientTlsError> {
        certificates(pem)
    }

    /// From a chain and the PEM of its key.
    ///
    /// # Errors
    /// [`ClientTlsError`] for the key, and for a chain that cannot be compared with it.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key_pem: &Secret,
    ) -> Result<Self, ClientTlsError> {
        let mut keys = PrivateKeyDer::pem_slice_iter(key_pem.expose().as_bytes());
        let (Some(Ok(key)), None) = (keys.next(), keys.next()) else {
            return Err(ClientTlsError::NotAKey);
        };
        let provider = rustls::crypto::ring::default_provider();
        let made = CertifiedKey::from_der(chain, key, &provider);
        made.map(|made| Self(Arc::new(made)))
            .map_err(|error| match error {
                TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    ClientTlsError::Mismatch
                }
                TlsError::InvalidCertificate(_) | TlsError::NoCertificatesPresented => {
                    ClientTlsError::BadCertificate
                }
                _ => ClientTlsError::UnsupportedKey,
            })
    }
}

/// TLS settings of one endpoint, other than those of the process. Equal ones are the same to any
/// receiver: two are equal when they trust the same roots and show the same chain.
#[derive(Clone)]
pub struct ClientTls {
    roots: Option<Arc<RootCertStore>>,
    identity: Option<ClientIdentity>,
    fingerprint: [u8; 32],
}

/// Says nothing of the key.
impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("has_own_ca", &self.roots.is_some())
            .field("has_certificate", &self.identity.is_some())
            .finish()
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for ClientTls {}

impl Hash for ClientTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// Roots of one endpoint, out of PEM.
///
/// # Errors
/// [`ClientTlsError`].
pub fn roots(pem: &str) -> Result<Vec<CertificateDer<'static>>, ClientTlsError> {
    let roots = certificates(pem)?;
    let mut store = RootCertStore::empty();
    for root in &roots {
        store
            .add(root.clone())
            .map_err(|_| ClientTlsError::NotARoot)?;
    }
    Ok(roots)
}

impl ClientTls {
    /// Settings with these roots instead of those of the process, and this identity. `None` when
    /// there is neither: then the settings are those of the process.
    ///
    /// # Errors
    /// [`ClientTlsError::NotARoot`].
    pub fn new(
        roots: Option<Vec<CertificateDer<'static>>>,
        identity: Option<ClientIdentity>,
    ) -> Result<Option<Self>, ClientTlsError> {
        if roots.is_none() && identity.is_none() {
            return Ok(None);
        }
        let mut hash = Sha256::new();
        let mut add = |part: &str, certificates: &[CertificateDer<'_>]| {
            hash.update(part);
            for certificate in certificates {
                // With its length in front, so that no two lists give the same bytes.
                hash.update((certificate.len() as u64).to_be_bytes());
                hash.update(certificate);
            }
            hash.update(u64::MAX.to_be_bytes());
        };
        add("roots", roots.as_deref().unwrap_or_default());
        let chain = identity.as_ref().map(|identity| identity.0.cert.as_slice());
        add("chain", chain.unwrap_or_default());
        let store = roots.map(|roots| {
            let mut store = RootCertStore::empty();
            let added = roots.into_iter().try_for_each(|root| store.add(root));
            added.map(|()| Arc::new(store))
        });
        Ok(Some(Self {
            roots: store.transpose().map_err(|_| ClientTlsError::NotARoot)?,
            identity,
            fingerprint: hash.finalize().into(),
        }))
    }

    /// The only roots that are trusted; those of the process when absent.
    #[must_use]
    pub const fn roots(&self) -> Option<&Arc<RootCertStore>> {
        self.roots.as_ref()
    }

    /// What is shown to a receiver that asks for a certificate.
    #[must_use]
    pub fn identity(&self) -> Option<&Arc<CertifiedKey>> {
        self.identity.as_ref().map(|identity| &identity.0)
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, ClientTlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(read) if (1..=CERTIFICATES_MAX).contains(&read.len()) => Ok(read),
        Ok(_) | Err(_) => Err(ClientTlsError::NotCertificates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    struct Made {
        certificate: String,
        key: Secret,
    }

    fn made(key: &KeyPair) -> Made {
        let params = CertificateParams::new(vec!["client.example.com".to_owned()]).unwrap();
        Made {
            certificate: params.self_signed(key).unwrap().pem(),
            key: Secret::new(key.serialize_pem()),
        }
    }

    fn fresh() -> Made {
        made(&KeyPair::generate().unwrap())
    }

    fn identity(made: &Made) -> ClientIdentity {
        ClientIdentity::new(ClientIdentity::chain(&made.certificate).unwrap(), &made.key).unwrap()
    }

    const BROKEN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    #[test]
    fn what_is_no_chain_is_refused() {
        let Made { certificate, key } = fresh();
        let many = certificate.repeat(CERTIFICATES_MAX + 1);
        for pem in [
            "",
            "hunter2",
            key.expose(),
            &many,
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ] {
            assert_eq!(
                ClientIdentity::chain(pem),
                Err(ClientTlsError::NotCertificates)
            );
        }
        let chain = ClientIdentity::chain(BROKEN).unwrap();
        let refused = ClientIdentity::new(chain, &key).err();
        assert_eq!(refused, Some(ClientTlsError::BadCertificate));
        assert_eq!(roots(BROKEN), Err(ClientTlsError::NotARoot));
    }

    #[test]
    fn a_key_belongs_to_its_certificate_and_is_told_from_no_key() {
        let (ours, other) = (fresh(), fresh());
        let with = |key: &str| {
            let chain = ClientIdentity::chain(&ours.certificate).unwrap();
            ClientIdentity::new(chain, &Secret::new(key)).err()
        };
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let two = format!("{}{}", ours.key.expose(), other.key.expose());
        for (key, expected) in [
            ("", ClientTlsError::NotAKey),
            ("hunter2", ClientTlsError::NotAKey),
            (encrypted, ClientTlsError::NotAKey),
            (&two, ClientTlsError::NotAKey),
            (&ours.certificate, ClientTlsError::NotAKey),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                ClientTlsError::UnsupportedKey,
            ),
            (other.key.expose(), ClientTlsError::Mismatch),
        ] {
            assert_eq!(with(key), Some(expected));
        }
        assert_eq!(with(ours.key.expose()), None);
        for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384] {
            identity(&made(&KeyPair::generate_for(algorithm).unwrap()));
        }
    }

    #[test]
    fn settings_are_the_same_when_a_receiver_cannot_tell_them_apart() {
        let (a, b) = (fresh(), fresh());
        let settings = |roots_of: Option<&Made>, shown: Option<&Made>| {
            let trusted = roots_of.map(|made| roots(&made.certificate).unwrap());
            ClientTls::new(trusted, shown.map(identity)).unwrap()
        };
        assert_eq!(settings(None, None), None);
        let all = [
            settings(Some(&a), None),
            settings(Some(&b), None),
            settings(None, Some(&a)),
            settings(None, Some(&b)),
            settings(Some(&a), Some(&a)),
            settings(Some(&a), Some(&b)),
            settings(Some(&b), Some(&a)),
        ];
        for (i, one) in all.iter().enumerate() {
            for (j, other) in all.iter().enumerate() {
                assert_eq!(one == other, i == j, "{i} {j}");
            }
        }
        assert_eq!(settings(Some(&a), Some(&b)), all[5]);
        let printed = format!("{all:?}");
        assert!(!printed.contains("PRIVATE"), "{printed}");
    }
}
