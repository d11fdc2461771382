//! What can be wrong with a field, and the collector of it.

use std::error::Error as StdError;

use crate::input::list;

/// A field whose value cannot be used. Never carries a secret.
#[derive(Debug, thiserror::Error)]
#[error("{}{reason}", place(.field))]
pub struct FieldError {
    /// Path of the field in the specification: `config.strategy.duration`; empty for all of it.
    pub field: String,
    /// What is wrong with it.
    pub reason: Reason,
}

fn place(field: &str) -> String {
    match field {
        "" => String::new(),
        field => format!("`{field}`: "),
    }
}

/// Why a value cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It has to be given.
    #[error("is missing")]
    Missing,
    /// A number outside its range, both ends included.
    #[error("must be from {min} to {max} {unit}")]
    OutOfRange {
        /// Smallest accepted value.
        min: u64,
        /// Largest accepted value.
        max: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// A text of the wrong length, or with characters that do not belong there.
    #[error("must be {0}")]
    Shape(&'static str),
    /// Not one of the words that are known here.
    #[error("must be {}", list(.0))]
    NotOneOf(&'static [&'static str]),
    /// Two fields that exclude each other.
    #[error("cannot be given together with `{0}`")]
    Conflict(&'static str),
    /// The contract has it, this version does not act on it.
    #[error("is not supported by this version")]
    Unsupported,
    /// What is not supported is one value of several.
    #[error("{0} is not supported by this version")]
    UnsupportedValue(&'static str),
    /// A rule between fields or resources.
    #[error("{0}")]
    Rule(String),
    /// A rule of the `webhook` crate refused the value.
    #[error("{0}")]
    Refused(#[source] Box<dyn StdError + Send + Sync>),
}

impl Reason {
    pub(crate) fn refused(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::Refused(Box::new(error))
    }

    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Shape(_) => "bad_shape",
            Self::NotOneOf(_) => "unknown_word",
            Self::Conflict(_) => "conflict",
            Self::Unsupported | Self::UnsupportedValue(_) => "unsupported",
            Self::Rule(_) => "rule",
            Self::Refused(_) => "refused",
        }
    }
}

/// Collects what is wrong with one specification.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    errors: Vec<FieldError>,
}

impl Checks {
    /// Reports a field.
    pub(crate) fn fail(&mut self, field: impl Into<String>, reason: Reason) {
        self.errors.push(FieldError {
            field: field.into(),
            reason,
        });
    }

    /// How many reports there are.
    pub(crate) fn len(&self) -> usize {
        self.errors.len()
    }

    /// The value, or the report of its error.
    pub(crate) fn take<T>(&mut self, field: &str, result: Result<T, Reason>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(reason) => {
                self.fail(field, reason);
                None
            }
        }
    }

    /// Reports a field that has to be given and is not.
    pub(crate) fn require<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.fail(field, Reason::Missing);
        }
        value
    }

    /// A number in its range. Not given, and 0, which clients send for not given, are `default`.
    pub(crate) fn number(
        &mut self,
        field: &str,
        value: Option<u64>,
        default: u64,
        range: Range,
    ) -> u64 {
        let value = value.filter(|value| *value != 0).unwrap_or(default);
        if !(range.min..=range.max).contains(&value) {
            self.fail(
                field,
                Reason::OutOfRange {
                    min: range.min,
                    max: range.max,
                    unit: range.unit,
                },
            );
        }
        value
    }

    /// Ends the checks: the value if nothing was wrong. `None` without a report cannot happen
    /// as long as every missing part was reported, and is then itself reported.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Vec<FieldError>> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            None if self.errors.is_empty() => {
                self.fail("", Reason::Rule("the resource is incomplete".to_owned()));
                Err(self.errors)
            }
            _ => Err(self.errors),
        }
    }
}

/// Range of a number, both ends included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) unit: &'static str,
}
