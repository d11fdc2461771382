//! Putting a transaction in force.
//!
//! Kinds are taken in the order in which they refer to each other, so everything a resource
//! needs of its own transaction is there when it is looked at, however the transaction orders it.

mod claimed;
mod egress_policies;
mod egress_pools;
mod take_out;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;

use outrider_webhook::id::{EndpointId, ProjectId, SourceId, SubscriptionId, Uid};
use serde::de::DeserializeOwned;

use super::{Document, Held, Kind, Pending, ProjectTable, Snapshot, Transaction};
use crate::resource::{Endpoint, FieldError, MetaEvents, Project, Subscription, from_document};

/// The snapshot after a transaction.
pub(super) fn apply(old: &Snapshot, transaction: &Transaction) -> Snapshot {
    let mut work = Work {
        next: old.clone(),
        touched: HashSet::new(),
        removed: Vec::new(),
        closes_anew: false,
        tightened: Vec::new(),
    };
    // Revisions say something about content only within one journal.
    let is_comparable = old
        .version
        .is_some_and(|version| version.journal == transaction.version.journal);
    let mut removals = transaction.removals.clone();
    if transaction.is_full {
        removals.extend(work.not_named(&transaction.upserts));
    }
    removals.sort_unstable_by(|a, b| b.cmp(a)); // what refers to others goes first
    for (kind, uid) in &removals {
        work.remove(*kind, *uid);
    }
    let mut candidates = work.candidates(transaction, is_comparable);
    let mut of = |kind| candidates.remove(&kind).unwrap_or_default();
    work.put_egress_policies(of(Kind::EgressPolicy));
    work.put_egress_pools(of(Kind::EgressPool));
    work.put_projects(of(Kind::Project));
    work.put_event_types(of(Kind::EventType));
    work.put_sources(of(Kind::Source));
    work.put_endpoints(of(Kind::Endpoint));
    work.relax_projects();
    work.put_subscriptions(of(Kind::Subscription));
    work.put_api_keys(of(Kind::ApiKey));
    work.hold_orphans();
    work.put_own(transaction);
    let is_held = work.next.holds_default_pool();
    work.next.pools.hold_default(is_held);
    work.close();
    work.next.version = Some(transaction.version);
    work.next
}

struct Work {
    next: Snapshot,
    /// Projects that something changes in.
    touched: HashSet<ProjectId>,
    /// Endpoints and sources that were removed: subscriptions may still name them.
    removed: Vec<(ProjectId, Target)>,
    /// A policy that closes destinations came, went, or is held.
    closes_anew: bool,
    /// Projects that may demand more of their endpoints than before: the old version.
    tightened: Vec<(Document, Arc<Project>)>,
}

enum Target {
    Endpoint(EndpointId),
    Source(SourceId),
}

/// Why a resource is not put in force.
struct Refusal {
    reason: String,
    is_claim: bool,
}

impl Refusal {
    fn new(reason: impl Display) -> Self {
        Self {
            reason: reason.to_string(),
            is_claim: false,
        }
    }

    fn fields(errors: Vec<FieldError>) -> Self {
        let texts: Vec<String> = errors.iter().map(FieldError::to_string).collect();
        Self::new(texts.join("; "))
    }
}

impl Work {
    /// Everything in force or in quarantine that a full transaction does not name.
    fn not_named(&self, upserts: &[Document]) -> Vec<(Kind, Uid)> {
        let named: HashSet<(Kind, Uid)> = upserts
            .iter()
            .map(|document| (document.kind, document.uid))
            .collect();
        let known = self.next.homes.keys().chain(self.next.held_at.keys());
        let unnamed: HashSet<(Kind, Uid)> = known.filter(|key| !named.contains(key)).collect();
        unnamed.into_iter().collect()
    }

    /// What to try, by kind: the transaction's own documents, and what is held of the projects
    /// that it touches, or for want of a mask or key that it may have set free.
    fn candidates(
        &mut self,
        transaction: &Transaction,
        is_comparable: bool,
    ) -> BTreeMap<Kind, Vec<Pending>> {
        self.touched
            .extend(transaction.upserts.iter().map(|document| document.project));
        let mut candidates: BTreeMap<Kind, Vec<Pending>> = BTreeMap::new();
        for document in &transaction.upserts {
            self.release(document.kind, document.uid);
            let is_same =
                is_comparable && self.next.revision_in_force(document) == Some(document.revision);
            if !is_same {
                candidates
                    .entry(document.kind)
                    .or_default()
                    .push(Pending::Document(document.clone()));
            }
        }
        let retried: Vec<_> = self
            .next
            .held
            .iter()
            .filter(|((project, ..), held)| held.is_claim || self.touched.contains(project))
            .map(|((_, kind, uid), held)| (*kind, *uid, held.pending.clone()))
            .collect();
        for (kind, uid, pending) in retried {
            self.release(kind, uid);
            candidates.entry(kind).or_default().push(pending);
        }
        candidates
    }

    fn put_projects(&mut self, candidates: Vec<Pending>) {
        for pending in candidates {
            let Pending::Document(document) = &pending else {
                continue;
            };
            if let Err(refusal) = self.put_project(document) {
                self.hold(pending, refusal);
            }
        }
    }

    fn put_project(&mut self, document: &Document) -> Result<(), Refusal> {
        let id = document.project;
        if id.uid() != document.uid {
            return Err(Refusal::new("a project is its own project"));
        }
        let spec = parse(document)?;
        let project =
            Arc::new(Project::compile(id, document.revision, &spec).map_err(Refusal::fields)?);
        let Some(table) = self.next.projects.get_mut(&id) else {
            self.next
                .projects
                .insert(id, Arc::new(ProjectTable::new(project)));
            self.settle(Kind::Project, document.uid, id);
            return Ok(());
        };
        if table.project().kind() != project.kind() {
            return Err(Refusal::new("`type`: a project's type never changes"));
        }
        self.tightened
            .push((document.clone(), Arc::clone(table.shared_project())));
        Arc::make_mut(table).set_project(project);
        Ok(())
    }

    /// A project that demands what one of its endpoints does not do goes back to its old version.
    fn relax_projects(&mut self) {
        for (document, old) in std::mem::take(&mut self.tightened) {
            let Some(table) = self.next.projects.get_mut(&old.id()) else {
                continue;
            };
            let new = Arc::clone(table.shared_project());
            if !new.demands_more_than(&old) {
                continue;
            }
            let unfit = table.endpoints().find_map(|endpoint| {
                let error = endpoint.fits(&new).err()?;
                Some(format!(
                    "endpoint `{}` ({}): {error}",
                    endpoint.name(),
                    endpoint.id()
                ))
            });
            if let Some(reason) = unfit {
                Arc::make_mut(table).set_project(old);
                self.hold(Pending::Document(document), Refusal::new(reason));
            }
        }
    }

    /// What the meta events of the projects belong to that something changes in.
    fn put_own(&mut self, transaction: &Transaction) {
        let removed = transaction
            .removals
            .iter()
            .map(|(_, uid)| ProjectId::new(*uid));
        let touched = self.touched.iter().copied().chain(removed);
        if transaction.is_full {
            self.next.own = imbl::OrdMap::new(); // it names every project
        }
        for id in touched {
            let own = MetaEvents::project_of(id);
            let table = self.next.projects.get(&id);
            let project = table.map(|table| table.project());
            match project.and_then(|project| Some((project.own()?, project.meta()))) {
                Some((project, meta)) => {
                    let mut table = ProjectTable::new(Arc::clone(project));
                    if let Some(meta) = meta {
                        table.set_endpoint(Arc::clone(meta.endpoint()));
                    }
                    self.next.own.insert(own, Arc::new(table));
                }
                None => {
                    self.next.own.remove(&own);
                }
            }
        }
    }

    fn put_endpoints(&mut self, candidates: Vec<Pending>) {
        for pending in candidates {
            let Pending::Document(document) = &pending else {
                continue;
            };
            match self.endpoint(document) {
                Ok(endpoint) => {
                    let (uid, project) = (document.uid, document.project);
                    self.change(project, |table| table.set_endpoint(Arc::new(endpoint)));
                    self.settle(Kind::Endpoint, uid, project);
                }
                Err(refusal) => self.hold(pending, refusal),
            }
        }
    }

    fn endpoint(&self, document: &Document) -> Result<Endpoint, Refusal> {
        let id = EndpointId::new(document.uid);
        let endpoint = self.compile(document, |project| {
            let spec = parse(document)?;
            Endpoint::compile(id, document.revision, project, &spec).map_err(Refusal::fields)
        })?;
        let room = self.table(document.project)?.check_room(&endpoint);
        room.map_err(|error| Refusal::new(format!("`url`: {error}")))?;
        Ok(endpoint)
    }

    fn put_subscriptions(&mut self, candidates: Vec<Pending>) {
        for pending in candidates {
            match self.subscription(&pending) {
                Ok(subscription) => {
                    let (id, project) = (subscription.id(), subscription.project());
                    self.change(project, |table| table.set_subscription(subscription));
                    self.settle(Kind::Subscription, id.uid(), project);
                }
                Err(refusal) => self.hold(pending, refusal),
            }
        }
    }

    fn subscription(&self, pending: &Pending) -> Result<Arc<Subscription>, Refusal> {
        let subscription = match pending {
            Pending::Document(document) => Arc::new(self.compile(document, |project| {
                Subscription::compile(
                    SubscriptionId::new(document.uid),
                    document.revision,
                    project,
                    &parse(document)?,
                )
                .map_err(Refusal::fields)
            })?),
            Pending::Subscription(subscription) => Arc::clone(subscription),
        };
        let table = self.table(subscription.project())?;
        let missing = |field, what, id: &dyn Display| {
            Err(Refusal::new(format!(
                "`{field}`: {what} {id} is not in force in this project"
            )))
        };
        if table.endpoint(subscription.endpoint()).is_none() {
            return missing("endpoint_id", "endpoint", &subscription.endpoint());
        }
        match subscription.source() {
            Some(source) if table.source(source).is_none() => {
                missing("source_id", "source", &source)
            }
            _ => Ok(subscription),
        }
    }

    /// Compiles a document against its project, once the project is there and is its own.
    fn compile<T>(
        &self,
        document: &Document,
        compile: impl FnOnce(&Project) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let home = self.next.homes.get(document.kind, document.uid);
        if home.is_some_and(|home| home != document.project) {
            return Err(Refusal::new("a resource never moves to another project"));
        }
        compile(self.table(document.project)?.project())
    }

    fn table(&self, project: ProjectId) -> Result<&ProjectTable, Refusal> {
        let table = self.next.projects.get(&project).map(|table| &**table);
        table.ok_or_else(|| Refusal::new(format!("project {project} is not in force")))
    }

    fn change(&mut self, project: ProjectId, change: impl FnOnce(&mut ProjectTable)) {
        if let Some(table) = self.next.projects.get_mut(&project) {
            change(Arc::make_mut(table));
        }
    }

    /// Notes that a resource is in force.
    fn settle(&mut self, kind: Kind, uid: Uid, project: ProjectId) {
        self.closes_anew |= kind == Kind::EgressPolicy;
        self.next.homes.insert(kind, uid, project);
    }

    fn hold(&mut self, pending: Pending, refusal: Refusal) {
        let (project, kind, uid) = pending.key();
        self.release(kind, uid);
        self.closes_anew |= kind == Kind::EgressPolicy;
        let Refusal { reason, is_claim } = refusal;
        self.next.held.insert(
            (project, kind, uid),
            Arc::new(Held {
                pending,
                reason,
                is_claim,
            }),
        );
        self.next.held_at.insert(kind, uid, project);
    }

    /// Takes a resource out of quarantine.
    fn release(&mut self, kind: Kind, uid: Uid) {
        if let Some(project) = self.next.held_at.remove(kind, uid) {
            self.closes_anew |= kind == Kind::EgressPolicy;
            self.next.held.remove(&(project, kind, uid));
        }
    }
}

fn parse<S: DeserializeOwned>(document: &Document) -> Result<S, Refusal> {
    from_document(&document.spec).map_err(Refusal::new)
}
