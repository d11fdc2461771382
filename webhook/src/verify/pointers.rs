//! JSON pointers of a preset, compiled: all values a preset asks for are found in one pass.
//!
//! The body is never turned into a tree. Numbers keep the text they were sent with, which is
//! what providers sign.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::compile::CompileError;

/// Deepest pointer of a preset, in steps. Reading goes no deeper, whatever a body nests.
const STEPS_MAX: usize = 16;
/// Most pointers of one preset.
const POINTERS_MAX: usize = 64;

/// The place of a pointer's value in [`Values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// The pointers of a preset as a tree of their steps.
#[derive(Debug, Default)]
pub(super) struct Pointers {
    root: Node,
    texts: Vec<Box<str>>,
}

#[derive(Debug, Default)]
struct Node {
    slot: Option<Slot>,
    children: Vec<Child>,
}

#[derive(Debug)]
struct Child {
    key: Box<str>,
    /// The key as a position in an array.
    index: Option<usize>,
    node: Node,
}

/// What the pointers of a preset found in one body.
#[derive(Debug)]
pub(super) struct Values<'r>(Vec<Value<'r>>);

/// What is at a pointer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'r> {
    /// Nothing.
    Missing,
    /// One value.
    Once(&'r RawValue),
    /// A key on the way stands twice: readers disagree which of the two counts.
    Repeated,
}

impl Pointers {
    /// The slot of a pointer; the same one for the same pointer.
    pub(super) fn slot(&mut self, field: &str, pointer: &str) -> Result<Slot, CompileError> {
        let invalid = |reason: &str| CompileError::invalid(field, format!("`{pointer}` {reason}"));
        if let Some(found) = self.texts.iter().position(|text| **text == *pointer) {
            return Ok(Slot(found));
        }
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(invalid("is no JSON pointer: it must begin with `/`"));
        }
        if pointer.split('/').count() > STEPS_MAX + 1 {
            return Err(invalid("goes too deep: at most 16 steps"));
        }
        if self.texts.len() == POINTERS_MAX {
            return Err(invalid("is one too many: at most 64 JSON pointers"));
        }
        let slot = Slot(self.texts.len());
        self.texts.push(pointer.into());
        let mut node = &mut self.root;
        for step in pointer.split('/').skip(1) {
            // RFC 6901: `~1` first, or `~01` would become a slash.
            node = node.child(&step.replace("~1", "/").replace("~0", "~"));
        }
        node.slot = Some(slot);
        Ok(slot)
    }

    /// Finds all pointers in `text`; `None` when it is not JSON.
    pub(super) fn find<'r>(&self, text: &'r str) -> Option<Values<'r>> {
        let mut values = Values(vec![Value::Missing; self.texts.len()]);
        let mut json = serde_json::Deserializer::from_str(text);
        let seed = Seed {
            node: &self.root,
            values: &mut values,
        };
        seed.deserialize(&mut json).ok()?;
        json.end().ok()?;
        Some(values)
    }
}

impl Node {
    fn child(&mut self, key: &str) -> &mut Self {
        let found = self.children.iter().position(|child| *child.key == *key);
        let at = found.unwrap_or(self.children.len());
        if found.is_none() {
            // As RFC 6901 has it: no sign and no leading zero.
            let index = key
                .parse()
                .ok()
                .filter(|index: &usize| index.to_string() == key);
            self.children.push(Child {
                key: key.into(),
                index,
                node: Self::default(),
            });
        }
        #[expect(clippy::indexing_slicing, reason = "found above, or just pushed")]
        &mut self.children[at].node
    }

    fn repeat(&self, values: &mut Values<'_>) {
        if let Some(slot) = self.slot {
            values.set(slot, Value::Repeated);
        }
        for child in &self.children {
            child.node.repeat(values);
        }
    }
}

impl<'r> Values<'r> {
    pub(super) fn get(&self, slot: Slot) -> Value<'r> {
        self.0.get(slot.0).copied().unwrap_or(Value::Missing)
    }

    fn set(&mut self, slot: Slot, value: Value<'r>) {
        if let Some(place) = self.0.get_mut(slot.0) {
            *place = value;
        }
    }
}

/// The text of a scalar: a string without its quotes and escapes, anything else as it was sent.
/// `None` for an object, an array, or a string that is no Unicode.
pub(super) fn scalar(value: &RawValue) -> Option<Cow<'_, [u8]>> {
    let text = value.get();
    match text.as_bytes() {
        [b'{' | b'[', ..] => None,
        [b'"', inside @ .., b'"'] if !inside.contains(&b'\\') => Some(Cow::Borrowed(inside)),
        [b'"', ..] => serde_json::from_str::<String>(text)
            .ok()
            .map(|text| Cow::Owned(text.into_bytes())),
        other => Some(Cow::Borrowed(other)),
    }
}

/// Whether the value is `null`.
pub(super) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// The elements of an array; `None` when it is none, or has more than `elements_max`.
pub(super) fn elements(value: &RawValue, elements_max: usize) -> Option<Vec<&RawValue>> {
    struct Elements(usize);

    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an array of at most {} elements", self.0)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = seq.next_element()? {
                if elements.len() == self.0 {
                    return Err(serde::de::Error::invalid_length(self.0 + 1, &self));
                }
                elements.push(element);
            }
            Ok(elements)
        }
    }

    serde_json::Deserializer::from_str(value.get())
        .deserialize_seq(Elements(elements_max))
        .ok()
}

/// Reads one value below `node` and notes what the pointers name.
struct Seed<'p, 'v, 'r> {
    node: &'p Node,
    values: &'v mut Values<'r>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let Some(slot) = self.node.slot else {
            return json.deserialize_any(self);
        };
        let raw: &'de RawValue = serde::Deserialize::deserialize(json)?;
        self.values.set(slot, Value::Once(raw));
        if self.node.children.is_empty() {
            return Ok(());
        }
        let mut inner = serde_json::Deserializer::from_str(raw.get());
        inner
            .deserialize_any(self)
            .map_err(serde::de::Error::custom)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // One bit for each child: a second value of a key must not be taken for the first.
        let mut seen = 0_u64;
        while let Some(child) = map.next_key_seed(Key(&self.node.children))? {
            let Some((at, child)) = child else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let bit = 1_u64.checked_shl(at).unwrap_or(0);
            if seen & bit != 0 {
                map.next_value::<IgnoredAny>()?;
                child.node.repeat(self.values);
                continue;
            }
            seen |= bit;
            map.next_value_seed(Seed {
                node: &child.node,
                values: self.values,
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let children = &self.node.children;
            let more = match children.iter().find(|child| child.index == Some(index)) {
                Some(child) => seq
                    .next_element_seed(Seed {
                        node: &child.node,
                        values: self.values,
                    })?
                    .is_some(),
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Which child a key names, without keeping the key.
struct Key<'p>(&'p [Child]);

impl<'de, 'p> DeserializeSeed<'de> for Key<'p> {
    type Value = Option<(u32, &'p Child)>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Key<'p> {
    type Value = Option<(u32, &'p Child)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok((0_u32..).zip(self.0).find(|(_, child)| *child.key == *key))
    }
}

#[cfg(test)]
mod tests;
