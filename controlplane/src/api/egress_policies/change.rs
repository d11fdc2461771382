//! Changing a policy: only what is given changes.

use outrider_config::resource::EgressPolicySpec;

use super::super::endpoints::keep;

/// The policy with what is given of it. Lists are given as a whole; an empty one takes the list
/// away, and that of projects makes the policy one for all.
pub(super) fn merged(old: EgressPolicySpec, mut given: EgressPolicySpec) -> EgressPolicySpec {
    keep(&mut given.name, old.name);
    keep_list(&mut given.projects, old.projects);
    keep_list(&mut given.deny, old.deny);
    keep_list(&mut given.only, old.only);
    keep_list(&mut given.ports, old.ports);
    given
}

fn keep_list<T>(given: &mut Option<Vec<T>>, old: Option<Vec<T>>) {
    keep(given, old);
    if given.as_ref().is_some_and(Vec::is_empty) {
        *given = None;
    }
}
