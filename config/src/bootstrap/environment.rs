//! Values from the environment, over those of the file.

use super::ENV_PREFIX;
use crate::input::{Node, Value};
use crate::problem::Problem;

/// Puts the environment's values into the tree. Answers which path came from which variable.
pub(super) fn overlay(
    root: &mut Node,
    env: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = env
        .filter(|(name, _)| name.starts_with(ENV_PREFIX))
        .collect();
    variables.sort(); // the same result whatever the order of the environment
    let mut paths = Vec::with_capacity(variables.len());
    for (name, value) in variables {
        let keys: Vec<String> = name
            .trim_start_matches(ENV_PREFIX)
            .split("__")
            .map(str::to_ascii_lowercase)
            .collect();
        root.set(&keys, value_of(&value));
        paths.push((keys.join("."), name));
    }
    paths
}

/// A value as YAML has it: `3` is a number, `[a, b]` a list. What would only by accident be
/// more than a word, such as `a: b`, is the text itself.
fn value_of(text: &str) -> Node {
    let is_flow = text.starts_with(['[', '{']);
    match Node::from_yaml(text) {
        Ok(mut node) if is_flow || !matches!(node.value, Value::List(_) | Value::Map(_)) => {
            node.line = None;
            node
        }
        _ => Node {
            line: None,
            value: Value::Text(text.to_owned()),
        },
    }
}

/// A problem of a value from the environment names its variable.
pub(super) fn name_variable(mut problem: Problem, variables: &[(String, String)]) -> Problem {
    let is_inside = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    if let Some((path, name)) = variables
        .iter()
        .find(|(path, _)| is_inside(path, &problem.path))
    {
        problem.path = problem.path.replacen(path.as_str(), name, 1);
        problem.line = None;
    } else if problem.line.is_none()
        && let Some((_, name)) = variables
            .iter()
            .find(|(path, _)| is_inside(&problem.path, path))
    {
        problem.message = format!("`{}`: {}", problem.path, problem.message);
        problem.path.clone_from(name);
    }
    problem
}
