//! Why an event was not taken, before it is a reply: one of a batch is only a part of one.

use http::StatusCode;
use outrider_webhook::cloudevents::CloudEventError;
use outrider_webhook::dynamic::UrlKey;

use crate::ingest::reply::Reply;
use crate::ingest::schema::NotTaken;

/// An event that is not taken. `message` says what to change; it never carries a secret.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) retry_after_s: Option<u32>,
    /// The URL that matches no template of the table, which may be a moment late.
    pub(super) unmatched: Option<UrlKey>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after_s: None,
            unmatched: None,
        }
    }

    /// A field is missing or wrong.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_event", message)
    }

    pub(super) fn unknown_endpoint() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_endpoint",
            "endpoint not found",
        )
    }

    /// One event of a batch is larger than an event of the project may be.
    pub(super) fn too_large(bytes: usize, max: usize) -> Self {
        let message = format!("the event has {bytes} bytes, at most {max} are accepted here");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }
}

impl From<NotTaken> for Refused {
    fn from(error: NotTaken) -> Self {
        Self {
            retry_after_s: error.retry_after_s(),
            ..Self::new(error.status(), error.code(), error.to_string())
        }
    }
}

impl From<CloudEventError> for Refused {
    fn from(error: CloudEventError) -> Self {
        let status = match error {
            CloudEventError::UnknownFormat { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<Refused> for Reply {
    fn from(refused: Refused) -> Self {
        Self {
            retry_after_s: refused.retry_after_s,
            ..Self::refuse(refused.status, refused.code, &refused.message)
        }
    }
}
