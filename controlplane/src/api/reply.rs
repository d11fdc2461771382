//! Replies in Convoy's envelope (contract 2.2).

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::error::ApiError;
use super::ignored::Ignored;
use super::page::Pagination;
use super::write::InForce;

const REVISION_HEADER: &str = "x-outrider-config-revision";
const PENDING_HEADER: &str = "x-outrider-config-pending";
const LAG_HEADER: &str = "x-outrider-index-lag-ms";
const IGNORED_HEADER: &str = "x-outrider-ignored-fields";
const WARNING_HEADER: &str = "x-outrider-warning";

/// A success. There is no `Debug`: it may show a secret.
pub(super) struct Reply {
    status: StatusCode,
    message: Cow<'static, str>,
    data: Data,
    lag_ms: Option<u64>,
    in_force: Option<InForce>,
    ignored: Ignored,
    warning: Option<&'static str>,
}

impl Reply {
    /// 200: reads, deletions.
    pub(super) fn ok(message: &'static str, data: Value) -> Self {
        Self {
            status: StatusCode::OK,
            message: message.into(),
            data: Data::Value(data),
            lag_ms: None,
            in_force: None,
            ignored: Ignored::default(),
            warning: None,
        }
    }

    /// 200, written here and now, envelope and all: what people sent may be large, and is neither
    /// read again nor copied.
    pub(super) fn of<T: Serialize>(message: &'static str, data: &T) -> Result<Self, ApiError> {
        Ok(Self {
            data: Data::Written(written(true, message, Some(data))?),
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

    /// With a message that is not the same every time.
    pub(super) fn saying(self, message: String) -> Self {
        Self {
            message: message.into(),
            ..self
        }
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

    /// Says what the person who asked may not have thought of.
    pub(super) fn warning(self, warning: Option<&'static str>) -> Self {
        Self { warning, ..self }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let body = match self.data {
            Data::Value(data) => written(true, &self.message, Some(&data)),
            Data::Written(body) => Ok(body),
        };
        let mut response = response(self.status, body);
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
        if let Some(warning) = self.warning {
            headers.insert(WARNING_HEADER, HeaderValue::from_static(warning));
        }
        if let Some(names) = self.ignored.header() {
            headers.insert(IGNORED_HEADER, names);
        }
        response
    }
}

/// The payload of a reply.
enum Data {
    /// As a value.
    Value(Value),
    /// As JSON, in its envelope.
    Written(Vec<u8>),
}

#[derive(Serialize)]
struct List<'a, T> {
    content: &'a [T],
    pagination: &'a Pagination,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    status: bool,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a T>,
}

/// A refusal as it goes out: it has no `data`.
pub(super) fn refusal(status: StatusCode, message: &str) -> Response {
    response(status, written::<Value>(false, message, None))
}

/// The envelope. Without payload a success has `data: null`.
fn written<T: Serialize>(
    is_success: bool,
    message: &str,
    data: Option<&T>,
) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Envelope {
        status: is_success,
        message,
        data,
    })
}

fn response(status: StatusCode, body: serde_json::Result<Vec<u8>>) -> Response {
    let (status, body) = match body {
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
    use http_body_util::BodyExt;
    use serde_json::json;

    #[tokio::test]
    async fn a_payload_is_the_same_whether_it_is_written_at_once_or_later() {
        let data = json!({"a": ["\"", 1, null]});
        let at_once = Reply::of("m \"", &data).unwrap().behind(Some(5));
        let mut bodies = Vec::new();
        for reply in [at_once, Reply::ok("m \"", data)] {
            let body = reply.into_response().into_body();
            bodies.push(body.collect().await.unwrap().to_bytes());
        }
        let expected = r#"{"status":true,"message":"m \"","data":{"a":["\"",1,null]}}"#;
        assert_eq!(bodies, [expected, expected]);
    }

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
