//! One certificate of the listener, with its key, out of its files.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{TlsError, read};

/// A certificate with its key.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names it is for, in lower case, perhaps with a `*` as the first label.
    pub(super) names: Vec<String>,
    file: String,
    serial: String,
    not_after_s: i64,
}

pub(super) fn load(certificate: &Path, key: &Path) -> Result<Loaded, TlsError> {
    let no_certificate = || TlsError::Certificate {
        path: certificate.to_owned(),
    };
    let no_key = || TlsError::Key {
        path: key.to_owned(),
    };
    let pem = read(certificate)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| no_certificate())?;
    let own = chain.first().ok_or_else(no_certificate)?;
    let (_, parsed) = X509Certificate::from_der(own).map_err(|_| no_certificate())?;
    let (names, serial) = (names_of(&parsed), parsed.raw_serial_as_string());
    let not_after_s = parsed.validity().not_after.timestamp();
    let pem = zeroize::Zeroizing::new(read(key)?);
    let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| no_key())?;
    let secret = rustls::crypto::ring::sign::any_supported_type(&secret).map_err(|_| no_key())?;
    let pair = CertifiedKey::new(chain, secret);
    pair.keys_match().map_err(|_| TlsError::NotAPair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    })?;
    Ok(Loaded {
        key: Arc::new(pair),
        names,
        file: certificate.display().to_string(),
        serial,
        not_after_s,
    })
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names
        .into_iter()
        .flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

impl Loaded {
    /// For operators.
    pub(super) fn shown(&self, now_s: i64) -> Value {
        json!({
            "file": self.file,
            "serial": self.serial,
            "names": self.names,
            "not_after_s": self.not_after_s,
            "days_left": (self.not_after_s - now_s).div_euclid(24 * 3600),
        })
    }
}
