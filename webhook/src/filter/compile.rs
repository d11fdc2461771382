//! From the JSON of a filter to its conditions. Finds every problem, not the first one only.

use std::io;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::limit::{DEPTH_MAX, LEAVES_MAX, LIST_MAX, REGEXES_MAX, SCOPE_BYTES_MAX};
use super::node::{Clause, Group, Leaf, Node};
use super::op::{IMPLICIT, OPS};
use super::path::Path;
use super::{CompileError, Filter, Problem, Scope};

/// Most problems that are told. Who has more has written something else.
const PROBLEMS_MAX: usize = 64;

/// Compiles the scopes of a filter.
pub(super) fn filter<'v>(
    scopes: impl IntoIterator<Item = (Scope, &'v Value)>,
) -> Result<Filter, Vec<CompileError>> {
    let mut scopes: Vec<(Scope, &Value)> = scopes.into_iter().collect();
    scopes.sort_by_key(|(scope, _)| Scope::ALL.iter().position(|one| one == scope));
    let mut compiler = Compiler::default();
    let mut clauses = Vec::new();
    for (scope, value) in scopes {
        compiler.scope = scope;
        let nodes = compiler.clause(value);
        if !nodes.is_empty() {
            clauses.push(Clause {
                scope,
                nodes: nodes.into(),
            });
        }
    }
    match compiler.problems.is_empty() {
        true => Ok(Filter {
            clauses,
            leaves: compiler.leaves,
        }),
        false => Err(compiler.problems),
    }
}

struct Compiler {
    scope: Scope,
    leaves: Vec<Box<str>>,
    regexes: usize,
    problems: Vec<CompileError>,
}

impl Default for Compiler {
    fn default() -> Self {
        Self {
            scope: Scope::Body,
            leaves: Vec::new(),
            regexes: 0,
            problems: Vec::new(),
        }
    }
}

/// Where the compiler is: the path in the event, and the place in the filter, which differ below
/// `$or` and `$and`.
#[derive(Clone)]
struct At {
    /// `None` at the top.
    path: Option<String>,
    place: String,
    depth: usize,
}

impl At {
    fn key(&self, key: &str) -> Self {
        Self {
            path: Some(match &self.path {
                Some(path) => format!("{path}.{key}"),
                None => key.to_owned(),
            }),
            ..self.below(&format!(".{key}"))
        }
    }

    /// A place that adds nothing to the path.
    fn below(&self, suffix: &str) -> Self {
        Self {
            path: self.path.clone(),
            place: format!("{}{suffix}", self.place),
            depth: self.depth + 1,
        }
    }
}

impl Compiler {
    fn clause(&mut self, value: &Value) -> Vec<Node> {
        let at = At {
            path: None,
            place: self.scope.as_str().to_owned(),
            depth: 0,
        };
        match value {
            Value::Null => Vec::new(),
            value if bytes(value) > SCOPE_BYTES_MAX => self.fail(&at, Problem::ScopeTooLong),
            Value::Object(map) => self.object(map, &at),
            _ => self.fail(&at, Problem::NoObject),
        }
    }

    /// Notes a problem, and makes no conditions of what has it.
    fn fail(&mut self, at: &At, problem: Problem) -> Vec<Node> {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(CompileError {
                path: at.place.clone(),
                problem,
            });
        }
        Vec::new()
    }

    /// The conditions of an object, in the order of its keys however it was written, so that a
    /// leaf has the same index wherever the filter is compiled.
    fn object(&mut self, map: &Map<String, Value>, at: &At) -> Vec<Node> {
        if at.depth > DEPTH_MAX {
            return self.fail(at, Problem::Depth);
        }
        let mut entries: Vec<(&String, &Value)> = map.iter().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        let compile = |(key, value): (&String, &Value)| {
            if !key.starts_with('$') || key.starts_with("$.") {
                return self.value(value, &at.key(key));
            }
            let below = at.below(&format!(".{key}"));
            match key.as_str() {
                "$or" => self.group(value, &below, Node::Any),
                "$and" => self.group(value, &below, Node::All),
                key => self.leaf(key, value, &below),
            }
        };
        entries.into_iter().flat_map(compile).collect()
    }

    /// What stands under a path: conditions below it, or a value to be equal to.
    fn value(&mut self, value: &Value, at: &At) -> Vec<Node> {
        match value {
            Value::Object(map) if !map.is_empty() => self.object(map, at),
            Value::Array(items) if items.first().is_some_and(Value::is_object) => {
                if !items.iter().all(Value::is_object) {
                    return self.fail(at, Problem::MixedList);
                }
                if items.len() > LIST_MAX {
                    return self.fail(at, Problem::ListTooLong);
                }
                let items = items.iter().enumerate();
                let compile = |(index, item): (usize, &Value)| {
                    let at = at.key(&index.to_string());
                    self.value(item, &at)
                };
                items.flat_map(compile).collect()
            }
            Value::Array(items) if items.iter().any(|item| item.is_array() || item.is_object()) => {
                self.fail(at, Problem::MixedList)
            }
            _ => self.leaf(IMPLICIT, value, at),
        }
    }

    fn leaf(&mut self, operator: &str, operand: &Value, at: &At) -> Vec<Node> {
        let Some(operator) = OPS.iter().find(|one| one.name == operator) else {
            return self.fail(at, Problem::UnknownOperator);
        };
        let Some(path) = &at.path else {
            return self.fail(at, Problem::NoPath);
        };
        let path = match self.scope {
            Scope::Headers => Path::header(path),
            Scope::Query | Scope::Path | Scope::Body => Path::parse(path),
        };
        let parsed = path.and_then(|path| Ok((path, (operator.parse)(operand)?)));
        let (path, test) = match parsed {
            Ok(parsed) => parsed,
            Err(problem) => return self.fail(at, problem),
        };
        self.regexes += usize::from(operator.name == "$regex");
        let problem = match u16::try_from(self.leaves.len()) {
            _ if self.regexes > REGEXES_MAX => Problem::Regexes,
            Ok(index) if usize::from(index) < LEAVES_MAX => {
                self.leaves.push(at.place.as_str().into());
                let path = Arc::new(path);
                return vec![Node::Leaf(Leaf { index, path, test })];
            }
            _ => Problem::Leaves,
        };
        self.fail(at, problem)
    }

    fn group(&mut self, filters: &Value, at: &At, node: fn(Group) -> Node) -> Vec<Node> {
        let filters = match filters.as_array() {
            Some(filters) if !filters.is_empty() => filters,
            _ => return self.fail(at, Problem::NoFilters),
        };
        if filters.len() > LIST_MAX {
            return self.fail(at, Problem::ListTooLong);
        }
        let first = u16::try_from(self.leaves.len()).unwrap_or(u16::MAX);
        let compile = |(index, filter): (usize, &Value)| {
            let at = at.below(&format!("[{index}]"));
            let nodes = match filter {
                Value::Object(map) => self.object(map, &at),
                _ => self.fail(&at, Problem::NoObject),
            };
            nodes.into()
        };
        let filters = filters.iter().enumerate().map(compile).collect();
        vec![node(Group { first, filters })]
    }
}

/// How long a value is as JSON.
fn bytes(value: &Value) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}
