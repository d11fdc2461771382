//! How many rows of each sort the load has made: what lists have to find.

use super::mix::{self, BACKENDS, ENDPOINTS, INCOMING, OUTGOING, OWNERS, SOURCES, TYPES, To};

/// Counts of events and deliveries. Repeats count as events of their project and type only.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) load: u64,
    pub(super) deliveries: u64,
    pub(super) failures: u64,
    pub(super) repeats: u64,
    /// By project.
    pub(super) events_of: [u64; OUTGOING + 1],
    /// By source.
    pub(super) events_from: [u64; SOURCES],
    /// Of outgoing projects, by type.
    pub(super) events_typed: [[u64; TYPES.len()]; OUTGOING],
    /// By owner: fanned out to him, or routed to an endpoint of his.
    pub(super) events_owned: [[u64; OWNERS]; OUTGOING],
    /// To backends of the incoming project.
    pub(super) delivered_in: [u64; BACKENDS],
    /// By endpoint and type.
    pub(super) delivered: [[[u64; TYPES.len()]; ENDPOINTS]; OUTGOING],
}

impl Tally {
    /// Counts the first `load` events.
    pub(super) fn of(load: u64) -> Box<Self> {
        let mut tally = Box::new(Self {
            load,
            ..Self::default()
        });
        for number in 0..load {
            tally.add(number);
        }
        tally
    }

    fn add(&mut self, number: u64) {
        let event = mix::event(number);
        self.events_of[event.project] += 1;
        if event.project != INCOMING {
            self.events_typed[event.project][event.kind] += 1;
        }
        if mix::is_repeat(number) {
            self.repeats += 1;
            return;
        }
        let endpoints = event.endpoints();
        match event.to {
            To::Owner(owner) => self.events_owned[event.project][owner] += 1,
            To::Endpoint(endpoint) if !endpoints.is_empty() => {
                self.events_owned[event.project][mix::owner_of(endpoint)] += 1;
            }
            To::Endpoint(_) => {}
            To::Source(source) => self.events_from[source] += 1,
        }
        for endpoint in endpoints {
            self.deliveries += 1;
            self.failures += u64::from(mix::fails(event.project, endpoint));
            match event.project {
                INCOMING => self.delivered_in[endpoint] += 1,
                project => self.delivered[project][endpoint][event.kind] += 1,
            }
        }
    }

    /// Deliveries to an endpoint.
    pub(super) fn to(&self, project: usize, endpoint: usize) -> u64 {
        match project {
            INCOMING => self.delivered_in[endpoint],
            _ => self.delivered[project][endpoint].iter().sum(),
        }
    }

    /// Deliveries of a project.
    pub(super) fn deliveries_of(&self, project: usize) -> u64 {
        endpoints(project)
            .map(|endpoint| self.to(project, endpoint))
            .sum()
    }

    /// Deliveries of a project that failed.
    pub(super) fn failures_of(&self, project: usize) -> u64 {
        let failing = endpoints(project).filter(|endpoint| mix::fails(project, *endpoint));
        failing.map(|endpoint| self.to(project, endpoint)).sum()
    }

    /// Deliveries of an event type in an outgoing project.
    pub(super) fn typed(&self, project: usize, kind: usize) -> u64 {
        self.delivered[project].iter().map(|of| of[kind]).sum()
    }
}

/// The endpoints of a project.
pub(super) const fn endpoints(project: usize) -> std::ops::Range<usize> {
    match project {
        INCOMING => 0..BACKENDS,
        _ => 0..ENDPOINTS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_agree() {
        let tally = Tally::of(50_000);
        assert_eq!(tally.events_of.iter().sum::<u64>(), 50_000);
        let projects = 0..=INCOMING;
        assert_eq!(
            projects
                .clone()
                .map(|one| tally.deliveries_of(one))
                .sum::<u64>(),
            tally.deliveries
        );
        assert_eq!(
            projects.map(|one| tally.failures_of(one)).sum::<u64>(),
            tally.failures
        );
        assert_eq!(tally.repeats, 50);
    }
}
