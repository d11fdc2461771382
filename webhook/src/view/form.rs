//! The view of a form: an object of first values.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::VALUES_MAX;

/// Parameters of the body come first, and so win over those of the query (contract, section 4).
pub(super) fn view(query: &str, body: &[u8]) -> Option<Value> {
    let pairs = form_urlencoded::parse(body).chain(form_urlencoded::parse(query.as_bytes()));
    first_values(pairs).map(Value::Object)
}

fn first_values<'p>(
    pairs: impl Iterator<Item = (Cow<'p, str>, Cow<'p, str>)>,
) -> Option<Map<String, Value>> {
    let mut values = Map::new();
    for (at, (name, value)) in pairs.enumerate() {
        if at >= VALUES_MAX {
            return None;
        }
        if !values.contains_key(&*name) {
            values.insert(name.into_owned(), Value::String(value.into_owned()));
        }
    }
    Some(values)
}
