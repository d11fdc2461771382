//! Where a source finds the type of an event.

use std::fmt;

use http::HeaderName;
use outrider_webhook::event::RawEvent;

use super::check::Reason;

/// An explicit place of the event type, Convoy's `event_type_location`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventTypeLocation {
    /// A request header.
    Header(HeaderName),
    /// A query parameter, after decoding.
    Query(Box<str>),
}

impl EventTypeLocation {
    /// Parses `request.header.X-Event`, `req.query.type` and the like.
    ///
    /// # Errors
    /// When the text is in another form, or selects from the body, which this version cannot.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let shape = Reason::Shape("like `request.header.X-Event-Type` or `request.query.type`");
        let mut parts = text.splitn(3, '.');
        let (Some("request" | "req"), Some(place), Some(selector)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(shape);
        };
        if selector.is_empty() {
            return Err(shape);
        }
        match place {
            "header" | "Header" => selector.parse().map(Self::Header).map_err(|_| shape),
            "query" | "queryparam" | "QueryParam" => Ok(Self::Query(selector.into())),
            "body" | "Body" => Err(Reason::UnsupportedValue("an event type in the body")),
            _ => Err(shape),
        }
    }

    /// The event type of a request. `None` when it is missing, empty, given twice or no text.
    #[must_use]
    pub fn find(&self, request: &RawEvent) -> Option<Box<str>> {
        let found: Box<str> = match self {
            Self::Header(name) => {
                let mut values = request.headers.get_all(name).iter();
                let value = values.next()?.to_str().ok()?;
                values.next().is_none().then(|| value.into())?
            }
            Self::Query(name) => {
                let mut pairs = url::form_urlencoded::parse(request.query.as_bytes())
                    .filter(|(key, _)| *key == **name);
                let (_, value) = pairs.next()?;
                pairs.next().is_none().then(|| value.into())?
            }
        };
        (!found.is_empty()).then_some(found)
    }
}

/// As it is written: `request.header.x-event-type`.
impl fmt::Display for EventTypeLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "request.header.{name}"),
            Self::Query(name) => write!(f, "request.query.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Method};

    fn request(query: &str, headers: &[&'static str]) -> RawEvent {
        let mut map = HeaderMap::new();
        for value in headers {
            map.append("x-event", HeaderValue::from_static(value));
        }
        RawEvent {
            method: Method::POST,
            path: "/".into(),
            query: query.into(),
            headers: map,
            body: Bytes::new(),
            received_ms: 0,
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "header.X",
            "request.header",
            "request.header.",
            "request.cookie.a",
            "request.header.a b",
        ] {
            assert!(EventTypeLocation::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            EventTypeLocation::parse("request.body.type")
                .unwrap_err()
                .code(),
            "unsupported"
        );
    }

    #[test]
    fn a_type_that_is_missing_empty_or_given_twice_is_none() {
        let header = EventTypeLocation::parse("req.header.X-Event").unwrap();
        let query = EventTypeLocation::parse("request.query.t y").unwrap();
        for request in [
            request("", &[]),
            request("t+y=", &[""]),
            request("t+y=a&t%20y=b", &["a", "b"]),
        ] {
            assert_eq!((header.find(&request), query.find(&request)), (None, None));
        }
        let found = request("x=1&t+y=order%2Epaid", &["push"]);
        assert_eq!(header.find(&found).as_deref(), Some("push"));
        assert_eq!(query.find(&found).as_deref(), Some("order.paid"));
        assert_eq!(header.to_string(), "request.header.x-event");
    }
}
