//! From a dotted path to the values in an event.
//!
//! Both sides are one level of dotted names to whoever writes a filter (contract 8.2), so a name
//! in the payload may itself have dots: at each object the next names are tried one by one and
//! joined. Nothing is flattened for it.

use std::ops::ControlFlow;

use serde_json::Value;

use super::evaluate::{Budget, Fault};
use super::limit::{PATH_BYTES_MAX, SEGMENTS_MAX, WILDCARDS_MAX};
use super::{Mode, Problem};

/// Any index of a list.
pub(super) const WILDCARD: &str = "$";

/// A parsed path.
#[derive(Debug)]
pub(super) struct Path {
    text: Box<str>,
    segments: Box<[Segment]>,
    /// Whether a header of this name is stored so, or is this name as Go spells it.
    is_canonical: bool,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    start: usize,
    end: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    /// A name that is also an index of a list.
    Index(usize),
    Wildcard,
}

impl Path {
    /// Parses the whole path of a condition.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > PATH_BYTES_MAX {
            return Err(Problem::PathTooLong);
        }
        let mut segments = Vec::new();
        let mut start = 0;
        for name in text.split('.') {
            let end = start + name.len();
            let kind = match name {
                WILDCARD => Kind::Wildcard,
                name if name.starts_with('$') => return Err(Problem::OperatorInPath),
                name => index(name).map_or(Kind::Name, Kind::Index),
            };
            segments.push(Segment { start, end, kind });
            start = end + 1;
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(Problem::PathTooLong);
        }
        let is_wild = |segment: &&Segment| segment.kind == Kind::Wildcard;
        if segments.last().as_ref().is_some_and(is_wild) {
            return Err(Problem::TrailingWildcard);
        }
        if segments.iter().filter(is_wild).count() > WILDCARDS_MAX {
            return Err(Problem::Wildcards);
        }
        Ok(Self {
            text: text.into(),
            segments: segments.into(),
            is_canonical: true,
        })
    }

    /// Parses the name of a header, which is one name whatever is in it. Kept in lower case, as
    /// headers are.
    pub(super) fn header(name: &str) -> Result<Self, Problem> {
        if name.len() > PATH_BYTES_MAX {
            return Err(Problem::PathTooLong);
        }
        let segment = Segment {
            start: 0,
            end: name.len(),
            kind: Kind::Name,
        };
        let text = name.to_ascii_lowercase();
        Ok(Self {
            is_canonical: name == text || is_canonical(name),
            text: text.into(),
            segments: Box::new([segment]),
        })
    }

    /// The path as it is looked up.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether Convoy, which tells `X-Id` from `x-ID`, would find a header by this name.
    pub(super) fn is_canonical(&self) -> bool {
        self.is_canonical
    }

    /// Calls `each` with every value at the path until it breaks.
    pub(super) fn visit<'v>(
        &self,
        root: &'v Value,
        mode: Mode,
        budget: &mut Budget,
        each: &mut dyn FnMut(&'v Value, &mut Budget) -> Flow,
    ) -> Flow {
        let mut walk = Walk {
            path: self,
            mode,
            budget,
            each,
        };
        walk.descend(root, 0, None)
    }
}

/// Goes on, or stops because it is decided or cannot go on.
pub(super) type Flow = ControlFlow<Result<(), Fault>>;

struct Walk<'w, 'v> {
    path: &'w Path,
    mode: Mode,
    budget: &'w mut Budget,
    each: &'w mut dyn FnMut(&'v Value, &mut Budget) -> Flow,
}

impl<'v> Walk<'_, 'v> {
    /// `range` is how many indexes Convoy gives every wildcard of a path: as many as the first
    /// list on it has.
    fn descend(&mut self, value: &'v Value, at: usize, range: Option<usize>) -> Flow {
        self.budget.spend(1)?;
        let Some(segment) = self.path.segments.get(at).copied() else {
            return match self.mode {
                Mode::Convoy if !is_flat(value) => ControlFlow::Continue(()),
                _ => (self.each)(value, self.budget),
            };
        };
        match value {
            Value::Object(map) => self.enter(map, at, range),
            Value::Array(items) => self.index(items, segment.kind, at, range),
            _ => ControlFlow::Continue(()),
        }
    }

    fn enter(
        &mut self,
        map: &'v serde_json::Map<String, Value>,
        at: usize,
        range: Option<usize>,
    ) -> Flow {
        let rest = self.path.segments.get(at..).unwrap_or_default();
        let Some(start) = rest.first().map(|segment| segment.start) else {
            return ControlFlow::Continue(());
        };
        for (taken, segment) in rest.iter().enumerate() {
            if segment.kind == Kind::Wildcard {
                break;
            }
            self.budget.spend(1)?;
            let name = self.path.text.get(start..segment.end).unwrap_or_default();
            if let Some(child) = map.get(name) {
                self.descend(child, at + taken + 1, range)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn index(&mut self, items: &'v [Value], kind: Kind, at: usize, range: Option<usize>) -> Flow {
        let mut range = range;
        if self.mode == Mode::Convoy {
            if !is_list_of_objects(items) {
                return ControlFlow::Continue(());
            }
            range = Some(range.unwrap_or(items.len()));
        }
        match kind {
            Kind::Wildcard => {
                for item in items.iter().take(range.unwrap_or(items.len())) {
                    self.descend(item, at + 1, range)?;
                }
                ControlFlow::Continue(())
            }
            Kind::Index(index) => match items.get(index) {
                Some(item) => self.descend(item, at + 1, range),
                None => ControlFlow::Continue(()),
            },
            Kind::Name => ControlFlow::Continue(()),
        }
    }
}

/// Whether the value still stands under its own path after Convoy's flattening.
fn is_flat(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => !is_list_of_objects(items),
        _ => true,
    }
}

fn is_list_of_objects(items: &[Value]) -> bool {
    items.first().is_some_and(Value::is_object)
}

/// An index as it is written in decimal, and in no other way.
fn index(name: &str) -> Option<usize> {
    let is_plain = name == "0" || !name.starts_with(['0', '+']);
    name.parse().ok().filter(|_| is_plain)
}

/// Whether each word begins with a capital and goes on without.
fn is_canonical(name: &str) -> bool {
    name.split('-').all(|word| {
        let mut letters = word.bytes();
        letters
            .next()
            .is_none_or(|first| !first.is_ascii_lowercase())
            && letters.all(|rest| !rest.is_ascii_uppercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bad_paths_are_refused() {
        for (text, problem) in [
            ("a.$", Problem::TrailingWildcard),
            ("$", Problem::TrailingWildcard),
            ("a.$gt", Problem::OperatorInPath),
            ("$.a.$.b.$.c.$.d", Problem::Wildcards),
            (&"a".repeat(1025), Problem::PathTooLong),
            (&["a"; 33].join("."), Problem::PathTooLong),
        ] {
            assert_eq!(Path::parse(text).err(), Some(problem), "{text}");
        }
        assert!(Path::parse("$.a.$.b.$.c").is_ok());
        assert!(Path::parse(&["a"; 32].join(".")).is_ok());
    }

    fn found(path: &str, root: &Value, mode: Mode) -> Vec<Value> {
        let mut found = Vec::new();
        let mut budget = Budget::for_event();
        let flow = Path::parse(path)
            .unwrap()
            .visit(root, mode, &mut budget, &mut |value, _| {
                found.push(value.clone());
                ControlFlow::Continue(())
            });
        assert_eq!(flow, ControlFlow::Continue(()));
        found
    }

    #[test]
    fn names_with_dots_are_found_however_they_are_split() {
        let root = json!({"a": {"b.c": 1, "b": {"c": 2}}, "a.b": {"c": 3}, "a.b.c": 4});
        assert_eq!(found("a.b.c", &root, Mode::Strict), [2, 1, 3, 4]);
        assert_eq!(found("a.b.d", &root, Mode::Strict), [(); 0].map(|()| 0));
    }

    #[test]
    fn indexes_are_decimal_and_wildcards_are_lists() {
        let root = json!({"l": [{"x": 1}, {"x": 2}], "o": {"0": {"x": 3}, "y": {"x": 4}}});
        assert_eq!(found("l.1.x", &root, Mode::Strict), [2]);
        assert_eq!(found("l.$.x", &root, Mode::Strict), [1, 2]);
        assert_eq!(found("o.0.x", &root, Mode::Strict), [3]);
        for none in ["l.01.x", "l.+1.x", "l.2.x", "o.$.x", "l.x"] {
            assert!(found(none, &root, Mode::Strict).is_empty(), "{none}");
        }
    }

    #[test]
    fn flattened_lists_of_scalars_have_no_indexes_and_objects_no_values() {
        let root = json!({"l": [1, 2], "o": {"x": 1}, "e": {}, "d": [{"x": 1}]});
        assert_eq!(found("l.1", &root, Mode::Strict), [2]);
        assert!(found("l.1", &root, Mode::Convoy).is_empty());
        assert_eq!(found("o", &root, Mode::Strict).len(), 1);
        assert!(found("o", &root, Mode::Convoy).is_empty());
        assert!(found("d", &root, Mode::Convoy).is_empty());
        assert_eq!(found("e", &root, Mode::Convoy), [json!({})]);
    }

    #[test]
    fn a_header_is_one_name_in_any_case() {
        for (name, is_canonical) in [
            ("x-id", true),
            ("X-Id", true),
            ("X-GitHub-Event", false),
            ("X-Github-Event", true),
            ("x-ID", false),
        ] {
            let path = Path::header(name).unwrap();
            assert_eq!(path.is_canonical(), is_canonical, "{name}");
            assert_eq!(&*path.text, name.to_ascii_lowercase());
        }
    }
}
