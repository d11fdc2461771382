//! The four parts of an event as filters see them. Each is made when the first filter asks for
//! it, and at most once for an event: most events meet no filter at all.

use std::cell::OnceCell;

use serde_json::{Map, Value};

use super::Scope;
use crate::event::{EventFacts, VerifiedEvent};

/// What filters see of one event.
#[derive(Debug)]
pub struct Views<'e> {
    event: Option<&'e VerifiedEvent>,
    headers: OnceCell<Option<Value>>,
    query: OnceCell<Option<Value>>,
    path: OnceCell<Option<Value>>,
    body: OnceCell<Option<Value>>,
}

impl<'e> Views<'e> {
    /// The views of an event.
    #[must_use]
    pub fn of(event: &'e VerifiedEvent) -> Self {
        Self {
            event: Some(event),
            headers: OnceCell::new(),
            query: OnceCell::new(),
            path: OnceCell::new(),
            body: OnceCell::new(),
        }
    }

    /// The views of an event that is only described, to try a filter out. Names of headers are
    /// put in lower case, and their lists cut to the first value.
    #[must_use]
    pub fn given(scopes: impl IntoIterator<Item = (Scope, Value)>) -> Views<'static> {
        let views = Views {
            event: None,
            headers: OnceCell::new(),
            query: OnceCell::new(),
            path: OnceCell::new(),
            body: OnceCell::new(),
        };
        for (scope, value) in scopes {
            let value = match scope {
                Scope::Headers => as_headers(value),
                Scope::Query | Scope::Path | Scope::Body => value,
            };
            let _ = views.cell(scope).set(Some(value)); // the first of a scope counts
        }
        views
    }

    /// The part of the event that belongs to a scope; `None` when the body has no JSON view.
    pub(super) fn value(&self, scope: Scope) -> Option<&Value> {
        if let (Scope::Body, Some(event)) = (scope, self.event) {
            return event.view();
        }
        let view = self.cell(scope).get_or_init(|| {
            let event = self.event?.facts();
            match scope {
                Scope::Headers => Some(headers(event)),
                Scope::Query => Some(query(&event.query)),
                Scope::Path => Some(serde_json::json!({"path": event.path})),
                Scope::Body => None,
            }
        });
        view.as_ref()
    }

    fn cell(&self, scope: Scope) -> &OnceCell<Option<Value>> {
        match scope {
            Scope::Headers => &self.headers,
            Scope::Query => &self.query,
            Scope::Path => &self.path,
            Scope::Body => &self.body,
        }
    }
}

/// The first value of each header. Bytes that are no text are replaced, as everywhere headers
/// are shown.
fn headers(event: &EventFacts) -> Value {
    let mut map = Map::new();
    for (name, value) in &event.headers {
        if !map.contains_key(name.as_str()) {
            let text = String::from_utf8_lossy(value.as_bytes());
            map.insert(name.as_str().to_owned(), Value::String(text.into_owned()));
        }
    }
    Value::Object(map)
}

fn as_headers(value: Value) -> Value {
    let Value::Object(given) = value else {
        return value;
    };
    let mut map = Map::new();
    for (name, value) in given {
        let value = match value {
            Value::Array(values) => values.into_iter().next().unwrap_or_default(),
            value => value,
        };
        map.entry(name.to_ascii_lowercase()).or_insert(value);
    }
    Value::Object(map)
}

/// Parameters by name; one that is repeated is a list.
fn query(query: &str) -> Value {
    let mut map = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name), Value::String(decoded(value)));
        match map.get_mut(&name) {
            None => {
                map.insert(name, value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Value::Object(map)
}

/// Undoes what forms do to a text.
fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_query_is_decoded_and_what_repeats_is_a_list() {
        assert_eq!(query(""), json!({}));
        assert_eq!(
            query("a=1&b=x%20y+z&a=2&c&&a=3&%C3%A9=%ff"),
            json!({"a": ["1", "2", "3"], "b": "x y z", "c": "", "é": "\u{fffd}"})
        );
    }

    #[test]
    fn given_headers_are_in_lower_case_with_their_first_value() {
        let given = as_headers(json!({"X-A": ["1", "2"], "x-b": "3", "X-C": []}));
        assert_eq!(given, json!({"x-a": "1", "x-b": "3", "x-c": null}));
        assert_eq!(as_headers(json!([1])), json!([1]));
    }

    #[test]
    fn a_scope_that_was_not_given_has_no_view() {
        let views = Views::given([(Scope::Body, json!({"a": 1}))]);
        assert_eq!(views.value(Scope::Body), Some(&json!({"a": 1})));
        assert_eq!(views.value(Scope::Query), None);
    }
}
