//! One refused request, cut to what a person needs and freed of what nobody may read.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

/// Bytes of the body that are kept.
const BODY_BYTES_MAX: usize = 1024;
/// Bytes of path and of query that are kept.
const TARGET_BYTES_MAX: usize = 512;
/// Headers that are kept.
const HEADERS_MAX: usize = 64;
/// Bytes of a header's value that are kept.
const VALUE_BYTES_MAX: usize = 512;
/// Bytes of all headers that are kept.
const HEADER_BYTES_MAX: usize = 6 * 1024;
/// What stands for a value that nobody may read.
const MASK: &str = "***";

/// Headers that say who may send, whatever a source verifies with.
const MASKED: [HeaderName; 3] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
];
/// What a name has in it when its value is likely a credential: of another source perhaps, sent
/// here by mistake.
const TELLING: [&str; 6] = [
    "token", "secret", "password", "api-key", "apikey", "api_key",
];

/// What a source says must not be shown.
pub(in crate::ingest) struct Masks<'s> {
    /// Headers: its credential, and those that are not stored either.
    pub(in crate::ingest) headers: Vec<&'s HeaderName>,
    /// A query parameter that is a credential, decoded.
    pub(in crate::ingest) query: Option<&'s str>,
}

/// A request that is refused, as it stands.
pub(in crate::ingest) struct Refused<'r> {
    pub(in crate::ingest) reason: &'static str,
    pub(in crate::ingest) status: StatusCode,
    pub(in crate::ingest) at_ms: i64,
    pub(in crate::ingest) request_id: &'r HeaderValue,
    pub(in crate::ingest) client: Option<IpAddr>,
    pub(in crate::ingest) head: &'r http::request::Parts,
    /// `None` when it was refused before the body was read.
    pub(in crate::ingest) body: Option<&'r Bytes>,
}

/// A sample of a refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    at_ms: i64,
    reason: &'static str,
    status: u16,
    request_id: Box<str>,
    client: Option<IpAddr>,
    method: Box<str>,
    path: Box<str>,
    query: Box<str>,
    headers: Vec<(HeaderName, Box<str>)>,
    headers_left_out: usize,
    body: Option<Body>,
}

/// No preset has a static credential in the body, so its start may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Body {
    bytes: usize,
    excerpt: Box<str>,
}

impl Sample {
    /// Cuts and masks a request.
    pub(in crate::ingest) fn of(refused: &Refused<'_>, masks: &Masks<'_>) -> Self {
        let head = refused.head;
        let (headers, headers_left_out) = headers(&head.headers, masks);
        let body = refused.body.map(|body| Body {
            bytes: body.len(),
            excerpt: cut(body, BODY_BYTES_MAX),
        });
        Self {
            at_ms: refused.at_ms,
            reason: refused.reason,
            status: refused.status.as_u16(),
            request_id: cut(refused.request_id.as_bytes(), VALUE_BYTES_MAX),
            client: refused.client,
            method: cut(head.method.as_str().as_bytes(), 32),
            path: cut(head.uri.path().as_bytes(), TARGET_BYTES_MAX),
            query: query(head.uri.query().unwrap_or_default(), masks),
            headers,
            headers_left_out,
            body,
        }
    }

    /// Bytes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|(name, value)| 64 + name.as_str().len() + value.len())
            .sum();
        let excerpt = self.body.as_ref().map_or(0, |body| body.excerpt.len());
        let texts = self.path.len() + self.query.len() + self.request_id.len();
        size_of::<Self>() + texts + headers + excerpt
    }

    /// As it is shown.
    pub(super) fn to_json(&self) -> Value {
        let mut headers = Map::new();
        for (name, value) in &self.headers {
            let values = headers
                .entry(name.as_str())
                .or_insert(Value::Array(Vec::new()));
            if let Value::Array(values) = values {
                values.push(Value::from(&**value));
            }
        }
        json!({
            "at_ms": self.at_ms,
            "reason": self.reason,
            "status": self.status,
            "request_id": self.request_id,
            "client_address": self.client.map(|address| address.to_string()),
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": headers,
            "headers_left_out": self.headers_left_out,
            "body_bytes": self.body.as_ref().map(|body| body.bytes),
            "body_excerpt": self.body.as_ref().map(|body| &*body.excerpt),
        })
    }

    /// Why it was refused.
    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }
}

/// The headers that fit, and how many do not.
fn headers(all: &HeaderMap, masks: &Masks<'_>) -> (Vec<(HeaderName, Box<str>)>, usize) {
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for (name, value) in all {
        let value = if is_masked(name, masks) {
            MASK.into()
        } else {
            cut(value.as_bytes(), VALUE_BYTES_MAX)
        };
        bytes += name.as_str().len() + value.len();
        if kept.len() == HEADERS_MAX || bytes > HEADER_BYTES_MAX {
            break;
        }
        kept.push((name.clone(), value));
    }
    let left_out = all.len() - kept.len();
    (kept, left_out)
}

fn is_masked(name: &HeaderName, masks: &Masks<'_>) -> bool {
    MASKED.contains(name) || masks.headers.contains(&name) || is_telling(name.as_str())
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TELLING.iter().any(|part| name.contains(part))
}

/// The query, cut, with the values of credentials masked. Names stay as they were written.
fn query(query: &str, masks: &Masks<'_>) -> Box<str> {
    if query.is_empty() {
        return Box::default();
    }
    let shown = |pair: &str| {
        let Some((name, _)) = pair.split_once('=') else {
            return pair.to_owned();
        };
        let spaced = name.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy();
        if masks.query == Some(&*decoded) || is_telling(&decoded) {
            format!("{name}={MASK}")
        } else {
            pair.to_owned()
        }
    };
    let pairs: Vec<String> = query.split('&').map(shown).collect();
    cut(pairs.join("&").as_bytes(), TARGET_BYTES_MAX)
}

/// The start of a text, without half a character at its end; what is no text is told by `�`.
fn cut(bytes: &[u8], bytes_max: usize) -> Box<str> {
    let start = bytes.get(..bytes_max).unwrap_or(bytes);
    let whole = match std::str::from_utf8(start) {
        Err(error) if error.error_len().is_none() => start.get(..error.valid_up_to()),
        _ => Some(start),
    };
    let text = String::from_utf8_lossy(whole.unwrap_or_default());
    text.into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(target: &str, headers: &[(&str, &str)]) -> http::request::Parts {
        let mut request = Request::post(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn sample(head: &http::request::Parts, body: Option<&Bytes>, masks: &Masks<'_>) -> Value {
        let refused = Refused {
            reason: "signature_mismatch",
            status: StatusCode::UNAUTHORIZED,
            at_ms: 5,
            request_id: &HeaderValue::from_static("id"),
            client: Some(IpAddr::from([127, 0, 0, 1])),
            head,
            body,
        };
        Sample::of(&refused, masks).to_json()
    }

    const NO_MASKS: Masks<'_> = Masks {
        headers: Vec::new(),
        query: None,
    };

    #[test]
    fn credentials_are_masked_wherever_they_stand() {
        let head = head(
            "/ingest/m?key=hunter2&k%65y=hunter2&access_token=hunter2&a=1&flag",
            &[
                ("authorization", "Bearer hunter2"),
                ("cookie", "session=hunter2"),
                ("x-own", "hunter2"),
                ("x-gitlab-token", "hunter2"),
                ("x-hub-signature-256", "sha256=00"),
            ],
        );
        let own = HeaderName::from_static("x-own");
        let masks = Masks {
            headers: vec![&own],
            query: Some("key"),
        };
        let shown = sample(&head, Some(&Bytes::from_static(b"the body")), &masks);
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
        assert_eq!(
            shown["query"],
            "key=***&k%65y=***&access_token=***&a=1&flag"
        );
        assert_eq!(shown["headers"]["x-own"], json!(["***"]));
        assert_eq!(
            shown["headers"]["x-hub-signature-256"],
            json!(["sha256=00"])
        );
        assert_eq!(
            (&shown["body_bytes"], &shown["body_excerpt"]),
            (&json!(8), &json!("the body"))
        );
    }

    #[test]
    fn what_is_long_is_cut_and_what_is_left_out_is_told() {
        let long = "ä".repeat(40_000);
        let mut parts = head(
            &format!("/{}?{}", "p".repeat(9_000), "q".repeat(9_000)),
            &[],
        );
        for number in 0..200 {
            let name = HeaderName::try_from(format!("x-{number}")).unwrap();
            parts.headers.insert(name, HeaderValue::from_static("v"));
        }
        let long_value = HeaderValue::try_from("v".repeat(9_000)).unwrap();
        parts.headers.insert("x-0", long_value);
        let body = Bytes::from(long);
        let shown = sample(&parts, Some(&body), &NO_MASKS);
        assert!(
            shown.to_string().len() < 16 * 1024,
            "{}",
            shown.to_string().len()
        );
        assert_eq!(shown["headers_left_out"], 200 - HEADERS_MAX);
        assert_eq!(shown["body_bytes"], 80_000);
        assert_eq!(shown["body_excerpt"].as_str().unwrap(), "ä".repeat(512));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such_and_no_body_as_none() {
        let head = head("/", &[]);
        let shown = sample(&head, Some(&Bytes::from_static(b"a\xffb")), &NO_MASKS);
        assert_eq!(shown["body_excerpt"], "a\u{fffd}b");
        let shown = sample(&head, None, &NO_MASKS);
        assert_eq!(
            (&shown["body_bytes"], &shown["body_excerpt"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(shown["client_address"], "127.0.0.1");
        assert_eq!(
            (&shown["at_ms"], &shown["status"]),
            (&json!(5), &json!(401))
        );
    }
}
