//! Asking a compiled filter about an event, in either mode, within a budget.

use std::ops::ControlFlow;

use serde_json::Value;

use super::limit::{STEPS_PER_EVENT, STEPS_PER_FILTER};
use super::node::{Clause, Group, Leaf, Node};
use super::op::{Condition, Test};
use super::path::Flow;
use super::{Mode, Scope, Views};

/// What a filter says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It wants it.
    Match,
    /// It does not.
    Refused {
        /// Index of the condition that failed; of `$or` and `$and` the first in them.
        leaf: u16,
    },
    /// It cannot say: no match on delivery, an error where filters are tried out.
    Failed {
        /// Index of the condition that could not be asked.
        leaf: u16,
        /// Why.
        fault: Fault,
    },
}

/// Why a filter cannot say whether it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Convoy's mode: more than a number was asked of what is none.
    #[error("`$gt` and `$gte` need a number")]
    NotANumber,
    /// Convoy's mode: a regular expression for what is no text.
    #[error("`$regex` needs a text")]
    NotAText,
    /// The budget is used up.
    #[error("the filter takes too many steps for this event")]
    TooMuchWork,
}

impl Fault {
    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotANumber => "not_a_number",
            Self::NotAText => "not_a_text",
            Self::TooMuchWork => "too_much_work",
        }
    }
}

/// How many steps the filters of one event may still take. One filter cannot use up those of
/// the others.
#[derive(Debug)]
pub struct Budget {
    event: u32,
    filter: u32,
}

impl Budget {
    /// The whole budget of an event.
    #[must_use]
    pub const fn for_event() -> Self {
        Self {
            event: STEPS_PER_EVENT,
            filter: STEPS_PER_FILTER,
        }
    }

    #[cfg(test)]
    pub(super) const fn of_steps(steps: u32) -> Self {
        Self {
            event: steps,
            filter: steps,
        }
    }

    /// A filter begins.
    pub(super) fn next_filter(&mut self) {
        self.filter = STEPS_PER_FILTER.min(self.event);
    }

    /// Takes steps, or says that there are none left.
    pub(super) fn spend(&mut self, steps: u32) -> Flow {
        match self.filter.checked_sub(steps) {
            Some(left) => {
                self.filter = left;
                self.event = self.event.saturating_sub(steps);
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(Err(Fault::TooMuchWork)),
        }
    }

    pub(super) fn spend_for(&mut self, steps: usize) -> Flow {
        self.spend(u32::try_from(steps).unwrap_or(u32::MAX))
    }
}

/// Turns what stopped a walk into a result.
pub(super) trait IntoResult {
    fn into_result(self) -> Result<(), Fault>;
}

impl IntoResult for Flow {
    fn into_result(self) -> Result<(), Fault> {
        match self {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(stopped) => stopped,
        }
    }
}

/// All clauses must match.
pub(super) fn filter(
    clauses: &[Clause],
    views: &Views<'_>,
    mode: Mode,
    budget: &mut Budget,
) -> Verdict {
    budget.next_filter();
    for clause in clauses {
        // A body without a JSON view has nothing at any path.
        let root = views.value(clause.scope).unwrap_or(&Value::Null);
        let mut asking = Asking {
            root,
            scope: clause.scope,
            mode,
            budget,
        };
        match asking.all(&clause.nodes) {
            Ok(None) => {}
            Ok(Some(leaf)) => return Verdict::Refused { leaf },
            Err((leaf, fault)) => return Verdict::Failed { leaf, fault },
        }
    }
    Verdict::Match
}

struct Asking<'a, 'b> {
    root: &'a Value,
    scope: Scope,
    mode: Mode,
    budget: &'b mut Budget,
}

/// The leaf that failed, if one did.
type Failing = Result<Option<u16>, (u16, Fault)>;

impl Asking<'_, '_> {
    /// Whether all of these hold. In Convoy's mode those without a verdict are passed over, but
    /// not all of them.
    fn all(&mut self, nodes: &[Node]) -> Failing {
        let mut has_verdict = false;
        for node in nodes {
            match self.node(node)? {
                Some(false) => return Ok(Some(node.index())),
                Some(true) => has_verdict = true,
                None => {}
            }
        }
        match nodes.first() {
            Some(first) if !has_verdict => Ok(Some(first.index())),
            _ => Ok(None),
        }
    }

    /// `None` without a verdict, which there always is in strict mode.
    fn node(&mut self, node: &Node) -> Result<Option<bool>, (u16, Fault)> {
        match node {
            Node::Leaf(leaf) => {
                let asked = match self.mode {
                    Mode::Strict => self.strict(leaf).map(Some),
                    Mode::Convoy => self.convoy(leaf),
                };
                asked.map_err(|fault| (leaf.index, fault))
            }
            Node::Any(group) => self.group(group, true).map(Some),
            Node::All(group) => self.group(group, false).map(Some),
        }
    }

    /// In order, and no further than it takes: up to the first filter that says `until`.
    fn group(&mut self, group: &Group, until: bool) -> Result<bool, (u16, Fault)> {
        for filter in &group.filters {
            if self.all(filter)?.is_none() == until {
                return Ok(until);
            }
        }
        Ok(!until)
    }

    fn strict(&mut self, leaf: &Leaf) -> Result<bool, Fault> {
        match &leaf.test {
            Test::Present(wanted) => Ok(self.any(leaf, None)? == *wanted),
            Test::Some(condition) => self.any(leaf, Some(&**condition)),
            Test::None(condition) => Ok(!self.any(leaf, Some(&**condition))?),
        }
    }

    /// Whether any value at the path is so, or is there.
    fn any(&mut self, leaf: &Leaf, condition: Option<&dyn Condition>) -> Result<bool, Fault> {
        let mut found = false;
        let mode = self.mode;
        let visited =
            leaf.path.visit(
                self.root,
                mode,
                self.budget,
                &mut |value, budget| match condition
                    .map_or(Ok(true), |condition| condition.ask(value, mode, budget))
                {
                    Ok(false) => ControlFlow::Continue(()),
                    Ok(true) => {
                        found = true;
                        ControlFlow::Break(Ok(()))
                    }
                    Err(fault) => ControlFlow::Break(Err(fault)),
                },
            );
        visited.into_result().map(|()| found)
    }

    /// `None` when there is nothing at the path, or only null. Any value that is so is enough,
    /// also when none may be.
    fn convoy(&mut self, leaf: &Leaf) -> Result<Option<bool>, Fault> {
        if self.scope == Scope::Headers && !leaf.path.is_canonical() {
            return Ok(None);
        }
        let mut verdict = None;
        let mut look = |value: &Value, budget: &mut Budget| {
            if value.is_null() {
                return ControlFlow::Continue(());
            }
            let asked = match &leaf.test {
                Test::Present(wanted) => Ok(*wanted),
                Test::Some(condition) => condition.ask(value, Mode::Convoy, budget),
                Test::None(condition) => condition.ask(value, Mode::Convoy, budget).map(|is| !is),
            };
            match asked {
                Err(fault) => ControlFlow::Break(Err(fault)),
                Ok(is_so) => {
                    verdict = Some(is_so);
                    match is_so {
                        true => ControlFlow::Break(Ok(())),
                        false => ControlFlow::Continue(()),
                    }
                }
            }
        };
        let visited = leaf
            .path
            .visit(self.root, Mode::Convoy, self.budget, &mut look);
        visited.into_result().map(|()| verdict)
    }
}
