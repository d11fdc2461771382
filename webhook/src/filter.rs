//! Filters: which events a subscription wants, by what is in them (contract section 8).
//!
//! A filter is compiled once, when it is configured, and asked for every event of a matching
//! type. It is written by people we do not know and meets bytes from people they do not know: so
//! everything about it is bounded, when it is compiled ([`limit`]) and when it is asked
//! ([`Budget`]). The compiled filter serves both modes; which one holds is for the project to
//! say, at the moment of asking.
//!
//! - `compile`: JSON to conditions, every problem with its path
//! - `op`: one file for each family of operators, listed in `op::OPS`
//! - `path`: from a dotted path to the values in an event
//! - `evaluate`: the two modes
//! - `demand`: what can be known of a match without asking, for indexes of filters
//! - `views`: the four parts of an event, made when first asked for
//!
//! Pure: no clock, no I/O, and no memory of earlier events.

mod compile;
mod demand;
mod error;
mod evaluate;
pub mod limit;
mod node;
mod number;
mod op;
mod path;
mod views;

#[cfg(test)]
mod tests;

pub use demand::{Demand, Place, Sighting, ValueKey};
pub use error::{CompileError, Problem};
pub use evaluate::{Budget, Fault, Verdict};
pub use views::Views;

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use node::Clause;

/// How a filter is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Every condition counts, whether or not the event has what it looks at.
    #[default]
    Strict,
    /// As Convoy's matcher answers, with its surprises: a condition on what the event does not
    /// have is passed over when any other one has a verdict.
    Convoy,
}

impl Mode {
    /// The words for the modes.
    pub const WORDS: &[&str] = &["strict", "convoy"];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Convoy => "convoy",
        }
    }
}

/// A word that is no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a filter mode is `strict` or `convoy`")]
pub struct UnknownMode;

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(word: &str) -> Result<Self, UnknownMode> {
        match word {
            "strict" => Ok(Self::Strict),
            "convoy" => Ok(Self::Convoy),
            _ => Err(UnknownMode),
        }
    }
}

/// The parts of an event a filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The first value of each header, by lower-case name.
    Headers,
    /// The parameters of the query; repeated ones are lists.
    Query,
    /// `{"path": "<path of the URL>"}`.
    Path,
    /// The JSON view of the body.
    Body,
}

impl Scope {
    /// In the order in which they are asked: what costs least first. Leaves are counted in this
    /// order too.
    pub const ALL: [Self; 4] = [Self::Headers, Self::Query, Self::Path, Self::Body];

    /// Its name in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Query => "query",
            Self::Path => "path",
            Self::Body => "body",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A compiled filter. All its scopes must match; one without conditions does.
#[derive(Debug, Default)]
pub struct Filter {
    clauses: Vec<Clause>,
    /// What each leaf is, by its index: `body.amount.$gt`.
    leaves: Vec<Box<str>>,
}

impl Filter {
    /// Compiles the scopes of a filter; `null` is a scope without conditions.
    ///
    /// # Errors
    /// Every problem, each with its path: `body.amount.$foo`.
    pub fn compile<'v>(
        scopes: impl IntoIterator<Item = (Scope, &'v Value)>,
    ) -> Result<Self, Vec<CompileError>> {
        compile::filter(scopes)
    }

    /// Whether it matches every event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clauses.is_empty()
    }

    /// Asks it about an event.
    #[must_use]
    pub fn evaluate(&self, views: &Views<'_>, mode: Mode, budget: &mut Budget) -> Verdict {
        evaluate::filter(&self.clauses, views, mode, budget)
    }

    /// What it demands: of each of these demands an event that it matches meets one value, or, in
    /// Convoy's mode, has nothing at one of its places. A filter may match without demanding
    /// anything that can be looked for.
    pub fn demands(&self) -> impl Iterator<Item = Demand> {
        let clauses = self.clauses.iter();
        clauses.flat_map(|clause| demand::of_nodes(clause.scope, &clause.nodes))
    }

    /// What the leaf with this index is, as verdicts name it: `body.amount.$gt`.
    #[must_use]
    pub fn leaf(&self, index: u16) -> Option<&str> {
        self.leaves.get(usize::from(index)).map(|label| &**label)
    }
}
