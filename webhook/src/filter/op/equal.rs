//! `$eq`, `$neq`, and conditions without an operator: equality, in which a text that is a number
//! equals that number. Cost: constant, or the length of the list given.

use std::cmp::Ordering;

use serde_json::Value;

use super::super::demand::ValueKey;
use super::super::evaluate::{Budget, Fault, IntoResult};
use super::super::limit::LIST_MAX;
use super::super::number::Number;
use super::{Condition, Problem, Test};

pub(super) fn eq(operand: &Value) -> Result<Test, Problem> {
    parse(operand).map(|equal| Test::Some(Box::new(equal)))
}

pub(super) fn neq(operand: &Value) -> Result<Test, Problem> {
    parse(operand).map(|equal| Test::None(Box::new(equal)))
}

#[derive(Debug)]
enum Equal {
    /// A text, and the number it is.
    Text(Box<str>, Option<Number>),
    Number(Number),
    /// Null, a boolean, a list of scalars, or the empty object.
    Same(Value),
}

fn parse(operand: &Value) -> Result<Equal, Problem> {
    match operand {
        Value::String(text) => Ok(Equal::Text(text.as_str().into(), Number::of_text(text))),
        Value::Number(number) => {
            let number = Number::of_json(number).ok_or(Problem::NoScalar)?;
            Ok(Equal::Number(number))
        }
        Value::Null | Value::Bool(_) => Ok(Equal::Same(operand.clone())),
        Value::Array(items) if items.len() > LIST_MAX => Err(Problem::ListTooLong),
        Value::Array(items) if items.iter().all(is_scalar) => Ok(Equal::Same(operand.clone())),
        Value::Object(map) if map.is_empty() => Ok(Equal::Same(operand.clone())),
        Value::Array(_) | Value::Object(_) => Err(Problem::NoScalar),
    }
}

pub(super) fn is_scalar(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

impl Condition for Equal {
    fn holds(&self, value: &Value, budget: &mut Budget) -> Result<bool, Fault> {
        Ok(match (self, value) {
            (Self::Text(text, _), Value::String(other)) => **text == **other,
            (Self::Text(_, Some(number)), Value::Number(other)) => {
                Number::of_json(other).is_some_and(|other| is_equal(*number, other))
            }
            (Self::Number(number), other) => {
                Number::of(other).is_some_and(|other| is_equal(*number, other))
            }
            (Self::Same(Value::Array(items)), Value::Array(others)) => {
                budget
                    .spend_for(others.len().min(items.len()))
                    .into_result()?;
                same_list(items, others)
            }
            (Self::Same(other), value) => other == value,
            (Self::Text(..), _) => false,
        })
    }

    fn keys(&self) -> Option<Vec<ValueKey>> {
        let key = match self {
            Self::Text(text, _) => Some(ValueKey::of_text(text)),
            Self::Number(number) => Some(ValueKey::of_number(*number)),
            Self::Same(value) => ValueKey::of(value),
        };
        key.map(|key| vec![key])
    }

    /// A list of scalars contains what it is compared with.
    fn holds_in_convoy(&self, value: &Value, budget: &mut Budget) -> Result<bool, Fault> {
        if self.holds(value, budget)? {
            return Ok(true);
        }
        for element in value.as_array().into_iter().flatten() {
            budget.spend(1).into_result()?;
            if is_scalar(element) && self.holds(element, budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_equal(a: Number, b: Number) -> bool {
    a.compare(b) == Ordering::Equal
}

/// `[1]` and `[1.0]` are the same list.
fn same_list(items: &[Value], others: &[Value]) -> bool {
    let same = |(item, other): (&Value, &Value)| match (item, other) {
        (Value::Number(a), Value::Number(b)) => {
            matches!((Number::of_json(a), Number::of_json(b)), (Some(a), Some(b)) if is_equal(a, b))
        }
        (item, other) => item == other,
    };
    items.len() == others.len() && items.iter().zip(others).all(same)
}

#[cfg(test)]
mod tests {
    use super::super::table::{check, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_and_nested_lists_are_refused() {
        for operand in [json!({"a": 1}), json!([[1]]), json!([{"a": 1}])] {
            assert_eq!(refuses("$eq", &operand), Problem::NoScalar);
            assert_eq!(refuses("$neq", &operand), Problem::NoScalar);
        }
        let long = Value::from(vec![0; LIST_MAX + 1]);
        assert_eq!(refuses("$eq", &long), Problem::ListTooLong);
    }

    #[test]
    fn equal() {
        check(
            "$eq",
            &json!(10),
            &[
                (json!("x"), false, Some(false)),
                (json!(null), false, Some(false)),
                (json!(true), false, Some(false)),
                (json!({}), false, Some(false)),
                (json!(11), false, Some(false)),
                (json!(10.0), true, Some(true)),
                (json!("10"), true, Some(true)),
                (json!("1e1"), true, Some(true)),
                (json!([1, 10]), true, Some(true)),
                (json!([1, [10]]), false, Some(false)),
            ],
        );
        check(
            "$eq",
            &json!("10"),
            &[
                (json!("10.0"), false, Some(false)), // two texts are compared as texts
                (json!(10), true, Some(true)),
                (json!("10"), true, Some(true)),
            ],
        );
        check(
            "$eq",
            &json!(["a", 1]),
            &[
                (json!(["a"]), false, Some(false)),
                (json!(["a", 1.0]), true, Some(true)),
                (json!([1, "a"]), false, Some(false)),
            ],
        );
        check(
            "$eq",
            &json!({}),
            &[
                (json!({}), true, Some(true)),
                (json!({"a": 1}), false, Some(false)),
            ],
        );
        check(
            "$eq",
            &json!(null),
            &[
                (json!(null), true, Some(true)),
                (json!(0), false, Some(false)),
            ],
        );
    }

    #[test]
    fn not_equal() {
        check(
            "$neq",
            &json!("a"),
            &[
                (json!("a"), false, Some(false)),
                (json!(["b", "a"]), false, Some(false)),
                (json!("A"), true, Some(true)),
                (json!(null), true, Some(true)),
            ],
        );
    }
}
