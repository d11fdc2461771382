//! Heads on their way to the control plane and back: what stays, what goes, what is added.

use std::net::IpAddr;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header, response};
use pingora::http::{RequestHeader, ResponseHeader};

use super::super::hop_by_hop::HopByHop;
use super::super::request_id::REQUEST_ID;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Headers of a request that are for us, or that are written anew.
const NOT_PASSED_ON: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    REQUEST_ID,
    FORWARDED_FOR,
    FORWARDED_PROTO,
    FORWARDED_HOST,
];

/// Where a request goes; `None` when path or query are no part of a URI.
pub(super) fn uri(authority: &str, path: &str, query: Option<&str>) -> Option<Uri> {
    let target: PathAndQuery = match query {
        Some(query) => format!("{path}?{query}").try_into().ok()?,
        None => path.try_into().ok()?,
    };
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(authority)
        .path_and_query(target)
        .build()
        .ok()
}

/// The headers as passed on, without those that frame the body. `Host` is the client's to add.
pub(super) fn request_headers(
    given: &RequestHeader,
    (client, scheme): (Option<IpAddr>, &'static str),
    request_id: &HeaderValue,
) -> HeaderMap {
    let hop_by_hop = HopByHop::of(&given.headers);
    let is_passed = |name: &HeaderName| !hop_by_hop.contains(name) && !NOT_PASSED_ON.contains(name);
    let mut headers = HeaderMap::with_capacity(given.headers.len() + 4);
    for (name, value) in given.headers.iter().filter(|(name, _)| is_passed(name)) {
        headers.append(name, value.clone());
    }
    headers.insert(REQUEST_ID, request_id.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    if let Some(hosts) = forwarded_for(&given.headers, client) {
        headers.insert(FORWARDED_FOR, hosts);
    }
    if let Some(host) = given.headers.get(header::HOST) {
        headers.insert(FORWARDED_HOST, host.clone());
    }
    headers
}

/// The hosts the request came through, the nearest one last.
fn forwarded_for(headers: &HeaderMap, client: Option<IpAddr>) -> Option<HeaderValue> {
    let mut hosts = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        hosts.push(value.as_bytes().to_vec());
    }
    hosts.extend(client.map(|address| address.to_string().into_bytes()));
    (!hosts.is_empty())
        .then(|| HeaderValue::from_bytes(&hosts.join(&b", "[..])).ok())
        .flatten()
}

/// The answer's head as the client gets it, with its length if it has one.
pub(super) fn response_head(
    given: &response::Parts,
    request_id: &HeaderValue,
) -> pingora::Result<ResponseHeader> {
    let hop_by_hop = HopByHop::of(&given.headers);
    let mut head = ResponseHeader::build(given.status, Some(given.headers.len() + 2))?;
    for (name, value) in &given.headers {
        // A 204 has no length, not even 0 (RFC 9110 section 8.6).
        let is_false_length =
            given.status == StatusCode::NO_CONTENT && *name == header::CONTENT_LENGTH;
        if !hop_by_hop.contains(name) && *name != REQUEST_ID && !is_false_length {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    head.insert_header(REQUEST_ID, request_id.clone())?;
    Ok(head)
}

/// Whether an answer with this status ends with its head.
pub(super) const fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed_on(given: &[(&'static str, &str)]) -> HeaderMap {
        let mut head = RequestHeader::build("GET", b"/api", None).unwrap();
        for (name, value) in given {
            head.append_header(*name, *value).unwrap();
        }
        let client = Some("192.0.2.1".parse().unwrap());
        request_headers(&head, (client, "http"), &HeaderValue::from_static("id"))
    }

    #[test]
    fn what_belongs_to_the_connection_is_not_passed_on() {
        let headers = passed_on(&[
            ("connection", "close, X-Mine"),
            ("connection", "x-too"),
            ("x-mine", "1"),
            ("x-too", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-connection", "close"),
            ("proxy-authorization", "Basic eA=="),
            ("expect", "100-continue"),
            ("content-length", "5"),
            ("host", "gateway.test"),
            ("authorization", "Bearer x"),
        ]);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "authorization",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id",
        ];
        assert_eq!(names, expected);
        assert_eq!(headers["x-forwarded-host"], "gateway.test");
    }

    #[test]
    fn the_client_is_put_behind_those_it_names() {
        let headers = passed_on(&[
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-for", "198.51.100.2, 198.51.100.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "other"),
            ("x-request-id", "theirs"),
        ]);
        assert_eq!(
            headers["x-forwarded-for"],
            "198.51.100.1, 198.51.100.2, 198.51.100.3, 192.0.2.1"
        );
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-request-id"], "id");
        assert!(!headers.contains_key("x-forwarded-host"));
    }

    #[test]
    fn repeated_headers_stay_repeated() {
        let headers = passed_on(&[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(headers.get_all("cookie").iter().count(), 2);
    }

    #[test]
    fn a_path_that_is_none_has_no_uri() {
        assert_eq!(uri("127.0.0.1:1", "/a b", None), None);
        assert_eq!(uri("127.0.0.1:1", "/a", Some("b c")), None);
        let good = uri("[::1]:1", "/a", Some("b=%20&b=1")).unwrap();
        assert_eq!(good.to_string(), "http://[::1]:1/a?b=%20&b=1");
    }
}
