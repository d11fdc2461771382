//! The schemes of a signature: names to algorithms, and what each needs to protect anything.

use crate::secret::Secret;
use crate::verify::params::Params;
use crate::verify::preset::{SchemeSpec, SignatureSpec};
use crate::verify::scheme::{Algorithm, Encoding, Hash, KeyForm, Scheme};
use crate::verify::signature::{Format, Signature};
use crate::verify::template::Template;

use super::CompileError;

/// What all schemes of a preset are compiled against.
pub(super) struct Context<'a> {
    pub(super) signature: &'a Signature,
    pub(super) signed: &'a [Template],
    pub(super) secrets: &'a [Secret],
}

impl Context<'_> {
    pub(super) fn schemes(
        &self,
        spec: &SignatureSpec,
        params: &mut Params<'_>,
    ) -> Result<Vec<Scheme>, CompileError> {
        if spec.label_from.is_some() {
            return Err(CompileError::unsupported(
                "signature.label_from",
                "a label outside the signature",
            ));
        }
        if spec.schemes.is_empty() {
            return Err(CompileError::invalid(
                "signature.schemes",
                "lists no scheme",
            ));
        }
        let scheme =
            |(index, spec)| self.scheme(&format!("signature.schemes[{index}]"), spec, params);
        spec.schemes.iter().enumerate().map(scheme).collect()
    }

    fn scheme(
        &self,
        field: &str,
        spec: &SchemeSpec,
        params: &mut Params<'_>,
    ) -> Result<Scheme, CompileError> {
        let part = |name: &str| format!("{field}.{name}");
        if spec.key_source.is_some() {
            return Err(CompileError::unsupported(
                &part("key_source"),
                "a key fetched from an address",
            ));
        }
        let label = match (&spec.label, &self.signature.format) {
            (Some(label), Format::Pairs { .. }) => {
                Some(params.text(&part("label"), label)?.into_bytes().into())
            }
            (None, Format::Pairs { .. }) => {
                return Err(CompileError::invalid(
                    &part("label"),
                    "is needed with `pairs`",
                ));
            }
            (Some(_), _) => {
                return Err(CompileError::invalid(
                    &part("label"),
                    "has no effect without `pairs`",
                ));
            }
            (None, _) => None,
        };
        let mut name = |field: &str, text| params.text(&part(field), text);
        let (algorithm, encoding, key) = (
            name("algorithm", &spec.algorithm)?,
            name("encoding", &spec.encoding)?,
            name("key", &spec.key)?,
        );
        let algorithm = choose(
            &part("algorithm"),
            &algorithm,
            &ALGORITHMS,
            &ALGORITHMS_LATER,
        )?;
        let encoding = choose(&part("encoding"), &encoding, &ENCODINGS, &[])?;
        let form = choose(&part("key"), &key, &KEY_FORMS, &KEY_FORMS_LATER)?;
        if algorithm == Algorithm::Equal {
            // A credential in a header nobody can name would be stored and forwarded.
            if self.signature.single_source().is_none() {
                return Err(CompileError::unsupported(
                    "signature.source",
                    "a static credential in one of several headers",
                ));
            }
        } else {
            check_signed(&part("algorithm"), algorithm, self.signed)?;
            if encoding == Encoding::Text {
                return Err(CompileError::invalid(
                    &part("encoding"),
                    "`text` is for the algorithm `equal` only",
                ));
            }
        }
        Ok(Scheme::new(label, algorithm, encoding, form, self.secrets))
    }
}

/// A signature that covers nothing, or a digest anybody can compute, protects nothing.
fn check_signed(
    field: &str,
    algorithm: Algorithm,
    signed: &[Template],
) -> Result<(), CompileError> {
    if signed.is_empty() {
        return Err(CompileError::invalid(
            "signed",
            "is needed for this algorithm",
        ));
    }
    if !signed.iter().all(Template::has_input) {
        return Err(CompileError::invalid(
            "signed",
            "covers nothing of the request",
        ));
    }
    if matches!(algorithm, Algorithm::Digest(_)) && !signed.iter().all(Template::has_secret) {
        return Err(CompileError::invalid(
            field,
            "a plain digest needs `{secret}` in the signed text",
        ));
    }
    if matches!(algorithm, Algorithm::Hmac(_)) && signed.iter().any(Template::has_secret) {
        return Err(CompileError::invalid(
            field,
            "an HMAC takes the secret as its key, not as `{secret}`",
        ));
    }
    Ok(())
}

pub(super) const ALGORITHMS: [(&str, Algorithm); 8] = [
    ("hmac-sha1", Algorithm::Hmac(Hash::Sha1)),
    ("hmac-sha256", Algorithm::Hmac(Hash::Sha256)),
    ("hmac-sha384", Algorithm::Hmac(Hash::Sha384)),
    ("hmac-sha512", Algorithm::Hmac(Hash::Sha512)),
    ("sha1", Algorithm::Digest(Hash::Sha1)),
    ("sha256", Algorithm::Digest(Hash::Sha256)),
    ("sha512", Algorithm::Digest(Hash::Sha512)),
    ("equal", Algorithm::Equal),
];
pub(super) const ALGORITHMS_LATER: [&str; 4] = [
    "ed25519",
    "ecdsa-p256-sha256",
    "rsa-pkcs1-sha1",
    "rsa-pkcs1-sha256",
];
const ENCODINGS: [(&str, Encoding); 3] = [
    ("hex", Encoding::Hex),
    ("base64", Encoding::Base64),
    ("text", Encoding::Text),
];
const KEY_FORMS: [(&str, KeyForm); 4] = [
    ("utf8", KeyForm::Utf8),
    ("hex", KeyForm::Hex),
    ("whsec", KeyForm::Whsec),
    ("sha1_utf8", KeyForm::Sha1Utf8),
];
const KEY_FORMS_LATER: [&str; 5] = ["whpk", "ed25519_hex", "ed25519_base64", "spki", "x509_url"];

/// The meaning of a name, in either case.
pub(super) fn choose<T: Copy>(
    field: &str,
    value: &str,
    known: &[(&str, T)],
    later: &[&str],
) -> Result<T, CompileError> {
    if let Some((_, meaning)) = known
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value))
    {
        return Ok(*meaning);
    }
    if later.contains(&value) {
        return Err(CompileError::unsupported(field, format!("`{value}`")));
    }
    let known = known
        .iter()
        .map(|(name, _)| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    Err(CompileError::Unknown {
        field: field.to_owned(),
        value: value.to_owned(),
        known,
    })
}
