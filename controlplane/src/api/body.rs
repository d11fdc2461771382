//! The body of a request: bounded, JSON, and with every misfit named at once (contract 2.3).

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use outrider_config::resource::{MISFITS_MAX, from_json};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Api;
use super::error::ApiError;
use super::ignored::Ignored;

/// Largest body, bytes. No resource is nearly as large.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A body that is JSON. There is no `Debug`: it may hold a secret.
pub(super) struct JsonBody {
    pub(super) json: Value,
    /// Fields that somebody knows and that change nothing here.
    ignored: Vec<String>,
    headers: HeaderMap,
}

impl JsonBody {
    /// The same request with another body.
    pub(super) fn with(self, json: Value) -> Self {
        Self { json, ..self }
    }

    /// Takes out a field that is not looked at in this request, whoever else knows it. It counts
    /// as ignored when it says something.
    pub(super) fn ignore(mut self, field: &str) -> Self {
        let taken = match &mut self.json {
            Value::Object(fields) => fields.remove(field),
            _ => None,
        };
        if taken.is_some_and(|value| !value.is_null()) {
            self.ignored.push(field.to_owned());
        }
        self
    }

    /// The specification in the body, and what was ignored of it.
    pub(super) fn read<S: DeserializeOwned>(self) -> Result<(S, Ignored), ApiError> {
        let reading = from_json::<S>(self.json);
        if reading.is_overfull {
            return Err(ApiError::Json(format!(
                "body has more than {MISFITS_MAX} fields that are unknown or of the wrong type"
            )));
        }
        let spec = reading.spec.filter(|_| reading.misfits.is_empty());
        let Some(spec) = spec else {
            return Err(ApiError::Json(misfits(&reading.misfits)));
        };
        let mut names = self.ignored;
        names.extend(reading.unknown);
        Ok((spec, Ignored::new(names, &self.headers)?))
    }
}

fn misfits(paths: &[String]) -> String {
    let texts: Vec<String> = paths
        .iter()
        .map(|path| match path.as_str() {
            "." => "body contains incorrect JSON type (at character 1)".to_owned(),
            path => format!("body contains incorrect JSON type for field \"{path}\""),
        })
        .collect();
    texts.join("; ")
}

impl FromRequest<Api> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Api) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        refuse_announced(&parts.headers)?;
        let limited = Limited::new(body, BODY_BYTES_MAX).collect();
        let bytes = match tokio::time::timeout(BODY_TIMEOUT, limited).await {
            Err(_) => return Err(ApiError::BodyTimeout),
            Ok(Err(error)) if is_too_large(&*error) => return Err(too_large()),
            Ok(Err(_)) => return Err(ApiError::BodyBroken),
            Ok(Ok(collected)) => collected.to_bytes(),
        };
        Ok(Self {
            json: parse(&bytes)?,
            ignored: Vec::new(),
            headers: parts.headers,
        })
    }
}

/// A body that says beforehand that it is too large need not be kept.
fn refuse_announced(headers: &HeaderMap) -> Result<(), ApiError> {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > BODY_BYTES_MAX as u64 => Err(too_large()),
        _ => Ok(()),
    }
}

const fn too_large() -> ApiError {
    ApiError::TooLarge {
        limit: BODY_BYTES_MAX,
    }
}

fn is_too_large(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn parse(bytes: &Bytes) -> Result<Value, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::Json("body must not be empty".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let at = character(bytes, error.line(), error.column());
        ApiError::Json(format!(
            "body contains badly-formed JSON (at character {at})"
        ))
    })
}

/// Bytes up to a line and a column, both from 1.
fn character(bytes: &[u8], line: usize, column: usize) -> usize {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    before.saturating_add(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_json_is_named_in_convoys_words() {
        for (body, message) in [
            ("", "body must not be empty"),
            (" \n", "body must not be empty"),
            ("{", "body contains badly-formed JSON (at character 1)"),
            (
                "{\n \"a\": x}",
                "body contains badly-formed JSON (at character 9)",
            ),
            ("{} {}", "body contains badly-formed JSON (at character 4)"),
        ] {
            let error = parse(&Bytes::from(body)).unwrap_err();
            assert_eq!(error.to_string(), message, "{body}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&Bytes::from(deep)).is_err());
    }
}
