//! From a preset and the secrets of a source to a [`Verifier`]: the only place that reads specs.

mod error;
mod scheme;

use std::collections::BTreeMap;

use crate::secret::Secret;

pub use self::error::CompileError;

use self::scheme::{ALGORITHMS, ALGORITHMS_LATER, Context, choose};

use super::check::Check;
use super::params::Params;
use super::preset::{
    CheckSpec, FormatSpec, PresetSpec, SignatureSpec, SignedSpec, SourceSpec, TimestampSpec,
};
use super::public_url::PublicUrl;
use super::scheme::{Algorithm, Scheme};
use super::signature::{self, Signature};
use super::source::Source;
use super::template::{Scope, Template, header_name};
use super::timestamp::{self, Timestamp};
use super::{REJECT_STATUS, Rules, Verifier};

/// Most secrets a source may have at once. Every secret costs a hash over the body of a forged
/// request; a rotation needs two.
pub const SECRETS_MAX: usize = 16;

impl Verifier {
    /// Prepares everything a request needs: keys, templates, names.
    ///
    /// `params` override those of the preset. `public_url` is the address the provider was
    /// told, from scheme to path; with an origin only, the path of the request follows it.
    /// A secret that is no key for any scheme is no error here (see
    /// [`Verifier::has_usable_key`]).
    ///
    /// # Errors
    /// The first field that is wrong or that this version cannot do.
    pub fn compile(
        preset: &PresetSpec,
        secrets: &[Secret],
        params: &BTreeMap<String, String>,
        public_url: Option<&str>,
    ) -> Result<Self, CompileError> {
        if preset.each.is_some() {
            return Err(CompileError::unsupported(
                "each",
                "verifying every element of an array",
            ));
        }
        if !preset.challenges.is_empty() {
            return Err(CompileError::unsupported(
                "challenges",
                "answering handshakes",
            ));
        }
        let reject_status = preset.reject_status.unwrap_or(REJECT_STATUS);
        if !(400..=499).contains(&reject_status) {
            return Err(CompileError::invalid("reject_status", "must be 400 to 499"));
        }
        let public_url = public_url
            .map(|text| PublicUrl::parse(text).map_err(|reason| CompileError::PublicUrl { reason }))
            .transpose()?;
        let mut params = Params::new(&preset.params, params);
        let event_type = match &preset.event_type {
            Some(spec) => Some(single_source("event_type", spec, &mut params)?),
            None => None,
        };
        let rules = match &preset.signature {
            Some(signature) => Some(Box::new(rules(
                preset,
                signature,
                secrets,
                &mut params,
                public_url,
            )?)),
            None => no_rules(preset, secrets)?,
        };
        params.finish()?;
        Ok(Self {
            rules,
            event_type,
            reject_status,
        })
    }
}

/// A preset without a signature must not pretend to check anything.
fn no_rules(preset: &PresetSpec, secrets: &[Secret]) -> Result<Option<Box<Rules>>, CompileError> {
    let pretends = [
        ("timestamp", preset.timestamp.is_some()),
        ("signed", preset.signed.is_some()),
        ("checks", !preset.checks.is_empty()),
        ("secrets", !secrets.is_empty()),
    ];
    match pretends.into_iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(CompileError::invalid(
            field,
            "has no effect without a signature",
        )),
        None => Ok(None),
    }
}

fn rules(
    preset: &PresetSpec,
    spec: &SignatureSpec,
    secrets: &[Secret],
    params: &mut Params<'_>,
    public_url: Option<PublicUrl<'_>>,
) -> Result<Rules, CompileError> {
    check_secrets(secrets)?;
    let signature = Signature {
        place: signature_place(&spec.source, params)?,
        format: signature_format(spec, params)?,
    };
    let timestamp = match &preset.timestamp {
        Some(spec) => Some(timestamp(spec, &signature, params)?),
        None => None,
    };
    let mut checks = Vec::new();
    for (index, spec) in preset.checks.iter().enumerate() {
        checks.push(check(&format!("checks[{index}]"), spec, params)?);
    }
    let scope = Scope {
        public_url,
        has_timestamp: timestamp.is_some(),
    };
    let signed = signed(preset.signed.as_ref(), params, &scope)?;
    let context = Context {
        signature: &signature,
        signed: &signed,
        secrets,
    };
    let schemes = context.schemes(spec, params)?;
    if !signed.is_empty() && schemes.iter().all(Scheme::is_static) {
        return Err(CompileError::invalid(
            "signed",
            "has no effect: a static credential signs nothing",
        ));
    }
    Ok(Rules {
        signature,
        timestamp,
        checks,
        signed,
        schemes,
    })
}

fn check_secrets(secrets: &[Secret]) -> Result<(), CompileError> {
    match secrets.len() {
        0 => return Err(CompileError::NoSecret),
        1..=SECRETS_MAX => {}
        count => return Err(CompileError::TooManySecrets { count }),
    }
    match secrets.iter().position(|secret| secret.expose().is_empty()) {
        Some(index) => Err(CompileError::EmptySecret { index }),
        None => Ok(()),
    }
}

/// A place with at most one value, outside the signature.
fn single_source(
    field: &str,
    spec: &SourceSpec,
    params: &mut Params<'_>,
) -> Result<Source, CompileError> {
    match spec {
        SourceSpec::Header { name } => Ok(Source::Header(header_name(
            field,
            &params.text(field, name)?,
        )?)),
        SourceSpec::Query { name } => match params.text(field, name)? {
            name if name.is_empty() => Err(CompileError::invalid(
                field,
                "the query parameter has no name",
            )),
            name => Ok(Source::Query(name.into())),
        },
        SourceSpec::HeaderPrefix { .. } => Err(CompileError::invalid(
            field,
            "`header_prefix` is for signatures only",
        )),
        SourceSpec::Pair { .. } => Err(CompileError::invalid(
            field,
            "`pair` is for timestamps inside a signature only",
        )),
        SourceSpec::Form { .. } => Err(CompileError::unsupported(field, "a value in a form body")),
        SourceSpec::Json { .. } => Err(CompileError::unsupported(field, "a value in a JSON body")),
    }
}

fn signature_place(
    spec: &SourceSpec,
    params: &mut Params<'_>,
) -> Result<signature::Place, CompileError> {
    const FIELD: &str = "signature.source";
    match spec {
        SourceSpec::HeaderPrefix { name } => {
            let prefix = header_name(FIELD, &params.text(FIELD, name)?)?;
            Ok(signature::Place::HeaderPrefix(prefix.as_str().into()))
        }
        spec => single_source(FIELD, spec, params).map(signature::Place::Single),
    }
}

fn signature_format(
    spec: &SignatureSpec,
    params: &mut Params<'_>,
) -> Result<signature::Format, CompileError> {
    let stray = [
        (
            "signature.prefix",
            spec.prefix.is_some() && spec.format != FormatSpec::Prefixed,
        ),
        (
            "signature.pair_separator",
            spec.pair_separator.is_some() && spec.format != FormatSpec::Pairs,
        ),
        (
            "signature.key_separator",
            spec.key_separator.is_some() && spec.format != FormatSpec::Pairs,
        ),
    ];
    if let Some((field, _)) = stray.into_iter().find(|(_, stray)| *stray) {
        return Err(CompileError::invalid(
            field,
            "has no effect with this `signature.format`",
        ));
    }
    match spec.format {
        FormatSpec::Plain => Ok(signature::Format::Plain),
        FormatSpec::SecondWord => Ok(signature::Format::SecondWord),
        FormatSpec::Prefixed => {
            const FIELD: &str = "signature.prefix";
            let prefix = spec
                .prefix
                .as_ref()
                .ok_or_else(|| CompileError::invalid(FIELD, "is needed with `prefixed`"))?;
            Ok(signature::Format::Prefixed(
                params.text(FIELD, prefix)?.into_bytes().into(),
            ))
        }
        FormatSpec::Pairs => {
            let pair = separator("signature.pair_separator", spec.pair_separator.as_deref())?;
            let key = separator("signature.key_separator", spec.key_separator.as_deref())?;
            if pair == key {
                return Err(CompileError::invalid(
                    "signature.key_separator",
                    "must differ from `pair_separator`",
                ));
            }
            Ok(signature::Format::Pairs { pair, key })
        }
    }
}

fn separator(field: &str, text: Option<&str>) -> Result<u8, CompileError> {
    match text.map(str::as_bytes) {
        Some([byte]) if byte.is_ascii() => Ok(*byte),
        _ => Err(CompileError::invalid(
            field,
            "must be one ASCII character with `pairs`",
        )),
    }
}

fn timestamp(
    spec: &TimestampSpec,
    signature: &Signature,
    params: &mut Params<'_>,
) -> Result<Timestamp, CompileError> {
    const FIELD: &str = "timestamp.source";
    let place = match &spec.source {
        SourceSpec::Pair { name }
            if matches!(signature.format, signature::Format::Pairs { .. }) =>
        {
            timestamp::Place::Pair(params.text(FIELD, name)?.into_bytes().into())
        }
        SourceSpec::Pair { .. } => {
            return Err(CompileError::invalid(
                FIELD,
                "`pair` needs the signature format `pairs`",
            ));
        }
        spec => timestamp::Place::Single(single_source(FIELD, spec, params)?),
    };
    Ok(Timestamp {
        place,
        format: spec.format,
        past_s: spec.past,
        future_s: spec.future,
    })
}

fn check(field: &str, spec: &CheckSpec, params: &mut Params<'_>) -> Result<Check, CompileError> {
    match spec {
        CheckSpec::HeaderEquals { header, value } => Ok(Check::HeaderEquals {
            name: header_name(field, &params.text(field, header)?)?,
            value: params.text(field, value)?.into_bytes().into(),
        }),
        CheckSpec::QueryBodyDigest { query, algorithm } => {
            let hash = match choose(
                field,
                &params.text(field, algorithm)?,
                &ALGORITHMS,
                &ALGORITHMS_LATER,
            )? {
                Algorithm::Digest(hash) => hash,
                _ => {
                    return Err(CompileError::invalid(
                        field,
                        "`algorithm` must be a plain digest",
                    ));
                }
            };
            Ok(Check::QueryBodyDigest {
                query: params.text(field, query)?.into(),
                hash,
            })
        }
        CheckSpec::UrlAllowed { .. } => Err(CompileError::unsupported(field, "`url_allowed`")),
        CheckSpec::JsonIn { .. } => Err(CompileError::unsupported(field, "`json_in`")),
    }
}

fn signed(
    spec: Option<&SignedSpec>,
    params: &mut Params<'_>,
    scope: &Scope<'_>,
) -> Result<Vec<Template>, CompileError> {
    match spec {
        None => Ok(Vec::new()),
        Some(SignedSpec::One(text)) => Ok(vec![Template::compile("signed", text, params, scope)?]),
        Some(SignedSpec::Any(texts)) if texts.is_empty() => {
            Err(CompileError::invalid("signed", "lists no alternative"))
        }
        Some(SignedSpec::Any(texts)) => texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                Template::compile(&format!("signed[{index}]"), text, params, scope)
            })
            .collect(),
    }
}
