//! What a filter demands of an event, for whoever keeps many filters and wants to ask only those
//! that can match.
//!
//! A condition that wants one of a few values at a place can be found by those values. What is
//! found so is a superset of what matches, as long as look and filter are of the same mode: the
//! filter has the last word.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::Value;

use super::node::{Leaf, Node};
use super::number::Number;
use super::op::Test;
use super::path::Path;
use super::{Budget, Mode, Scope, Views};

/// Most values of one demand. With more of them a condition says little, and would stand in as
/// many places of an index.
pub(super) const VALUES_MAX: usize = 16;

/// Bytes of a text that count for its key; more than any number has that is a text.
const TEXT_BYTES: usize = 64;

/// Where in an event a condition looks.
#[derive(Debug, Clone)]
pub struct Place {
    scope: Scope,
    path: Arc<Path>,
}

/// What is equal to a scalar, as filters compare, has the same key; few other things have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueKey(u64);

/// At least one of these must be in an event for the filter to match. Never empty.
#[derive(Debug)]
pub struct Demand(Vec<(Place, ValueKey)>);

/// What an event has at a place.
#[derive(Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Exactly the values that were given.
    Values,
    /// Nothing that a condition here would judge: in Convoy's mode it is then passed over.
    Nothing,
    /// More than may be looked at.
    Unknown,
}

impl Demand {
    /// Places with the value that is wanted there.
    pub fn any_of(&self) -> impl Iterator<Item = (&Place, ValueKey)> {
        self.0.iter().map(|(place, value)| (place, *value))
    }
}

/// What all of these nodes demand: each demand must be met.
pub(super) fn of_nodes(scope: Scope, nodes: &[Node]) -> Vec<Demand> {
    nodes.iter().flat_map(|node| of_node(scope, node)).collect()
}

fn of_node(scope: Scope, node: &Node) -> Vec<Demand> {
    match node {
        Node::Leaf(leaf) => of_leaf(scope, leaf).into_iter().collect(),
        Node::All(group) => {
            let filters = group.filters.iter();
            filters.flat_map(|nodes| of_nodes(scope, nodes)).collect()
        }
        // The smallest demand of each filter, any of which may be the one that is met.
        Node::Any(group) => {
            let filters = group.filters.iter();
            let smallest = |nodes: &[Node]| {
                let demands = of_nodes(scope, nodes).into_iter();
                demands.min_by_key(|demand| demand.0.len())
            };
            let all: Option<Vec<Demand>> = filters.map(|nodes| smallest(nodes)).collect();
            let any: Vec<_> = all
                .into_iter()
                .flatten()
                .flat_map(|demand| demand.0)
                .collect();
            let is_demand = (1..=VALUES_MAX).contains(&any.len());
            is_demand.then_some(Demand(any)).into_iter().collect()
        }
    }
}

fn of_leaf(scope: Scope, leaf: &Leaf) -> Option<Demand> {
    let Test::Some(condition) = &leaf.test else {
        return None;
    };
    let place = Place {
        scope,
        path: Arc::clone(&leaf.path),
    };
    let mut keys = condition.keys()?;
    keys.sort_unstable();
    keys.dedup();
    let keyed = |key| (place.clone(), key);
    let any: Vec<_> = keys.into_iter().map(keyed).collect();
    (1..=VALUES_MAX).contains(&any.len()).then_some(Demand(any))
}

impl ValueKey {
    /// The key of a value that is neither list nor object.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::hash(&0_u8)),
            Value::Bool(is) => Some(Self::hash(&(1_u8, is))),
            Value::Number(number) => Number::of_json(number).map(Self::of_number),
            Value::String(text) => Some(Self::of_text(text)),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A text that is a number is found as that number: conditions may take it for one. Of a long
    /// text the length and its beginning have to do, so that a key costs the same for every value.
    pub(super) fn of_text(text: &str) -> Self {
        let beginning = text.as_bytes().get(..TEXT_BYTES).unwrap_or(text.as_bytes());
        let as_text = || Self::hash(&(2_u8, text.len(), beginning));
        Number::of_text(text).map_or_else(as_text, Self::of_number)
    }

    pub(super) fn of_number(number: Number) -> Self {
        match number.canonical() {
            Number::Integer(integer) => Self::hash(&(3_u8, integer)),
            Number::Float(float) => Self::hash(&(4_u8, float.to_bits())),
        }
    }

    /// Not seeded: keys of filters and of events are made apart. Whoever finds two values of one
    /// key makes his own filters be asked in vain, and no others.
    fn hash(value: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl Place {
    /// Gives the key of every scalar that conditions at this place would judge in an event, lists
    /// opened. The same key may come more than once.
    pub fn look(
        &self,
        views: &Views<'_>,
        mode: Mode,
        budget: &mut Budget,
        mut each: impl FnMut(ValueKey),
    ) -> Sighting {
        budget.next_filter();
        if mode == Mode::Convoy && self.scope == Scope::Headers && !self.path.is_canonical() {
            return Sighting::Nothing;
        }
        let root = views.value(self.scope).unwrap_or(&Value::Null);
        let mut sighting = Sighting::Nothing;
        let visited = self.path.visit(root, mode, budget, &mut |value, budget| {
            if mode == Mode::Strict || !value.is_null() {
                sighting = Sighting::Values;
            }
            ValueKey::of(value).into_iter().for_each(&mut each);
            let elements = value.as_array().map_or(&[][..], Vec::as_slice);
            budget.spend_for(elements.len())?;
            elements.iter().filter_map(ValueKey::of).for_each(&mut each);
            ControlFlow::Continue(())
        });
        match visited {
            ControlFlow::Continue(()) => sighting,
            ControlFlow::Break(_) => Sighting::Unknown,
        }
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = |place: &Self| (place.scope.as_str(), place.path.is_canonical());
        parts(self)
            .cmp(&parts(other))
            .then_with(|| self.path.text().cmp(other.path.text()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::*;
    use serde_json::json;

    fn key(value: Value) -> ValueKey {
        ValueKey::of(&value).unwrap()
    }

    #[test]
    fn what_is_equal_has_one_key() {
        let large = 340_282_366_920_938_463_463_374_607_431_768_211_456_f64; // 2^128
        for (a, b) in [
            (json!(10), json!(10.0)),
            (json!(10), json!("10")),
            (json!("1e1"), json!(10)),
            (json!(0), json!(-0.0)),
            (json!(0.5), json!("0.50")),
            (
                json!(large),
                json!("340282366920938463463374607431768211456"),
            ),
            (json!(u64::MAX), json!("18446744073709551615")),
        ] {
            assert_eq!(key(a.clone()), key(b.clone()), "{a} {b}");
        }
    }

    #[test]
    fn what_differs_has_keys_of_its_own() {
        let all = [
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(1),
            json!(0.5),
            json!(""),
            json!("null"),
            json!("true"),
            json!(u64::MAX),
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_992_i64),
        ];
        let keys: std::collections::BTreeSet<_> = all.iter().cloned().map(key).collect();
        assert_eq!(keys.len(), all.len());
    }

    /// How many values each of its demands asks for.
    fn demanded(body: &Value) -> Vec<usize> {
        let filter = Filter::compile([(Scope::Body, body)]).unwrap();
        filter
            .demands()
            .map(|demand| demand.any_of().count())
            .collect()
    }

    #[test]
    fn conditions_on_a_few_values_are_demands() {
        for (body, expected) in [
            (json!({"a": 1, "b": {"c": "x"}}), &[1, 1][..]),
            (json!({"a": {"$in": [1, "1", 1.0, "x"]}}), &[2]), // three of them have one key
            (json!({"a": {"$in": []}}), &[]),                  // in Convoy's mode it is passed over
            (json!({"a": {"$in": (0..17).collect::<Vec<_>>()}}), &[]),
            (json!({"a": [1, 2], "b": {}}), &[]),
            (json!({"a": {"$neq": 1, "$gt": 2, "$exist": true}}), &[]),
            (json!({"$or": [{"a": 1, "b": 2}, {"c": 3}]}), &[2]),
            (
                json!({"$or": [{"a": {"$in": (0..16).collect::<Vec<_>>()}, "b": 1}, {"b": 2}]}),
                &[2],
            ),
            (json!({"$or": [{"a": 1}, {"b": {"$gt": 2}}]}), &[]),
            (
                json!({"$and": [{"a": 1}, {"b": 2, "c": {"$gt": 3}}]}),
                &[1, 1],
            ),
        ] {
            assert_eq!(demanded(&body), expected, "{body}");
        }
    }

    #[test]
    fn convoy_sees_nothing_under_a_header_it_would_not_find() {
        let look = |name: &str, mode| {
            let condition = json!({name: "a"});
            let filter = Filter::compile([(Scope::Headers, &condition)]).unwrap();
            let views = Views::given([(Scope::Headers, json!({"x-id": "a"}))]);
            let demand = filter.demands().next().unwrap();
            let (place, wanted) = demand.any_of().next().unwrap();
            let mut found = false;
            let mut budget = Budget::for_event();
            let sighting = place.look(&views, mode, &mut budget, |key| found |= key == wanted);
            (found, sighting)
        };
        assert_eq!(look("X-Id", Mode::Convoy), (true, Sighting::Values));
        assert_eq!(look("x-ID", Mode::Strict), (true, Sighting::Values));
        assert_eq!(look("x-ID", Mode::Convoy), (false, Sighting::Nothing));
    }

    #[test]
    fn a_place_with_too_much_to_look_at_is_unknown() {
        let condition = json!({"a": 1});
        let filter = Filter::compile([(Scope::Body, &condition)]).unwrap();
        let views = Views::given([(Scope::Body, json!({"a": vec![0; 100]}))]);
        let demand = filter.demands().next().unwrap();
        let (place, _) = demand.any_of().next().unwrap();
        let look = |steps| place.look(&views, Mode::Strict, &mut Budget::of_steps(steps), |_| {});
        assert_eq!(look(50), Sighting::Unknown);
        assert_eq!(look(1000), Sighting::Values);
    }
}
