//! Policies that close destinations.

mod change;
mod shape;

use axum::Router;
use outrider_config::Kind;
use outrider_config::resource::{EGRESS_POLICIES_MAX, EgressPolicy, EgressPolicySpec};
use outrider_webhook::id::{EgressPolicyId, Uid};
use serde_json::Value;

use super::Api;
use super::egress_pools::unknown_projects;
use super::error::ApiError;
use super::of_instance::{self, OfInstance, Says};
use super::write::Writing;
use crate::{JournalError, Stored, View};

pub(super) fn routes() -> Router<Api> {
    of_instance::routes::<Policies>("/api/v1/egress-policies")
}

struct Policies;

impl OfInstance for Policies {
    type Spec = EgressPolicySpec;

    const KIND: Kind = Kind::EgressPolicy;
    const SAYS: Says = Says {
        listed: "Egress policies fetched successfully",
        fetched: "Egress policy fetched successfully",
        created: "Egress policy created successfully",
        updated: "Egress policy updated successfully",
        deleted: "Egress policy deleted successfully",
        one: "an egress policy",
        several: "egress policies",
    };
    const MAX: usize = EGRESS_POLICIES_MAX;

    fn all(view: &View<'_>) -> Result<Vec<Stored>, JournalError> {
        view.egress_policies()
    }

    fn shown(one: &Stored) -> Result<Value, ApiError> {
        shape::reply(one)
    }

    fn merged(
        old: EgressPolicySpec,
        given: EgressPolicySpec,
    ) -> Result<EgressPolicySpec, ApiError> {
        change::merged(old, given)
    }

    fn check(
        writing: &Writing<'_>,
        uid: Uid,
        (old, spec): (Option<&EgressPolicySpec>, &EgressPolicySpec),
    ) -> Result<(), ApiError> {
        let policy = EgressPolicy::compile(EgressPolicyId::new(uid), 0, spec)?;
        of_instance::refuse_taken::<Self>(writing, uid, policy.name())?;
        let listed = old.and_then(|old| old.projects.as_deref());
        let projects = spec.projects.as_deref();
        let errors = unknown_projects(writing.view.snapshot(), listed, projects);
        match errors.is_empty() {
            true => Ok(()),
            false => Err(errors.into()),
        }
    }
}
