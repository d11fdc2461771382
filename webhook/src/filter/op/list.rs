//! `$in` and `$nin`: one of several values, of the same type: 1 is not in `["1"]`. Cost: a binary
//! search.

use serde_json::Value;

use super::super::demand::ValueKey;
use super::super::evaluate::{Budget, Fault};
use super::super::limit::LIST_MAX;
use super::super::number::Number;
use super::{Condition, Problem, Test};

pub(super) fn within(operand: &Value) -> Result<Test, Problem> {
    parse(operand).map(|list| Test::Some(Box::new(list)))
}

pub(super) fn without(operand: &Value) -> Result<Test, Problem> {
    parse(operand).map(|list| Test::None(Box::new(list)))
}

/// The values by type, sorted.
#[derive(Debug, Default)]
struct List {
    texts: Vec<Box<str>>,
    numbers: Vec<Number>,
    has_true: bool,
    has_false: bool,
    has_null: bool,
}

fn parse(operand: &Value) -> Result<List, Problem> {
    let items = operand.as_array().ok_or(Problem::NoList)?;
    if items.len() > LIST_MAX {
        return Err(Problem::ListTooLong);
    }
    let mut list = List::default();
    for item in items {
        match item {
            Value::String(text) => list.texts.push(text.as_str().into()),
            Value::Number(number) => list
                .numbers
                .push(Number::of_json(number).ok_or(Problem::NoList)?),
            Value::Bool(true) => list.has_true = true,
            Value::Bool(false) => list.has_false = true,
            Value::Null => list.has_null = true,
            Value::Array(_) | Value::Object(_) => return Err(Problem::NoList),
        }
    }
    list.texts.sort_unstable();
    list.numbers.sort_unstable_by(|a, b| a.compare(*b));
    Ok(list)
}

impl Condition for List {
    fn holds(&self, value: &Value, _budget: &mut Budget) -> Result<bool, Fault> {
        Ok(match value {
            Value::String(text) => {
                let found = self
                    .texts
                    .binary_search_by(|entry| (**entry).cmp(text.as_str()));
                found.is_ok()
            }
            Value::Number(number) => {
                let compare =
                    |number: Number| self.numbers.binary_search_by(|entry| entry.compare(number));
                Number::of_json(number).is_some_and(|number| compare(number).is_ok())
            }
            Value::Bool(true) => self.has_true,
            Value::Bool(false) => self.has_false,
            Value::Null => self.has_null,
            // Not even Convoy's: a list is in no list (contract q6, q7).
            Value::Array(_) | Value::Object(_) => false,
        })
    }

    fn keys(&self) -> Option<Vec<ValueKey>> {
        let texts = self.texts.iter().map(|text| ValueKey::of_text(text));
        let numbers = self.numbers.iter().copied().map(ValueKey::of_number);
        let others = [
            (self.has_true, Value::Bool(true)),
            (self.has_false, Value::Bool(false)),
            (self.has_null, Value::Null),
        ];
        let others = others.into_iter().filter(|(is_listed, _)| *is_listed);
        let others = others.filter_map(|(_, value)| ValueKey::of(&value));
        Some(texts.chain(numbers).chain(others).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{check, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_list_of_scalars_is_refused() {
        for operand in [
            json!("a"),
            json!({}),
            json!([[1]]),
            json!([{}]),
            json!(null),
        ] {
            assert_eq!(refuses("$in", &operand), Problem::NoList, "{operand}");
            assert_eq!(refuses("$nin", &operand), Problem::NoList, "{operand}");
        }
        let long = Value::from(vec![0; LIST_MAX + 1]);
        assert_eq!(refuses("$in", &long), Problem::ListTooLong);
    }

    #[test]
    fn within_and_without() {
        let rows = [
            (json!("1"), false, Some(false)),
            (json!("a"), true, Some(true)),
            (json!("A"), false, Some(false)),
            (json!(2), true, Some(true)),
            (json!(2.0), true, Some(true)),
            (json!(1), false, Some(false)),
            (json!(true), true, Some(true)),
            (json!(false), false, Some(false)),
            (json!({}), false, Some(false)),
            (json!(["x", "a"]), true, Some(false)),
            (json!(["x"]), false, Some(false)),
        ];
        let operand = json!(["b", "a", 3, 2, true]);
        check("$in", &operand, &rows);
        let inverted = rows.map(|(value, strict, convoy)| (value, !strict, convoy.map(|is| !is)));
        check("$nin", &operand, &inverted);
        check(
            "$in",
            &json!([]),
            &[
                (json!("a"), false, Some(false)),
                (json!(null), false, Some(false)),
            ],
        );
        check("$in", &json!([null]), &[(json!(null), true, Some(true))]);
    }
}
