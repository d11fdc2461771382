//! `$gt`, `$gte`, `$lt`, `$lte`: numbers, and texts that are numbers. Cost: constant.

use std::cmp::Ordering;

use serde_json::Value;

use super::super::evaluate::{Budget, Fault};
use super::super::number::Number;
use super::{Condition, Problem, Test};

pub(super) fn gt(operand: &Value) -> Result<Test, Problem> {
    parse(operand, Ordering::Greater, false)
}

pub(super) fn gte(operand: &Value) -> Result<Test, Problem> {
    parse(operand, Ordering::Greater, true)
}

pub(super) fn lt(operand: &Value) -> Result<Test, Problem> {
    parse(operand, Ordering::Less, false)
}

pub(super) fn lte(operand: &Value) -> Result<Test, Problem> {
    parse(operand, Ordering::Less, true)
}

#[derive(Debug)]
struct Order {
    bound: Number,
    side: Ordering,
    or_equal: bool,
}

fn parse(operand: &Value, side: Ordering, or_equal: bool) -> Result<Test, Problem> {
    let bound = Number::of(operand).ok_or(Problem::NoNumber)?;
    Ok(Test::Some(Box::new(Order {
        bound,
        side,
        or_equal,
    })))
}

impl Order {
    fn admits(&self, number: Number) -> bool {
        let order = number.compare(self.bound);
        order == self.side || (self.or_equal && order == Ordering::Equal)
    }
}

impl Condition for Order {
    fn holds(&self, value: &Value, _budget: &mut Budget) -> Result<bool, Fault> {
        Ok(Number::of(value).is_some_and(|number| self.admits(number)))
    }

    /// What is no number is less than any, and cannot be asked whether it is more (contract q4).
    fn holds_in_convoy(&self, value: &Value, _budget: &mut Budget) -> Result<bool, Fault> {
        match (Number::of(value), self.side) {
            (Some(number), _) => Ok(self.admits(number)),
            (None, Ordering::Less) => Ok(true),
            (None, _) => Err(Fault::NotANumber),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{check, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_number_is_refused() {
        for operand in [
            json!("x"),
            json!(null),
            json!(true),
            json!([1]),
            json!({}),
            json!("inf"),
        ] {
            for name in ["$gt", "$gte", "$lt", "$lte"] {
                assert_eq!(refuses(name, &operand), Problem::NoNumber, "{operand}");
            }
        }
    }

    #[test]
    fn more() {
        for (name, at_bound) in [("$gt", false), ("$gte", true)] {
            check(
                name,
                &json!(5),
                &[
                    (json!("abc"), false, None),
                    (json!(null), false, None),
                    (json!([6]), true, None),
                    (json!(4.9), false, Some(false)),
                    (json!(5), at_bound, Some(at_bound)),
                    (json!("5"), at_bound, Some(at_bound)),
                    (json!(5.1), true, Some(true)),
                    (json!("6"), true, Some(true)),
                ],
            );
        }
    }

    #[test]
    fn less() {
        for (name, at_bound) in [("$lt", false), ("$lte", true)] {
            check(
                name,
                &json!("5"),
                &[
                    (json!("abc"), false, Some(true)),
                    (json!([6]), false, Some(true)),
                    (json!([4, 6]), true, Some(true)),
                    (json!(5.1), false, Some(false)),
                    (json!(5), at_bound, Some(at_bound)),
                    (json!(4.9), true, Some(true)),
                ],
            );
        }
    }
}
