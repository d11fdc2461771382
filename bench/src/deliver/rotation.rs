//! Events that go to several places in turn.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::payload::{Payloads, Requests, Target};

/// Event `n` goes to place `n` modulo their number.
#[derive(Debug)]
pub(super) struct Rotation {
    places: Vec<Payloads>,
    /// So many of the places, from the first, have receivers that are well.
    well: usize,
}

impl Rotation {
    pub(super) fn new(
        targets: &[Target],
        well: usize,
        host: &str,
        body_bytes: usize,
    ) -> anyhow::Result<Self> {
        if targets.is_empty() {
            anyhow::bail!("events need a place to go to");
        }
        let places = targets
            .iter()
            .map(|target| Payloads::new(target, host, body_bytes));
        let places = places.collect::<anyhow::Result<_>>()?;
        Ok(Self { places, well })
    }

    /// Those of the events whose receivers are well.
    pub(super) fn well(&self, events: &[u64]) -> Vec<u64> {
        let is_well = |number: &&u64| self.place(**number) < self.well;
        events.iter().filter(is_well).copied().collect()
    }

    fn place(&self, number: u64) -> usize {
        let places = u64::try_from(self.places.len()).unwrap_or(1).max(1);
        usize::try_from(number % places).unwrap_or(0)
    }
}

impl Requests for Rotation {
    fn request(&self, number: u64, sent_us: u64) -> anyhow::Result<Request<Full<Bytes>>> {
        match self.places.get(self.place(number)) {
            Some(place) => place.request(number, sent_us),
            None => anyhow::bail!("event {number} has no place to go to"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_is_refused() {
        assert!(Rotation::new(&[], 0, "localhost", 64).is_err());
    }

    #[test]
    fn each_place_has_its_turn_and_those_that_are_well_are_told() {
        let target = |number: usize| Target::Events {
            project: format!("p{number}"),
            endpoint: "e".into(),
            key: "k".into(),
        };
        let targets: Vec<Target> = (0..3).map(target).collect();
        let rotation = Rotation::new(&targets, 2, "localhost", 64).unwrap();
        for number in 0..6 {
            let request = rotation.request(number, 0).unwrap();
            let path = format!("/api/v1/projects/p{}/events", number % 3);
            assert_eq!(request.uri().path(), path);
        }
        assert_eq!(rotation.well(&[0, 1, 2, 3, 4, 5]), [0, 1, 3, 4]);
    }
}
