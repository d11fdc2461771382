//! The pools of source addresses of a file, and who names them there.

use std::sync::Arc;

use outrider_webhook::id::{EgressPoolId, ProjectId, Uid};

use super::homes::{Homes, did_you_mean};
use super::parse::{Place, Read, ReadProject};
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
    (homes, projects): (&Homes<'_>, &[ReadProject]),
    problems: &mut Vec<Problem>,
) {
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
        let mut spec = one.spec.clone();
        homes.put_uids(&mut spec.projects, &one.place, problems);
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
