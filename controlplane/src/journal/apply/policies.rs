//! What only the journal can say of the policies of a file.

use std::collections::HashMap;

use outrider_config::Kind;
use outrider_config::file::Planned;
use outrider_config::resource::{EGRESS_POLICIES_MAX, EgressPolicySpec, from_document};
use outrider_webhook::id::{ProjectId, Uid};

use super::{ApplyError, JournalError, Origin, Stored, View};

/// Refuses a policy that names a project that there will not be, and more policies than there may
/// be. What a policy named before may have gone since: whoever may delete a project must not be able
/// to stop a start with the file.
pub(super) fn check(
    view: &View<'_>,
    stored: &HashMap<Uid, Stored>,
    planned: &[Planned],
) -> Result<(), ApplyError> {
    let policies = || planned.iter().filter(|one| one.kind == Kind::EgressPolicy);
    for one in policies() {
        let spec: EgressPolicySpec =
            from_document(&one.spec).map_err(|error| JournalError::Corrupt(error.to_string()))?;
        let before = stored
            .get(&one.uid)
            .filter(|before| before.document.kind == Kind::EgressPolicy);
        let before = before.map(Stored::spec::<EgressPolicySpec>).transpose()?;
        let listed = before
            .and_then(|before| before.projects)
            .unwrap_or_default();
        let projects = spec.projects.unwrap_or_default();
        let unknown = projects.into_iter().find(|project| {
            !listed.contains(project) && !is_there(view, stored, (planned, project))
        });
        if let Some(project) = unknown {
            let policy = one.name.clone();
            return Err(ApplyError::UnknownProject { policy, project });
        }
    }
    let all = view.egress_policies()?;
    let of_api = all.iter().filter(|one| one.origin == Origin::Api).count();
    let count = of_api + policies().count();
    // What was too many before is no reason not to start.
    match count > EGRESS_POLICIES_MAX && count > all.len() {
        true => Err(ApplyError::TooManyPolicies { count }),
        false => Ok(()),
    }
}

/// Whether there is such a project once the file is in force.
fn is_there(
    view: &View<'_>,
    stored: &HashMap<Uid, Stored>,
    (planned, project): (&[Planned], &str),
) -> bool {
    let Ok(id) = project.parse::<ProjectId>() else {
        return false;
    };
    let uid = id.uid();
    if planned
        .iter()
        .any(|one| (one.kind, one.uid) == (Kind::Project, uid))
    {
        return true;
    }
    // One that an earlier file made, and this one does not name, goes.
    let snapshot = view.snapshot();
    let is_known = snapshot.project(id).is_some() || snapshot.is_held(Kind::Project, uid);
    is_known && !stored.contains_key(&uid)
}
