//! Headers as an attempt's record keeps them: without credentials. Signatures stay: they say
//! nothing of their key, and are what people compare.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use outrider_webhook::event::HeaderList;

/// What is written instead; as replies write it.
const MASK: HeaderValue = HeaderValue::from_static("***");

/// Credentials by their names, whoever set them.
const CREDENTIALS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
    header::SET_COOKIE,
];

/// The headers of a request or an answer. What an endpoint's authentication sets is marked as
/// sensitive, whatever its name is.
pub(super) fn masked(headers: &HeaderMap) -> HeaderList {
    let kept = |(name, value): (&HeaderName, &HeaderValue)| {
        let is_secret = value.is_sensitive() || CREDENTIALS.contains(name);
        let value = if is_secret { &MASK } else { value };
        (name.clone(), value.clone())
    };
    headers.iter().map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_masked_and_signatures_are_not() {
        let mut headers = HeaderMap::new();
        let mut sensitive = HeaderValue::from_static("hunter2");
        sensitive.set_sensitive(true);
        headers.insert("x-api-key", sensitive);
        for name in [
            "authorization",
            "cookie",
            "proxy-authorization",
            "set-cookie",
        ] {
            headers.append(name, HeaderValue::from_static("hunter2"));
        }
        headers.append("set-cookie", HeaderValue::from_static("hunter2"));
        headers.insert("webhook-signature", HeaderValue::from_static("v1,s"));
        let kept = masked(&headers);
        assert_eq!(kept.len(), headers.len());
        for (name, value) in kept {
            let expected = if name == "webhook-signature" {
                "v1,s"
            } else {
                "***"
            };
            assert_eq!(value, expected, "{name}");
        }
    }
}
