//! The handshakes of a preset.

use http::header::{self, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;

use crate::secret::Secret;
use crate::verify::allowed_url::{AllowedUrl, AllowedUrlSpec, expression};
use crate::verify::challenge::{
    ActionSpec, ChallengeSpec, ChallengeVerifySpec, RequireSpec, RespondSpec, WhenSpec,
};
use crate::verify::handshake::{Condition, Piece, Require, Respond, Responder, When};
use crate::verify::preset::PresetSpec;
use crate::verify::scheme::{KeyForm, SharedForm};
use crate::verify::source::Source;
use crate::verify::template::{AnswerScope, Scope, Template, header_name};

use super::scheme::{KEY_FORMS, choose};
use super::{CompileError, Draft, reject_status};

/// Most handshakes of one preset: each is compared with every request.
const CHALLENGES_MAX: usize = 16;

/// Headers that say how the answer is sent, or that a source must not set for a whole site.
const NOT_SETTABLE: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::SET_COOKIE,
];

pub(super) fn responders(
    preset: &PresetSpec,
    secrets: &[Secret],
    draft: &mut Draft<'_>,
    reject_status: u16,
) -> Result<Vec<Responder>, CompileError> {
    if preset.challenges.len() > CHALLENGES_MAX {
        return Err(CompileError::invalid("challenges", "lists more than 16"));
    }
    let form = first_key_form(preset, draft)?;
    let key = secrets.first().zip(form);
    let mut responders = Vec::new();
    for (index, spec) in preset.challenges.iter().enumerate() {
        let field = format!("challenges[{index}]");
        if spec.verify == ChallengeVerifySpec::Signature && preset.signature.is_none() {
            let reason = "has no effect without a signature";
            return Err(CompileError::invalid(&format!("{field}.verify"), reason));
        }
        responders.push(responder(&field, spec, (draft, key), reject_status)?);
    }
    Ok(responders)
}

/// How the first scheme makes a shared key of a secret; answers do the same.
fn first_key_form(
    preset: &PresetSpec,
    draft: &mut Draft<'_>,
) -> Result<Option<SharedForm>, CompileError> {
    let schemes = preset
        .signature
        .iter()
        .flat_map(|signature| &signature.schemes);
    let Some(first) = schemes.into_iter().next() else {
        return Ok(None);
    };
    const FIELD: &str = "signature.schemes[0].key";
    let name = draft.text(FIELD, &first.key)?;
    Ok(match choose(FIELD, &name, &KEY_FORMS)? {
        KeyForm::Shared(form) => Some(form),
        _ => None,
    })
}

fn responder(
    field: &str,
    spec: &ChallengeSpec,
    (draft, key): (&mut Draft<'_>, Option<(&Secret, SharedForm)>),
    preset_status: u16,
) -> Result<Responder, CompileError> {
    let is_signed = spec.verify == ChallengeVerifySpec::Signature;
    let scope = Scope {
        public_url: None,
        has_timestamp: false,
        answer: Some(AnswerScope {
            key,
            is_open: !is_signed,
        }),
    };
    let status_field = format!("{field}.reject_status");
    Ok(Responder {
        when: when(&format!("{field}.when"), &spec.when, draft)?,
        requires: requires(&format!("{field}.require"), &spec.require, draft)?,
        is_signed,
        respond: respond(&format!("{field}.respond"), &spec.respond, draft, &scope)?,
        call: match &spec.action {
            Some(action) => Some(call(field, action, is_signed, (draft, &scope))?),
            None => None,
        },
        reject_status: reject_status(&status_field, spec.reject_status, preset_status)?,
    })
}

fn when(field: &str, spec: &WhenSpec, draft: &mut Draft<'_>) -> Result<When, CompileError> {
    let method = match spec.method.as_str() {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        "OPTIONS" => Method::OPTIONS,
        "POST" => Method::POST,
        _ => {
            let reason = "`method` must be GET, HEAD, OPTIONS or POST";
            return Err(CompileError::invalid(field, reason));
        }
    };
    let query = |name: &String| Source::Query(name.as_str().into());
    let mut conditions = Vec::new();
    for name in &spec.query_present {
        conditions.push(Condition::Present(query(name)));
    }
    for (name, value) in &spec.query_equals {
        let value = draft.text(field, value)?;
        conditions.push(Condition::Equals(query(name), value.into_bytes().into()));
    }
    for (name, value) in &spec.header_equals {
        let name = Source::Header(header_name(field, name)?);
        let value = draft.text(field, value)?;
        conditions.push(Condition::Equals(name, value.into_bytes().into()));
    }
    for name in &spec.header_present {
        conditions.push(Condition::Present(Source::Header(header_name(
            field, name,
        )?)));
    }
    for name in &spec.header_absent {
        conditions.push(Condition::Absent(header_name(field, name)?));
    }
    for name in &spec.form_present {
        conditions.push(Condition::Present(Source::Form(name.as_str().into())));
    }
    for (pointer, value) in &spec.json_equals {
        let slot = Source::Json(draft.pointers.slot(field, pointer)?);
        let value = draft.text(field, value)?;
        conditions.push(Condition::Equals(slot, value.into_bytes().into()));
    }
    for pointer in &spec.json_empty {
        conditions.push(Condition::Empty(draft.pointers.slot(field, pointer)?));
    }
    if conditions.is_empty() && method == Method::POST {
        let reason = "would take every event for a handshake";
        return Err(CompileError::invalid(field, reason));
    }
    Ok(When { method, conditions })
}

fn requires(
    field: &str,
    spec: &RequireSpec,
    draft: &mut Draft<'_>,
) -> Result<Vec<Require>, CompileError> {
    let mut requires = Vec::new();
    for (name, param) in &spec.query_equals_param {
        let value = draft.params.get(field, param)?;
        if value.is_empty() {
            let reason = format!("the parameter `{param}` must not be empty");
            return Err(CompileError::invalid(field, reason));
        }
        let source = Source::Query(name.as_str().into());
        requires.push(Require::Equals(source, value.as_bytes().into()));
    }
    for (name, text) in &spec.query_regex {
        let source = Source::Query(name.as_str().into());
        requires.push(Require::Matches(source, expression(field, text)?));
    }
    for (name, param) in &spec.header_in_param {
        let values = draft.params.list(field, param)?;
        let values = (!values.contains(&"*")).then(|| {
            values
                .into_iter()
                .map(|value| value.as_bytes().into())
                .collect()
        });
        requires.push(Require::In(
            Source::Header(header_name(field, name)?),
            values,
        ));
    }
    Ok(requires)
}

fn respond(
    field: &str,
    spec: &RespondSpec,
    draft: &mut Draft<'_>,
    scope: &Scope<'_>,
) -> Result<Respond, CompileError> {
    let status = StatusCode::from_u16(spec.status)
        .ok()
        .filter(StatusCode::is_success)
        .ok_or_else(|| CompileError::invalid(&format!("{field}.status"), "must be 200 to 299"))?;
    let mut headers = Vec::new();
    for (name, value) in &spec.headers {
        let part = format!("{field}.headers.{name}");
        let name = header_name(&part, name)?;
        if NOT_SETTABLE.contains(&name) {
            return Err(CompileError::invalid(&part, "cannot be set"));
        }
        headers.push((name, Template::compile(&part, value, draft, scope)?));
    }
    let part = format!("{field}.body");
    let mut body = Vec::new();
    let content_type = match &spec.body {
        None => None,
        Some(Value::String(text)) => {
            body.push(Piece::Text(Template::compile(&part, text, draft, scope)?));
            Some("text/plain")
        }
        Some(value) => {
            json_pieces(&part, value, &mut body, (draft, scope))?;
            Some("application/json")
        }
    };
    // Whoever asks chooses a part of the answer: no browser may take it for a page.
    let says = spec.content_type.as_deref();
    if says.is_some_and(|says| Some(says) != content_type) {
        let reason =
            "must be that of the body: `text/plain` for a text, `application/json` for an object";
        return Err(CompileError::invalid(
            &format!("{field}.content_type"),
            reason,
        ));
    }
    if body.is_empty() != (status == StatusCode::NO_CONTENT) && status == StatusCode::NO_CONTENT {
        return Err(CompileError::invalid(&part, "cannot stand with status 204"));
    }
    Ok(Respond {
        status,
        content_type: content_type.map(HeaderValue::from_static),
        headers,
        body,
    })
}

/// JSON written compactly, with its strings as templates; keys stay as they are.
fn json_pieces(
    field: &str,
    value: &Value,
    pieces: &mut Vec<Piece>,
    (draft, scope): (&mut Draft<'_>, &Scope<'_>),
) -> Result<(), CompileError> {
    let fixed = |text: &str| Piece::Fixed(text.as_bytes().into());
    match value {
        Value::String(text) => {
            pieces.push(Piece::Quoted(Template::compile(field, text, draft, scope)?));
        }
        Value::Object(members) => {
            pieces.push(fixed("{"));
            for (index, (key, value)) in members.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                pieces.push(fixed(&format!("{comma}{}:", Value::from(key.as_str()))));
                json_pieces(field, value, pieces, (&mut *draft, scope))?;
            }
            pieces.push(fixed("}"));
        }
        Value::Array(elements) => {
            pieces.push(fixed("["));
            for (index, value) in elements.iter().enumerate() {
                if index > 0 {
                    pieces.push(fixed(","));
                }
                json_pieces(field, value, pieces, (&mut *draft, scope))?;
            }
            pieces.push(fixed("]"));
        }
        scalar => pieces.push(fixed(&scalar.to_string())),
    }
    Ok(())
}

fn call(
    field: &str,
    spec: &ActionSpec,
    is_signed: bool,
    (draft, scope): (&mut Draft<'_>, &Scope<'_>),
) -> Result<(Template, AllowedUrl), CompileError> {
    let field = format!("{field}.action");
    if !is_signed {
        let reason = "needs `verify: signature`: nobody unknown may make the gateway call a URL";
        return Err(CompileError::invalid(&field, reason));
    }
    let allowed = AllowedUrlSpec {
        scheme: &spec.scheme,
        hosts: &spec.hosts,
        host_regex: spec.host_regex.as_deref(),
        path_suffix: None,
    };
    Ok((
        Template::compile(&format!("{field}.http_get"), &spec.http_get, draft, scope)?,
        AllowedUrl::compile(&field, &allowed)?,
    ))
}
