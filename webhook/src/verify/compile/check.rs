//! Assertions beside the signature.

use crate::verify::allowed_url::{AllowedUrl, AllowedUrlSpec};
use crate::verify::check::Check;
use crate::verify::preset::CheckSpec;
use crate::verify::scheme::Algorithm;
use crate::verify::template::header_name;

use super::scheme::{ALGORITHMS, choose};
use super::{CompileError, Draft, single_source};

pub(super) fn check(
    field: &str,
    spec: &CheckSpec,
    draft: &mut Draft<'_>,
) -> Result<Check, CompileError> {
    match spec {
        CheckSpec::HeaderEquals { header, value } => Ok(Check::HeaderEquals {
            name: header_name(field, &draft.text(field, header)?)?,
            value: draft.text(field, value)?.into_bytes().into(),
        }),
        CheckSpec::QueryBodyDigest { query, algorithm } => {
            let name = draft.text(field, algorithm)?;
            let Algorithm::Digest(hash) = choose(field, &name, &ALGORITHMS)? else {
                let reason = "`algorithm` must be a plain digest";
                return Err(CompileError::invalid(field, reason));
            };
            Ok(Check::QueryBodyDigest {
                query: draft.text(field, query)?.into(),
                hash,
            })
        }
        CheckSpec::UrlAllowed { source, .. } => Ok(Check::UrlAllowed {
            source: single_source(field, source, draft)?,
            allowed: allowed_url(field, spec)?,
        }),
        CheckSpec::JsonIn { pointer, param } => {
            let values = draft.params.list(field, param)?;
            if values.is_empty() {
                let reason = "lists no value: everything would be refused";
                return Err(CompileError::invalid(&format!("params.{param}"), reason));
            }
            Ok(Check::JsonIn {
                slot: draft.pointers.slot(field, pointer)?,
                pointer: pointer.as_str().into(),
                values: values
                    .into_iter()
                    .map(|value| value.as_bytes().into())
                    .collect(),
            })
        }
    }
}

/// The rule of an `url_allowed`.
pub(super) fn allowed_url(field: &str, spec: &CheckSpec) -> Result<AllowedUrl, CompileError> {
    let CheckSpec::UrlAllowed {
        scheme,
        hosts,
        host_regex,
        path_suffix,
        ..
    } = spec
    else {
        return Err(CompileError::invalid(field, "must be `url_allowed`"));
    };
    let spec = AllowedUrlSpec {
        scheme,
        hosts,
        host_regex: host_regex.as_deref(),
        path_suffix: path_suffix.as_deref(),
    };
    AllowedUrl::compile(field, &spec)
}
