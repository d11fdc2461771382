//! From a preset and the secrets of a source to a [`Verifier`]: the only place that reads specs.

mod check;
mod error;
mod handshake;
mod place;
mod scheme;

use std::collections::BTreeMap;
use std::mem;

use crate::secret::Secret;

pub use self::error::CompileError;
pub(super) use self::scheme::hmac_hash;

use self::check::check;
use self::handshake::responders;
use self::place::{places, signature, single_source, timestamp};
use self::scheme::Context;

use super::handshake::Responder;
use super::params::Params;
use super::pointers::Pointers;
use super::preset::{ParamSpec, PresetSpec, SignatureSpec, SignedSpec};
use super::public_url::PublicUrl;
use super::scheme::Scheme;
use super::template::{Scope, Template};
use super::{REJECT_STATUS, Rules, Verifier};

/// Most secrets a source may have at once. Every secret costs a hash over the body of a forged
/// request; a rotation needs two.
pub const SECRETS_MAX: usize = 16;

/// What the texts of a preset refer to while it is compiled.
pub(super) struct Draft<'a> {
    pub(super) params: Params<'a>,
    pub(super) pointers: Pointers,
}

impl Draft<'_> {
    /// A text in which `{param:..}` is the only placeholder.
    pub(super) fn text(&mut self, field: &str, text: &str) -> Result<String, CompileError> {
        self.params.text(field, text)
    }
}

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
        params: &BTreeMap<String, ParamSpec>,
        public_url: Option<&str>,
    ) -> Result<Self, CompileError> {
        let reject_status = reject_status("reject_status", preset.reject_status, REJECT_STATUS)?;
        let public_url = public_url
            .map(|text| PublicUrl::parse(text).map_err(|reason| CompileError::PublicUrl { reason }))
            .transpose()?;
        let mut draft = Draft {
            params: Params::new(&preset.params, params),
            pointers: Pointers::default(),
        };
        let event_type = match &preset.event_type {
            Some(spec) => places("event_type", spec.as_slice(), &mut draft)?,
            None => Vec::new(),
        };
        let delivery_id = places("idempotency", &preset.idempotency, &mut draft)?;
        let responders = responders(preset, secrets, &mut draft, reject_status)?;
        let rules = match &preset.signature {
            Some(signature) => {
                let rules = rules(preset, signature, secrets, (&mut draft, public_url));
                Some(Box::new(rules?))
            }
            None => no_rules(preset, secrets)?,
        };
        draft.params.finish()?;
        Ok(Self {
            rules,
            event_type,
            delivery_id,
            has_open_mac: responders.iter().any(Responder::has_open_mac),
            responders,
            pointers: draft.pointers,
            reject_status,
        })
    }
}

/// A status for refusals.
fn reject_status(field: &str, status: Option<u16>, default: u16) -> Result<u16, CompileError> {
    match status.unwrap_or(default) {
        status @ 400..=499 => Ok(status),
        _ => Err(CompileError::invalid(field, "must be 400 to 499")),
    }
}

/// A preset without a signature must not pretend to check anything.
fn no_rules(preset: &PresetSpec, secrets: &[Secret]) -> Result<Option<Box<Rules>>, CompileError> {
    let pretends = [
        ("each", preset.each.is_some()),
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
    (draft, public_url): (&mut Draft<'_>, Option<PublicUrl<'_>>),
) -> Result<Rules, CompileError> {
    // Inside of an array all pointers are those of its elements.
    let array = match &preset.each {
        Some(pointer) => Some(draft.pointers.slot("each", pointer)?),
        None => None,
    };
    let document = array.map(|slot| (slot, mem::take(&mut draft.pointers)));
    let signature = signature(spec, draft)?;
    let timestamp = match &preset.timestamp {
        Some(spec) => Some(timestamp(spec, &signature, draft)?),
        None => None,
    };
    let mut checks = Vec::new();
    for (index, spec) in preset.checks.iter().enumerate() {
        checks.push(check(&format!("checks[{index}]"), spec, draft)?);
    }
    let scope = Scope {
        public_url,
        has_timestamp: timestamp.is_some(),
        answer: None,
    };
    let signed = signed(preset.signed.as_ref(), draft, &scope)?;
    let context = Context {
        preset,
        signature: &signature,
        signed: &signed,
        secrets,
    };
    let schemes = context.schemes(spec, draft)?;
    check_secrets(secrets, &schemes)?;
    if !signed.is_empty() && schemes.iter().all(Scheme::is_static) {
        return Err(CompileError::invalid(
            "signed",
            "has no effect: a static credential signs nothing",
        ));
    }
    let each = document.map(|(slot, document)| {
        let element = mem::replace(&mut draft.pointers, document);
        (slot, element)
    });
    Ok(Rules {
        each,
        signature,
        timestamp,
        checks,
        signed,
        schemes,
    })
}

fn check_secrets(secrets: &[Secret], schemes: &[Scheme]) -> Result<(), CompileError> {
    let needs_none = schemes.iter().all(|scheme| scheme.certificate().is_some());
    match secrets.len() {
        0 if needs_none => {}
        0 => return Err(CompileError::NoSecret),
        _ if needs_none => {
            let reason = "has no effect: the key is in a certificate";
            return Err(CompileError::invalid("secrets", reason));
        }
        1..=SECRETS_MAX => {}
        count => return Err(CompileError::TooManySecrets { count }),
    }
    match secrets.iter().position(|secret| secret.expose().is_empty()) {
        Some(index) => Err(CompileError::EmptySecret { index }),
        None => Ok(()),
    }
}

fn signed(
    spec: Option<&SignedSpec>,
    draft: &mut Draft<'_>,
    scope: &Scope<'_>,
) -> Result<Vec<Template>, CompileError> {
    match spec {
        None => Ok(Vec::new()),
        Some(SignedSpec::One(text)) => Ok(vec![Template::compile("signed", text, draft, scope)?]),
        Some(SignedSpec::Any(texts)) if texts.is_empty() => {
            Err(CompileError::invalid("signed", "lists no alternative"))
        }
        Some(SignedSpec::Any(texts)) => texts
            .iter()
            .enumerate()
            .map(|(index, text)| Template::compile(&format!("signed[{index}]"), text, draft, scope))
            .collect(),
    }
}
