//! The pools of source addresses of a file, and who names them there.

use std::collections::HashMap;
use std::sync::Arc;

use outrider_webhook::id::{EgressPoolId, ProjectId, Uid};

use super::parse::{Place, Read, ReadProject};
use crate::input::closest;
use crate::problem::Problem;
use crate::resource::{EgressPool, EgressPoolSpec, is_pool_name};
use crate::snapshot::EgressPools;

/// The pools that a file has, as far as they can be used.
struct Pools<'r> {
    /// All names, also of pools with other faults: what follows from those is not told.
    names: Vec<&'r str>,
    good: EgressPools,
}

/// Checks the pools, and that projects and endpoints name one that they may use.
pub(super) fn check(
    read: &[Read<EgressPoolSpec>],
    projects: &[ReadProject],
    problems: &mut Vec<Problem>,
) {
    let homes = Homes::of(projects);
    let names = read.iter().filter_map(|one| one.spec.name.as_deref());
    let mut pools = Pools {
        names: names.collect(),
        good: EgressPools::default(),
    };
    let mut compiled = Vec::with_capacity(read.len());
    for (one, number) in read.iter().zip(1_u128..) {
        if one.spec.updated_at.is_some() {
            let message = "is noted by itself: leave it out";
            problems.push(one.place.problem("updated_at", message));
        }
        let spec = homes.with_uids(&one.spec, &one.place, problems);
        let id = EgressPoolId::new(Uid::from_bits(number));
        match EgressPool::compile(id, 0, &spec) {
            Ok(pool) => compiled.push((&one.place, Arc::new(pool))),
            Err(errors) => one.place.report(errors, problems),
        }
    }
    for (place, pool) in &compiled {
        match pools.good.conflict(pool) {
            Some(error) => place.report(vec![error], problems),
            None => pools.good.set(Arc::clone(pool)),
        }
    }
    for (place, pool) in &compiled {
        let name = pool.fallback().map(|name| &**name);
        if pools.knows("fallback", name, place, problems) {
            let error = pools.good.check_fallback(pool);
            place.report(error.into_iter().collect(), problems);
        }
    }
    for (index, read) in projects.iter().enumerate() {
        let project = homes.ids.get(index).copied();
        let own = (
            &read.project.place,
            read.project.spec.egress_pool.as_deref(),
        );
        let endpoints = read.endpoints.iter();
        let endpoints = endpoints.map(|one| (&one.place, one.spec.egress_pool.as_deref()));
        for (place, name) in std::iter::once(own).chain(endpoints) {
            pools.check_use(project, name, place, problems);
        }
    }
}

impl Pools<'_> {
    /// Whether there is something more to say of the pool of this name.
    fn knows(
        &self,
        field: &str,
        name: Option<&str>,
        place: &Place,
        problems: &mut Vec<Problem>,
    ) -> bool {
        let Some(name) = name.filter(|name| is_pool_name(name)) else {
            return false;
        };
        if !self.names.contains(&name) {
            let hint = did_you_mean(name, self.names.iter().copied());
            let message = format!("this file has no egress pool `{name}`{hint}");
            problems.push(place.problem(field, message));
        }
        self.good.get(name).is_some()
    }

    fn check_use(
        &self,
        project: Option<ProjectId>,
        name: Option<&str>,
        place: &Place,
        problems: &mut Vec<Problem>,
    ) {
        let field = "egress_pool";
        if !self.knows(field, name, place, problems) {
            return;
        }
        let pool = name.and_then(|name| self.good.get(name));
        if let (Some(pool), Some(project)) = (pool, project)
            && !pool.serves(project)
        {
            let message = format!(
                "the egress pool `{}` is dedicated and does not list this project",
                pool.name()
            );
            problems.push(place.problem(field, message));
        }
    }
}

/// The projects of the file, each with an id: its own, or one that stands for what the journal
/// will give.
struct Homes<'r> {
    ids: Vec<ProjectId>,
    known: HashMap<String, ProjectId>,
    names: Vec<&'r str>,
}

impl<'r> Homes<'r> {
    fn of(projects: &'r [ReadProject]) -> Self {
        let mut homes = Self {
            ids: Vec::with_capacity(projects.len()),
            known: HashMap::new(),
            names: Vec::new(),
        };
        for (read, number) in projects.iter().zip(1_u128..) {
            let uid = read.project.uid;
            let id = ProjectId::new(uid.unwrap_or(Uid::from_bits(number)));
            homes.ids.push(id);
            homes.known.extend(uid.map(|uid| (uid.to_string(), id)));
            if let Some(name) = read.project.spec.name.as_deref() {
                // A name counts before a uid, as in all references of a file.
                homes.known.insert(name.to_owned(), id);
                homes.names.push(name);
            }
        }
        homes
    }

    /// The specification with uids for names. A uid need not be of this file: the API makes
    /// projects as well. What names no project is reported, and left out of the way of the other
    /// checks.
    fn with_uids(
        &self,
        spec: &EgressPoolSpec,
        place: &Place,
        problems: &mut Vec<Problem>,
    ) -> EgressPoolSpec {
        let mut spec = spec.clone();
        for (at, text) in spec.projects.iter_mut().flatten().enumerate() {
            let known = self.known.get(text.as_str()).copied();
            let id = known.or_else(|| text.parse().ok());
            if id.is_none() {
                let hint = did_you_mean(text, self.names.iter().copied());
                let message = format!(
                    "this file has no project with the name `{text}`, which is no uid either{hint}"
                );
                problems.push(place.problem(&format!("projects[{at}]"), message));
            }
            let nobody = ProjectId::new(Uid::from_bits(u128::MAX - at as u128));
            *text = id.unwrap_or(nobody).to_string();
        }
        spec
    }
}

fn did_you_mean<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> String {
    closest(text, names)
        .map(|meant| format!("; did you mean `{meant}`?"))
        .unwrap_or_default()
}
