//! The operators. One file for each family, with its parse check, its evaluation and its truth
//! table as tests; `OPS` lists them. A new operator is a file and a line here.

mod equal;
mod exist;
mod list;
mod order;
mod regex;

use std::fmt;

use serde_json::Value;

use super::demand::ValueKey;
use super::evaluate::{Budget, Fault, IntoResult};
use super::{Mode, Problem};

/// Every operator that compares. `$or` and `$and`, which join filters, are not among them.
pub(super) const OPS: &[Operator] = &[
    Operator {
        name: "$eq",
        parse: equal::eq,
    },
    Operator {
        name: "$neq",
        parse: equal::neq,
    },
    Operator {
        name: "$gt",
        parse: order::gt,
    },
    Operator {
        name: "$gte",
        parse: order::gte,
    },
    Operator {
        name: "$lt",
        parse: order::lt,
    },
    Operator {
        name: "$lte",
        parse: order::lte,
    },
    Operator {
        name: "$in",
        parse: list::within,
    },
    Operator {
        name: "$nin",
        parse: list::without,
    },
    Operator {
        name: "$regex",
        parse: regex::regex,
    },
    Operator {
        name: "$exist",
        parse: exist::exist,
    },
];

/// The operator of a condition without one.
pub(super) const IMPLICIT: &str = "$eq";

/// An operator: its name, and how its value is read.
pub(super) struct Operator {
    pub(super) name: &'static str,
    pub(super) parse: fn(&Value) -> Result<Test, Problem>,
}

/// What is asked of the values at a path.
#[derive(Debug)]
pub(super) enum Test {
    /// Some value must be so.
    Some(Box<dyn Condition>),
    /// No value may be so. Without any value that is the case.
    None(Box<dyn Condition>),
    /// There must be a value, or must be none.
    Present(bool),
}

/// Something a value is or is not. Cost: some steps for each value looked at, no more; whoever
/// looks at more than a handful of bytes spends steps for it.
pub(super) trait Condition: fmt::Debug + Send + Sync {
    /// Whether a value is so. Elements of lists are asked about by the caller.
    fn holds(&self, value: &Value, budget: &mut Budget) -> Result<bool, Fault>;

    /// The keys of all scalars that can be so, in either mode, as values or as elements of a list;
    /// `None` when they cannot be told.
    fn keys(&self) -> Option<Vec<ValueKey>> {
        None
    }

    /// What Convoy's matcher says, which may be that it cannot say.
    fn holds_in_convoy(&self, value: &Value, budget: &mut Budget) -> Result<bool, Fault> {
        self.holds(value, budget)
    }
}

impl dyn Condition + '_ {
    /// Whether a value is so in a mode, lists included.
    pub(super) fn ask(
        &self,
        value: &Value,
        mode: Mode,
        budget: &mut Budget,
    ) -> Result<bool, Fault> {
        if mode == Mode::Convoy {
            return self.holds_in_convoy(value, budget);
        }
        if self.holds(value, budget)? {
            return Ok(true);
        }
        // A list is so when one of its elements is.
        for element in value.as_array().into_iter().flatten() {
            budget.spend(1).into_result()?;
            if self.holds(element, budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod table {
    //! Truth tables: an operator, its value, and what it says of payload values in both modes.

    use super::*;

    impl Test {
        /// What it asks of values, if it asks anything.
        pub(crate) fn condition(&self) -> Option<&dyn Condition> {
            match self {
                Self::Some(condition) | Self::None(condition) => Some(&**condition),
                Self::Present(_) => None,
            }
        }
    }

    /// `None` is a fault.
    pub(super) type Row = (Value, bool, Option<bool>);

    pub(super) fn check(name: &str, operand: &Value, rows: &[Row]) {
        let operator = OPS.iter().find(|operator| operator.name == name).unwrap();
        let test = (operator.parse)(operand).unwrap();
        let is_negative = matches!(test, Test::None(_));
        let ask = |value: &Value, mode| {
            let condition = test.condition().unwrap();
            let holds = condition.ask(value, mode, &mut Budget::for_event());
            holds.map(|holds| holds != is_negative)
        };
        for (value, strict, convoy) in rows {
            let what = format!("{value} {name} {operand}");
            assert_eq!(ask(value, Mode::Strict), Ok(*strict), "strict: {what}");
            assert_eq!(ask(value, Mode::Convoy).ok(), *convoy, "convoy: {what}");
        }
    }

    pub(super) fn refuses(name: &str, operand: &Value) -> Problem {
        let operator = OPS.iter().find(|operator| operator.name == name).unwrap();
        (operator.parse)(operand).unwrap_err()
    }
}
