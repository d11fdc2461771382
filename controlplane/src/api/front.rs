//! What happens to every request before and after its route: the path is mended, the content
//! type and the API version are checked, and every reply says who it is.

use axum::extract::Request;
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::linger;
use super::version::{self, ApiVersion};
use crate::random;

const REQUEST_ID_HEADER: &str = "x-request-id";
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Wraps all routes.
pub(super) async fn front(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let admitted = admit(&mut request);
    let (request, rest) = linger::lend(request);
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    rest.discard().await;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID_HEADER, id);
    headers.insert(version::HEADER, HeaderValue::from_static(version::CURRENT));
    headers
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    response
}

/// Refuses what no route wants; leaves the API version for those that differ by it.
fn admit(request: &mut Request) -> Result<(), ApiError> {
    if !request.uri().path().starts_with("/api/") {
        return Ok(());
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_json = content_type.is_none_or(|value| {
        let value = value.as_bytes();
        let json = b"application/json";
        value.is_empty()
            || value
                .get(..json.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(json))
    });
    if !is_json {
        return Err(ApiError::ContentType);
    }
    let version = ApiVersion::of(request.headers())?;
    request.extensions_mut().insert(version);
    Ok(())
}

/// The client's own id, if it is fit to be repeated; a new one else.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_sane = |value: &&HeaderValue| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&value.len())
            && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    match headers.get(REQUEST_ID_HEADER).filter(is_sane) {
        Some(value) => value.clone(),
        None => {
            HeaderValue::from_str(&random::request_id()).unwrap_or(HeaderValue::from_static("none"))
        } // a uid is a header value
    }
}

/// Clients put slashes together from parts of URLs: repeated ones count as one, and one at the
/// end does not count (contract section 1).
pub(super) fn collapse_slashes(uri: &mut Uri) {
    let path = uri.path();
    let is_fine = !path.contains("//") && (path.len() == 1 || !path.ends_with('/'));
    if is_fine {
        return;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut mended = format!("/{}", parts.join("/"));
    if let Some(query) = uri.query() {
        mended = format!("{mended}?{query}");
    }
    // Parts of what was a path and a query are such again.
    if let Ok(path_and_query) = PathAndQuery::try_from(mended) {
        let mut parts = std::mem::take(uri).into_parts();
        parts.path_and_query = Some(path_and_query);
        *uri = Uri::from_parts(parts).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_collapsed_and_the_query_is_left_alone() {
        for (from, to) in [
            ("/", "/"),
            ("//", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("//a///b//?q=//x/", "/a/b?q=//x/"),
            ("/a?", "/a?"),
            ("http://host//a/", "http://host/a"),
        ] {
            let mut uri: Uri = from.parse().unwrap();
            collapse_slashes(&mut uri);
            assert_eq!(uri.to_string(), to, "{from}");
        }
    }

    #[test]
    fn only_a_sane_request_id_is_repeated() {
        let of = |value: &str| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request_id(&HeaderMap::from_iter([(
                "x-request-id".parse().unwrap(),
                value,
            )]))
        };
        assert_eq!(of("abc-1"), "abc-1");
        assert_eq!(of(&"x".repeat(128)).len(), 128);
        for odd in ["", "a b", "é", &"x".repeat(129)] {
            assert_eq!(of(odd).len(), 26, "{odd}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
