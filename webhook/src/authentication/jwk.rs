//! The private key of client assertions: a JSON Web Key (RFC 7517, RFC 7518, RFC 8037) that signs
//! JSON Web Tokens.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// How an assertion is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA, PKCS #1 v1.5, SHA-384.
    Rs384,
    /// RSA, PKCS #1 v1.5, SHA-512.
    Rs512,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// RSA, PSS, SHA-384.
    Ps384,
    /// RSA, PSS, SHA-512.
    Ps512,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The words for it, those of JWS.
    pub const WORDS: &'static [&'static str] = &[
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ];

    const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// From its word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }

    /// That of RSA; `None` for another kind of key.
    fn rsa(self) -> Option<&'static dyn RsaEncoding> {
        Some(match self {
            Self::Rs256 => &RSA_PKCS1_SHA256,
            Self::Rs384 => &RSA_PKCS1_SHA384,
            Self::Rs512 => &RSA_PKCS1_SHA512,
            Self::Ps256 => &RSA_PSS_SHA256,
            Self::Ps384 => &RSA_PSS_SHA384,
            Self::Ps512 => &RSA_PSS_SHA512,
            Self::Es256 | Self::Es384 | Self::EdDsa => return None,
        })
    }
}

/// A key that cannot be used: a closed list. Never carries a member's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Not a type of key for signatures.
    #[error("has a `kty` other than `RSA`, `EC` and `OKP`")]
    UnsupportedType,
    /// Not a curve of ours.
    #[error("has a `crv` other than `P-256` and `P-384` (EC) or `Ed25519` (OKP)")]
    UnsupportedCurve,
    /// The key has to have it.
    #[error("has no `{0}`")]
    Missing(&'static str),
    /// Not what a member has to be.
    #[error("has a `{0}` that is not base64url of the right length")]
    Member(&'static str),
    /// The members do not make a key, or belong to several.
    #[error("has members that do not make one key (RSA: 2048 to 4096 bits)")]
    NotAKey,
    /// A word that is not known.
    #[error(
        "has an `alg` that is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
    )]
    UnknownAlgorithm,
    /// The algorithm is for another kind of key.
    #[error("cannot sign by `{0}`")]
    WrongAlgorithm(&'static str),
}

/// Members of a key as they are written.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    missing_docs,
    reason = "the names are those of RFC 7518, sections 6.2 and 6.3"
)]
pub struct Jwk<'a> {
    pub kty: &'a str,
    pub crv: &'a str,
    pub kid: &'a str,
    pub alg: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub n: &'a str,
    pub e: &'a str,
    pub d: Option<&'a Secret>,
    pub p: Option<&'a Secret>,
    pub q: Option<&'a Secret>,
    pub dp: Option<&'a Secret>,
    pub dq: Option<&'a Secret>,
    pub qi: Option<&'a Secret>,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key that signs assertions.
pub struct AssertionKey {
    pair: Pair,
    algorithm: Algorithm,
    kid: Option<Box<str>>,
    /// What ring blinds its nonces with: it decides nothing of ours.
    random: SystemRandom,
}

/// Says nothing of the key.
impl fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssertionKey({}, ***)", self.algorithm.as_str())
    }
}

impl AssertionKey {
    /// From a key, and the algorithm where that does not follow from it: an RSA key signs by RS256
    /// unless it or `algorithm` says otherwise.
    ///
    /// # Errors
    /// [`JwkError`].
    pub fn new(jwk: &Jwk<'_>, algorithm: Option<Algorithm>) -> Result<Self, JwkError> {
        let random = SystemRandom::new();
        let (pair, usual) = match jwk.kty {
            "RSA" => (Pair::Rsa(Box::new(rsa(jwk)?)), Algorithm::Rs256),
            "EC" => match jwk.crv {
                "P-256" => {
                    let pair = ecdsa(jwk, &ECDSA_P256_SHA256_FIXED_SIGNING, 32, &random)?;
                    (Pair::Ecdsa(pair), Algorithm::Es256)
                }
                "P-384" => {
                    let pair = ecdsa(jwk, &ECDSA_P384_SHA384_FIXED_SIGNING, 48, &random)?;
                    (Pair::Ecdsa(pair), Algorithm::Es384)
                }
                _ => return Err(JwkError::UnsupportedCurve),
            },
            "OKP" if jwk.crv == "Ed25519" => (Pair::Ed25519(ed25519(jwk)?), Algorithm::EdDsa),
            "OKP" => return Err(JwkError::UnsupportedCurve),
            "" => return Err(JwkError::Missing("kty")),
            _ => return Err(JwkError::UnsupportedType),
        };
        let own = match jwk.alg {
            "" => None,
            word => Some(Algorithm::of_word(word).ok_or(JwkError::UnknownAlgorithm)?),
        };
        let chosen = algorithm.or(own).unwrap_or(usual);
        let is_right = match pair {
            Pair::Rsa(_) => chosen.rsa().is_some(),
            Pair::Ecdsa(_) | Pair::Ed25519(_) => chosen == usual,
        };
        // One that says what it is for is for nothing else (RFC 7517, section 4.4).
        if !is_right || own.is_some_and(|own| own != chosen) {
            return Err(JwkError::WrongAlgorithm(chosen.as_str()));
        }
        Ok(Self {
            pair,
            algorithm: chosen,
            kid: (!jwk.kid.is_empty()).then(|| jwk.kid.into()),
            random,
        })
    }

    /// How it signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A JSON Web Token with these claims. `None` when ring finds no randomness.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> Option<String> {
        let mut head = json!({"alg": self.algorithm.as_str(), "typ": "JWT"});
        if let Some(kid) = &self.kid {
            head["kid"] = Value::from(&**kid);
        }
        let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encode(&head), encode(claims));
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let encoding = self.algorithm.rsa()?;
                pair.sign(encoding, &self.random, signed.as_bytes(), &mut signature)
                    .ok()?;
                URL_SAFE_NO_PAD.encode(signature)
            }
            Pair::Ecdsa(pair) => {
                let made = pair.sign(&self.random, signed.as_bytes()).ok()?;
                URL_SAFE_NO_PAD.encode(made)
            }
            Pair::Ed25519(pair) => URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())),
        };
        Some(format!("{signed}.{signature}"))
    }
}

type Bytes = Zeroizing<Vec<u8>>;

/// Base64url without padding; what has it is read as well.
fn decoded(name: &'static str, text: &str) -> Result<Bytes, JwkError> {
    if text.is_empty() {
        return Err(JwkError::Missing(name));
    }
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    bytes
        .map(Zeroizing::new)
        .map_err(|_| JwkError::Member(name))
}

fn private(name: &'static str, secret: Option<&Secret>) -> Result<Bytes, JwkError> {
    decoded(name, secret.map_or("", Secret::expose))
}

/// A number of so many bytes; some writers leave out zeros in front.
fn padded(name: &'static str, bytes: &[u8], length: usize) -> Result<Bytes, JwkError> {
    let missing = length.checked_sub(bytes.len());
    let zeros = vec![0; missing.ok_or(JwkError::Member(name))?];
    Ok(Zeroizing::new([&zeros, bytes].concat()))
}

fn rsa(jwk: &Jwk<'_>) -> Result<RsaKeyPair, JwkError> {
    // ring wants numbers without zeros in front.
    let number = |bytes: Bytes| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Zeroizing::new(bytes.iter().skip(zeros).copied().collect::<Vec<u8>>())
    };
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: number(decoded("n", jwk.n)?),
            e: number(decoded("e", jwk.e)?),
        },
        d: number(private("d", jwk.d)?),
        p: number(private("p", jwk.p)?),
        q: number(private("q", jwk.q)?),
        dP: number(private("dp", jwk.dp)?),
        dQ: number(private("dq", jwk.dq)?),
        qInv: number(private("qi", jwk.qi)?),
    };
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: &components.public_key.n[..],
            e: &components.public_key.e[..],
        },
        d: &components.d[..],
        p: &components.p[..],
        q: &components.q[..],
        dP: &components.dP[..],
        dQ: &components.dQ[..],
        qInv: &components.qInv[..],
    };
    RsaKeyPair::from_components(&components).map_err(|_| JwkError::NotAKey)
}

fn ecdsa(
    jwk: &Jwk<'_>,
    algorithm: &'static EcdsaSigningAlgorithm,
    length: usize,
    random: &SystemRandom,
) -> Result<EcdsaKeyPair, JwkError> {
    let d = padded("d", &private("d", jwk.d)?, length)?;
    let x = padded("x", &decoded("x", jwk.x)?, length)?;
    let y = padded("y", &decoded("y", jwk.y)?, length)?;
    let point = [&[4][..], &x, &y].concat(); // uncompressed (SEC 1, section 2.3.3)
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &d, &point, random)
        .map_err(|_| JwkError::NotAKey)
}

fn ed25519(jwk: &Jwk<'_>) -> Result<Ed25519KeyPair, JwkError> {
    let (d, x) = (private("d", jwk.d)?, decoded("x", jwk.x)?);
    for (name, bytes) in [("d", &d), ("x", &x)] {
        if bytes.len() != 32 {
            return Err(JwkError::Member(name));
        }
    }
    Ed25519KeyPair::from_seed_and_public_key(&d, &x).map_err(|_| JwkError::NotAKey)
}

#[cfg(test)]
mod tests;
