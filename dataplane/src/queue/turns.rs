//! Whose turn it is among the projects, and how much each may have in flight.

use std::collections::{BTreeMap, HashMap, VecDeque};

use outrider_webhook::id::ProjectId;

/// Projects that have something to give out, in turn. One that has its share in flight stands
/// aside, so that nobody looks at it for each delivery of the others: with ten thousand of them
/// that would be ten thousand looks.
#[derive(Debug)]
pub(super) struct Turns {
    line: VecDeque<ProjectId>,
    /// Those that stand aside, by what they have in flight and since when.
    aside: BTreeMap<(u32, u64), ProjectId>,
    /// Projects with attempts in flight.
    busy: HashMap<ProjectId, Busy>,
    in_flight_max: u32,
    counter: u64,
    /// Projects that were looked at.
    #[cfg(test)]
    looks: usize,
}

#[derive(Debug, Default)]
struct Busy {
    in_flight: u32,
    /// Its place among those that stand aside, behind `in_flight`.
    aside: Option<u64>,
}

impl Turns {
    /// `in_flight_max`: attempts in flight in all, which projects share.
    pub(super) fn new(in_flight_max: u32) -> Self {
        Self {
            line: VecDeque::new(),
            aside: BTreeMap::new(),
            busy: HashMap::new(),
            in_flight_max,
            counter: 0,
            #[cfg(test)]
            looks: 0,
        }
    }

    /// A project that is in no turn has something to give out again.
    pub(super) fn line_up(&mut self, project: ProjectId) {
        self.line.push_back(project);
    }

    /// The next project that may have one more in flight. It is in no turn any more.
    pub(super) fn next(&mut self) -> Option<ProjectId> {
        let share = self.share();
        // The share may have grown. One of them comes back for each that is given out, those with
        // the least in flight first: all at once would be as many looks as there are.
        self.come_back(share);
        while let Some(project) = self.line.pop_front() {
            #[cfg(test)]
            {
                self.looks += 1;
            }
            match self.busy.get_mut(&project) {
                Some(busy) if busy.in_flight >= share => {
                    self.counter += 1;
                    busy.aside = Some(self.counter);
                    self.aside.insert((busy.in_flight, self.counter), project);
                }
                _ => return Some(project),
            }
        }
        None
    }

    /// An attempt of this project is in flight from now on.
    pub(super) fn begun(&mut self, project: ProjectId) {
        self.busy.entry(project).or_default().in_flight += 1;
    }

    /// One is over.
    pub(super) fn ended(&mut self, project: ProjectId) {
        let Some(busy) = self.busy.get_mut(&project) else {
            return;
        };
        if let Some(since) = busy.aside.take() {
            self.aside.remove(&(busy.in_flight, since));
            self.line.push_back(project);
        }
        busy.in_flight -= 1;
        if busy.in_flight == 0 {
            self.busy.remove(&project);
        }
    }

    /// Attempts a project may have in flight: what there is, divided by the projects that are
    /// busy and one more, so that a project that comes now finds room at once, however many
    /// dead endpoints the others have.
    fn share(&self) -> u32 {
        let active = u32::try_from(self.busy.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1)
            .max(2);
        (self.in_flight_max / active).max(1)
    }

    /// The first of those that stand aside lines up again if it has less than its share.
    fn come_back(&mut self, share: u32) {
        let Some(first) = self.aside.first_entry() else {
            return;
        };
        if first.key().0 >= share {
            return;
        }
        let project = first.remove();
        if let Some(busy) = self.busy.get_mut(&project) {
            busy.aside = None;
        }
        self.line.push_back(project);
    }
}

#[cfg(test)]
mod tests {
    use outrider_webhook::id::Uid;

    use super::*;

    fn project(number: u32) -> ProjectId {
        ProjectId::new(Uid::from_bits(u128::from(number)))
    }

    /// Gives out all that may go, each project having more than its share; who got how many.
    fn give_out(turns: &mut Turns) -> Vec<ProjectId> {
        let mut given = Vec::new();
        while let Some(next) = turns.next() {
            turns.begun(next);
            turns.line_up(next);
            given.push(next);
        }
        given
    }

    #[test]
    fn nobody_has_more_than_its_share_and_one_that_comes_finds_room() {
        let mut turns = Turns::new(12);
        turns.line_up(project(1));
        assert_eq!(give_out(&mut turns).len(), 6, "half of what there is");
        turns.line_up(project(2));
        assert_eq!(give_out(&mut turns), [project(2); 4], "a third");
        turns.ended(project(1));
        assert!(give_out(&mut turns).is_empty(), "it has 5, its share is 4");
        turns.ended(project(1));
        assert!(give_out(&mut turns).is_empty());
        turns.ended(project(1));
        assert_eq!(give_out(&mut turns), [project(1)]);
    }

    #[test]
    fn when_others_are_done_those_that_stood_aside_have_more_in_turn() {
        let mut turns = Turns::new(12);
        for number in 1..=3 {
            turns.line_up(project(number));
        }
        let in_turn = [1, 2, 3, 1, 2, 3, 1, 2, 3].map(project);
        assert_eq!(give_out(&mut turns), in_turn);
        // The third has nothing more to give out, and its attempts end.
        turns.line.clear();
        turns.aside.retain(|_, aside| *aside != project(3));
        turns.busy.remove(&project(3));
        assert_eq!(give_out(&mut turns), [1, 2].map(project));
        assert!(turns.next().is_none());
    }

    #[test]
    fn those_that_have_their_share_are_not_looked_at_for_each_delivery_of_the_others() {
        let mut turns = Turns::new(10_001);
        for number in 1..=10_000 {
            turns.line_up(project(number));
        }
        assert_eq!(give_out(&mut turns).len(), 10_000);
        turns.line_up(project(0));
        let before = turns.looks;
        for _ in 0..100 {
            let next = turns.next();
            assert_eq!(next, Some(project(0)));
            turns.begun(project(0));
            turns.ended(project(0));
            turns.line_up(project(0));
        }
        assert_eq!(turns.looks - before, 100);
        // One of the others has room again: it is next but one.
        turns.ended(project(7));
        let next: Vec<_> = std::iter::from_fn(|| turns.next()).take(2).collect();
        assert_eq!(next, [project(0), project(7)]);
    }

    #[test]
    fn a_share_that_grows_brings_back_one_at_a_time() {
        let mut turns = Turns::new(100);
        for number in 0..60 {
            turns.line_up(project(number));
        }
        assert!(!give_out(&mut turns).is_empty());
        let aside = turns.aside.len();
        assert_eq!(aside, 60);
        for number in 30..60 {
            while turns.busy.contains_key(&project(number)) {
                turns.ended(project(number));
            }
        }
        turns.line.clear(); // those have nothing more to give out
        let before = turns.looks;
        assert!(turns.next().is_some());
        assert_eq!(turns.looks - before, 1);
        assert_eq!(turns.aside.len(), 29);
    }
}
