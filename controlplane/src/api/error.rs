//! Every way in which the API refuses: status, stable code and what to change.

use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use outrider_config::resource::FieldError;
use outrider_store::IndexError;
use outrider_webhook::undelivered::Reason;
use outrider_xds::SendError;

use super::reply::{Reply, refusal};
use crate::{ChangeError, JournalError, Stopping};

/// Header that carries the stable error code; Convoy's envelope has no field for it.
const ERROR_HEADER: &str = "x-outrider-error";

/// What a handler ends with.
pub(super) type Answer = Result<Reply, ApiError>;

/// A refusal. The message is for the client; it never carries a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("Authentication required")]
    Unauthenticated,
    #[error("authorization failed")]
    UnknownKey,
    #[error("Unauthorized")]
    Forbidden,
    #[error("unsupported content type")]
    ContentType,
    #[error("Invalid API version")]
    Version,
    #[error("no such path: the API is at /api/v1")]
    UnknownPath,
    #[error("method not allowed here")]
    WrongMethod,
    #[error("not supported by this version")]
    NotSupported,
    #[error("events are taken at {0}")]
    Misdirected(String),
    #[error("{0}")]
    NotFound(String),
    #[error("request body too large: at most {limit} bytes are accepted here")]
    TooLarge { limit: usize },
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    #[error("the request body did not arrive")]
    BodyBroken,
    #[error("{0}")]
    Json(String),
    #[error("unknown fields: {0}")]
    UnknownFields(String),
    #[error("{}", joined(.0))]
    Fields(Vec<FieldError>),
    #[error("{0}")]
    Parameter(&'static str),
    #[error("{0}")]
    Exists(String),
    #[error("{0}")]
    InUse(String),
    #[error("{0}")]
    State(&'static str),
    #[error("the project is not in force: this version refuses its settings")]
    ProjectHeld,
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Stopping(#[from] Stopping),
    #[error("too many requests of this project are under way, try again")]
    Busy,
    #[error("`{name}` may be given {max} times at most")]
    Repeated { name: &'static str, max: usize },
    #[error("`{0}` must be a time like 2026-01-31T12:00:00")]
    Date(&'static str),
    #[error("`reason` must be one of {}", reasons())]
    Reason,
    #[error(
        "events and deliveries are not read through a control plane on its own in this version"
    )]
    NoIndex,
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("{message}")]
    Command { code: String, message: String },
    #[error("{0}")]
    Filter(#[from] outrider_webhook::filter::Fault),
    #[error("a reply could not be written")]
    Encoding(#[from] serde_json::Error),
}

impl ApiError {
    /// Nothing of this kind has this id here.
    pub(super) fn not_found(what: impl fmt::Display) -> Self {
        Self::NotFound(format!("{what} not found"))
    }

    /// Stable code: a closed set.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::UnknownKey => "authorization_failed",
            Self::Forbidden => "forbidden",
            Self::ContentType => "unsupported_content_type",
            Self::Version => "invalid_api_version",
            Self::UnknownPath => "unknown_path",
            Self::WrongMethod => "method_not_allowed",
            Self::NotSupported => "not_supported",
            Self::Misdirected(_) => "misdirected",
            Self::NotFound(_) => "not_found",
            Self::TooLarge { .. } => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyBroken => "body_broken",
            Self::Json(_) => "bad_json",
            Self::UnknownFields(_) => "unknown_fields",
            Self::Fields(_) => "invalid_fields",
            Self::Parameter(_) => "invalid_parameter",
            Self::Exists(_) => "already_exists",
            Self::InUse(_) => "in_use",
            Self::State(_) => "wrong_state",
            Self::ProjectHeld => "project_held",
            Self::Change(error) => error.code(),
            Self::Repeated { .. } | Self::Date(_) | Self::Reason => "invalid_parameter",
            Self::NoIndex => "no_index",
            Self::Index(error) => error.code(),
            Self::Send(error) => error.code(),
            Self::Command { code, .. } => command_code(code),
            Self::Filter(fault) => fault.code(),
            Self::Stopping(_) => "stopping",
            Self::Busy => "busy",
            Self::Encoding(_) => "encoding",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated | Self::UnknownKey => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UnknownPath | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::Misdirected(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Version
            | Self::BodyBroken
            | Self::Json(_)
            | Self::UnknownFields(_)
            | Self::Fields(_)
            | Self::Parameter(_)
            | Self::Repeated { .. }
            | Self::Date(_)
            | Self::Reason
            | Self::Exists(_)
            | Self::State(_)
            | Self::Filter(_)
            | Self::Change(ChangeError::Refused(_)) => StatusCode::BAD_REQUEST,
            Self::ProjectHeld | Self::InUse(_) | Self::Change(ChangeError::FromFile { .. }) => {
                StatusCode::CONFLICT
            }
            Self::Command { code, .. } => command_status(code),
            Self::Stopping(_)
            | Self::Busy
            | Self::NoIndex
            | Self::Send(_)
            | Self::Index(IndexError::Behind { .. } | IndexError::Interrupted) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Change(ChangeError::Journal(_)) | Self::Index(_) | Self::Encoding(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// The message for the outside; what the system said stays in the log.
    fn message(&self) -> String {
        match self {
            Self::Change(ChangeError::Journal(error)) => {
                tracing::error!(%error, code = error.code(), "the journal failed a request");
                "the configuration journal failed; the reason is in the log".to_owned()
            }
            Self::Index(error) if self.status() == StatusCode::INTERNAL_SERVER_ERROR => {
                tracing::error!(%error, code = error.code(), "the index failed a request");
                "reading what happened failed; the reason is in the log".to_owned()
            }
            other => other.to_string(),
        }
    }
}

/// What a data plane said to a command (its `command.rs` has the list).
const COMMAND_CODES: [(&str, StatusCode); 23] = [
    ("unknown_delivery", StatusCode::NOT_FOUND),
    ("already_sent", StatusCode::BAD_REQUEST),
    ("not_ended", StatusCode::BAD_REQUEST),
    ("unknown_event", StatusCode::NOT_FOUND),
    ("too_large", StatusCode::BAD_REQUEST),
    ("not_delivered", StatusCode::BAD_REQUEST),
    ("ended", StatusCode::BAD_REQUEST),
    ("batch_active", StatusCode::BAD_REQUEST),
    ("batch_finished", StatusCode::BAD_REQUEST),
    ("bad_filter", StatusCode::BAD_REQUEST),
    ("unknown_batch", StatusCode::NOT_FOUND),
    ("not_supported", StatusCode::NOT_IMPLEMENTED),
    ("endpoint_paused", StatusCode::BAD_REQUEST),
    ("endpoint_inactive", StatusCode::BAD_REQUEST),
    ("endpoint_deleted", StatusCode::BAD_REQUEST),
    ("unresolved_url_template", StatusCode::BAD_REQUEST),
    ("payload_gone", StatusCode::GONE),
    ("index_unavailable", StatusCode::SERVICE_UNAVAILABLE),
    ("commands_busy", StatusCode::SERVICE_UNAVAILABLE),
    ("log_unavailable", StatusCode::SERVICE_UNAVAILABLE),
    ("config_behind", StatusCode::SERVICE_UNAVAILABLE),
    ("bad_client", StatusCode::BAD_REQUEST),
    ("no_request", StatusCode::BAD_REQUEST),
];

/// A code of a newer data plane is none of ours.
fn command_code(code: &str) -> &'static str {
    let known = COMMAND_CODES.iter().find(|(known, _)| *known == code);
    known.map_or("command_refused", |(known, _)| known)
}

fn command_status(code: &str) -> StatusCode {
    let known = COMMAND_CODES.iter().find(|(known, _)| *known == code);
    known.map_or(StatusCode::CONFLICT, |(_, status)| *status)
}

fn reasons() -> String {
    let codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    codes.join(", ")
}

fn joined(errors: &[FieldError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl From<JournalError> for ApiError {
    fn from(error: JournalError) -> Self {
        Self::Change(error.into())
    }
}

impl From<Vec<FieldError>> for ApiError {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::Fields(errors)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // Convoy's answer to this one has no body.
        let mut response = match &self {
            Self::ContentType => self.status().into_response(),
            _ => refusal(self.status(), &self.message()),
        };
        let headers = response.headers_mut();
        headers.insert(ERROR_HEADER, HeaderValue::from_static(self.code()));
        // The rest of such a body would be taken for the next request.
        if matches!(self, Self::TooLarge { .. } | Self::BodyTimeout) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_journal_says_stays_inside() {
        let error = ApiError::from(JournalError::Corrupt("document hunter2".to_owned()));
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(error.code(), "journal_corrupt");
        assert!(!error.message().contains("hunter2"));
        let stopping = ApiError::from(Stopping);
        assert_eq!(stopping.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(stopping.code(), "stopping");
    }

    #[tokio::test]
    async fn a_wrong_content_type_has_no_body_and_a_code() {
        let response = ApiError::ContentType.into_response();
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(
            response.headers().get(ERROR_HEADER),
            Some(&HeaderValue::from_static("unsupported_content_type"))
        );
        let body = axum::body::to_bytes(response.into_body(), 1).await;
        assert!(body.unwrap().is_empty());
    }
}
