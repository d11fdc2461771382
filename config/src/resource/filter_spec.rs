//! What people write of a filter: conditions for the whole subscription, and rows for single
//! event types.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use outrider_webhook::filter::{self, Scope};

use super::check::{Checks, Reason};
use super::field::given;

/// How filters are read, where that is said.
pub(super) fn filter_mode(
    checks: &mut Checks,
    field: &str,
    word: Option<&str>,
) -> Option<Option<filter::Mode>> {
    let Some(word) = given(word) else {
        return Some(None);
    };
    let mode = word.parse();
    let mode = mode.map_err(|_| Reason::NotOneOf(filter::Mode::WORDS));
    checks.take(field, mode).map(Some)
}

/// Conditions of one scope, as they were written: a map, or JSON in a text. Kept as text, because
/// a null means something in them, and documents do without theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ConditionsSpec(Box<str>);

impl ConditionsSpec {
    /// The conditions of a value.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        Self(value.to_string().into())
    }

    /// Their JSON. A text that is none is itself, and refused where conditions are compiled.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_else(|_| Value::String(self.0.to_string()))
    }
}

impl<'de> Deserialize<'de> for ConditionsSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = ConditionsSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of conditions")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ConditionsSpec, E> {
                Ok(ConditionsSpec(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ConditionsSpec, A::Error> {
                let map = de::value::MapAccessDeserializer::new(map);
                Value::deserialize(map).map(|value| ConditionsSpec::of(&value))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// Conditions for every event type of a subscription.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterSpec {
    /// Of the first value of each header, by its name.
    pub headers: Option<ConditionsSpec>,
    /// Of the JSON view of the body.
    pub body: Option<ConditionsSpec>,
    /// Of the query parameters; repeated ones are lists.
    pub query: Option<ConditionsSpec>,
    /// Of `{"path": "<path of the URL>"}`.
    pub path: Option<ConditionsSpec>,
    /// Convoy's: replies have it, and clients send it back. Changes nothing.
    pub is_flattened: Option<bool>,
}

/// Conditions for one event type of a subscription, instead of those for all of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterRowSpec {
    /// Its id; derived from subscription and event type when absent.
    pub uid: Option<String>,
    /// Required: an event type, or a pattern with stars. Unique in the subscription.
    pub event_type: Option<String>,
    /// Since when it counts, as its reply shows it; changes nothing.
    pub enabled_at: Option<String>,
    /// Whether it is set aside: its event type is then not wanted by itself.
    pub is_disabled: Option<bool>,
    /// As in [`FilterSpec`].
    pub headers: Option<ConditionsSpec>,
    /// As in [`FilterSpec`].
    pub body: Option<ConditionsSpec>,
    /// As in [`FilterSpec`].
    pub query: Option<ConditionsSpec>,
    /// As in [`FilterSpec`].
    pub path: Option<ConditionsSpec>,
}

/// The conditions of something by their scope.
pub trait Scoped {
    /// Those of one scope, if there are any.
    fn scope(&self, scope: Scope) -> Option<&ConditionsSpec>;

    /// All of them, to be compiled.
    fn conditions(&self) -> Vec<(Scope, Value)> {
        let of_scope = |scope| Some((scope, self.scope(scope)?.value()));
        Scope::ALL.into_iter().filter_map(of_scope).collect()
    }
}

macro_rules! scoped {
    ($($spec:ty),+) => {$(
        impl Scoped for $spec {
            fn scope(&self, scope: Scope) -> Option<&ConditionsSpec> {
                match scope {
                    Scope::Headers => self.headers.as_ref(),
                    Scope::Query => self.query.as_ref(),
                    Scope::Path => self.path.as_ref(),
                    Scope::Body => self.body.as_ref(),
                }
            }
        }
    )+};
}
scoped!(FilterSpec, FilterRowSpec);
