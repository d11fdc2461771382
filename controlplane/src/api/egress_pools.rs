//! Pools of source addresses.

mod change;
mod shape;

use std::sync::Arc;

use axum::Router;
use outrider_config::resource::{EgressPool, EgressPoolSpec, FieldError, Reason};
use outrider_config::{Kind, Snapshot};
use outrider_webhook::id::{EgressPoolId, ProjectId, Uid};
use serde_json::Value;

use super::Api;
use super::error::ApiError;
use super::of_instance::{self, OfInstance, Says};
use super::write::Writing;
use crate::{JournalError, Stored, View};

/// Users of a pool that a refusal names.
const USERS_NAMED: usize = 5;

pub(super) fn routes() -> Router<Api> {
    of_instance::routes::<Pools>("/api/v1/egress-pools")
}

struct Pools;

impl OfInstance for Pools {
    type Spec = EgressPoolSpec;

    const KIND: Kind = Kind::EgressPool;
    const SAYS: Says = Says {
        listed: "Egress pools fetched successfully",
        fetched: "Egress pool fetched successfully",
        created: "Egress pool created successfully",
        updated: "Egress pool updated successfully",
        deleted: "Egress pool deleted successfully",
        one: "an egress pool",
        several: "egress pools",
    };
    const MAX: usize = 1_000;
    const REPLIED: &[&str] = &["updated_at"];

    fn all(view: &View<'_>) -> Result<Vec<Stored>, JournalError> {
        view.egress_pools()
    }

    fn shown(one: &Stored) -> Result<Value, ApiError> {
        shape::reply(one)
    }

    fn merged(old: EgressPoolSpec, given: EgressPoolSpec) -> Result<EgressPoolSpec, ApiError> {
        Ok(change::merged(old, given))
    }

    fn follow(spec: &mut EgressPoolSpec, old: Option<&EgressPoolSpec>, now_ms: i64) {
        spec.follow(old, now_ms);
    }

    fn check(
        writing: &Writing<'_>,
        uid: Uid,
        (old, spec): (Option<&EgressPoolSpec>, &EgressPoolSpec),
    ) -> Result<(), ApiError> {
        let pool = EgressPool::compile(EgressPoolId::new(uid), 0, spec)?;
        of_instance::refuse_taken::<Self>(writing, uid, pool.name())?;
        let snapshot = writing.view.snapshot();
        let mut errors = snapshot.check_pool(&pool);
        let listed = old.and_then(|old| old.projects.as_deref());
        errors.extend(unknown_projects(snapshot, listed, spec.projects.as_deref()));
        if !errors.is_empty() {
            return Err(errors.into());
        }
        match old.and_then(|old| old.name.as_deref()) {
            Some(name) => refuse_missed(writing, (uid, name), Some(&pool)),
            None => Ok(()),
        }
    }

    fn refuse_removal(writing: &Writing<'_>, before: &Stored) -> Result<(), ApiError> {
        refuse_missed(writing, (before.uid(), &before.name), None)
    }
}

fn field(field: &str, reason: Reason) -> ApiError {
    ApiError::Fields(vec![FieldError {
        field: field.to_owned(),
        reason,
    }])
}

/// The projects of a list that there are not. One that has gone since it was `listed` does not keep
/// anybody from changing the rest.
pub(super) fn unknown_projects(
    snapshot: &Snapshot,
    listed: Option<&[String]>,
    projects: Option<&[String]>,
) -> Vec<FieldError> {
    let (listed, projects) = (listed.unwrap_or_default(), projects.unwrap_or_default());
    let unknown = projects.iter().enumerate().filter(|(_, text)| {
        let id: Option<ProjectId> = text.parse().ok();
        let is_there = id.is_some_and(|id| {
            snapshot.project(id).is_some() || snapshot.is_held(Kind::Project, id.uid())
        });
        !is_there && !listed.contains(text)
    });
    let error = |(at, text): (usize, &String)| FieldError {
        field: format!("projects[{at}]"),
        reason: Reason::Rule(format!("there is no project {text}")),
    };
    unknown.map(error).collect()
}

/// Refuses to take a pool from those who name it: they would wait, and not know why.
fn refuse_missed(
    writing: &Writing<'_>,
    (uid, name): (Uid, &str),
    next: Option<&EgressPool>,
) -> Result<(), ApiError> {
    let id = EgressPoolId::new(uid);
    let mut users = writing.view.snapshot().who_misses((id, name), next);
    let named: Vec<String> = users.by_ref().take(USERS_NAMED).collect();
    if named.is_empty() {
        return Ok(());
    }
    let more = if users.next().is_some() {
        " and others"
    } else {
        ""
    };
    Err(ApiError::InUse(format!(
        "the egress pool `{name}` is in use by {}{more}: let them name another one first",
        named.join(", ")
    )))
}

/// Refuses the name of a pool that a project cannot use. One that was there before is left alone:
/// a pool that has gone must not keep anybody from changing something else.
pub(super) fn refuse_unusable(
    snapshot: &Snapshot,
    project: ProjectId,
    (old, new): (Option<&str>, Option<&Arc<str>>),
) -> Result<(), ApiError> {
    let Some(name) = new.filter(|name| old != Some(&***name)) else {
        return Ok(());
    };
    let usable = snapshot.check_pool_use(project, name);
    usable.map_err(|refused| field("egress_pool", Reason::Refused(Box::new(refused))))
}
