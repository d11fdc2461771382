//! Lanes of due deliveries, and whose turn it is. What time it is, is told by who calls.

use std::collections::{HashMap, HashSet, VecDeque};

use outrider_webhook::id::{EndpointId, ProjectId};

use outrider_webhook::breaker::Change;

use super::Entry;
use super::backlog::Backlog;
use super::health::{Answer, Health, Trip};
use super::packed::Routes;
use super::turns::Turns;
use super::view::LaneView;

/// Deliveries of a lane whose events are kept in memory: to give them up takes a millisecond or two.
const CACHED_MAX: usize = 16_384;
/// Lanes that are kept, before those are looked for that are not worth it.
const SWEEP_MIN: usize = 1_024;

/// Due deliveries of all endpoints, served round robin over projects, then endpoints.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: HashMap<EndpointId, Lane>,
    /// What waiting deliveries have in common.
    routes: Routes,
    /// Per project, its lanes that could go on. A lane stands in its ring at most once.
    rings: HashMap<ProjectId, VecDeque<EndpointId>>,
    /// Projects with a non-empty ring.
    turns: Turns,
    /// Those that a change of configuration may set free.
    parked: HashSet<EndpointId>,
    concurrency: u32,
    ready: usize,
    held: usize,
    /// With so many lanes, the idle ones of receivers that nothing is known of are dropped.
    sweep_at: usize,
}

#[derive(Debug)]
struct Lane {
    project: ProjectId,
    waiting: Backlog,
    in_flight: u32,
    /// Attempts in flight at most, if its endpoint says so itself.
    concurrency: Option<u32>,
    is_in_ring: bool,
    /// Until the configuration changes.
    is_parked: bool,
    /// Until these times, Unix milliseconds; one for each reason.
    held_until_ms: [Option<i64>; 4],
    health: Health,
}

/// A delivery out of its lane.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) entry: Entry,
    /// What its lane knows of its endpoint's own limit.
    pub(super) concurrency: Option<u32>,
}

/// Why a lane stands still for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The receiver asked for it.
    Asked,
    /// The endpoint has a rate. A change of configuration may change it, and ends the hold.
    Rate,
    /// Its backlog is sent no faster than it takes it.
    Pace,
    /// It keeps failing.
    Breaker,
}

impl Lane {
    fn is_stopped(&self) -> bool {
        self.is_parked || self.held_until_ms.iter().any(Option::is_some)
    }

    /// Longer than a pace or a rate does.
    fn is_stopped_for_long(&self) -> bool {
        let [asked, _, _, breaker] = self.held_until_ms;
        self.is_parked || asked.is_some() || breaker.is_some()
    }

    fn held(&mut self, why: Hold) -> &mut Option<i64> {
        let [asked, rate, pace, breaker] = &mut self.held_until_ms;
        match why {
            Hold::Asked => asked,
            Hold::Rate => rate,
            Hold::Pace => pace,
            Hold::Breaker => breaker,
        }
    }

    /// Attempts in flight at most.
    fn limit(&self, usual: u32) -> u32 {
        if self.health.is_probing() {
            return 1;
        }
        self.concurrency.unwrap_or(usual)
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.waiting.is_empty() && !self.is_in_ring && !self.is_stopped()
    }
}

impl Lanes {
    pub(super) fn new(concurrency: u32, in_flight_max: u32) -> Self {
        Self {
            lanes: HashMap::new(),
            routes: Routes::default(),
            rings: HashMap::new(),
            turns: Turns::new(in_flight_max),
            parked: HashSet::new(),
            concurrency,
            ready: 0,
            held: 0,
            sweep_at: SWEEP_MIN,
        }
    }

    /// Adds a due delivery at the end of its lane.
    pub(super) fn push(&mut self, entry: Entry) {
        self.put(entry, Backlog::push);
    }

    /// Puts a delivery that had its turn in front of its lane again. Several that come back at
    /// once are in the order they were in before.
    pub(super) fn put_back(&mut self, entry: Entry) {
        self.put(entry, Backlog::put_back);
    }

    /// Puts a due delivery where it would stand in its lane had it been there since it was due.
    pub(super) fn put_in_place(&mut self, entry: Entry) {
        self.put(entry, Backlog::put_in_place);
    }

    fn put(&mut self, mut entry: Entry, at: fn(&mut Backlog, Entry, &mut Routes)) {
        let endpoint = entry.target.endpoint;
        let lane = lane(&mut self.lanes, entry.project, endpoint);
        if lane.is_stopped_for_long() || lane.waiting.len() >= CACHED_MAX {
            entry.event = None; // memory is for those who go soon, whoever they are
        }
        at(&mut lane.waiting, entry, &mut self.routes);
        if lane.is_stopped() {
            self.held += 1;
        } else {
            self.ready += 1;
        }
        self.enter_ring(endpoint);
    }

    /// The next delivery in turn, counted as in flight from now on. Projects that have their
    /// share in flight are passed over. Lanes that have to wait for their pace are held, and named
    /// in `paced`.
    pub(super) fn next(
        &mut self,
        now_ms: i64,
        paced: &mut Vec<(EndpointId, i64)>,
    ) -> Option<Taken> {
        while let Some(project) = self.turns.next() {
            let Some(ring) = self.rings.get_mut(&project) else {
                continue;
            };
            let endpoint = ring.pop_front();
            if ring.is_empty() {
                self.rings.remove(&project);
            } else {
                self.turns.line_up(project);
            }
            let Some(endpoint) = endpoint else { continue };
            match self.take(endpoint, now_ms) {
                Ok(Some(taken)) => {
                    self.turns.begun(project);
                    return Some(taken);
                }
                Ok(None) => {}
                Err(until_ms) => {
                    self.hold((project, endpoint), Hold::Pace, until_ms);
                    paced.push((endpoint, until_ms));
                }
            }
        }
        None
    }

    /// An attempt of this endpoint is over.
    pub(super) fn free(&mut self, endpoint: EndpointId, now_ms: i64) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else {
            return;
        };
        lane.in_flight = lane.in_flight.saturating_sub(1);
        let project = lane.project;
        if lane.waiting.is_empty() {
            lane.health.rest(now_ms);
        }
        self.settle(endpoint, now_ms);
        self.turns.ended(project);
    }

    /// Puts a delivery back in front and stops its lane.
    pub(super) fn park(&mut self, entry: Entry) {
        let endpoint = entry.target.endpoint;
        self.put_back(entry);
        self.change(endpoint, |lane| lane.is_parked = true);
        self.parked.insert(endpoint);
    }

    /// Lets all lanes go on that a setting has stopped.
    pub(super) fn unpark(&mut self) {
        for endpoint in std::mem::take(&mut self.parked) {
            self.change(endpoint, |lane| {
                lane.is_parked = false;
                *lane.held(Hold::Rate) = None;
            });
        }
    }

    /// Stops a lane until a time. True when that is later than it was stopped for before.
    pub(super) fn hold(
        &mut self,
        (project, endpoint): (ProjectId, EndpointId),
        why: Hold,
        until_ms: i64,
    ) -> bool {
        lane(&mut self.lanes, project, endpoint);
        let hold = |lane: &mut Lane| {
            let held = lane.held(why);
            let is_later = held.is_none_or(|held_ms| held_ms < until_ms);
            if is_later {
                *held = Some(until_ms);
            }
            is_later
        };
        let is_later = self.change(endpoint, hold) == Some(true);
        if is_later && why == Hold::Rate {
            self.parked.insert(endpoint);
        }
        is_later
    }

    /// The wall clock was set: everything waits as long as was meant.
    pub(super) fn shift(&mut self, by_ms: i64) {
        for lane in self.lanes.values_mut() {
            lane.health.shift(by_ms);
            for until_ms in lane.held_until_ms.iter_mut().flatten() {
                *until_ms = until_ms.saturating_add(by_ms);
            }
        }
    }

    /// A hold may be over.
    pub(super) fn release(&mut self, endpoint: EndpointId, now_ms: i64) {
        let is_parked = self.change(endpoint, |lane| {
            for held in &mut lane.held_until_ms {
                *held = held.filter(|until_ms| *until_ms > now_ms);
            }
            lane.health.half_open(now_ms);
            lane.is_parked || lane.held(Hold::Rate).is_some()
        });
        if is_parked != Some(true) {
            self.parked.remove(&endpoint);
        }
    }

    /// Changes what stops a lane, and all that follows from it.
    fn change<T>(
        &mut self,
        endpoint: EndpointId,
        change: impl FnOnce(&mut Lane) -> T,
    ) -> Option<T> {
        let lane = self.lanes.get_mut(&endpoint)?;
        let (was_stopped, waiting) = (lane.is_stopped(), lane.waiting.len());
        let was_stopped_for_long = lane.is_stopped_for_long();
        let result = change(lane);
        if lane.is_stopped_for_long() && !was_stopped_for_long {
            lane.waiting.drop_cached(&mut self.routes);
        }
        match (was_stopped, lane.is_stopped()) {
            (false, true) => {
                self.ready -= waiting;
                self.held += waiting;
            }
            (true, false) => {
                self.held -= waiting;
                self.ready += waiting;
            }
            (false, false) | (true, true) => {}
        }
        self.enter_ring(endpoint);
        Some(result)
    }

    /// An attempt says how its receiver is doing. What follows holds from now on.
    pub(super) fn answered(
        &mut self,
        endpoint: EndpointId,
        answer: &Answer<'_>,
        now_ms: i64,
    ) -> Option<Change> {
        let lane = self.lanes.get_mut(&endpoint)?;
        let project = lane.project;
        let change = lane.health.answered(answer, now_ms);
        if let Some(Change::Opened { until_ms, .. }) = change {
            self.hold((project, endpoint), Hold::Breaker, until_ms);
        }
        change
    }

    /// The breaker of an endpoint was open when the process ended.
    pub(super) fn restore_open(&mut self, of: (ProjectId, EndpointId), trip: &Trip) {
        lane(&mut self.lanes, of.0, of.1).health = Health::opened(trip);
        self.hold(of, Hold::Breaker, trip.until_ms);
    }

    /// What was given out needed no place of the pace: nothing was sent.
    pub(super) fn give_place_back(&mut self, endpoint: EndpointId) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.health.give_place_back();
        }
    }

    /// Sets how many attempts a lane may have in flight. False when there are more.
    pub(super) fn limit(&mut self, endpoint: EndpointId, concurrency: Option<u32>) -> bool {
        let usual = self.concurrency;
        self.change(endpoint, |lane| {
            lane.concurrency = concurrency;
            lane.in_flight <= lane.limit(usual)
        })
        .unwrap_or(true)
    }

    /// One of them, for people.
    pub(super) fn view(&self, endpoint: EndpointId, now_ms: i64) -> Option<LaneView> {
        let usual = self.concurrency;
        let lane = self.lanes.get(&endpoint)?;
        let [asked, rate, pace, breaker] = lane.held_until_ms;
        let holds = [
            (Hold::Asked, asked),
            (Hold::Rate, rate),
            (Hold::Pace, pace),
            (Hold::Breaker, breaker),
        ];
        let holds = holds.into_iter();
        let holds = holds.filter_map(|(why, until_ms)| Some((why, until_ms?)));
        let (attempts, failures) = lane.health.seen(now_ms);
        Some(LaneView {
            waiting: lane.waiting.len(),
            in_flight: lane.in_flight,
            concurrency: lane.limit(usual),
            is_parked: lane.is_parked,
            holds: holds.collect(),
            breaker: lane.health.state(),
            trips: lane.health.trips(),
            attempts,
            failures,
            pace_per_s: lane.health.pace_per_s(),
        })
    }

    /// Lanes with an open breaker, with one that probes, and with a pace.
    pub(super) fn unwell(&self) -> [usize; 3] {
        let count = |is: fn(&Health) -> bool| {
            let lanes = self.lanes.values();
            lanes.filter(|lane| is(&lane.health)).count()
        };
        [
            count(Health::is_open),
            count(Health::is_probing),
            count(Health::is_paced),
        ]
    }

    /// Lines a lane up if it can go on, or drops it if nothing of it is worth keeping.
    fn settle(&mut self, endpoint: EndpointId, now_ms: i64) {
        self.enter_ring(endpoint);
        if self.lanes.len() < self.sweep_at {
            return;
        }
        // What an endpoint answered is known for as long as it counts, which is minutes.
        self.lanes
            .retain(|_, lane| !(lane.is_idle() && lane.health.is_blank(now_ms)));
        self.sweep_at = SWEEP_MIN.max(self.lanes.len() * 2);
    }

    /// Deliveries in lanes that may go on, and in those that are stopped.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.ready, self.held)
    }

    /// When the longest-waiting head of a lane was due.
    pub(super) fn oldest_due_ms(&self) -> Option<i64> {
        self.lanes
            .values()
            .filter(|lane| !lane.is_stopped())
            .filter_map(|lane| lane.waiting.first_due_ms())
            .min()
    }

    /// Takes the head of a lane and lines the lane up again if it can go on. The error is when
    /// its pace lets it go on.
    fn take(&mut self, endpoint: EndpointId, now_ms: i64) -> Result<Option<Taken>, i64> {
        let Some(lane) = self.lanes.get_mut(&endpoint) else {
            return Ok(None);
        };
        lane.is_in_ring = false;
        if lane.is_stopped() || lane.in_flight >= lane.limit(self.concurrency) {
            return Ok(None); // it lines up again when it may go on, or is freed
        }
        if lane.waiting.is_empty() {
            return Ok(None);
        }
        lane.health.take(now_ms)?;
        let Some(entry) = lane.waiting.pop(&mut self.routes) else {
            return Ok(None);
        };
        lane.in_flight += 1;
        self.ready -= 1;
        let concurrency = lane.concurrency;
        self.enter_ring(endpoint);
        Ok(Some(Taken { entry, concurrency }))
    }

    fn enter_ring(&mut self, endpoint: EndpointId) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else {
            return;
        };
        let has_room = lane.in_flight < lane.limit(self.concurrency);
        let can_go_on = !lane.is_stopped() && has_room && !lane.waiting.is_empty();
        if lane.is_in_ring || !can_go_on {
            return;
        }
        lane.is_in_ring = true;
        let ring = self.rings.entry(lane.project).or_default();
        if ring.is_empty() {
            self.turns.line_up(lane.project);
        }
        ring.push_back(endpoint);
    }
}

/// The lane of an endpoint, new if there is none.
fn lane(
    lanes: &mut HashMap<EndpointId, Lane>,
    project: ProjectId,
    endpoint: EndpointId,
) -> &mut Lane {
    lanes.entry(endpoint).or_insert_with(|| Lane {
        project,
        waiting: Backlog::default(),
        in_flight: 0,
        is_in_ring: false,
        is_parked: false,
        held_until_ms: [None; 4],
        concurrency: None,
        health: Health::default(),
    })
}
