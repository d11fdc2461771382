//! What a subscription wants: event types, and for each of them which conditions count.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use outrider_webhook::event_type::{Glob, Pattern};
use outrider_webhook::filter::Filter;
use outrider_webhook::id::Uid;
use serde_json::Value;

use super::check::{Checks, Reason};
use super::field::given;
use super::filter_spec::{FilterRowSpec, Scoped};
use super::subscription::SubscriptionSpec;

/// Most event types of one subscription, rows among them.
const EVENT_TYPES_MAX: usize = 1000;
/// Most rows with conditions of their own.
const ROWS_MAX: usize = 100;

/// The event types a subscription wants, with their filters.
#[derive(Debug)]
pub(super) struct Interest {
    /// Most particular first: names by their text, then patterns by how much they say, then `*`.
    wants: Box<[(Pattern, Arc<Filter>)]>,
    /// How many of them are names.
    names: usize,
}

impl Interest {
    /// Checks event types, the filter for all of them, and the rows for single ones.
    pub(super) fn compile(spec: &SubscriptionSpec, checks: &mut Checks) -> Option<Self> {
        let config = spec.filter_config.as_ref();
        let types = config
            .and_then(|config| config.event_types.as_deref())
            .unwrap_or_default();
        let rows = spec.filters.as_deref().unwrap_or_default();
        if !is_within(
            checks,
            "filter_config.event_types",
            types.len(),
            EVENT_TYPES_MAX,
        ) || !is_within(checks, "filters", rows.len(), ROWS_MAX)
        {
            return None;
        }
        let shared = match config.and_then(|config| config.filter.as_ref()) {
            Some(filter) => compile("filter_config.filter", filter, checks),
            None => Some(Filter::default()),
        };
        let rows = rows.iter().enumerate();
        let rows: Vec<Option<Row>> = rows
            .map(|(at, row)| Row::compile(at, row, checks))
            .collect();
        unique_rows(spec.filters.as_deref().unwrap_or_default(), checks);
        let parse = |(at, text): (usize, &String)| {
            checks.take(
                &format!("filter_config.event_types[{at}]"),
                Pattern::parse(text).map_err(Reason::refused),
            )
        };
        let patterns: Vec<Option<Pattern>> = types.iter().enumerate().map(parse).collect();
        let shared = Arc::new(shared?);
        let rows = rows.into_iter().collect::<Option<Vec<Row>>>()?;
        let mut patterns = patterns.into_iter().collect::<Option<Vec<Pattern>>>()?;
        if patterns.is_empty() && rows.is_empty() {
            patterns.push(Pattern::Any);
        }
        // A row stands for its event type whether or not that is listed too.
        let own: HashSet<&Pattern> = rows.iter().map(|row| &row.pattern).collect();
        patterns.retain(|pattern| !own.contains(pattern));
        let listed = patterns
            .into_iter()
            .map(|pattern| (pattern, Arc::clone(&shared)));
        let rows = rows.into_iter().filter(|row| !row.is_disabled);
        let mut wants: Vec<_> = rows
            .map(|row| (row.pattern, row.filter))
            .chain(listed)
            .collect();
        wants.sort_by(|(a, _), (b, _)| {
            rank(b)
                .cmp(&rank(a))
                .then_with(|| a.as_str().cmp(b.as_str()))
        });
        wants.dedup_by(|(a, _), (b, _)| a == b);
        let names = wants.partition_point(|(pattern, _)| matches!(pattern, Pattern::Exact(_)));
        Some(Self {
            wants: wants.into(),
            names,
        })
    }

    /// The patterns, each once.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.wants.iter().map(|(pattern, _)| pattern)
    }

    /// The filter, if there is but one pattern.
    pub(super) fn sole_filter(&self) -> Option<&Filter> {
        match &*self.wants {
            [(_, filter)] => Some(filter),
            _ => None,
        }
    }

    /// The pattern with stars that is the most particular one to match.
    pub(super) fn leading_glob(&self, event_type: &str) -> Option<&Glob> {
        let found = self.find(event_type).map(|(pattern, _)| pattern);
        found.and_then(|pattern| match pattern {
            Pattern::Glob(glob) => Some(glob),
            Pattern::Any | Pattern::Exact(_) => None,
        })
    }

    /// The filter for events of this type: that of the most particular pattern. `None` when the
    /// type is not wanted.
    pub(super) fn filter(&self, event_type: &str) -> Option<&Filter> {
        self.find(event_type).map(|(_, filter)| &**filter)
    }

    fn find(&self, event_type: &str) -> Option<&(Pattern, Arc<Filter>)> {
        let (names, rest) = self.wants.split_at_checked(self.names)?;
        let named = names.binary_search_by(|(pattern, _)| pattern.as_str().cmp(event_type));
        match named.ok().and_then(|at| names.get(at)) {
            Some(named) => Some(named),
            None => rest.iter().find(|(pattern, _)| pattern.matches(event_type)),
        }
    }
}

fn rank(pattern: &Pattern) -> (u8, usize) {
    match pattern {
        Pattern::Exact(_) => (2, 0),
        Pattern::Glob(glob) => (1, glob.literal_bytes()),
        Pattern::Any => (0, 0),
    }
}

/// A row that was checked.
struct Row {
    pattern: Pattern,
    filter: Arc<Filter>,
    is_disabled: bool,
}

impl Row {
    fn compile(at: usize, spec: &FilterRowSpec, checks: &mut Checks) -> Option<Self> {
        let place = format!("filters[{at}]");
        let field = format!("{place}.event_type");
        let text = checks.require(&field, given(spec.event_type.as_deref()));
        let pattern = text
            .and_then(|text| checks.take(&field, Pattern::parse(text).map_err(Reason::refused)));
        if let Some(uid) = given(spec.uid.as_deref()) {
            checks.take(
                &format!("{place}.uid"),
                uid.parse::<Uid>().map_err(Reason::refused),
            );
        }
        let filter = compile(&place, spec, checks);
        Some(Self {
            pattern: pattern?,
            filter: Arc::new(filter?),
            is_disabled: spec.is_disabled.unwrap_or(false),
        })
    }
}

/// Two rows for one event type would be one that counts and one that does not.
fn unique_rows(rows: &[FilterRowSpec], checks: &mut Checks) {
    let (mut types, mut uids) = (HashSet::new(), HashSet::new());
    for (at, row) in rows.iter().enumerate() {
        for (field, value, seen) in [
            ("event_type", row.event_type.as_deref(), &mut types),
            ("uid", row.uid.as_deref(), &mut uids),
        ] {
            if given(value).is_some_and(|value| !seen.insert(value)) {
                let reason =
                    Reason::Rule("is that of another filter of this subscription".to_owned());
                checks.fail(format!("filters[{at}].{field}"), reason);
            }
        }
    }
}

/// Compiles conditions; every problem is reported with its place.
fn compile(place: &str, spec: &impl Scoped, checks: &mut Checks) -> Option<Filter> {
    let conditions = spec.conditions();
    let given = conditions
        .iter()
        .map(|(scope, value): &(_, Value)| (*scope, value));
    match Filter::compile(given) {
        Ok(filter) => Some(filter),
        Err(problems) => {
            for error in problems {
                checks.fail(
                    format!("{place}.{}", error.path),
                    Reason::refused(error.problem),
                );
            }
            None
        }
    }
}

fn is_within(checks: &mut Checks, field: &str, count: usize, max: usize) -> bool {
    if count > max {
        let reason = Reason::OutOfRange {
            min: 0,
            max: max as u64,
            unit: "entries",
        };
        checks.fail(field, reason);
    }
    count <= max
}
