//! `$exist`: whether there is a value, null included. Cost: constant.

use serde_json::Value;

use super::{Problem, Test};

pub(super) fn exist(operand: &Value) -> Result<Test, Problem> {
    operand.as_bool().map(Test::Present).ok_or(Problem::NoBool)
}

#[cfg(test)]
mod tests {
    use super::super::table::refuses;
    use super::*;
    use serde_json::json;

    #[test]
    fn anything_but_true_and_false_is_refused() {
        for operand in [json!(1), json!("true"), json!(null), json!([]), json!({})] {
            assert_eq!(refuses("$exist", &operand), Problem::NoBool);
        }
        assert!(matches!(exist(&json!(true)), Ok(Test::Present(true))));
    }
}
