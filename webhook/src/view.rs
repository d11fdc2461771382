//! The JSON view of a body: what filters, event-type locations and idempotency selectors look
//! at. The body itself is stored, signed and sent as it came; the view is never stored.

use http::{HeaderMap, header};
use serde_json::Value;

/// The view of a body with the headers it came with. `None` when it has no JSON view.
#[must_use]
pub fn of(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    // A coded body says nothing until it is decoded.
    if headers.contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_its_own_view_and_other_bytes_have_none() {
        let headers = HeaderMap::new();
        assert_eq!(
            of(&headers, br#"{"a":1}"#),
            Some(serde_json::json!({"a": 1}))
        );
        assert_eq!(of(&headers, b"\xff\x00"), None);
    }
}
