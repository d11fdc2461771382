//! The order key of a subscription: which of its deliveries come one after the other.

use std::hash::Hasher;
use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Checks, Range, Reason};
use super::field::{given, header_name};

/// How long a delivery may hold up its successors.
const PARK_AFTER_S: Range = Range {
    min: 1,
    max: 7 * 24 * 3600,
    unit: "seconds",
};
const PARK_AFTER_DEFAULT_S: u64 = 3600;
/// Longest JSON pointer, bytes.
const POINTER_BYTES_MAX: usize = 512;

/// What people write of an order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderSpec {
    /// `endpoint`: all deliveries of the subscription are one line. `header` and `pointer`: those
    /// with the same value are, and those without the value are in none. `none`: there is no order.
    pub key: Option<String>,
    /// With `key: header`, its name.
    pub header: Option<String>,
    /// With `key: pointer`, a JSON pointer into the body (RFC 6901), at most 512 bytes.
    pub pointer: Option<String>,
    /// A delivery whose next attempt is later than so many seconds after its turn came is parked,
    /// and the next one goes; 1 to 604800, default 3600.
    pub park_after_s: Option<u64>,
}

/// A checked order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    key: OrderKey,
    park_after: Duration,
}

/// What deliveries of one line have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderKey {
    /// Nothing but their subscription.
    Endpoint,
    /// A header's value.
    Header(HeaderName),
    /// A value in the body, by its JSON pointer.
    Pointer(Box<str>),
}

impl OrderSpec {
    /// Whether it asks for none.
    pub(super) fn is_none(&self) -> bool {
        self.key.as_deref() == Some("none")
    }

    pub(super) fn compile(&self, checks: &mut Checks) -> Option<Order> {
        let park_after_s = checks.number(
            "order.park_after_s",
            self.park_after_s,
            PARK_AFTER_DEFAULT_S,
            PARK_AFTER_S,
        );
        let word = checks.require("order.key", given(self.key.as_deref()))?;
        for (name, text) in [("header", &self.header), ("pointer", &self.pointer)] {
            if word != name && given(text.as_deref()).is_some() {
                let rule = format!("is for `key: {name}`: this is `{word}`");
                checks.fail(format!("order.{name}"), Reason::Rule(rule));
            }
        }
        let key = match word {
            "endpoint" => OrderKey::Endpoint,
            "header" => {
                let name = checks.require("order.header", given(self.header.as_deref()))?;
                OrderKey::Header(checks.take("order.header", header_name(name))?)
            }
            "pointer" => {
                let text = checks.require("order.pointer", given(self.pointer.as_deref()))?;
                OrderKey::Pointer(checks.take("order.pointer", pointer(text))?)
            }
            _ => {
                let words = &["endpoint", "header", "pointer", "none"];
                checks.fail("order.key", Reason::NotOneOf(words));
                return None;
            }
        };
        Some(Order {
            key,
            park_after: Duration::from_secs(park_after_s),
        })
    }
}

fn pointer(text: &str) -> Result<Box<str>, Reason> {
    let is_escaped = text
        .split('~')
        .skip(1)
        .all(|rest| rest.starts_with(['0', '1']));
    let fits = text.len() <= POINTER_BYTES_MAX && text.starts_with('/') && is_escaped;
    let shape = "a JSON pointer like `/customer/id`, at most 512 bytes";
    fits.then(|| text.into()).ok_or(Reason::Shape(shape))
}

impl Order {
    /// What its lines are told apart by.
    #[must_use]
    pub fn key(&self) -> &OrderKey {
        &self.key
    }

    /// How long a delivery may hold up its successors, 1 s to 7 days.
    #[must_use]
    pub fn park_after(&self) -> Duration {
        self.park_after
    }

    pub(super) fn dump(&self) -> Value {
        let (word, value) = match &self.key {
            OrderKey::Endpoint => ("endpoint", Value::Null),
            OrderKey::Header(name) => ("header", name.as_str().into()),
            OrderKey::Pointer(pointer) => ("pointer", (**pointer).into()),
        };
        json!({"key": word, "of": value, "park_after_s": self.park_after.as_secs()})
    }
}

/// The number of a line, as the log keeps it: of a subscription and the value its deliveries have
/// in common. The same for ever, so it must not depend on the process: FNV-1a, 64 bit. Two values
/// with the same number are one line, which costs time and no order.
#[must_use]
pub fn line(subscription: u128, value: &[u8]) -> u64 {
    let mut hash = Fnv::default();
    hash.write(&subscription.to_be_bytes());
    hash.write(value);
    hash.finish()
}

struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325) // offset basis of FNV-1a
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3); // its prime
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(spec: Value) -> Result<Order, Vec<String>> {
        let spec: OrderSpec = serde_json::from_value(spec).unwrap();
        let mut checks = Checks::default();
        let order = spec.compile(&mut checks);
        let errors = checks.finish(order);
        errors.map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_bad_value_is_named() {
        for (spec, error) in [
            (json!({}), "`order.key`: is missing"),
            (
                json!({"key": "body"}),
                "`order.key`: must be `endpoint`, `header`, `pointer` or `none`",
            ),
            (json!({"key": "header"}), "`order.header`: is missing"),
            (json!({"key": "pointer"}), "`order.pointer`: is missing"),
            (
                json!({"key": "pointer", "pointer": "customer"}),
                "`order.pointer`: must be a JSON pointer like `/customer/id`, at most 512 bytes",
            ),
            (
                json!({"key": "pointer", "pointer": "/a~2"}),
                "`order.pointer`: must be a JSON pointer like `/customer/id`, at most 512 bytes",
            ),
            (
                json!({"key": "endpoint", "header": "x"}),
                "`order.header`: is for `key: header`: this is `endpoint`",
            ),
            (
                json!({"key": "endpoint", "park_after_s": 604_801}),
                "`order.park_after_s`: must be from 1 to 604800 seconds",
            ),
        ] {
            assert_eq!(compile(spec.clone()), Err(vec![error.to_owned()]), "{spec}");
        }
    }

    #[test]
    fn a_line_has_the_same_number_for_ever() {
        assert_eq!(line(0, b""), line(0, b""));
        assert_ne!(line(1, b"a"), line(2, b"a"));
        assert_ne!(line(1, b"a"), line(1, b"b"));
        // FNV-1a of 16 zero bytes and "a", computed apart from this code.
        assert_eq!(line(0, b"a"), fnv(&[&[0; 16][..], b"a"].concat()));
        let order = compile(json!({"key": "pointer", "pointer": "/a~1b/0"})).unwrap();
        assert_eq!(order.key(), &OrderKey::Pointer("/a~1b/0".into()));
        assert_eq!(order.park_after(), Duration::from_secs(3600));
    }

    fn fnv(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}
