//! From a checked file to the documents it wants in force.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use outrider_webhook::id::{ProjectId, Uid};
use serde::Serialize;

use super::{File, Item, ProjectItem};
use crate::document::Kind;
use crate::resource::to_document;

/// Gives what a file leaves open. Implemented by the journal, so that a resource keeps its id
/// and its mask from one version of the file to the next.
pub trait Naming {
    /// The uid of a resource by its name; `project` is `None` for projects and what is of none. A
    /// new one when there is none.
    fn uid(&mut self, kind: Kind, project: Option<ProjectId>, name: &str) -> Uid;

    /// The mask of a source; a new random one when it has none.
    fn mask(&mut self, source: Uid) -> String;
}

/// A resource as the file wants it.
pub struct Planned {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub uid: Uid,
    /// The project that owns it; a project owns itself, and so does what is of none.
    pub project: ProjectId,
    /// Its name, unique among those of its kind in the project, or of all of its kind.
    pub name: String,
    /// Its owner, for endpoints that have one.
    pub owner: Option<String>,
    /// Its document. Holds secrets.
    pub spec: Bytes,
}

/// A checked file that cannot be planned: an invariant of this crate does not hold.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A specification does not become JSON.
    #[error("a resource cannot be written as JSON")]
    Document(#[from] serde_json::Error),
    /// A reference that was checked names nothing.
    #[error("`{0}` names nothing in its project")]
    Dangling(String),
}

impl File {
    /// Everything the file wants in force, projects first, with all references turned into uids.
    ///
    /// # Errors
    /// [`PlanError`], which a file that was parsed never gives.
    pub fn plan(&self, naming: &mut dyn Naming) -> Result<Vec<Planned>, PlanError> {
        let (mut planned, mut projects) = (Vec::new(), References::default());
        for project in &self.projects {
            let one = plan_project(project, naming, &mut planned)?;
            projects.add(&one);
        }
        for Item { uid, spec } in &self.egress_policies {
            let (mut spec, name) = (spec.clone(), spec.name.as_deref());
            let mut one = One::of_none(Kind::EgressPolicy, *uid, name, naming);
            projects.put_uids(&mut spec.projects);
            planned.push(one.planned(None, &spec)?);
        }
        for Item { uid, spec } in &self.egress_pools {
            let (mut spec, name) = (spec.clone(), spec.name.as_deref());
            let mut one = One::of_none(Kind::EgressPool, *uid, name, naming);
            projects.put_uids(&mut spec.projects);
            planned.push(one.planned(None, &spec)?);
        }
        Ok(planned)
    }
}

fn plan_project(
    item: &ProjectItem,
    naming: &mut dyn Naming,
    planned: &mut Vec<Planned>,
) -> Result<One, PlanError> {
    let name = item.spec.name.clone().unwrap_or_default();
    let uid = item
        .uid
        .unwrap_or_else(|| naming.uid(Kind::Project, None, &name));
    let project = ProjectId::new(uid);
    let own = One {
        kind: Kind::Project,
        uid,
        project,
        name,
    };
    planned.push(own.clone().planned(None, &item.spec)?);

    for Item { uid, spec } in &item.event_types {
        let mut one = One::of(Kind::EventType, project, *uid, spec.name.as_deref(), naming);
        planned.push(one.planned(None, spec)?);
    }
    let (mut sources, mut endpoints) = (References::default(), References::default());
    for Item { uid, spec } in &item.sources {
        let mut one = One::of(Kind::Source, project, *uid, spec.name.as_deref(), naming);
        sources.add(&one);
        let mut spec = spec.clone();
        if spec.mask_id.as_deref().is_none_or(str::is_empty) {
            spec.mask_id = Some(naming.mask(one.uid));
        }
        planned.push(one.planned(None, &spec)?);
    }
    for Item { uid, spec } in &item.endpoints {
        let mut one = One::of(Kind::Endpoint, project, *uid, spec.name.as_deref(), naming);
        endpoints.add(&one);
        planned.push(one.planned(spec.owner_id.clone(), spec)?);
    }
    for Item { uid, spec } in &item.subscriptions {
        let mut one = One::of(
            Kind::Subscription,
            project,
            *uid,
            spec.name.as_deref(),
            naming,
        );
        let mut spec = spec.clone();
        spec.endpoint_id = endpoints.resolve(spec.endpoint_id)?;
        spec.source_id = sources.resolve(spec.source_id)?;
        planned.push(one.planned(None, &spec)?);
    }
    for Item { uid, spec } in &item.api_keys {
        let mut one = One::of(Kind::ApiKey, project, *uid, spec.name.as_deref(), naming);
        planned.push(one.planned(None, spec)?);
    }
    Ok(own)
}

/// A resource that has its id.
#[derive(Clone)]
struct One {
    kind: Kind,
    uid: Uid,
    project: ProjectId,
    name: String,
}

impl One {
    /// It belongs to no project: its home is itself.
    fn of_none(kind: Kind, uid: Option<Uid>, name: Option<&str>, naming: &mut dyn Naming) -> Self {
        let name = name.unwrap_or_default().to_owned();
        let uid = uid.unwrap_or_else(|| naming.uid(kind, None, &name));
        Self {
            kind,
            uid,
            project: ProjectId::new(uid),
            name,
        }
    }

    fn of(
        kind: Kind,
        project: ProjectId,
        uid: Option<Uid>,
        name: Option<&str>,
        naming: &mut dyn Naming,
    ) -> Self {
        let name = name.unwrap_or_default().to_owned();
        let uid = uid.unwrap_or_else(|| naming.uid(kind, Some(project), &name));
        Self {
            kind,
            uid,
            project,
            name,
        }
    }

    fn planned<S: Serialize>(
        &mut self,
        owner: Option<String>,
        spec: &S,
    ) -> Result<Planned, PlanError> {
        Ok(Planned {
            kind: self.kind,
            uid: self.uid,
            project: self.project,
            name: std::mem::take(&mut self.name),
            owner: owner.filter(|owner| !owner.is_empty()),
            spec: to_document(spec)?,
        })
    }
}

/// What references of one project name: names, and failing that uids.
#[derive(Default)]
struct References {
    by_name: HashMap<String, Uid>,
    uids: HashSet<Uid>,
}

impl References {
    fn add(&mut self, one: &One) {
        self.by_name.insert(one.name.clone(), one.uid);
        self.uids.insert(one.uid);
    }

    /// Puts uids in the place of names; the rest are uids.
    fn put_uids(&self, named: &mut Option<Vec<String>>) {
        for project in named.iter_mut().flatten() {
            if let Some(uid) = self.by_name.get(project.as_str()) {
                *project = uid.to_string();
            }
        }
    }

    fn resolve(&self, text: Option<String>) -> Result<Option<String>, PlanError> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let by_uid = || text.parse().ok().filter(|uid| self.uids.contains(uid));
        match self.by_name.get(&text).copied().or_else(by_uid) {
            Some(uid) => Ok(Some(uid.to_string())),
            None => Err(PlanError::Dangling(text)),
        }
    }
}
