//! Binary mode: attributes in headers.

use std::borrow::Cow;

use http::HeaderMap;
use percent_encoding::percent_decode;

use super::{CloudEventError, Draft, Envelope};

/// The attributes in the `ce-*` headers of a request.
///
/// # Errors
/// [`CloudEventError`], which names the attribute.
pub fn binary(headers: &HeaderMap) -> Result<Envelope, CloudEventError> {
    let mut draft = Draft::default();
    for header in headers.keys() {
        let Some(name) = header.as_str().strip_prefix("ce-") else {
            continue;
        };
        let mut values = headers.get_all(header).iter();
        let Some(value) = values.next() else { continue };
        if values.next().is_some() {
            return Err(CloudEventError::Repeated(name.to_owned()));
        }
        draft.text(name, &decode(name, value.as_bytes())?)?;
    }
    draft.finish()
}

/// The text of a header value: unquoted, percent-decoded, UTF-8 (HTTP binding 3.1.3.2).
fn decode(name: &str, value: &[u8]) -> Result<String, CloudEventError> {
    let unquoted = unquote(value);
    let decoded: Vec<u8> = percent_decode(&unquoted).collect();
    String::from_utf8(decoded).map_err(|_| CloudEventError::Value {
        name: name.to_owned(),
        expected: "percent-encoded UTF-8",
    })
}

/// A value in double quotes without them; one that is not quoted as it is.
fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    let Some(inner) = inner else {
        return value.into();
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' => bytes.next().unwrap_or(byte),
            _ => byte,
        };
        out.push(*byte);
    }
    out.into()
}
