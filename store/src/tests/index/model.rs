//! What lists must say, by a plain look through everything that was done.

use std::collections::BTreeMap;
use std::path::PathBuf;

use outrider_webhook::event::{Audience, Origin};
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ProjectId, SourceId, Uid};
use outrider_webhook::undelivered::Reason;

use crate::tests::support::*;
use crate::*;

/// Long enough for anything on a loaded machine.
pub(super) const GRACE: std::time::Duration = std::time::Duration::from_secs(30);

/// Chance that a seed repeats.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    pub(super) fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.roll(count as u64)).unwrap()
    }
}

pub(super) fn project(number: u64) -> ProjectId {
    ProjectId::new(Uid::from_bits(1_000 + u128::from(number)))
}

pub(super) fn source(number: u64) -> SourceId {
    SourceId::new(Uid::from_bits(2_000 + u128::from(number)))
}

pub(super) fn index_dir(bed: &Bed) -> PathBuf {
    bed.dir.path().join("index")
}

pub(super) fn index_file(bed: &Bed) -> PathBuf {
    index_dir(bed).join("index.sqlite")
}

/// What a list has to say of an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    id: EventId,
    project: u64,
    source: Option<u64>,
    owner: Option<&'static str>,
    event_type: &'static str,
    key: Option<String>,
    first: Option<EventId>,
    endpoints: Vec<u128>,
    position: Option<Position>,
}

/// What a list has to say of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Delivery {
    status: DeliveryStatus,
    attempts: u32,
    attempt_records: usize,
    reason: Option<Reason>,
}

/// Events and deliveries, as the test made them.
#[derive(Default)]
pub(super) struct Model {
    events: Vec<Event>,
    deliveries: BTreeMap<DeliveryKey, Delivery>,
    keys: BTreeMap<(u64, String), EventId>,
}

pub(super) const TYPES: [&str; 3] = ["invoice.paid", "invoice.void", "user.made"];
pub(super) const OWNERS: [&str; 2] = ["ann", "bob"];
/// Nothing ends for the last one.
const REASONS: [Reason; 4] = [
    Reason::RetryLimitExceeded,
    Reason::Gone,
    Reason::Cancelled,
    Reason::BadQuery,
];

impl Model {
    pub(super) async fn accept(&mut self, log: &LocalLog, dice: &mut Dice) {
        let (of, from) = (dice.roll(2), dice.roll(3));
        let mut event = Event {
            id: EventId::ZERO,
            project: of,
            source: (from == 0).then(|| dice.roll(2)),
            owner: (from == 1).then(|| OWNERS[dice.pick(2)]),
            event_type: TYPES[dice.pick(3)],
            key: (dice.roll(3) == 0).then(|| format!("key {}", dice.roll(40))),
            first: None,
            endpoints: Vec::new(),
            position: None,
        };
        let count = match dice.pick(40) {
            0 => 300, // beyond one record
            roll => roll % 4,
        };
        event.endpoints = (0..count as u128).map(|number| number % 5).collect();
        let audience = match (event.owner, event.source) {
            (Some(owner), _) => Audience::Owner(owner.into()),
            (_, Some(number)) => Audience::Source(source(number)),
            _ => Audience::Endpoint(EndpointId::new(Uid::from_bits(0))),
        };
        let facts = outrider_webhook::event::EventFacts {
            project: project(of),
            origin: event
                .source
                .map_or(Origin::Api, |number| Origin::Source(source(number))),
            audience,
            event_type: event.event_type.into(),
            idempotency_key: event.key.as_deref().map(Into::into),
            idempotency_window_ms: i64::MAX / 4,
            body: format!(r#"{{"n":{}}}"#, dice.roll(5)).into(),
            ..facts(0)
        };
        let mut list = targets(count);
        for target in &mut list {
            target.endpoint = EndpointId::new(Uid::from_bits(target.endpoint.uid().bits() % 5));
        }
        match log.accept_parts(facts, list, decision()).await.unwrap() {
            Accepted::Stored(id) => {
                event.id = id;
                for ordinal in 0..u32::try_from(count).unwrap() {
                    let delivery = Delivery {
                        status: DeliveryStatus::Scheduled,
                        attempts: 0,
                        attempt_records: 0,
                        reason: None,
                    };
                    self.deliveries
                        .insert(DeliveryKey { event: id, ordinal }, delivery);
                }
                if let Some(key) = &event.key {
                    assert!(self.keys.insert((of, key.clone()), id).is_none());
                }
            }
            Accepted::Duplicate { id, first } => {
                let key = (of, event.key.clone().unwrap());
                assert_eq!(self.keys.get(&key), Some(&first));
                event.id = id;
                event.first = Some(first);
                event.owner = None;
                event.endpoints.clear();
            }
        }
        self.events.push(event);
    }

    /// An attempt, or a state, of some delivery.
    pub(super) async fn happen(&mut self, bed: &Bed, log: &LocalLog, dice: &mut Dice) {
        let count = self.deliveries.len();
        if count == 0 {
            return;
        }
        let at = dice.pick(count);
        let (key, delivery) = self.deliveries.iter_mut().nth(at).unwrap();
        let position = bed
            .sink
            .events
            .lock()
            .unwrap()
            .iter()
            .find(|event| event.id == key.event)
            .unwrap()
            .position;
        let statuses = [
            DeliveryStatus::Retry,
            DeliveryStatus::Success,
            DeliveryStatus::Failure,
        ];
        if dice.roll(4) > 0 {
            let (status, number) = (statuses[dice.pick(3)], delivery.attempts + 1);
            let mut record = attempt(*key, position, number, status);
            let reason = (status == DeliveryStatus::Failure).then(|| REASONS[dice.pick(2)]);
            record.reason = reason.map(|reason| reason.code().into());
            log.record(Record::Attempt(record)).await.unwrap();
            delivery.attempt_records += 1;
            if !delivery.status.is_final() {
                (delivery.status, delivery.attempts) = (status, number);
                delivery.reason = reason;
            }
            return;
        }
        let (status, reason) = match dice.roll(3) {
            0 => (DeliveryStatus::Scheduled, None), // for a reason that is none of these
            which => {
                let reason = REASONS[usize::try_from(which).unwrap()];
                (DeliveryStatus::Discarded, Some(reason))
            }
        };
        log.record(Record::State(StateRecord {
            key: *key,
            position,
            at_ms: NOW_MS,
            status,
            next_due_ms: (!status.is_final()).then_some(NOW_MS),
            attempts: delivery.attempts,
            reason: Some(reason.map_or("resend", Reason::code).into()),
        }))
        .await
        .unwrap();
        if !delivery.status.is_final() || !status.is_final() {
            (delivery.status, delivery.reason) = (status, reason);
        }
    }

    pub(super) fn events(&self, filter: &EventFilter) -> Vec<EventId> {
        let is_wanted = |event: &&Event| {
            let routed = |ids: &[EndpointId]| {
                ids.iter()
                    .any(|id| event.endpoints.contains(&id.uid().bits()))
            };
            filter.project == Some(project(event.project))
                && (filter.sources.is_empty()
                    || event
                        .source
                        .is_some_and(|of| filter.sources.contains(&source(of))))
                && (filter.endpoints.is_empty() || routed(&filter.endpoints))
                && filter.owner.as_ref().is_none_or(|owner| {
                    event.owner == Some(&owner.owner) || routed(&owner.endpoints)
                })
                && (filter.idempotency_key.is_none() || filter.idempotency_key == event.key)
                && filter.from.is_none_or(|from| event.id >= from)
                && filter.to.is_none_or(|to| event.id <= to)
        };
        self.events
            .iter()
            .filter(is_wanted)
            .map(|event| event.id)
            .collect()
    }

    pub(super) fn deliveries(&self, filter: &DeliveryFilter) -> Vec<DeliveryKey> {
        let events: BTreeMap<EventId, &Event> =
            self.events.iter().map(|event| (event.id, event)).collect();
        let is_wanted = |(key, delivery): &(&DeliveryKey, &Delivery)| {
            let event = events[&key.event];
            let endpoint = event.endpoints[key.ordinal as usize];
            filter.project == Some(project(event.project))
                && (filter.endpoints.is_empty()
                    || filter
                        .endpoints
                        .iter()
                        .any(|id| id.uid().bits() == endpoint))
                && filter.event.is_none_or(|id| id == event.id)
                && (filter.idempotency_key.is_none() || filter.idempotency_key == event.key)
                && filter
                    .event_type
                    .as_deref()
                    .is_none_or(|name| name == event.event_type)
                && (filter.statuses.is_empty() || filter.statuses.contains(&delivery.status))
                && (filter.reasons.is_empty()
                    || delivery
                        .reason
                        .is_some_and(|own| filter.reasons.contains(&own)))
                && filter.from.is_none_or(|from| event.id >= from)
                && filter.to.is_none_or(|to| event.id <= to)
        };
        self.deliveries
            .iter()
            .filter(is_wanted)
            .map(|(key, _)| *key)
            .collect()
    }

    pub(super) fn some_id(&self, dice: &mut Dice) -> EventId {
        self.events[dice.pick(self.events.len())].id
    }

    pub(super) fn event_filter(&self, dice: &mut Dice) -> EventFilter {
        let mut filter = EventFilter {
            project: Some(project(dice.roll(2))),
            ..EventFilter::default()
        };
        let mut given = |sides| dice.roll(sides) == 0;
        let which = [given(3), given(3), given(3), given(4), given(4), given(4)];
        if which[0] {
            filter.sources = (0..=dice.roll(2)).map(source).collect();
        }
        if which[1] {
            filter.endpoints = some_endpoints(dice);
        }
        if which[2] {
            filter.owner = Some(OwnerFilter {
                owner: OWNERS[dice.pick(2)].into(),
                endpoints: some_endpoints(dice),
            });
        }
        if which[3] {
            filter.idempotency_key = Some(format!("key {}", dice.roll(40)));
        }
        if which[4] {
            filter.from = Some(self.some_id(dice));
        }
        if which[5] {
            filter.to = Some(self.some_id(dice));
        }
        filter
    }

    pub(super) fn delivery_filter(&self, dice: &mut Dice) -> DeliveryFilter {
        let mut filter = DeliveryFilter {
            project: Some(project(dice.roll(2))),
            ..DeliveryFilter::default()
        };
        let mut given = |sides| dice.roll(sides) == 0;
        let which = [
            given(3),
            given(6),
            given(6),
            given(3),
            given(3),
            given(4),
            given(4),
            given(3),
        ];
        if which[0] {
            filter.endpoints = some_endpoints(dice);
        }
        if which[1] {
            filter.event = Some(self.some_id(dice));
        }
        if which[2] {
            filter.idempotency_key = Some(format!("key {}", dice.roll(40)));
        }
        if which[3] {
            filter.event_type = Some(TYPES[dice.pick(3)].into());
        }
        if which[4] {
            let some = |dice: &mut Dice| DeliveryStatus::ALL[dice.pick(6)];
            filter.statuses = vec![some(dice), some(dice)];
        }
        if which[5] {
            filter.from = Some(self.some_id(dice));
        }
        if which[6] {
            filter.to = Some(self.some_id(dice));
        }
        if which[7] {
            let some = |dice: &mut Dice| REASONS[dice.pick(4)];
            filter.reasons = vec![some(dice), some(dice)];
        }
        filter
    }

    /// Every list, walked in every way, says what the model says; so does every single look-up.
    pub(super) async fn check(&self, index: &Index, dice: &mut Dice, lists: usize) {
        for _ in 0..lists {
            let filter = self.event_filter(dice);
            let want = self.events(&filter);
            let list = async |request| index.events(filter.clone(), request).await.unwrap().0;
            walk_all(&want, list, |item: &EventItem| item.id, dice).await;
            let filter = self.delivery_filter(dice);
            let want = self.deliveries(&filter);
            let list = async |request| index.deliveries(filter.clone(), request).await.unwrap().0;
            walk_all(&want, list, |item: &DeliveryItem| item.key, dice).await;
        }
        for event in &self.events {
            let found = index
                .event(project(event.project), event.id)
                .await
                .unwrap()
                .unwrap();
            match &found.content {
                EventContent::Event(stored) => {
                    assert_eq!(event.first, None);
                    // Those beyond the first record are not read for a list.
                    assert_eq!(stored.targets.len(), event.endpoints.len().min(256));
                }
                EventContent::Duplicate(record) => assert_eq!(event.first, Some(record.first)),
            }
            let other = project(1 - event.project);
            assert!(index.event(other, event.id).await.unwrap().is_none());
        }
        let projects: BTreeMap<EventId, u64> = self
            .events
            .iter()
            .map(|event| (event.id, event.project))
            .collect();
        for (key, delivery) in self.deliveries.iter().filter(|(key, _)| key.ordinal < 3) {
            let of = project(projects[&key.event]);
            let found = index.delivery(of, *key).await.unwrap().unwrap();
            assert_eq!(
                (found.status, found.attempts),
                (delivery.status, delivery.attempts)
            );
            let attempts = index.attempts(of, *key).await.unwrap().unwrap();
            assert_eq!(attempts.len(), delivery.attempt_records, "{key:?}");
        }
    }
}

pub(super) fn some_endpoints(dice: &mut Dice) -> Vec<EndpointId> {
    let id = |number| EndpointId::new(Uid::from_bits(u128::from(number)));
    (0..=dice.roll(3)).map(|_| id(dice.roll(6))).collect()
}

/// Walks a list from both ends and in both orders, with pages of a random size, and compares.
pub(super) async fn walk_all<T, K: Copy + PartialEq + std::fmt::Debug>(
    want: &[K],
    list: impl AsyncFn(PageRequest<K>) -> Page<T, K>,
    key: impl Fn(&T) -> K,
    dice: &mut Dice,
) {
    let rows = 1 + dice.pick(7 + want.len() / 4);
    for sort in [Sort::Ascending, Sort::Descending] {
        let mut want = want.to_vec();
        if sort == Sort::Descending {
            want.reverse();
        }
        let mut request = PageRequest {
            rows,
            sort,
            direction: Direction::Next,
            cursor: None,
        };
        let (mut found, mut firsts) = (Vec::new(), Vec::new());
        loop {
            let page = list(request).await;
            assert_eq!(page.has_prev, !found.is_empty() && !page.rows.is_empty());
            firsts.extend(page.first.filter(|_| !page.rows.is_empty()));
            found.extend(page.rows.iter().map(&key));
            let Some(next) = page.next else { break };
            assert!(page.rows.len() == rows, "short page");
            request.cursor = Some(next);
        }
        assert_eq!(found, want);
        // Back from the last page: the pages before it again.
        let Some(mut cursor) = firsts.last().copied() else {
            continue;
        };
        for first in firsts.iter().rev().skip(1) {
            let page = list(PageRequest {
                direction: Direction::Prev,
                cursor: Some(cursor),
                ..request
            })
            .await;
            assert_eq!(page.rows.first().map(&key), Some(*first), "rows {rows}");
            assert_eq!((page.rows.len(), page.next), (rows, Some(cursor)));
            assert_eq!(page.has_prev, Some(first) != firsts.first());
            cursor = page.first.unwrap();
        }
        // Back from the middle to a beginning that is nearer than a page.
        if let Some(middle) = want.get(rows / 2).filter(|_| rows > 1) {
            let page = list(PageRequest {
                direction: Direction::Prev,
                cursor: Some(*middle),
                ..request
            })
            .await;
            let shown: Vec<K> = page.rows.iter().map(&key).collect();
            assert_eq!(shown, &want[..=rows / 2]);
            assert_eq!(
                (page.has_prev, page.next),
                (false, want.get(rows / 2 + 1).copied())
            );
        }
    }
}

pub(super) async fn busy(
    bed: &Bed,
    log: &LocalLog,
    model: &mut Model,
    dice: &mut Dice,
    rounds: usize,
) {
    for _ in 0..rounds {
        match dice.roll(2) {
            0 => model.accept(log, dice).await,
            _ => model.happen(bed, log, dice).await,
        }
    }
}

/// Every event of the project that `facts` names.
pub(super) fn everything() -> EventFilter {
    EventFilter {
        project: Some(facts(0).project),
        ..EventFilter::default()
    }
}

/// Every delivery of it.
pub(super) fn every_delivery() -> DeliveryFilter {
    DeliveryFilter {
        project: Some(facts(0).project),
        ..DeliveryFilter::default()
    }
}

/// The first page from the oldest on.
pub(super) fn oldest_first<K>(rows: usize) -> PageRequest<K> {
    PageRequest {
        rows,
        sort: Sort::Ascending,
        direction: Direction::Next,
        cursor: None,
    }
}

/// The first page from the newest on.
pub(super) fn newest_first<K>(rows: usize) -> PageRequest<K> {
    PageRequest {
        sort: Sort::Descending,
        ..oldest_first(rows)
    }
}
