//! Any `..Spec` type out of a tree, with every misfit reported.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::tree::{Entry, Node, Step, Value, render};
use super::words::{closest, list};

/// Most misfits reported of one resource: beyond it the reader has the wrong kind of file.
const FINDINGS_MAX: usize = 64;

/// A value that does not fit, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Relative to the value that was read.
    pub(crate) path: String,
    pub(crate) line: Option<u32>,
    pub(crate) fault: Fault,
}

/// Why a value does not fit. Carries no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("unknown field{}", hint(.0, .1))]
    UnknownField(String, Vec<&'static str>),
    #[error("one of {} is expected", list(.0))]
    NotOneOf(&'static [&'static str]),
    #[error("{expected} is expected, this is {found}")]
    WrongType {
        expected: String,
        found: &'static str,
    },
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("{0}")]
    Other(String),
}

fn hint(name: &str, known: &[&str]) -> String {
    match closest(name, known.iter().copied()) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; known here: {}", known.join(", ")),
    }
}

/// Reads a value. What does not fit is reported and taken out of the tree; `None` when the
/// whole of it does not fit. `others` are fields of the same map that its reader has already
/// taken out: they may be what a misspelt one was meant to be.
pub(crate) fn read<T: DeserializeOwned>(
    node: &mut Node,
    others: &[&'static str],
    findings: &mut Vec<Finding>,
) -> Option<T> {
    for _ in 0..FINDINGS_MAX {
        let Misfit {
            mut path,
            mut fault,
        } = match T::deserialize(Reader(node)) {
            Ok(value) => return Some(value),
            Err(misfit) => misfit,
        };
        path.reverse();
        if let (Fault::UnknownField(_, known), [_]) = (&mut fault, &path[..]) {
            known.extend(others);
        }
        let rendered = render(&path);
        let line = node.line_of(&rendered);
        findings.push(Finding {
            path: rendered,
            line,
            fault,
        });
        if !node.remove(&path) {
            return None;
        }
    }
    None
}

/// An error on its way up: every level adds its step, so the path is leaf first.
#[derive(Debug)]
struct Misfit {
    path: Vec<Step>,
    fault: Fault,
}

impl Misfit {
    fn new(fault: Fault) -> Self {
        Self {
            path: Vec::new(),
            fault,
        }
    }

    fn at(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.fault, f)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Fault::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Fault::WrongType {
            expected: plain(&expected.to_string()),
            found: kind_of(&found),
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "one out of range",
            other => kind_of(&other),
        };
        Self::new(Fault::WrongType {
            expected: plain(&expected.to_string()),
            found,
        })
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Fault::NotOneOf(expected))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownField(
            field.chars().take(64).collect(),
            expected.to_vec(),
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Fault::Missing(field))
    }
}

/// serde's words in ours.
fn plain(expected: &str) -> String {
    match expected {
        "a string" | "string" => "a text".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a map".to_owned(),
        "u16" | "u32" | "u64" | "usize" => "a whole number from 0".to_owned(),
        "i64" => "a whole number".to_owned(),
        other if other.starts_with("struct ") => "a map of fields".to_owned(),
        other => other.to_owned(),
    }
}

fn kind_of(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "`true` or `false`",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a number",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "a text",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        _ => "something else",
    }
}

/// A value of the tree as serde asks for it.
struct Reader<'n>(&'n Node);

impl Reader<'_> {
    /// The text as it was written, for who asks for a text.
    fn text(&self) -> Option<&str> {
        match &self.0.value {
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Unsigned(_, text)
            | Value::Signed(_, text)
            | Value::Float(_, text)
            | Value::Text(text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match &self.0.value {
            Value::Null => Unexpected::Unit,
            Value::Bool(is) => Unexpected::Bool(*is),
            Value::Unsigned(value, _) => Unexpected::Unsigned(*value),
            Value::Signed(value, _) => Unexpected::Signed(*value),
            Value::Float(value, _) => Unexpected::Float(*value),
            Value::Text(text) => Unexpected::Str(text),
            Value::List(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(is) => visitor.visit_bool(*is),
            Value::Unsigned(value, _) => visitor.visit_u64(*value),
            Value::Signed(value, _) => visitor.visit_i64(*value),
            Value::Float(value, _) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.text() {
            Some(text) => visitor.visit_str(text),
            None => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.text() {
            Some(text) => {
                let variant: StrDeserializer<'_, Misfit> = text.into_deserializer();
                visitor.visit_enum(variant)
            }
            None => Err(Misfit::new(Fault::NotOneOf(variants))),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.0.value {
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
            _ => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
    }

    // serde would also take a list of the values in order, which nobody means.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct identifier ignored_any
    }
}

struct Items<'n> {
    items: &'n [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        let Some(node) = self.items.get(self.next) else {
            return Ok(None);
        };
        let index = self.next;
        self.next += 1;
        seed.deserialize(Reader(node))
            .map(Some)
            .map_err(|misfit| misfit.at(Step::Index(index)))
    }
}

struct Entries<'n> {
    entries: &'n [Entry],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        let Some(entry) = self.entries.get(self.next) else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Misfit> = entry.key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|misfit| misfit.at(Step::Key(entry.key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let Some(entry) = self.entries.get(self.next) else {
            return Err(Misfit::new(Fault::Other(
                "a value without a key".to_owned(),
            )));
        };
        self.next += 1;
        seed.deserialize(Reader(&entry.node))
            .map_err(|misfit| misfit.at(Step::Key(entry.key.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Outer {
        name: Option<String>,
        timeout_ms: Option<u64>,
        is_on: bool,
        mode: Mode,
        list: Vec<Inner>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        value: Option<String>,
        count: u32,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        #[default]
        Fast,
        Safe,
    }

    /// Path, line and message.
    type Told = (String, Option<u32>, String);

    fn parse(text: &str) -> (Option<Outer>, Vec<Told>) {
        let mut findings = Vec::new();
        let value = read(&mut Node::from_yaml(text).unwrap(), &[], &mut findings);
        let texts = findings
            .into_iter()
            .map(|found| (found.path, found.line, found.fault.to_string()));
        (value, texts.collect())
    }

    #[test]
    fn every_misfit_is_reported_with_path_and_line_and_without_its_value() {
        let text = "\
name: [a]
timeout_mss: 5
is_on: hunter2
mode: hunter2
list:
  - value: x
    count: -7
  - valu: x
    count: hunter2
";
        let (value, found) = parse(text);
        let value = value.unwrap();
        assert_eq!(value.list.len(), 2);
        let at: Vec<_> = found
            .iter()
            .map(|(path, line, _)| (path.as_str(), line.unwrap()))
            .collect();
        assert_eq!(
            at,
            [
                ("name", 1),
                ("timeout_mss", 2),
                ("is_on", 3),
                ("mode", 4),
                ("list[0].count", 7),
                ("list[1].valu", 8),
                ("list[1].count", 9)
            ]
        );
        assert!(
            found[1].2.contains("did you mean `timeout_ms`"),
            "{}",
            found[1].2
        );
        assert!(found[3].2.contains("`fast` or `safe`"), "{}", found[3].2);
        assert!(
            found
                .iter()
                .all(|(_, _, message)| !message.contains("hunter2") && !message.contains("-7"))
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_altogether_is_one_problem() {
        let (value, found) = parse("- 1\n- 2\n");
        assert_eq!((value, found.len()), (None, 1));
    }

    #[test]
    fn a_number_is_the_text_that_was_written_where_a_text_is_wanted() {
        for (written, read) in [
            ("0012e5", "0012e5"),
            ("1e999x", "1e999x"),
            ("017", "017"),
            ("1.50", "1.50"),
            ("true", "true"),
            ("'7'", "7"),
        ] {
            let (value, found) = parse(&format!("name: {written}\nmode: safe\n"));
            assert_eq!(
                (value.unwrap().name.as_deref(), found),
                (Some(read), Vec::new())
            );
        }
        let (value, _) = parse("a: &x 0012e5\nname: *x");
        assert_eq!(value.unwrap().name.as_deref(), Some("0012e5"));
    }

    #[test]
    fn text_that_is_no_yaml_names_the_line_and_prints_no_value() {
        let problem = Node::from_yaml("a: 1\nsecret: 'hunter2\n")
            .map(|_| ())
            .unwrap_err();
        assert!(problem.line.is_some());
        assert!(!problem.message.contains("hunter2"), "{}", problem.message);
        assert!(
            Node::from_yaml("a: 1\na: 2\n").is_err(),
            "a key given twice"
        );
    }
}
