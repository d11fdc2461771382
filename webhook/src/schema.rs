//! JSON Schemas of event types: compiled once, within bounds, and then asked per event.
//!
//! The validator is the `jsonschema` crate's. What is ours are the bounds, because a schema is
//! outside input and is run on every event of its type: size, nesting, references that leave it,
//! regular expressions, and how often one value may be looked at. A schema that passes
//! them takes time in proportion to the event, whatever is in either.
//!
//! Drafts 4, 6, 7, 2019-09 and 2020-12; the last when `$schema` does not say. Whether `format`
//! refuses or only describes is as the draft has it: up to draft 7 it refuses.

mod cost;
mod reference;
#[cfg(test)]
mod tests;

use std::fmt;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

/// Largest schema, bytes of its JSON without insignificant white space.
pub const BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of lists and maps in a schema.
pub const DEPTH_MAX: usize = 64;
/// How often one value of an event may be looked at, in the worst case.
pub const LOOKS_MAX: u64 = 1_000;
/// Largest compiled regular expression, bytes, and largest cache of its automaton. The engine
/// takes time in proportion to text and expression, whatever either says.
const PATTERN_BYTES_MAX: usize = 64 * 1024;
/// Regular expressions in one schema, so that all of them together take a few megabytes.
pub const PATTERNS_MAX: usize = 100;
/// Problems of one event that are named.
const PROBLEMS_MAX: usize = 5;
/// The validator lists all errors before the first can be read: an event that could have more
/// than so many is refused without their places.
const EXPLAINED_LOOKS_MAX: u64 = 50_000;
/// Longest place of a problem, characters: its steps are keys that a sender made up.
const PLACE_CHARACTERS_MAX: usize = 128;

/// A schema that cannot be used. Places are JSON pointers into the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Not a map.
    #[error("a JSON Schema is a JSON object")]
    Shape,
    /// Too large.
    #[error("has {bytes} bytes, at most {BYTES_MAX} are accepted")]
    Size {
        /// What it has.
        bytes: usize,
    },
    /// Nested too deep.
    #[error("is nested deeper than {DEPTH_MAX} levels")]
    Depth,
    /// `$schema` names something else.
    #[error("`$schema` names no draft that is known here: 4, 6, 7, 2019-09 or 2020-12")]
    Dialect,
    /// An identifier below the top changes what references mean.
    #[error("at `{at}`: an identifier below the top is not supported, refer by `#/...`")]
    Identifier {
        /// Where.
        at: String,
    },
    /// A reference out of the schema. Nothing is ever fetched.
    #[error(
        "at `{at}`: `{to}` leads out of the schema, and nothing is fetched; only references that start with `#` are followed"
    )]
    Outside {
        /// Where.
        at: String,
        /// To what.
        to: String,
    },
    /// A reference to nothing.
    #[error("at `{at}`: `{to}` refers to no schema")]
    Dangling {
        /// Where.
        at: String,
        /// To what.
        to: String,
    },
    /// A schema that demands itself of the same value.
    #[error("at `{at}/`: the schema refers back to itself for the same value, without end")]
    Endless {
        /// Where.
        at: String,
    },
    /// Too much work per value.
    #[error(
        "one value could be looked at {looks} times, at most {LOOKS_MAX} are accepted: use fewer alternatives"
    )]
    Costly {
        /// How often.
        looks: u64,
    },
    /// Too many regular expressions.
    #[error("has {count} regular expressions, at most {PATTERNS_MAX} are accepted")]
    Patterns {
        /// How many.
        count: usize,
    },
    /// A regular expression the linear engine does not have, or too large a one.
    #[error(
        "at `{at}`: no regular expression that is supported here: look-around and back-references are not, nor one of more than {PATTERN_BYTES_MAX} bytes when compiled"
    )]
    Pattern {
        /// Where.
        at: String,
    },
    /// Breaks the rules of its draft.
    #[error("at `{at}`: breaks the rule `{keyword}` of JSON Schema")]
    Invalid {
        /// Where.
        at: String,
        /// The keyword of the draft's own schema.
        keyword: String,
    },
}

/// A compiled schema.
pub struct Schema {
    validator: Validator,
    looks: u64,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({} looks)", self.looks)
    }
}

impl Schema {
    /// Compiles a schema. Whoever has its text checks [`BYTES_MAX`] on that before it is parsed.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        if !schema.is_object() {
            return Err(SchemaError::Shape);
        }
        if !is_shallower(schema, DEPTH_MAX) {
            return Err(SchemaError::Depth);
        }
        check_dialect(schema)?;
        let looks = cost::looks(schema)?;
        if looks > LOOKS_MAX {
            return Err(SchemaError::Costly { looks });
        }
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX);
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .build(schema)
            .map_err(|error| refused(&error))?;
        Ok(Self { validator, looks })
    }

    /// How many steps a check of a value of so many bytes may take: who runs where nothing may
    /// block hands a large one to a thread of its own.
    #[must_use]
    pub fn steps(&self, bytes: usize) -> u64 {
        // Two bytes are the least that a value takes in JSON.
        (bytes as u64 / 2 + 1).saturating_mul(self.looks)
    }

    /// Whether a value is as the schema wants it.
    ///
    /// # Errors
    /// [`Mismatch`] says where it is not.
    pub fn check(&self, value: &Value) -> Result<(), Mismatch> {
        if self.validator.is_valid(value) {
            return Ok(());
        }
        let mut mismatch = Mismatch {
            problems: Vec::new(),
            more: 0,
        };
        if count(value).saturating_mul(self.looks) <= EXPLAINED_LOOKS_MAX {
            let mut errors = self.validator.iter_errors(value);
            let named = errors
                .by_ref()
                .take(PROBLEMS_MAX)
                .map(|error| Problem::of(&error));
            mismatch.problems = named.collect();
            mismatch.more = errors.count();
        }
        Err(mismatch)
    }
}

/// What is wrong with a value. Names places and rules, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    problems: Vec<Problem>,
    more: usize,
}

/// One rule that a value breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    /// A JSON pointer into the value, `/` for all of it.
    at: String,
    /// The keyword of the schema; with the property for `required`.
    rule: String,
}

impl Problem {
    fn of(error: &ValidationError<'_>) -> Self {
        let at = place(error);
        let keyword = match error.kind() {
            // The schema `false`, under some keyword: that one says more.
            ValidationErrorKind::FalseSchema => {
                let path = error.schema_path().as_str();
                path.rsplit('/').next().unwrap_or_default()
            }
            kind => kind.keyword(),
        };
        let rule = match error.kind() {
            // The name is the schema's, not the sender's.
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                format!("{keyword} {}", cut(name))
            }
            _ => cut(keyword),
        };
        Self { at, rule }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.problems.is_empty() {
            return f.write_str("too large to say where");
        }
        for (index, Problem { at, rule }) in self.problems.iter().enumerate() {
            let comma = if index == 0 { "" } else { "; " };
            write!(f, "{comma}`{at}` breaks `{rule}`")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for Mismatch {}

fn is_shallower(value: &Value, levels: usize) -> bool {
    let Some(left) = levels.checked_sub(1) else {
        return !(value.is_array() || value.is_object());
    };
    match value {
        Value::Array(items) => items.iter().all(|item| is_shallower(item, left)),
        Value::Object(map) => map.values().all(|value| is_shallower(value, left)),
        _ => true,
    }
}

/// How many values there are in one. The parser bounds the nesting.
fn count(value: &Value) -> u64 {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

fn check_dialect(schema: &Value) -> Result<(), SchemaError> {
    const DRAFTS: [&str; 5] = [
        "json-schema.org/draft-04/schema",
        "json-schema.org/draft-06/schema",
        "json-schema.org/draft-07/schema",
        "json-schema.org/draft/2019-09/schema",
        "json-schema.org/draft/2020-12/schema",
    ];
    let Some(dialect) = schema.get("$schema") else {
        return Ok(());
    };
    let text = dialect.as_str().unwrap_or_default();
    let text = text.strip_suffix('#').unwrap_or(text);
    let name = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    match name {
        Some(name) if DRAFTS.contains(&name) => Ok(()),
        _ => Err(SchemaError::Dialect),
    }
}

/// What the validator has against a schema: a rule of the draft, or a regular expression.
fn refused(error: &ValidationError<'_>) -> SchemaError {
    let at = place(error);
    let is_pattern = match error.kind() {
        ValidationErrorKind::Format { format } => format == "regex",
        ValidationErrorKind::Pattern { .. } => true,
        _ => false,
    };
    if is_pattern {
        return SchemaError::Pattern { at };
    }
    SchemaError::Invalid {
        at,
        keyword: error.kind().keyword().to_owned(),
    }
}

/// Where in the value the error is; `/` for all of it.
fn place(error: &ValidationError<'_>) -> String {
    match error.instance_path().as_str() {
        "" => "/".to_owned(),
        pointer => cut(pointer),
    }
}

/// As much of a text out of a schema or an event as goes into a message.
fn cut(text: &str) -> String {
    text.chars().take(PLACE_CHARACTERS_MAX).collect()
}
