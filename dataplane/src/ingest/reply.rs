//! Replies of the public listener: Convoy's envelope, one error code each.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use outrider_store::AcceptError;
use outrider_webhook::id::Uid;
use serde::Serialize;

/// Header that carries the stable error code; Convoy's envelope has no field for it.
pub(super) const ERROR_HEADER: &str = "x-outrider-error";

/// A complete reply.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: HeaderValue,
    pub(super) body: Bytes,
    /// Stable code of a refusal; also the metric label.
    pub(super) code: Option<&'static str>,
    pub(super) retry_after_s: Option<u32>,
    /// Further headers. Not growable, to be small: replies are errors, too.
    pub(super) headers: Box<[(HeaderName, HeaderValue)]>,
    /// The request was not read to its end, or must not be trusted for another one.
    pub(super) is_last: bool,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    status: bool,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

#[derive(Serialize)]
struct Created {
    uid: Uid,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

impl Reply {
    /// An accepted event, or the first one of a repeat.
    pub(super) fn accepted(status: StatusCode, message: &str, uid: Uid, duplicate: bool) -> Self {
        Self::envelope(status, true, message, Some(Created { uid, duplicate }))
    }

    /// A success with a payload of its own.
    pub(super) fn with_payload(status: StatusCode, message: &str, data: impl Serialize) -> Self {
        Self::envelope(status, true, message, Some(data))
    }

    /// The events of one request, all accepted; `repeats` of them are first ones of repeats.
    pub(super) fn accepted_all(uids: &[Uid], repeats: usize) -> Self {
        let data = serde_json::json!({"uids": uids, "duplicates": repeats});
        Self::envelope(StatusCode::OK, true, "Events received", Some(data))
    }

    /// A success without payload.
    pub(super) fn done(message: &str) -> Self {
        Self::envelope(StatusCode::OK, true, message, Some(serde_json::Value::Null))
    }

    /// A source's own answer.
    pub(super) fn custom(content_type: HeaderValue, body: Bytes) -> Self {
        Self {
            content_type,
            body,
            ..Self::empty(StatusCode::OK)
        }
    }

    /// No body at all.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            content_type: HeaderValue::from_static("application/json"),
            body: Bytes::new(),
            code: None,
            retry_after_s: None,
            headers: Box::default(),
            is_last: false,
        }
    }

    /// A refusal. `message` says what to change; it never carries a secret.
    pub(super) fn refuse(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self {
            code: Some(code),
            ..Self::envelope(status, false, message, None::<()>)
        }
    }

    /// As before, and the connection ends with it.
    pub(super) fn last(self) -> Self {
        Self {
            is_last: true,
            ..self
        }
    }

    /// As before, and when to come again.
    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self {
            retry_after_s: Some(seconds),
            ..self
        }
    }

    /// Wrong method; `allow` names the right ones.
    pub(super) fn wrong_method(allow: &'static str) -> Self {
        let message = format!("method not allowed here, use {allow}");
        Self {
            headers: Box::new([(header::ALLOW, HeaderValue::from_static(allow))]),
            ..Self::refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                &message,
            )
        }
    }

    /// The body is larger than `limit` bytes.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("request body too large: at most {limit} bytes are accepted here");
        Self::refuse(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &message).last()
    }

    /// The status that says why the log did not take an event.
    pub(super) const fn status_of(error: &AcceptError) -> StatusCode {
        match error {
            AcceptError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            AcceptError::TooManyTargets { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// As bytes that end a connection, for where there is no session to write it with.
    pub(super) fn to_http1(&self, request_id: &HeaderValue) -> Vec<u8> {
        let reason = self.status.canonical_reason().unwrap_or_default();
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status.as_str());
        let mut line = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        };
        line("Connection", "close");
        line("Content-Length", &self.body.len().to_string());
        line(
            "Content-Type",
            self.content_type.to_str().unwrap_or_default(),
        );
        line("X-Request-Id", request_id.to_str().unwrap_or_default());
        if let Some(code) = self.code {
            line(ERROR_HEADER, code);
        }
        if let Some(seconds) = self.retry_after_s {
            line("Retry-After", &seconds.to_string());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn envelope(
        status: StatusCode,
        is_success: bool,
        message: &str,
        data: Option<impl Serialize>,
    ) -> Self {
        let body = serde_json::to_vec(&Envelope {
            status: is_success,
            message,
            data,
        })
        .unwrap_or_default();
        Self {
            body: body.into(),
            ..Self::empty(status)
        }
    }
}
