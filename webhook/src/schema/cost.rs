//! How much work a schema may be: known before any event is seen.
//!
//! Nested alternatives multiply: ten levels of `anyOf` that each name a branch twice look at one
//! value a thousand times, and recursion that doubles at every level does so by the depth of the
//! event. So for every depth below a value the looks at one value there are counted, over all
//! branches. The count is an upper bound: alternatives of which only one can apply are added up.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::reference::{Places, REFERENCES};
use super::{PATTERNS_MAX, SchemaError, cut};

/// Depth up to which events are looked at: deeper ones are no JSON for our parser.
const EVENT_DEPTH_MAX: usize = 128;
/// Members of `enum` and `required` that cost as much as one look.
const MEMBERS_PER_LOOK: usize = 16;
/// Looks that one regular expression costs.
const PATTERN_LOOKS: u64 = 8;

/// The most looks at one value of any event.
pub(super) fn looks(schema: &Value) -> Result<u64, SchemaError> {
    let graph = Graph::of(schema)?;
    if graph.patterns > PATTERNS_MAX {
        return Err(SchemaError::Patterns {
            count: graph.patterns,
        });
    }
    let order = graph.order()?;
    let mut below = vec![0; graph.nodes.len()];
    let mut most = 0;
    for depth in 0..=EVENT_DEPTH_MAX {
        below = graph.step(&order, &below, depth == 0);
        most = most.max(below.first().copied().unwrap_or_default());
    }
    Ok(most)
}

/// One schema inside the schema.
#[derive(Default)]
struct Node {
    /// Where it stands: in which node, and by which step.
    parent: Option<usize>,
    step: String,
    /// Looks at a value that it takes alone.
    own: u64,
    /// Schemas that it applies to the same value.
    same: Vec<usize>,
    /// Whether those are gone through once more, to see what they did not look at.
    is_twice: bool,
    /// Of which at most one is applied to the same member.
    one_of: Vec<usize>,
    /// Of which all may be applied to the same member.
    all_of: Vec<usize>,
}

/// How far a node is in the search for loops.
#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

struct Graph<'s> {
    places: Places<'s>,
    nodes: Vec<Node>,
    /// Nodes by the place of their schema in memory.
    known: HashMap<*const Value, usize>,
    todo: Vec<(usize, &'s Value)>,
    /// Regular expressions in all of them.
    patterns: usize,
}

impl<'s> Graph<'s> {
    fn of(root: &'s Value) -> Result<Self, SchemaError> {
        let mut graph = Self {
            places: Places::of(root)?,
            nodes: Vec::new(),
            known: HashMap::new(),
            todo: Vec::new(),
            patterns: 0,
        };
        graph.node(None, "", root);
        while let Some((index, schema)) = graph.todo.pop() {
            if let Value::Object(keywords) = schema {
                graph.read(index, keywords)?;
            }
        }
        Ok(graph)
    }

    /// The node of a schema; a new one is read later.
    fn node(&mut self, parent: Option<usize>, step: &str, schema: &'s Value) -> usize {
        let index = self.nodes.len();
        let known = *self
            .known
            .entry(std::ptr::from_ref(schema))
            .or_insert(index);
        if known == index {
            self.nodes.push(Node {
                parent,
                step: cut(step),
                own: 1,
                ..Node::default()
            });
            self.todo.push((index, schema));
        }
        known
    }

    /// All schemas in the value of a keyword: itself, or what is in the list or the map.
    fn inside(&mut self, at: usize, keyword: &str, value: &'s Value) -> Vec<usize> {
        match value {
            Value::Array(items) => {
                let items = items.iter().filter(|item| !item.is_string());
                items
                    .map(|item| self.node(Some(at), keyword, item))
                    .collect()
            }
            value => vec![self.node(Some(at), keyword, value)],
        }
    }

    fn members(&mut self, at: usize, keyword: &str, value: &'s Value) -> Vec<usize> {
        let Value::Object(map) = value else {
            return Vec::new();
        };
        // In `dependencies`, lists name properties.
        let schemas = map.iter().filter(|(_, value)| !value.is_array());
        let node = |(name, value)| self.node(Some(at), &format!("{keyword}/{name}"), value);
        schemas.map(node).collect()
    }

    fn read(&mut self, at: usize, keywords: &'s Map<String, Value>) -> Result<(), SchemaError> {
        let mut node = self
            .nodes
            .get_mut(at)
            .map(std::mem::take)
            .unwrap_or_default();
        for (keyword, value) in keywords {
            self.read_keyword(at, &mut node, keyword, value);
        }
        if let Some(place) = self.nodes.get_mut(at) {
            *place = node;
        }
        for keyword in REFERENCES {
            let Some(to) = keywords.get(keyword) else {
                continue;
            };
            let place = || cut(&format!("{}/{keyword}", self.place(at)));
            let found = self.places.find(to, place)?;
            let target = self.node(Some(at), keyword, found);
            if let Some(node) = self.nodes.get_mut(at) {
                node.same.push(target);
            }
        }
        Ok(())
    }

    fn read_keyword(&mut self, at: usize, node: &mut Node, keyword: &str, value: &'s Value) {
        match keyword {
            "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else" => {
                node.same.extend(self.inside(at, keyword, value));
            }
            "dependentSchemas" | "dependencies" => {
                node.same.extend(self.members(at, keyword, value))
            }
            "properties" => node.one_of.extend(self.members(at, keyword, value)),
            "additionalProperties" | "items" | "prefixItems" | "additionalItems" => {
                node.one_of.extend(self.inside(at, keyword, value));
            }
            "patternProperties" => {
                let patterns = self.members(at, keyword, value);
                node.own += PATTERN_LOOKS * patterns.len() as u64;
                self.patterns += patterns.len();
                node.all_of.extend(patterns);
            }
            "contains" | "propertyNames" => node.all_of.extend(self.inside(at, keyword, value)),
            "unevaluatedProperties" | "unevaluatedItems" => {
                node.is_twice = true;
                node.all_of.extend(self.inside(at, keyword, value));
            }
            "pattern" => {
                node.own += PATTERN_LOOKS;
                self.patterns += 1;
            }
            "enum" | "required" => {
                let members = value.as_array().map_or(0, Vec::len);
                node.own += (members / MEMBERS_PER_LOOK) as u64;
            }
            _ => {}
        }
    }

    /// Nodes so that each comes after those that it applies to the same value.
    fn order(&self) -> Result<Vec<usize>, SchemaError> {
        let mut states = vec![State::New; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        for start in 0..self.nodes.len() {
            // Each with how many of its schemas were gone into. No recursion: chains may be long.
            let mut path = vec![(start, 0)];
            while let Some((at, next)) = path.pop() {
                let (Some(node), Some(state)) = (self.nodes.get(at), states.get_mut(at)) else {
                    continue;
                };
                if *state == State::Done {
                    continue;
                }
                let Some(inner) = node.same.get(next) else {
                    *state = State::Done;
                    order.push(at);
                    continue;
                };
                *state = State::Open;
                path.push((at, next + 1));
                match states.get(*inner) {
                    Some(State::New) => path.push((*inner, 0)),
                    Some(State::Open) => {
                        return Err(SchemaError::Endless {
                            at: cut(&self.place(at)),
                        });
                    }
                    Some(State::Done) | None => {}
                }
            }
        }
        Ok(order)
    }

    /// Looks at one value a level deeper than `below` says.
    fn step(&self, order: &[usize], below: &[u64], is_top: bool) -> Vec<u64> {
        let mut looks = vec![0; self.nodes.len()];
        for at in order {
            let Some(node) = self.nodes.get(*at) else {
                continue;
            };
            let same = sum(&node.same, &looks);
            let same = if node.is_twice {
                same.saturating_mul(2)
            } else {
                same
            };
            let here = match is_top {
                true => node.own,
                false => most(&node.one_of, below).saturating_add(sum(&node.all_of, below)),
            };
            if let Some(place) = looks.get_mut(*at) {
                *place = here.saturating_add(same);
            }
        }
        looks
    }

    /// A JSON pointer, or near enough: through a reference it goes on from there.
    fn place(&self, at: usize) -> String {
        let mut steps = Vec::new();
        let mut next = Some(at);
        while let Some(node) = next.and_then(|at| self.nodes.get(at)) {
            if !node.step.is_empty() {
                steps.push(format!("/{}", node.step));
            }
            next = node.parent;
        }
        steps.reverse();
        steps.concat()
    }
}

fn sum(list: &[usize], looks: &[u64]) -> u64 {
    let found = list.iter().filter_map(|at| looks.get(*at));
    found.fold(0, |sum, looks| sum.saturating_add(*looks))
}

fn most(list: &[usize], looks: &[u64]) -> u64 {
    list.iter()
        .filter_map(|at| looks.get(*at))
        .max()
        .copied()
        .unwrap_or_default()
}
