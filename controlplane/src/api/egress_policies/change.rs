//! Changing a policy: only what is given changes.

use outrider_config::resource::{EgressPolicySpec, FieldError, Reason};

use super::super::endpoints::keep;
use super::super::error::ApiError;

/// The policy with what is given of it. Lists are given as a whole; an empty `deny` or `ports`
/// takes the list away.
///
/// # Errors
/// An empty `only` or `projects`, which can be meant as nothing or none: without the first one all
/// is open, and without the second one the policy is for all projects.
pub(super) fn merged(
    old: EgressPolicySpec,
    mut given: EgressPolicySpec,
) -> Result<EgressPolicySpec, ApiError> {
    let empty = [
        (
            "only",
            is_empty(given.only.as_ref()),
            "is empty, which could be meant as nothing or as all: to let all be called again, make \
             another policy without `only`, if one is needed, and delete this one",
        ),
        (
            "projects",
            is_empty(given.projects.as_ref()),
            "is empty, which could be meant as no project or as all: make another policy without \
             `projects` for one of all, or delete this one",
        ),
    ];
    let errors = empty.into_iter().filter(|(_, is_empty, _)| *is_empty);
    let errors: Vec<FieldError> = errors
        .map(|(field, _, says)| FieldError {
            field: field.to_owned(),
            reason: Reason::Rule(says.to_owned()),
        })
        .collect();
    if !errors.is_empty() {
        return Err(errors.into());
    }
    keep(&mut given.name, old.name);
    keep(&mut given.projects, old.projects);
    keep_list(&mut given.deny, old.deny);
    keep(&mut given.only, old.only);
    keep_list(&mut given.ports, old.ports);
    Ok(given)
}

fn is_empty<T>(given: Option<&Vec<T>>) -> bool {
    given.is_some_and(Vec::is_empty)
}

fn keep_list<T>(given: &mut Option<Vec<T>>, old: Option<Vec<T>>) {
    keep(given, old);
    if is_empty(given.as_ref()) {
        *given = None;
    }
}
