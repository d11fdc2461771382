//! The schemes of a signature: names to algorithms, and what each needs to protect anything.

use crate::secret::Secret;
use crate::verify::preset::{CheckSpec, PresetSpec, SchemeSpec, SignatureSpec};
use crate::verify::public_key::{PublicAlgorithm, PublicForm};
use crate::verify::scheme::{
    Algorithm, CertificatePlace, Encoding, Hash, KeyForm, Scheme, SharedForm,
};
use crate::verify::signature::{Format, Signature};
use crate::verify::template::Template;

use super::check::allowed_url;
use super::{CompileError, Draft, single_source};

/// What all schemes of a preset are compiled against.
pub(super) struct Context<'a> {
    pub(super) preset: &'a PresetSpec,
    pub(super) signature: &'a Signature,
    pub(super) signed: &'a [Template],
    pub(super) secrets: &'a [Secret],
}

impl Context<'_> {
    pub(super) fn schemes(
        &self,
        spec: &SignatureSpec,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Scheme>, CompileError> {
        const FIELD: &str = "signature.schemes";
        if spec.schemes.is_empty() {
            return Err(CompileError::invalid(FIELD, "lists no scheme"));
        }
        let scheme = |(index, spec)| self.scheme(&format!("{FIELD}[{index}]"), spec, draft);
        let schemes: Vec<Scheme> = spec
            .schemes
            .iter()
            .enumerate()
            .map(scheme)
            .collect::<Result<_, _>>()?;
        let repeats = |(index, scheme): (usize, &Scheme)| {
            let mut before = schemes.iter().take(index);
            before.any(|before| before.label == scheme.label)
        };
        if self.signature.label_from.is_some() && schemes.iter().enumerate().any(repeats) {
            let reason = "must have a label each with `label_from`";
            return Err(CompileError::invalid(FIELD, reason));
        }
        Ok(schemes)
    }

    fn scheme(
        &self,
        field: &str,
        spec: &SchemeSpec,
        draft: &mut Draft<'_>,
    ) -> Result<Scheme, CompileError> {
        let part = |name: &str| format!("{field}.{name}");
        let label = self.label(&part("label"), spec, draft)?;
        let mut name = |field: &str, text| draft.text(&part(field), text);
        let (algorithm, encoding, key) = (
            name("algorithm", &spec.algorithm)?,
            name("encoding", &spec.encoding)?,
            name("key", &spec.key)?,
        );
        let algorithm = choose(&part("algorithm"), &algorithm, &ALGORITHMS)?;
        let encoding = choose(&part("encoding"), &encoding, &ENCODINGS)?;
        let form = choose(&part("key"), &key, &KEY_FORMS)?;
        if algorithm == Algorithm::Equal {
            self.check_static()?;
        } else {
            check_signed(&part("algorithm"), algorithm, self.signed)?;
            if encoding == Encoding::Text {
                let reason = "`text` is for the algorithm `equal` only";
                return Err(CompileError::invalid(&part("encoding"), reason));
            }
        }
        match (algorithm, form) {
            (Algorithm::Public(algorithm), KeyForm::X509Url) => {
                let place = self.certificate(field, spec, draft)?;
                Ok(Scheme::with_certificate(label, algorithm, encoding, place))
            }
            _ => {
                let stray = [
                    ("key_source", spec.key_source.is_some()),
                    ("certificate", spec.certificate.is_some()),
                ];
                if let Some((name, _)) = stray.into_iter().find(|(_, stray)| *stray) {
                    let reason = "has no effect without the key `x509_url`";
                    return Err(CompileError::invalid(&part(name), reason));
                }
                Scheme::with_secrets(label, algorithm, encoding, form, self.secrets).ok_or_else(
                    || CompileError::invalid(&part("key"), "is no key for this algorithm"),
                )
            }
        }
    }

    fn label(
        &self,
        field: &str,
        spec: &SchemeSpec,
        draft: &mut Draft<'_>,
    ) -> Result<Option<Box<[u8]>>, CompileError> {
        let is_labelled = self.signature.label_from.is_some()
            || matches!(self.signature.format, Format::Pairs { .. });
        match &spec.label {
            Some(label) if is_labelled => Ok(Some(draft.text(field, label)?.into_bytes().into())),
            None if is_labelled => {
                let reason = "is needed with `pairs` and `label_from`";
                Err(CompileError::invalid(field, reason))
            }
            Some(_) => {
                let reason = "has no effect without `pairs` or `label_from`";
                Err(CompileError::invalid(field, reason))
            }
            None => Ok(None),
        }
    }

    /// A credential in a place nobody can name would be stored and forwarded.
    fn check_static(&self) -> Result<(), CompileError> {
        match self.signature.single_source() {
            Some(source) if source.is_outside_body() => Ok(()),
            _ => Err(CompileError::unsupported(
                "signature.source",
                "a static credential in the body or in one of several headers",
            )),
        }
    }

    fn certificate(
        &self,
        field: &str,
        spec: &SchemeSpec,
        draft: &mut Draft<'_>,
    ) -> Result<CertificatePlace, CompileError> {
        let part = |name: &str| format!("{field}.{name}");
        let key_source = spec.key_source.as_ref();
        let key_source = key_source.ok_or_else(|| {
            CompileError::invalid(&part("key_source"), "is needed with `x509_url`")
        })?;
        if self.preset.each.is_some() {
            let what = "a certificate for each element of an array";
            return Err(CompileError::unsupported(&part("key_source"), what));
        }
        // Fetched is only what a check has let through.
        let is_its = |check: &&CheckSpec| matches!(check, CheckSpec::UrlAllowed { source, .. } if source == key_source);
        let check = self.preset.checks.iter().find(is_its).ok_or_else(|| {
            let reason = "needs a check `url_allowed` of the same source";
            CompileError::invalid(&part("key_source"), reason)
        })?;
        let certificate = spec.certificate.clone().unwrap_or_default();
        let names = certificate.names.iter().map(|name| {
            let is_pattern = !name.strip_prefix("*.").unwrap_or(name).contains('*');
            if is_pattern && !name.is_empty() {
                Ok(name.to_ascii_lowercase().into())
            } else {
                let reason = format!("`{name}` is no name, nor `*.` and a name");
                Err(CompileError::invalid(&part("certificate.names"), reason))
            }
        });
        Ok(CertificatePlace {
            source: single_source(&part("key_source"), key_source, draft)?,
            allowed: allowed_url(&part("key_source"), check)?,
            trust: certificate.trust,
            names: names.collect::<Result<_, _>>()?,
        })
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
    if !matches!(algorithm, Algorithm::Digest(_)) && signed.iter().any(Template::has_secret) {
        return Err(CompileError::invalid(
            field,
            "`{secret}` is for plain digests: this algorithm takes the secret as its key",
        ));
    }
    Ok(())
}

pub(super) const ALGORITHMS: [(&str, Algorithm); 12] = [
    ("hmac-sha1", Algorithm::Hmac(Hash::Sha1)),
    ("hmac-sha256", Algorithm::Hmac(Hash::Sha256)),
    ("hmac-sha384", Algorithm::Hmac(Hash::Sha384)),
    ("hmac-sha512", Algorithm::Hmac(Hash::Sha512)),
    ("sha1", Algorithm::Digest(Hash::Sha1)),
    ("sha256", Algorithm::Digest(Hash::Sha256)),
    ("sha512", Algorithm::Digest(Hash::Sha512)),
    ("equal", Algorithm::Equal),
    ("ed25519", Algorithm::Public(PublicAlgorithm::Ed25519)),
    (
        "ecdsa-p256-sha256",
        Algorithm::Public(PublicAlgorithm::EcdsaP256Sha256),
    ),
    (
        "rsa-pkcs1-sha1",
        Algorithm::Public(PublicAlgorithm::RsaPkcs1Sha1),
    ),
    (
        "rsa-pkcs1-sha256",
        Algorithm::Public(PublicAlgorithm::RsaPkcs1Sha256),
    ),
];
const ENCODINGS: [(&str, Encoding); 3] = [
    ("hex", Encoding::Hex),
    ("base64", Encoding::Base64),
    ("text", Encoding::Text),
];
pub(super) const KEY_FORMS: [(&str, KeyForm); 9] = [
    ("utf8", KeyForm::Shared(SharedForm::Utf8)),
    ("hex", KeyForm::Shared(SharedForm::Hex)),
    ("whsec", KeyForm::Shared(SharedForm::Whsec)),
    ("sha1_utf8", KeyForm::Shared(SharedForm::Sha1Utf8)),
    ("whpk", KeyForm::Public(PublicForm::Whpk)),
    ("ed25519_hex", KeyForm::Public(PublicForm::Ed25519Hex)),
    ("ed25519_base64", KeyForm::Public(PublicForm::Ed25519Base64)),
    ("spki", KeyForm::Public(PublicForm::Spki)),
    ("x509_url", KeyForm::X509Url),
];

/// The meaning of a name, in either case.
pub(super) fn choose<T: Copy>(
    field: &str,
    value: &str,
    known: &[(&str, T)],
) -> Result<T, CompileError> {
    if let Some((_, meaning)) = known
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value))
    {
        return Ok(*meaning);
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

/// The hash of an HMAC by its name.
pub(in crate::verify) fn hmac_hash(field: &str, name: &str) -> Result<Hash, CompileError> {
    match choose(field, name, &ALGORITHMS)? {
        Algorithm::Hmac(hash) => Ok(hash),
        _ => Err(CompileError::invalid(field, format!("`{name}` is no HMAC"))),
    }
}
