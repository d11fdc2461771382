//! The view of XML. No document type is read, so there are no entities but the five that XML
//! itself has, and nothing is ever fetched or expanded.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use serde_json::{Map, Value};

use super::VALUES_MAX;

/// Elements within elements; as for JSON.
const DEPTH_MAX: usize = 128;

/// The view, when the body is one well-formed element in UTF-8 within the bounds.
pub(super) fn view(body: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(body).ok()?;
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut tree = Tree::default();
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => tree.open(&start)?,
            Event::End(_) => tree.close()?,
            Event::Text(text) => tree.text(&text.decode().ok()?)?,
            Event::CData(text) => tree.text(&text.decode().ok()?)?,
            Event::GeneralRef(reference) => tree.text(&referred(&reference)?)?,
            // We read UTF-8 only, whatever a declaration says.
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::DocType(_) | Event::Empty(_) => return None,
            Event::Eof => return tree.finish(),
        }
    }
}

/// The text that a reference stands for: a character by number, or one of the five.
fn referred(reference: &BytesRef<'_>) -> Option<String> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character.to_string());
    }
    let name = reference.decode().ok()?;
    resolve_predefined_entity(&name).map(str::to_owned)
}

/// Elements that are open, and the one that is whole.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Option<(String, Value)>,
    values: usize,
}

/// An element whose end was not read yet.
#[derive(Default)]
struct Element {
    name: String,
    /// Attributes and children.
    members: Map<String, Value>,
    text: String,
}

impl Tree {
    fn open(&mut self, start: &BytesStart<'_>) -> Option<()> {
        let is_second_root = self.open.is_empty() && self.root.is_some();
        if is_second_root || self.open.len() >= DEPTH_MAX {
            return None;
        }
        self.count()?;
        let mut element = Element {
            name: std::str::from_utf8(start.name().as_ref()).ok()?.to_owned(),
            ..Element::default()
        };
        // Checks that no attribute stands twice.
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            self.count()?;
            let name = std::str::from_utf8(attribute.key.as_ref()).ok()?;
            let value = attribute.unescape_value().ok()?;
            let value = Value::String(value.into_owned());
            element.members.insert(format!("@{name}"), value);
        }
        self.open.push(element);
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        let element = self.open.pop()?;
        let (name, value) = element.finish();
        match self.open.last_mut() {
            Some(parent) => parent.add(name, value),
            None => self.root = Some((name, value)),
        }
        Some(())
    }

    fn text(&mut self, text: &str) -> Option<()> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            // Between the parts of a document only blanks may stand.
            None if text.trim().trim_start_matches('\u{feff}').is_empty() => {}
            None => return None,
        }
        Some(())
    }

    fn count(&mut self) -> Option<()> {
        self.values += 1;
        (self.values <= VALUES_MAX).then_some(())
    }

    fn finish(self) -> Option<Value> {
        let (name, value) = self.root.filter(|_| self.open.is_empty())?;
        Some(Value::Object(Map::from_iter([(name, value)])))
    }
}

impl Element {
    /// A name that comes again makes an array of what has it.
    fn add(&mut self, name: String, value: Value) {
        match self.members.get_mut(&name) {
            None => {
                self.members.insert(name, value);
            }
            Some(Value::Array(all)) => all.push(value),
            Some(first) => {
                let first_value = first.take();
                *first = Value::Array(vec![first_value, value]);
            }
        }
    }

    fn finish(mut self) -> (String, Value) {
        if self.members.is_empty() {
            return (self.name, Value::String(self.text));
        }
        // Blanks between children are layout.
        let text = self.text.trim();
        if !text.is_empty() {
            let text = Value::String(text.to_owned());
            self.members.insert("#text".to_owned(), text);
        }
        (self.name, Value::Object(self.members))
    }
}
