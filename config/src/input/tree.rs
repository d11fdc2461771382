//! A tree of values that knows on which line each of them stands.
//!
//! Numbers keep their spelling as well, so that `mask_id: 0012e5` is the text that was written
//! once somebody asks for a text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::problem::Problem;

/// Deepest nesting of lists and maps.
const DEPTH_MAX: usize = 64;
/// Most values in one text: a file with a million endpoints has about ten million.
const NODES_MAX: usize = 20_000_000;

/// A value and its place. There is no `Debug`: any value may be a secret.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) line: Option<u32>,
    pub(crate) value: Value,
}

#[derive(Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number, and how it was spelt.
    Unsigned(u64, String),
    Signed(i64, String),
    Float(f64, String),
    Text(String),
    List(Vec<Node>),
    /// In the order of the text; keys are unique.
    Map(Vec<Entry>),
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) node: Node,
}

/// One step of a path into the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl Node {
    pub(crate) fn null() -> Self {
        Self {
            line: None,
            value: Value::Null,
        }
    }

    /// Parses YAML, one document.
    pub(crate) fn from_yaml(text: &str) -> Result<Self, Problem> {
        let limits = serde_saphyr::budget! {
            max_events: NODES_MAX * 2,
            max_nodes: NODES_MAX,
            max_depth: DEPTH_MAX,
            max_documents: 1,
        };
        let options = serde_saphyr::options! {
            budget: limits,
            // `no` and `on` are texts, as YAML 1.2 has them.
            strict_booleans: true,
            // A snippet would print lines with secrets.
            with_snippet: false,
        };
        let parsed: Result<Spanned<Raw>, _> = serde_saphyr::from_str_with_options(text, options);
        match parsed {
            Ok(raw) => Ok(Self::of(raw, text)),
            Err(error) => Err(yaml_problem(&error, text)),
        }
    }

    fn of(spanned: Spanned<Raw>, text: &str) -> Self {
        let line = line_at(&spanned.referenced);
        let span = spanned.defined.span();
        let spelling = || {
            let start = usize::try_from(span.byte_offset()?).ok()?;
            let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
            text.get(start..end).map(|slice| slice.trim().to_owned())
        };
        let value = match spanned.value {
            Raw::Null => Value::Null,
            Raw::Bool(is) => Value::Bool(is),
            Raw::Unsigned(value) => {
                Value::Unsigned(value, spelling().unwrap_or_else(|| value.to_string()))
            }
            Raw::Signed(value) => {
                Value::Signed(value, spelling().unwrap_or_else(|| value.to_string()))
            }
            Raw::Float(value) => {
                Value::Float(value, spelling().unwrap_or_else(|| value.to_string()))
            }
            Raw::Text(value) => Value::Text(value),
            Raw::List(items) => {
                Value::List(items.into_iter().map(|item| Self::of(item, text)).collect())
            }
            Raw::Map(entries) => {
                let entry = |(key, value): (Spanned<String>, Spanned<Raw>)| {
                    let line = line_at(&key.referenced);
                    let mut node = Self::of(value, text);
                    node.line = line.or(node.line); // the line of the key is where one looks
                    Entry {
                        key: key.value,
                        node,
                    }
                };
                Value::Map(entries.into_iter().map(entry).collect())
            }
        };
        Self { line, value }
    }

    /// The value of a key of this map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.node),
            _ => None,
        }
    }

    /// Takes a key out of this map.
    pub(crate) fn take(&mut self, key: &str) -> Option<Self> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let at = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(at).node)
    }

    /// Puts a value at a path of keys, and makes the maps on the way. What stood there and is
    /// no map is replaced.
    pub(crate) fn set(&mut self, path: &[String], node: Self) {
        let Some((key, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else {
            return;
        };
        let at = entries
            .iter()
            .position(|entry| entry.key == *key)
            .unwrap_or_else(|| {
                entries.push(Entry {
                    key: key.clone(),
                    node: Self::null(),
                });
                entries.len() - 1
            });
        if let Some(entry) = entries.get_mut(at) {
            entry.node.set(rest, node);
        }
    }

    /// The line of what stands at a path like `config.strategy.versions[0]`, or of the nearest
    /// value around it.
    pub(crate) fn line_of(&self, path: &str) -> Option<u32> {
        let (mut node, mut line) = (self, self.line);
        for step in steps(path) {
            let next = match (&node.value, step) {
                (Value::Map(_), Step::Key(key)) => node.get(&key),
                (Value::List(items), Step::Index(index)) => items.get(index),
                _ => None,
            };
            let Some(next) = next else { break };
            node = next;
            line = node.line.or(line);
        }
        line
    }

    /// Takes out what stands at the path, so that the rest can be read. In a list nothing can
    /// be taken out without renaming what follows, so the list goes. Answers whether anything
    /// was there.
    pub(crate) fn remove(&mut self, path: &[Step]) -> bool {
        match path {
            [] => false,
            [Step::Key(key)] | [Step::Key(key), Step::Index(_)] => self.take(key).is_some(),
            [Step::Key(key), rest @ ..] => {
                let Value::Map(entries) = &mut self.value else {
                    return false;
                };
                entries
                    .iter_mut()
                    .find(|entry| entry.key == *key)
                    .is_some_and(|entry| entry.node.remove(rest))
            }
            [Step::Index(index), rest @ ..] => {
                let Value::List(items) = &mut self.value else {
                    return false;
                };
                items.get_mut(*index).is_some_and(|node| node.remove(rest))
            }
        }
    }
}

/// Renders a path: `projects[0].endpoints[3].http_timeout`.
pub(crate) fn render(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// The steps of a rendered path. Keys with dots in them come out as several steps, which only
/// makes the line that is found one of a value around.
fn steps(path: &str) -> impl Iterator<Item = Step> + '_ {
    path.split(['.', '['])
        .filter(|part| !part.is_empty())
        .map(|part| {
            let index = part
                .strip_suffix(']')
                .and_then(|digits| digits.parse().ok());
            index.map_or_else(|| Step::Key(part.to_owned()), Step::Index)
        })
}

fn line_at(location: &serde_saphyr::Location) -> Option<u32> {
    u32::try_from(location.line()).ok().filter(|line| *line > 0)
}

/// The parser's own words, in one line. It does not print values when it has no snippet.
fn yaml_problem(error: &serde_saphyr::Error, text: &str) -> Problem {
    let line = error.location().as_ref().and_then(line_at);
    let rendered = error.without_snippet().to_string();
    let message: Vec<&str> = rendered.split_whitespace().collect();
    let hint = if text.contains('\t') {
        " (is a tab used to indent?)"
    } else {
        ""
    };
    Problem {
        path: String::new(),
        line,
        message: format!("this is no valid YAML: {}{hint}", message.join(" ")),
    }
}

/// What the parser hands over.
enum Raw {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(u64::try_from(value).map_or(Raw::Signed(value), Raw::Unsigned))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}
