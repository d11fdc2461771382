//! Public keys and what they verify. An algorithm takes keys of its own type only.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::der_parser::oid;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

/// Signature algorithms with public keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublicAlgorithm {
    /// RFC 8032, pure; a scalar beyond the group order does not verify.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, signature in DER.
    EcdsaP256Sha256,
    /// RSA PKCS#1 v1.5, keys of 2048 to 8192 bits.
    RsaPkcs1Sha1,
    RsaPkcs1Sha256,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyType {
    Ed25519,
    EcP256,
    Rsa,
}

/// How the text of a secret becomes a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublicForm {
    /// `whpk_` and the base64 of an Ed25519 key.
    Whpk,
    Ed25519Hex,
    Ed25519Base64,
    /// SubjectPublicKeyInfo: PEM, or the base64 of its DER.
    Spki,
}

/// A public key of a known type.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    kind: KeyType,
    /// What ring wants: 32 bytes, the uncompressed point, or the RSAPublicKey of PKCS#1.
    bytes: Box<[u8]>,
}

impl PublicAlgorithm {
    pub(super) const fn key_type(self) -> KeyType {
        match self {
            Self::Ed25519 => KeyType::Ed25519,
            Self::EcdsaP256Sha256 => KeyType::EcP256,
            Self::RsaPkcs1Sha1 | Self::RsaPkcs1Sha256 => KeyType::Rsa,
        }
    }

    fn ring(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 => &signature::ED25519,
            Self::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
            Self::RsaPkcs1Sha1 => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Self::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

impl PublicForm {
    /// The key of a secret; `None` when its text is not in this form.
    pub(super) fn derive(self, text: &str) -> Option<PublicKey> {
        let ed25519 = |bytes: Vec<u8>| {
            (bytes.len() == 32).then(|| PublicKey {
                kind: KeyType::Ed25519,
                bytes: bytes.into(),
            })
        };
        match self {
            Self::Whpk => ed25519(STANDARD.decode(text.strip_prefix("whpk_")?).ok()?),
            Self::Ed25519Hex => ed25519(hex::decode(text).ok()?),
            Self::Ed25519Base64 => ed25519(STANDARD.decode(text).ok()?),
            Self::Spki => PublicKey::from_spki(&spki_der(text)?),
        }
    }
}

/// The DER in a PEM block `PUBLIC KEY`, or in bare base64; line breaks do not matter.
fn spki_der(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let base64 = match text.strip_prefix("-----BEGIN PUBLIC KEY-----") {
        Some(rest) => rest.strip_suffix("-----END PUBLIC KEY-----")?,
        None => text,
    };
    let base64: String = base64.split_ascii_whitespace().collect();
    STANDARD.decode(base64).ok()
}

impl PublicKey {
    /// From the DER of a SubjectPublicKeyInfo; `None` when it is none, or of another type.
    pub(super) fn from_spki(der: &[u8]) -> Option<Self> {
        match SubjectPublicKeyInfo::from_der(der) {
            Ok(([], spki)) => Self::of(&spki),
            _ => None,
        }
    }

    pub(super) fn of(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let algorithm = &spki.algorithm;
        let curve = || algorithm.parameters.as_ref()?.as_oid().ok();
        let kind = if algorithm.algorithm == oid!(1.3.101.112) {
            KeyType::Ed25519
        } else if algorithm.algorithm == oid!(1.2.840.113549.1.1.1) {
            KeyType::Rsa
        } else if algorithm.algorithm == oid!(1.2.840.10045.2.1)
            && curve()? == oid!(1.2.840.10045.3.1.7)
        {
            KeyType::EcP256
        } else {
            return None;
        };
        Some(Self {
            kind,
            bytes: (*spki.subject_public_key.data).into(),
        })
    }

    pub(super) fn is_for(&self, algorithm: PublicAlgorithm) -> bool {
        self.kind == algorithm.key_type()
    }

    pub(super) fn verifies(
        &self,
        algorithm: PublicAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.is_for(algorithm)
            && UnparsedPublicKey::new(algorithm.ring(), &self.bytes)
                .verify(message, signature)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEg+5lPzjBBGUrNcVYSkXo2MRZQQmRVMmYX3yYz8c2nBAg0kIVbMqTKNjSdJnDhZTcWkQtXVqDEuNcvBJh7pRn5A==";

    #[test]
    fn texts_that_are_no_key_of_the_form_are_refused() {
        let key = STANDARD.encode([1_u8; 32]);
        for (form, text) in [
            (PublicForm::Whpk, key.clone()),
            (PublicForm::Whpk, format!("whsec_{key}")),
            (
                PublicForm::Whpk,
                format!("whpk_{}", STANDARD.encode([1; 31])),
            ),
            (PublicForm::Ed25519Hex, "00".repeat(33)),
            (PublicForm::Ed25519Hex, key.clone()),
            (PublicForm::Ed25519Base64, "00".repeat(32)),
            (PublicForm::Spki, key.clone()),
            (PublicForm::Spki, String::new()),
            (PublicForm::Spki, P256[..80].to_owned()),
            (
                PublicForm::Spki,
                format!("-----BEGIN PUBLIC KEY-----\n{P256}"),
            ),
            (
                PublicForm::Spki,
                format!("-----BEGIN PRIVATE KEY-----\n{P256}\n-----END PRIVATE KEY-----"),
            ),
        ] {
            assert!(form.derive(&text).is_none(), "{form:?} {text}");
        }
        assert!(PublicForm::Whpk.derive(&format!("whpk_{key}")).is_some());
    }

    #[test]
    fn a_key_is_bound_to_the_algorithms_of_its_type() {
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n",
            &P256[..64],
            &P256[64..]
        );
        for text in [P256, &pem] {
            let key = PublicForm::Spki.derive(text).unwrap();
            assert!(key.is_for(PublicAlgorithm::EcdsaP256Sha256));
            for other in [
                PublicAlgorithm::Ed25519,
                PublicAlgorithm::RsaPkcs1Sha1,
                PublicAlgorithm::RsaPkcs1Sha256,
            ] {
                assert!(!key.is_for(other) && !key.verifies(other, b"", b""));
            }
        }
    }
}
