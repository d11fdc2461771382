//! The two families of signatures, over bytes (`verification` section 5).

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::{Input, KeyForm, Mode, Scheme, SignError, SigningKey};
use crate::json;

/// Value of Convoy's header for `payload` at `now_s`. Keys are in order of creation; simple
/// mode uses the last version and the newest live key, advanced mode all of both. Private keys
/// are passed over: whoever verifies a MAC has its key.
///
/// # Errors
/// [`SignError::NoScheme`], [`SignError::NoSecret`], or [`SignError::PayloadNotJson`] when the
/// compacted form was asked for.
pub fn convoy(
    scheme: &Scheme,
    mode: Mode,
    keys: &[SigningKey],
    payload: &Bytes,
    now_s: i64,
) -> Result<HeaderValue, SignError> {
    let newest = scheme.versions().last().ok_or(SignError::NoScheme)?;
    let compacted;
    let payload = match scheme.input() {
        Input::AsSent => payload,
        Input::CompactJson => {
            compacted = json::compact(payload).map_err(|_| SignError::PayloadNotJson)?;
            &compacted
        }
    };
    let live = keys.iter().filter(|key| key.is_live(now_s));
    let mut live = live.filter_map(SigningKey::shared).peekable();
    if live.peek().is_none() {
        return Err(SignError::NoSecret);
    }
    let value = match mode {
        Mode::Simple => {
            let key = live.next_back().ok_or(SignError::NoSecret)?;
            key.mac(KeyForm::Utf8, newest.hash, newest.encoding, &[payload])?
        }
        Mode::Advanced => {
            let time = now_s.to_string();
            let mut value = format!("t={time}");
            for (version, number) in scheme.versions().iter().zip(1_u32..) {
                for key in live.clone() {
                    let signed: [&[u8]; 3] = [time.as_bytes(), b",", payload];
                    let mac = key.mac(KeyForm::Utf8, version.hash, version.encoding, &signed)?;
                    write!(value, ",v{number}={mac}")
                        .map_err(|_| SignError::BadHeader(scheme.header().clone()))?;
                }
            }
            value
        }
    };
    HeaderValue::try_from(value).map_err(|_| SignError::BadHeader(scheme.header().clone()))
}

/// Value of `webhook-signature`: one entry for each live key, in the order given; `v1` of a shared
/// secret, `v1a` of a private key.
///
/// # Errors
/// [`SignError::BadMessageId`], [`SignError::NoSecret`], or [`SignError::BadKey`].
pub fn standard_webhooks<'a>(
    keys: impl Iterator<Item = &'a SigningKey>,
    id: &str,
    now_s: i64,
    body: &[u8],
) -> Result<HeaderValue, SignError> {
    if id.is_empty() || id.contains(|c: char| c == '.' || c.is_whitespace() || c.is_control()) {
        return Err(SignError::BadMessageId);
    }
    let time = now_s.to_string();
    let mut value = String::new();
    for key in keys.filter(|key| key.is_live(now_s)) {
        if !value.is_empty() {
            value.push(' ');
        }
        let parts: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", body];
        value.push_str(&key.standard_entry(&parts)?);
    }
    if value.is_empty() {
        return Err(SignError::NoSecret);
    }
    HeaderValue::try_from(value)
        .map_err(|_| SignError::BadHeader(HeaderName::from_static("webhook-signature")))
}
