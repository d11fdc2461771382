//! `$regex`: a search in a text, anywhere in it unless the expression is anchored. Cost: linear in
//! the text, whatever the expression; a step for every 32 bytes.
//!
//! The syntax is that of the `regex` crate, which is RE2's but for rare corners (`\Q...\E`, and
//! `\d`, `\w`, `\s`, which mean Unicode here).

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::super::evaluate::{Budget, Fault, IntoResult};
use super::super::limit::{REGEX_BYTES_MAX, REGEX_PROGRAM_BYTES_MAX};
use super::{Condition, Problem, Test};

/// Longest explanation of a bad expression, characters.
const EXPLANATION_MAX: usize = 160;

pub(super) fn regex(operand: &Value) -> Result<Test, Problem> {
    let text = operand.as_str().ok_or(Problem::NoText)?;
    if text.len() > REGEX_BYTES_MAX {
        return Err(Problem::RegexTooLong);
    }
    let built = RegexBuilder::new(text)
        .size_limit(REGEX_PROGRAM_BYTES_MAX)
        .dfa_size_limit(REGEX_PROGRAM_BYTES_MAX)
        .build();
    match built {
        Ok(regex) => Ok(Test::Some(Box::new(Search(regex)))),
        Err(regex::Error::CompiledTooBig(_)) => Err(Problem::RegexTooLarge),
        Err(error) => Err(Problem::BadRegex(explain(&error.to_string()))),
    }
}

/// The last line of the parser's drawing, which is the explanation.
fn explain(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.chars().take(EXPLANATION_MAX).collect()
}

#[derive(Debug)]
struct Search(Regex);

impl Condition for Search {
    fn holds(&self, value: &Value, budget: &mut Budget) -> Result<bool, Fault> {
        let Some(text) = value.as_str() else {
            return Ok(false);
        };
        budget.spend_for(text.len() / 32).into_result()?;
        Ok(self.0.is_match(text))
    }

    /// Anything but a text is an error (contract q9).
    fn holds_in_convoy(&self, value: &Value, budget: &mut Budget) -> Result<bool, Fault> {
        match value {
            Value::String(_) => self.holds(value, budget),
            _ => Err(Fault::NotAText),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{check, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn bad_expressions_are_refused_by_name() {
        assert_eq!(refuses("$regex", &json!(5)), Problem::NoText);
        assert_eq!(
            refuses("$regex", &json!("a".repeat(1025))),
            Problem::RegexTooLong
        );
        assert_eq!(
            refuses("$regex", &json!("(a{1000}){1000}")),
            Problem::RegexTooLarge
        );
        let Problem::BadRegex(text) = refuses("$regex", &json!("a(b")) else {
            panic!("`a(b` is no regular expression");
        };
        assert_eq!(text, "unclosed group");
        assert!(matches!(
            refuses("$regex", &json!("(a)\\1")),
            Problem::BadRegex(_)
        ));
        assert!(matches!(
            refuses("$regex", &json!("(?=a)")),
            Problem::BadRegex(_)
        ));
    }

    #[test]
    fn search() {
        check(
            "$regex",
            &json!("@acme\\.io$"),
            &[
                (json!(5), false, None),
                (json!(null), false, None),
                (json!(["joe@acme.io"]), true, None),
                (json!("joe@acme.io.example"), false, Some(false)),
                (json!("joe@acme.io"), true, Some(true)),
            ],
        );
        check(
            "$regex",
            &json!(""),
            &[(json!(""), true, Some(true)), (json!({}), false, None)],
        );
    }

    #[test]
    fn a_catastrophic_expression_is_linear() {
        let text = "a".repeat(100_000) + "b";
        check(
            "$regex",
            &json!("^(a+)+$"),
            &[(json!(text), false, Some(false))],
        );
    }

    #[test]
    fn a_long_text_costs_steps() {
        let test = regex(&json!("x")).unwrap();
        let mut budget = Budget::of_steps(10);
        let text = json!("a".repeat(10 * 32 + 32));
        let asked = test.condition().unwrap().holds(&text, &mut budget);
        assert_eq!(asked, Err(Fault::TooMuchWork));
    }
}
