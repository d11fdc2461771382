//! The policies of a file that close destinations.

use std::collections::HashSet;

use outrider_webhook::id::{EgressPolicyId, Uid};

use super::homes::Homes;
use super::parse::Read;
use crate::problem::Problem;
use crate::resource::{EGRESS_POLICIES_MAX, EgressPolicy, EgressPolicySpec};

/// Checks the policies, and that they name projects.
pub(super) fn check(
    read: &[Read<EgressPolicySpec>],
    homes: &Homes<'_>,
    problems: &mut Vec<Problem>,
) {
    if let Some(beyond) = read.get(EGRESS_POLICIES_MAX) {
        let message = format!("an installation has at most {EGRESS_POLICIES_MAX} egress policies");
        problems.push(beyond.place.problem("", message));
    }
    let mut names = HashSet::new();
    for one in read {
        let mut spec = one.spec.clone();
        homes.put_uids(&mut spec.projects, &one.place, problems);
        let id = EgressPolicyId::new(Uid::from_bits(0)); // the checks do not look at it
        let policy = match EgressPolicy::compile(id, 0, &spec) {
            Ok(policy) => policy,
            Err(mut errors) => {
                let closes = |field: &&str| one.place.misfits_in(field);
                // What closes something is there, and was told to be of the wrong type.
                let is_told = ["deny", "only", "ports"].iter().any(closes);
                errors.retain(|error| !(is_told && error.field.is_empty()));
                one.place.report(errors, problems);
                continue;
            }
        };
        if !names.insert(policy.name().to_string()) {
            let message = format!("an egress policy called `{}` already exists", policy.name());
            problems.push(one.place.problem("name", message));
        }
    }
}
