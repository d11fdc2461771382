//! Changing resources: what a handler decides with, and waiting for the data planes.

use std::sync::Arc;
use std::time::Duration;

use outrider_config::resource::to_document;
use outrider_config::snapshot::{Project, ProjectTable};
use outrider_config::{Kind, Version};
use outrider_webhook::id::{ProjectId, Uid};
use serde::Serialize;

use super::Api;
use super::call::{Caller, ProjectCall, missing};
use super::error::ApiError;
use crate::{Author, ChangeError, Edit, Origin, Stored, View, random};

/// How long a reply waits for the data planes (RULINGS 14).
const IN_FORCE_WAIT: Duration = Duration::from_millis(250);

/// Which revision the configuration is at, and how many data planes do not have it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InForce {
    pub(super) revision: u64,
    pub(super) pending: usize,
}

/// A change that was made.
pub(super) struct Done<T> {
    pub(super) value: T,
    pub(super) in_force: InForce,
}

/// What a change is decided with: the state that is changed, and what is to be noted with it.
pub(super) struct Writing<'w> {
    pub(super) view: &'w View<'w>,
    pub(super) by: &'w Author<'w>,
    pub(super) project: ProjectId,
}

impl Writing<'_> {
    pub(super) fn now_ms(&self) -> i64 {
        self.by.now_ms
    }

    /// The project as it is in force, with all in it.
    pub(super) fn table(&self) -> Result<&Arc<ProjectTable>, ApiError> {
        let table = self.view.snapshot().project(self.project);
        table.ok_or(ApiError::ProjectHeld)
    }

    /// The settings of the project.
    pub(super) fn rules(&self) -> Result<&Project, ApiError> {
        Ok(self.table()?.project())
    }

    /// A resource that the API may change.
    pub(super) fn editable(&self, kind: Kind, uid: Uid) -> Result<Stored, ApiError> {
        let found = self.view.get(kind, self.project, uid)?;
        let found = found.ok_or_else(|| missing(kind))?;
        match found.origin {
            Origin::Api => Ok(found),
            Origin::File => Err(ChangeError::FromFile {
                kind,
                name: found.name,
            }
            .into()),
        }
    }

    /// A new id of now.
    pub(super) fn new_uid(&self) -> Uid {
        random::uid(self.by.now_ms)
    }

    /// A resource that is not there yet.
    pub(super) fn made<S: Serialize>(
        &self,
        kind: Kind,
        uid: Uid,
        spec: &S,
    ) -> Result<Stored, ApiError> {
        let document = to_document(spec)?;
        Ok(Stored::new(kind, uid, self.project, document, self.by)?)
    }

    /// The same resource with another specification.
    pub(super) fn changed<S: Serialize>(
        &self,
        before: &Stored,
        spec: &S,
    ) -> Result<Stored, ApiError> {
        Ok(before.changed(to_document(spec)?, self.by)?)
    }
}

impl Api {
    /// Makes one revision of what `decide` wants, and waits for the data planes.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        caller: Caller,
        project: ProjectId,
        decide: impl FnOnce(&Writing<'_>) -> Result<(Vec<Edit>, T), ApiError> + Send + 'static,
    ) -> Result<Done<T>, ApiError> {
        let decide = move |view: &View<'_>, by: &Author<'_>| decide(&Writing { view, by, project });
        let change = self.control().change(caller.actor(), self.now_ms(), decide);
        let changed = change.await?;
        Ok(Done {
            in_force: self.in_force(changed.version).await,
            value: changed.value,
        })
    }

    async fn in_force(&self, version: Version) -> InForce {
        InForce {
            revision: version.revision,
            pending: self.server().in_force(version, IN_FORCE_WAIT).await,
        }
    }
}

impl ProjectCall {
    /// As [`Api::change`], in this call's project.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&Writing<'_>) -> Result<(Vec<Edit>, T), ApiError> + Send + 'static,
    ) -> Result<Done<T>, ApiError> {
        self.api.change(self.caller, self.project, decide).await
    }

    /// Removes a resource, and what cannot be without it.
    pub(super) async fn delete(&self, kind: Kind) -> Result<Done<()>, ApiError> {
        let uid = self.uid(kind)?;
        let delete =
            move |writing: &Writing<'_>| Ok((vec![Edit::delete(writing.editable(kind, uid)?)], ()));
        self.change(delete).await
    }

    /// A resource of the project, made into something by `show`.
    pub(super) async fn show<T: Send + 'static>(
        &self,
        kind: Kind,
        show: impl FnOnce(&View<'_>, Stored) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (project, uid) = (self.project, self.uid(kind)?);
        let look = move |view: &View<'_>| {
            let found = view.get(kind, project, uid)?;
            show(view, found.ok_or_else(|| missing(kind))?)
        };
        self.api.control().read(look).await
    }
}
