//! A second evaluator, as slow and as plain as can be: it flattens the payload into a list of
//! paths and values and reads the filter as it was written. Both must say the same.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Name(String),
    Index(usize),
}

type Entry = (Vec<Step>, Value);

/// Every value in the payload with its path. Convoy's flattening has leaves only.
fn flatten(value: &Value, at: &[Step], mode: Mode, out: &mut Vec<Entry>) {
    let enters = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => mode == Mode::Strict || items.first().is_some_and(Value::is_object),
        _ => false,
    };
    if mode == Mode::Strict || !enters {
        out.push((at.to_vec(), value.clone()));
    }
    if !enters {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, child) in map {
                let names = name.split('.').map(|part| Step::Name(part.to_owned()));
                let at: Vec<Step> = at.iter().cloned().chain(names).collect();
                flatten(child, &at, mode, out);
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                let at: Vec<Step> = at.iter().cloned().chain([Step::Index(index)]).collect();
                flatten(child, &at, mode, out);
            }
        }
        _ => {}
    }
}

/// How long the first list on the way to a value is.
fn first_list(payload: &Value, path: &[Step]) -> usize {
    let mut at = payload;
    for step in path {
        match (step, at) {
            (Step::Index(_), Value::Array(items)) => return items.len(),
            (Step::Name(name), Value::Object(map)) => at = &map[name],
            _ => unreachable!("a path of this payload"),
        }
    }
    usize::MAX
}

fn fits(pattern: &str, path: &[Step], range: usize) -> bool {
    let parts: Vec<&str> = pattern.split('.').collect();
    parts.len() == path.len()
        && parts.iter().zip(path).all(|(part, step)| match step {
            Step::Index(index) if *part == "$" => *index < range,
            Step::Index(index) => *part == index.to_string(),
            Step::Name(name) => *part != "$" && part == name,
        })
}

struct Naive<'a> {
    payload: &'a Value,
    entries: Vec<Entry>,
    mode: Mode,
}

/// `Ok(None)` without a verdict, `Err` when it cannot be said.
type Said = Result<Option<bool>, ()>;

impl Naive<'_> {
    fn at(&self, pattern: &str) -> Vec<&Value> {
        let range = |path: &[Step]| match self.mode {
            Mode::Convoy => first_list(self.payload, path),
            Mode::Strict => usize::MAX,
        };
        let fitting = self
            .entries
            .iter()
            .filter(|(path, _)| fits(pattern, path, range(path)));
        fitting.map(|(_, value)| value).collect()
    }

    fn filter(&self, filter: &Map<String, Value>, prefix: &str) -> Result<bool, ()> {
        let said = self.conditions(filter, prefix)?;
        let has_none = said.is_empty();
        let verdicts: Vec<bool> = said.into_iter().flatten().collect();
        Ok(verdicts.iter().all(|is| *is) && (has_none || !verdicts.is_empty()))
    }

    /// What each condition says, up to the first that is false.
    fn conditions(
        &self,
        filter: &Map<String, Value>,
        prefix: &str,
    ) -> Result<Vec<Option<bool>>, ()> {
        let mut all = Vec::new();
        let mut keys: Vec<_> = filter.keys().collect();
        keys.sort();
        for key in keys {
            let value = &filter[key];
            let path = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            if key.starts_with('$') && !key.starts_with("$.") {
                all.push(self.operator(key, value, prefix)?);
            } else {
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        all.extend(self.conditions(map, &path)?)
                    }
                    value => all.push(self.operator("$eq", value, &path)?),
                }
            }
            if all.contains(&Some(false)) {
                break;
            }
        }
        Ok(all)
    }

    fn operator(&self, name: &str, operand: &Value, path: &str) -> Said {
        let filters = || {
            operand
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one.as_object().unwrap())
        };
        match name {
            "$or" => {
                for filter in filters() {
                    if self.filter(filter, path)? {
                        return Ok(Some(true));
                    }
                }
                Ok(Some(false))
            }
            "$and" => {
                for filter in filters() {
                    if !self.filter(filter, path)? {
                        return Ok(Some(false));
                    }
                }
                Ok(Some(true))
            }
            _ => self.leaf(name, operand, path),
        }
    }

    fn leaf(&self, name: &str, operand: &Value, path: &str) -> Said {
        let found = self.at(path);
        if self.mode == Mode::Convoy {
            let mut verdict = None;
            for value in found.into_iter().filter(|value| !value.is_null()) {
                if convoy(name, operand, value)? {
                    return Ok(Some(true));
                }
                verdict = Some(false);
            }
            return Ok(verdict);
        }
        let positive = match name {
            "$exist" => return Ok(Some(found.is_empty() != operand.as_bool().unwrap())),
            "$neq" => "$eq",
            "$nin" => "$in",
            other => other,
        };
        let elements = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let is_so = |value: &&Value| {
            plain(positive, operand, value)
                || elements(value)
                    .iter()
                    .any(|element| plain(positive, operand, element))
        };
        Ok(Some(found.iter().any(is_so) == (positive == name)))
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_f64(),
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Number(_), _) | (_, Value::Number(_)) => {
            matches!((number(a), number(b)), (Some(a), Some(b)) if a == b)
        }
        _ => a == b,
    }
}

fn plain(name: &str, operand: &Value, value: &Value) -> bool {
    let compare = |is: fn(f64, f64) -> bool| matches!((number(value), number(operand)), (Some(a), Some(b)) if is(a, b));
    match name {
        "$eq" => equal(value, operand),
        "$in" => {
            operand.as_array().unwrap().contains(value) && !value.is_array() && !value.is_object()
        }
        "$gt" => compare(|a, b| a > b),
        "$gte" => compare(|a, b| a >= b),
        "$lt" => compare(|a, b| a < b),
        "$lte" => compare(|a, b| a <= b),
        "$regex" => match (value.as_str(), operand.as_str().unwrap()) {
            (Some(text), "^a") => text.starts_with('a'),
            (Some(text), "1") => text.contains('1'),
            _ => false,
        },
        _ => unreachable!("{name}"),
    }
}

fn convoy(name: &str, operand: &Value, value: &Value) -> Result<bool, ()> {
    let contains = |list: &Vec<Value>| {
        list.iter()
            .any(|one| !one.is_array() && equal(one, operand))
    };
    let is_equal = || equal(value, operand) || value.as_array().is_some_and(contains);
    match name {
        "$eq" => Ok(is_equal()),
        "$neq" => Ok(!is_equal()),
        "$nin" => Ok(!plain("$in", operand, value)),
        "$exist" => Ok(operand == &json!(true)),
        "$lt" | "$lte" if number(value).is_none() => Ok(true),
        "$gt" | "$gte" if number(value).is_none() => Err(()),
        "$regex" if !value.is_string() => Err(()),
        name => Ok(plain(name, operand, value)),
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (0..3).prop_map(Value::from),
        prop_oneof!["a", "1", "b"].prop_map(Value::from),
        Just(json!(0.5)),
    ]
}

fn object(
    key: BoxedStrategy<&'static str>,
    value: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Value> {
    prop::collection::vec((key, value), 0..4).prop_map(|entries| {
        let map: Map<_, _> = entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        map.into()
    })
}

fn payload(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(prop::sample::select(keys).boxed(), inner),
        ]
    })
}

/// Lists of objects in lists of objects, where the wildcards of `PATHS` lead somewhere.
fn nested() -> impl Strategy<Value = Value> {
    let list =
        |inner: BoxedStrategy<Value>| prop::collection::vec(inner, 0..4).prop_map(Value::from);
    let leaf = || prop_oneof![scalar(), list(scalar().boxed())];
    let inner = object(prop_oneof![Just("a"), Just("b")].boxed(), leaf()).boxed();
    let middle = (list(inner), leaf())
        .prop_map(|(a, b)| json!({"a": a, "b": b}))
        .boxed();
    let outer = (list(middle), leaf()).prop_map(|(a, b)| json!({"a": a, "b": b}));
    prop_oneof![outer.clone(), list(outer.boxed())]
}

fn comparison() -> impl Strategy<Value = Value> {
    let list = || prop::collection::vec(scalar(), 0..3).prop_map(Value::from);
    let bound = || prop_oneof![(0..3).prop_map(Value::from), Just(json!("1"))];
    prop_oneof![
        scalar(),
        list(),
        Just(json!({})),
        scalar().prop_map(|value| json!({"$eq": value})),
        scalar().prop_map(|value| json!({"$neq": value})),
        list().prop_map(|value| json!({"$in": value})),
        list().prop_map(|value| json!({"$nin": value})),
        (bound(), bound()).prop_map(|(low, high)| json!({"$gt": low, "$lte": high})),
        bound().prop_map(|value| json!({"$gte": value})),
        bound().prop_map(|value| json!({"$lt": value})),
        prop_oneof!["\\^a", "1"].prop_map(|value| json!({"$regex": value})),
        any::<bool>().prop_map(|value| json!({"$exist": value})),
    ]
}

const PATHS: &[&str] = &[
    "a",
    "b",
    "0",
    "a.b",
    "a.0",
    "a.$.b",
    "$.a",
    "$.b",
    "a.$.a.$.b",
    "a.0.$.b",
    "$.$.a",
];

fn filter() -> impl Strategy<Value = Value> {
    let path = || prop::sample::select(PATHS).boxed();
    object(path(), comparison()).prop_recursive(3, 16, 3, move |inner| {
        let group = prop::collection::vec(inner.clone(), 1..4).prop_map(Value::from);
        let joined = (
            prop_oneof!["\\$or", "\\$and"],
            group,
            object(path(), comparison()),
        );
        prop_oneof![
            object(path(), prop_oneof![comparison(), inner]),
            joined.prop_map(|(name, group, mut rest)| {
                rest[name.as_str()] = group;
                rest
            }),
        ]
    })
}

fn check(filter: &Value, payload: &Value, mode: Mode) -> Result<(), TestCaseError> {
    let Ok(compiled) = of_body(filter) else {
        return Err(TestCaseError::reject("more wildcards than may be"));
    };
    let mut naive = Naive {
        payload,
        entries: Vec::new(),
        mode,
    };
    flatten(payload, &[], mode, &mut naive.entries);
    let expected = naive.filter(filter.as_object().unwrap(), "");
    let found = match ask(&compiled, payload, mode) {
        Verdict::Match => Ok(true),
        Verdict::Refused { leaf } => {
            // A group of empty filters has no leaf, and none of those is refused.
            prop_assert!(compiled.leaf(leaf).is_some(), "{leaf}");
            Ok(false)
        }
        Verdict::Failed { .. } => Err(()),
    };
    prop_assert_eq!(found, expected, "{} on {}", filter, payload);
    for demand in compiled.demands() {
        let is_met = found != Ok(true) || is_met(&demand, payload, mode);
        prop_assert!(is_met, "{} on {}: {:?}", filter, payload, demand);
    }
    Ok(())
}

/// Whether an index would find a filter by this demand.
fn is_met(demand: &Demand, payload: &Value, mode: Mode) -> bool {
    let views = Views::given([(Scope::Body, payload.clone())]);
    demand.any_of().any(|(place, wanted)| {
        let mut is_there = false;
        let mut budget = Budget::for_event();
        let sighting = place.look(&views, mode, &mut budget, |key| is_there |= key == wanted);
        is_there || (mode == Mode::Convoy && sighting == Sighting::Nothing)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn strict_is_what_the_naive_evaluator_says(filter in filter(), payload in prop_oneof![payload(&["a", "b", "0", "a.b"]), nested()]) {
        check(&filter, &payload, Mode::Strict)?;
    }

    /// Names without dots: with several values at one path Convoy's order is not defined.
    #[test]
    fn convoy_is_what_the_naive_evaluator_says(filter in filter(), payload in prop_oneof![payload(&["a", "b", "0"]), nested()]) {
        check(&filter, &payload, Mode::Convoy)?;
    }

    /// One condition under wildcards, on lists that have something there.
    #[test]
    fn wildcards_are_what_the_naive_evaluator_says(
        path in prop::sample::select(&["a.$.b", "a.$.a.$.b", "$.a.$.b", "$.a.$.a.$.b", "a.1.a.$.b"][..]),
        comparison in comparison(),
        payload in nested(),
    ) {
        for mode in [Mode::Strict, Mode::Convoy] {
            check(&json!({path: comparison}), &payload, mode)?;
        }
    }

    /// Whatever is given for a filter and a payload, there is an answer.
    #[test]
    fn any_json_compiles_or_says_why(filter in payload(&["a", "$or", "$gt", "$regex", "a.$.b", "$", "$in"]), payload in payload(&["a", "b"])) {
        match of_body(&filter) {
            Err(errors) => prop_assert!(!errors.is_empty()),
            Ok(filter) => {
                for mode in [Mode::Strict, Mode::Convoy] {
                    let _ = ask(&filter, &payload, mode);
                }
            }
        }
    }
}
