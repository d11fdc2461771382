//! Replies in Convoy's envelope (contract 2.2).

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::error::ApiError;
use super::ignored::Ignored;
use super::page::Pagination;
use super::write::InForce;

const REVISION_HEADER: &str = "x-outrider-config-revision";
const PENDING_HEADER: &str = "x-outrider-config-pending";
const LAG_HEADER: &str = "x-outrider-index-lag-ms";
const IGNORED_HEADER: &str = "x-outrider-ignored-fields";

/// A success. There is no `Debug`: it may show a secret.
pub(super) struct Reply {
    status: StatusCode,
    message: &'static str,
    data: Data,
    lag_ms: Option<u64>,
    in_force: Option<InForce>,
    ignored: Ignored,
}

impl Reply {
    /// 200: reads, deletions.
    pub(super) fn ok(message: &'static str, data: Value) -> Self {
        Self {
            status: StatusCode::OK,
            message,
            data: Data::Value(data),
            lag_ms: None,
            in_force: None,
            ignored: Ignored::default(),
        }
    }

    /// 200, with a payload that stands in the reply as it is written here: what people sent is
    /// not read and written again.
    pub(super) fn of<T: Serialize>(message: &'static str, data: &T) -> Result<Self, ApiError> {
        Ok(Self {
            data: Data::Written(to_raw_value(data)?),
            ..Self::ok(message, Value::Null)
        })
    }

    /// As [`Reply::of`], for a page.
    pub(super) fn list<T: Serialize>(
        message: &'static str,
        content: &[T],
        pagination: &Pagination,
    ) -> Result<Self, ApiError> {
        Self::of(
            message,
            &List {
                content,
                pagination,
            },
        )
    }

    /// Says that newer events may be missing, and since when, milliseconds (RULINGS 9).
    pub(super) fn behind(self, lag_ms: Option<u64>) -> Self {
        Self { lag_ms, ..self }
    }

    /// 201: something is there that was not.
    pub(super) fn created(message: &'static str, data: Value) -> Self {
        Self {
            status: StatusCode::CREATED,
            ..Self::ok(message, data)
        }
    }

    /// 202: something is different.
    pub(super) fn accepted(message: &'static str, data: Value) -> Self {
        Self {
            status: StatusCode::ACCEPTED,
            ..Self::ok(message, data)
        }
    }

    /// Says which revision it was, and who does not have it yet (RULINGS 14).
    pub(super) fn in_force(self, in_force: InForce) -> Self {
        Self {
            in_force: Some(in_force),
            ..self
        }
    }

    /// Says which fields of the request were ignored (RULINGS 33).
    pub(super) fn ignoring(self, ignored: Ignored) -> Self {
        Self { ignored, ..self }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = envelope(self.status, true, self.message, Some(&self.data));
        let headers = response.headers_mut();
        if let Some(ms) = self.lag_ms {
            headers.insert(LAG_HEADER, HeaderValue::from(ms));
        }
        if let Some(InForce { revision, pending }) = self.in_force {
            headers.insert(REVISION_HEADER, HeaderValue::from(revision));
            if pending > 0 {
                headers.insert(PENDING_HEADER, HeaderValue::from(pending));
            }
        }
        if let Some(names) = self.ignored.header() {
            headers.insert(IGNORED_HEADER, names);
        }
        response
    }
}

/// The payload of a reply.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Data {
    /// As a value.
    Value(Value),
    /// As JSON.
    Written(Box<RawValue>),
}

#[derive(Serialize)]
struct List<'a, T> {
    content: &'a [T],
    pagination: &'a Pagination,
}

#[derive(Serialize)]
struct Envelope<'a> {
    status: bool,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Data>,
}

/// A reply as it goes out. Without payload a success has `data: null`, a refusal no `data`.
pub(super) fn envelope(
    status: StatusCode,
    is_success: bool,
    message: &str,
    data: Option<&Data>,
) -> Response {
    let envelope = Envelope {
        status: is_success,
        message,
        data,
    };
    let (status, body) = match serde_json::to_vec(&envelope) {
        Ok(body) => (status, body),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Vec::new()), // no value of ours has this
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_that_is_not_everywhere_is_told() {
        for (pending, told) in [(0, None), (2, Some("2"))] {
            let in_force = InForce {
                revision: 7,
                pending,
            };
            let reply = Reply::ok("", Value::Null).in_force(in_force);
            let response = reply.into_response();
            let header = |name| Some(response.headers().get(name)?.to_str().unwrap());
            assert_eq!(header(REVISION_HEADER), Some("7"));
            assert_eq!(header(PENDING_HEADER), told);
        }
    }
}
