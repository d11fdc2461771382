//! Where values are: sources, the signature and its format, the timestamp.

use crate::verify::preset::{FormatSpec, SignatureSpec, SourceSpec, TimestampSpec};
use crate::verify::signature::{self, Signature};
use crate::verify::source::Source;
use crate::verify::template::header_name;
use crate::verify::timestamp::{self, Timestamp};

use super::{CompileError, Draft};

/// A place with at most one value, outside the signature.
pub(super) fn single_source(
    field: &str,
    spec: &SourceSpec,
    draft: &mut Draft<'_>,
) -> Result<Source, CompileError> {
    let named = |draft: &mut Draft<'_>, name: &str| match draft.text(field, name)? {
        name if name.is_empty() => Err(CompileError::invalid(field, "has no name")),
        name => Ok(Box::from(name)),
    };
    match spec {
        SourceSpec::Header { name } => {
            let name = draft.text(field, name)?;
            Ok(Source::Header(header_name(field, &name)?))
        }
        SourceSpec::Query { name } => Ok(Source::Query(named(draft, name)?)),
        SourceSpec::Form { name } => Ok(Source::Form(named(draft, name)?)),
        SourceSpec::Json { pointer } => Ok(Source::Json(draft.pointers.slot(field, pointer)?)),
        SourceSpec::HeaderPrefix { .. } => {
            let reason = "`header_prefix` is for signatures only";
            Err(CompileError::invalid(field, reason))
        }
        SourceSpec::Pair { .. } => {
            let reason = "`pair` is for timestamps inside a signature only";
            Err(CompileError::invalid(field, reason))
        }
    }
}

/// Several such places.
pub(super) fn places(
    field: &str,
    specs: &[SourceSpec],
    draft: &mut Draft<'_>,
) -> Result<Vec<Source>, CompileError> {
    let place = |(index, spec)| single_source(&format!("{field}[{index}]"), spec, draft);
    match specs {
        [one] => Ok(vec![single_source(field, one, draft)?]),
        several => several.iter().enumerate().map(place).collect(),
    }
}

pub(super) fn signature(
    spec: &SignatureSpec,
    draft: &mut Draft<'_>,
) -> Result<Signature, CompileError> {
    let label_from = match &spec.label_from {
        Some(_) if spec.format == FormatSpec::Pairs => {
            let reason = "has no effect with `pairs`, which are labelled themselves";
            return Err(CompileError::invalid("signature.label_from", reason));
        }
        Some(spec) => Some(single_source("signature.label_from", spec, draft)?),
        None => None,
    };
    Ok(Signature {
        place: signature_place(&spec.source, draft)?,
        format: signature_format(spec, draft)?,
        label_from,
    })
}

fn signature_place(
    spec: &SourceSpec,
    draft: &mut Draft<'_>,
) -> Result<signature::Place, CompileError> {
    const FIELD: &str = "signature.source";
    match spec {
        SourceSpec::HeaderPrefix { name } => {
            let prefix = header_name(FIELD, &draft.text(FIELD, name)?)?;
            Ok(signature::Place::HeaderPrefix(prefix.as_str().into()))
        }
        spec => single_source(FIELD, spec, draft).map(signature::Place::Single),
    }
}

fn signature_format(
    spec: &SignatureSpec,
    draft: &mut Draft<'_>,
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
                draft.text(FIELD, prefix)?.into_bytes().into(),
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

pub(super) fn timestamp(
    spec: &TimestampSpec,
    signature: &Signature,
    draft: &mut Draft<'_>,
) -> Result<Timestamp, CompileError> {
    const FIELD: &str = "timestamp.source";
    let place = match &spec.source {
        SourceSpec::Pair { name }
            if matches!(signature.format, signature::Format::Pairs { .. }) =>
        {
            timestamp::Place::Pair(draft.text(FIELD, name)?.into_bytes().into())
        }
        SourceSpec::Pair { .. } => {
            return Err(CompileError::invalid(
                FIELD,
                "`pair` needs the signature format `pairs`",
            ));
        }
        spec => timestamp::Place::Single(single_source(FIELD, spec, draft)?),
    };
    Ok(Timestamp {
        place,
        format: spec.format,
        past_s: spec.past,
        future_s: spec.future,
    })
}
