//! The index: what lists say is what a plain look through all events says, whatever happened to
//! the index in between.

use std::collections::BTreeMap;
use std::path::PathBuf;

use outrider_webhook::event::{Audience, Origin};
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ProjectId, SourceId, Uid};

use super::support::*;
use crate::*;

/// Chance that a seed repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.roll(count as u64)).unwrap()
    }
}

fn project(number: u64) -> ProjectId {
    ProjectId::new(Uid::from_bits(1_000 + u128::from(number)))
}

fn source(number: u64) -> SourceId {
    SourceId::new(Uid::from_bits(2_000 + u128::from(number)))
}

fn index_dir(bed: &Bed) -> PathBuf {
    bed.dir.path().join("index")
}

fn index_file(bed: &Bed) -> PathBuf {
    index_dir(bed).join("index.sqlite")
}

/// What a list has to say of an event.
#[derive(Debug, Clone, PartialEq)]
struct Event {
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
struct Delivery {
    status: DeliveryStatus,
    attempts: u32,
    attempt_records: usize,
}

/// Events and deliveries, as the test made them.
#[derive(Default)]
struct Model {
    events: Vec<Event>,
    deliveries: BTreeMap<DeliveryKey, Delivery>,
    keys: BTreeMap<(u64, String), EventId>,
}

const TYPES: [&str; 3] = ["invoice.paid", "invoice.void", "user.made"];
const OWNERS: [&str; 2] = ["ann", "bob"];

impl Model {
    async fn accept(&mut self, log: &LocalLog, dice: &mut Dice) {
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
    async fn happen(&mut self, bed: &Bed, log: &LocalLog, dice: &mut Dice) {
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
            log.record(Record::Attempt(attempt(*key, position, number, status)))
                .await
                .unwrap();
            delivery.attempt_records += 1;
            if !delivery.status.is_final() {
                (delivery.status, delivery.attempts) = (status, number);
            }
            return;
        }
        let status = match dice.roll(2) {
            0 => DeliveryStatus::Scheduled,
            _ => DeliveryStatus::Discarded,
        };
        log.record(Record::State(StateRecord {
            key: *key,
            position,
            at_ms: NOW_MS,
            status,
            next_due_ms: (!status.is_final()).then_some(NOW_MS),
            attempts: delivery.attempts,
            reason: Some("because".into()),
        }))
        .await
        .unwrap();
        if !delivery.status.is_final() || !status.is_final() {
            delivery.status = status;
        }
    }

    fn events(&self, filter: &EventFilter) -> Vec<EventId> {
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

    fn deliveries(&self, filter: &DeliveryFilter) -> Vec<DeliveryKey> {
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
                && filter.from.is_none_or(|from| event.id >= from)
                && filter.to.is_none_or(|to| event.id <= to)
        };
        self.deliveries
            .iter()
            .filter(is_wanted)
            .map(|(key, _)| *key)
            .collect()
    }

    fn some_id(&self, dice: &mut Dice) -> EventId {
        self.events[dice.pick(self.events.len())].id
    }

    fn event_filter(&self, dice: &mut Dice) -> EventFilter {
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

    fn delivery_filter(&self, dice: &mut Dice) -> DeliveryFilter {
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
        filter
    }

    /// Every list, walked in every way, says what the model says; so does every single look-up.
    async fn check(&self, index: &Index, dice: &mut Dice, lists: usize) {
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

fn some_endpoints(dice: &mut Dice) -> Vec<EndpointId> {
    let id = |number| EndpointId::new(Uid::from_bits(u128::from(number)));
    (0..=dice.roll(3)).map(|_| id(dice.roll(6))).collect()
}

/// Walks a list from both ends and in both orders, with pages of a random size, and compares.
async fn walk_all<T, K: Copy + PartialEq + std::fmt::Debug>(
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

async fn busy(bed: &Bed, log: &LocalLog, model: &mut Model, dice: &mut Dice, rounds: usize) {
    for _ in 0..rounds {
        match dice.roll(2) {
            0 => model.accept(log, dice).await,
            _ => model.happen(bed, log, dice).await,
        }
    }
}

#[tokio::test]
async fn lists_say_what_a_look_through_everything_says() {
    let bed = Bed::new();
    let (mut model, mut dice) = (Model::default(), Dice(0x9e37_79b9));
    for _ in 0..3 {
        let (log, _) = bed.open();
        let index = Index::open(&index_dir(&bed), &log).unwrap();
        for _ in 0..2 {
            busy(&bed, &log, &mut model, &mut dice, 150).await;
            model.check(&index, &mut dice, 15).await;
        }
        assert_eq!(index.stats().lag_ms, 0);
        index.close().await;
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_index_that_is_missing_damaged_or_of_another_log_is_made_again() {
    let bed = Bed::new();
    let (mut model, mut dice) = (Model::default(), Dice(77));
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    busy(&bed, &log, &mut model, &mut dice, 200).await;
    model.check(&index, &mut dice, 3).await;
    index.close().await;
    log.close().await.unwrap();

    let foreign = Bed::new();
    let (other, _) = foreign.open();
    put(&other, 10).await;
    let index = Index::open(&index_dir(&foreign), &other).unwrap();
    assert_eq!(index.catch_up(GRACE).await, None);
    index.close().await;
    other.close().await.unwrap();

    let damages: [&dyn Fn(); 5] = [
        &|| std::fs::remove_dir_all(index_dir(&bed)).unwrap(),
        &|| std::fs::write(index_file(&bed), b"no database at all").unwrap(),
        &|| {
            let bytes = std::fs::read(index_file(&bed)).unwrap();
            std::fs::write(index_file(&bed), &bytes[..bytes.len() / 2]).unwrap();
        },
        &|| {
            let connection = rusqlite::Connection::open(index_file(&bed)).unwrap();
            connection.pragma_update(None, "user_version", 77).unwrap();
        },
        &|| {
            std::fs::remove_dir_all(index_dir(&bed)).unwrap();
            std::fs::create_dir(index_dir(&bed)).unwrap();
            std::fs::copy(index_file(&foreign), index_file(&bed)).unwrap();
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        let (log, _) = bed.open();
        let index = Index::open(&index_dir(&bed), &log).unwrap();
        model.check(&index, &mut dice, 3).await;
        assert_eq!(index.stats().rebuilds, 1, "damage {number}");
        index.close().await;
        log.close().await.unwrap();
    }
}

/// Long enough for anything on a loaded machine.
const GRACE: std::time::Duration = std::time::Duration::from_secs(30);

#[tokio::test]
async fn a_log_that_lost_its_end_and_went_on_gets_another_index() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 10).await;
    log.close().await.unwrap();
    let before = bed.copy();

    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    put(&log, 20).await;
    assert_eq!(index.catch_up(GRACE).await, None);
    index.close().await;
    log.close().await.unwrap();

    // The same log without that end, and with another one.
    let (log, _) = before.open();
    let id = put(&log, 3).await;
    put(&log, 4).await;
    log.close().await.unwrap();
    let (log, _) = before.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let filter = EventFilter {
        project: Some(facts(0).project),
        ..EventFilter::default()
    };
    let request = PageRequest {
        rows: 10,
        sort: Sort::Ascending,
        direction: Direction::Next,
        cursor: None,
    };
    index.catch_up(GRACE).await;
    let (page, _) = index.events(filter, request).await.unwrap();
    assert_eq!((page.rows.len(), page.rows[1].id), (3, id));
    assert_eq!(index.stats().rebuilds, 1);
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn keys_that_memory_let_go_of_are_still_known() {
    let mut bed = Bed::new();
    bed.options.idempotency_keys_max = 4;
    bed.options.queue_records = 1;
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let first = put_for(&log, keyed("the first"), 1).await;
    for number in 0..1_100 {
        put_for(&log, keyed(&format!("{number}")), 0).await;
    }
    assert!(
        log.stats().idempotency_keys < 1_100,
        "nothing was let go of"
    );
    let repeat = async |log: &LocalLog, key| {
        log.accept_parts(keyed(key), targets(1), decision())
            .await
            .unwrap()
    };
    assert!(
        matches!(repeat(&log, "the first").await, Accepted::Duplicate { first: id, .. } if id == first)
    );
    assert!(matches!(
        repeat(&log, "of nobody").await,
        Accepted::Stored(_)
    ));
    index.close().await;
    log.close().await.unwrap();

    // Expired keys are free again, here as in memory.
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    assert!(matches!(
        repeat(&log, "the first").await,
        Accepted::Duplicate { .. }
    ));
    bed.clock
        .0
        .fetch_add(60_001, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(
        repeat(&log, "the first").await,
        Accepted::Stored(_)
    ));
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn retention_takes_the_rows_and_never_what_the_index_has_not_seen() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    for _ in 0..30 {
        put_for(&log, facts(100_000), 0).await; // over several segments
    }
    bed.clock
        .0
        .fetch_add(1_000_000, std::sync::atomic::Ordering::SeqCst);
    put_for(&log, facts(1_000_000), 0).await;
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    index.catch_up(GRACE).await;
    let filter = EventFilter {
        project: Some(facts(0).project),
        ..EventFilter::default()
    };
    let request = PageRequest {
        rows: 100,
        sort: Sort::Ascending,
        direction: Direction::Next,
        cursor: None,
    };
    let count = async || {
        index
            .events(filter.clone(), request)
            .await
            .unwrap()
            .0
            .rows
            .len()
    };
    assert_eq!(count().await, 31);
    assert!(log.drop_expired(NOW_MS + 1).unwrap() > 0);
    put_for(&log, facts(10), 0).await;
    // The rows go with the next look at the log.
    tokio::time::timeout(GRACE, async {
        while count().await > 5 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    index.close().await;
    log.close().await.unwrap();

    let bed = Bed::new();
    let (log, _) = bed.open();
    for _ in 0..30 {
        put_for(&log, facts(100_000), 0).await;
    }
    log.keep_from(1); // as an index that has seen nothing
    assert_eq!(log.drop_expired(NOW_MS + 1_000_000).unwrap(), 0);
    log.close().await.unwrap();
}

#[tokio::test]
async fn what_was_accepted_is_listed_at_once() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let request = PageRequest {
        rows: 1,
        sort: Sort::Descending,
        direction: Direction::Next,
        cursor: None,
    };
    let filter = DeliveryFilter {
        project: Some(facts(0).project),
        ..DeliveryFilter::default()
    };
    for _ in 0..200 {
        let id = put(&log, 10).await;
        let (page, lag) = index.deliveries(filter.clone(), request).await.unwrap();
        assert_eq!(lag, None);
        assert_eq!(page.rows[0].key.event, id);
    }
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_command_and_its_effect_are_one_group_and_the_command_is_known_after() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    put(&log, 10).await;
    let event = bed.sink.last();
    let key = DeliveryKey {
        event: event.id,
        ordinal: 0,
    };
    let failed = attempt(key, event.position, 3, DeliveryStatus::Failure);
    log.record(Record::Attempt(failed)).await.unwrap();
    let command = Record::Command(CommandRecord {
        id: 77,
        at_ms: NOW_MS,
        verb: "resend".into(),
        cursor: None,
        affected: 1,
        is_done: true,
        body: bytes::Bytes::new(),
    });
    let effect = Record::State(StateRecord {
        key,
        position: event.position,
        at_ms: NOW_MS,
        status: DeliveryStatus::Scheduled,
        next_due_ms: Some(NOW_MS),
        attempts: 3,
        reason: Some("resend".into()),
    });
    log.record_together(&command, &[effect]).await.unwrap();
    assert!(index.has_command(77).await.unwrap());
    assert!(!index.has_command(78).await.unwrap());
    let found = index
        .delivery(event.facts.project, key)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.status, found.attempts),
        (DeliveryStatus::Scheduled, 3)
    );
    index.close().await;
    let mut groups = Vec::new();
    let mut tail = log.tail(None, Check::Chain).unwrap();
    while tail.next_group(&mut groups).unwrap() {}
    let group_of = |is: &dyn Fn(&Entry) -> bool| {
        groups
            .iter()
            .find(|one| is(&one.entry))
            .map(|one| one.group)
    };
    assert_eq!(
        group_of(&|entry| matches!(entry, Entry::Command(_))),
        group_of(&|entry| matches!(entry, Entry::State(_)))
    );
    log.close().await.unwrap();
    // What was opened again goes on from the attempts it had.
    let (log, recovered) = bed.open();
    assert_eq!(recovered.pending[0].attempts, 3);
    log.close().await.unwrap();
}

fn everything() -> EventFilter {
    EventFilter {
        project: Some(facts(0).project),
        ..EventFilter::default()
    }
}

fn oldest_first(rows: usize) -> PageRequest<EventId> {
    PageRequest {
        rows,
        sort: Sort::Ascending,
        direction: Direction::Next,
        cursor: None,
    }
}

/// Accepts `each` events from each of `producers` at once.
async fn pour(log: &LocalLog, producers: usize, each: usize) {
    let pour = |log: LocalLog| async move {
        for _ in 0..each {
            put_for(&log, facts(10), 0).await;
        }
    };
    let tasks: Vec<_> = (0..producers)
        .map(|_| tokio::spawn(pour(log.clone())))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_grows_while_it_is_followed_is_not_called_corrupt() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    // More than a batch, so that it goes on from one to the next with what it has read ahead.
    pour(&log, 32, 1_000).await;
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let growing = tokio::spawn({
        let log = log.clone();
        async move { pour(&log, 16, 400).await }
    });
    while !growing.is_finished() {
        let id = put_for(&log, facts(10), 0).await;
        let found = index.event(facts(0).project, id).await.unwrap();
        assert!(found.is_some(), "acknowledged, and not found");
    }
    growing.await.unwrap();
    assert_eq!(index.catch_up(GRACE).await, None);
    assert_eq!((index.stats().failures, index.stats().rebuilds), (0, 1));
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn rows_that_are_deleted_meanwhile_hide_nothing_that_is_new() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    pour(&log, 32, 500).await;
    bed.clock
        .0
        .fetch_add(1_000_000, std::sync::atomic::Ordering::SeqCst);
    put_for(&log, facts(600_000), 0).await;
    put_for(&log, facts(600_000), 0).await;
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    index.catch_up(GRACE).await;
    assert!(log.drop_expired(NOW_MS + 1).unwrap() > 0);
    for _ in 0..300 {
        let id = put_for(&log, facts(10), 0).await;
        assert!(index.event(facts(0).project, id).await.unwrap().is_some());
    }
    assert_eq!(index.stats().failures, 0);
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn an_event_without_its_end_is_not_shown_and_holds_nothing_up() {
    let mut bed = Bed::new();
    bed.options.segment_bytes = 16 * MIB;
    let (log, _) = bed.open();
    let before = put(&log, 10).await;
    put_for(&log, facts(0), 140_000).await; // over two groups
    let mut records = Vec::new();
    let mut tail = log.tail(None, Check::Checksums).unwrap();
    while tail.next_group(&mut records).unwrap() {}
    let of_big = |one: &&Located| matches!(one.entry, Entry::Targets { .. });
    let first = records.iter().find(of_big).unwrap().group;
    let cut = records
        .iter()
        .find(|one| one.group > first)
        .unwrap()
        .position;
    log.close().await.unwrap();

    // As a kill in the middle of it leaves the log.
    let mut bytes = std::fs::read(bed.segment(cut.segment)).unwrap();
    let from = usize::try_from(cut.offset).unwrap() - crate::codec::GROUP_BYTES;
    bytes[from..].fill(0);
    std::fs::write(bed.segment(cut.segment), bytes).unwrap();
    let (log, recovered) = bed.open();
    assert_eq!((recovered.events, recovered.pending.len()), (1, 1));
    for _ in 0..2 {
        let index = Index::open(&index_dir(&bed), &log).unwrap();
        assert_eq!(index.catch_up(GRACE).await, None);
        let (page, lag) = index.events(everything(), oldest_first(10)).await.unwrap();
        assert_eq!((page.rows.len(), page.rows[0].id, lag), (1, before, None));
        let all = DeliveryFilter {
            project: Some(facts(0).project),
            ..DeliveryFilter::default()
        };
        let request = PageRequest {
            rows: 10,
            sort: Sort::Descending,
            direction: Direction::Next,
            cursor: None,
        };
        let (page, _) = index.deliveries(all, request).await.unwrap();
        assert_eq!(page.rows.len(), 1);
        index.close().await;
    }
    log.close().await.unwrap();
}

#[tokio::test]
async fn an_event_over_many_groups_is_whole_in_the_index() {
    let mut bed = Bed::new();
    bed.options.segment_bytes = 16 * MIB;
    let (log, _) = bed.open();
    let id = put_for(&log, facts(0), 140_000).await;
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let last = DeliveryKey {
        event: id,
        ordinal: 139_999,
    };
    let found = index
        .delivery(facts(0).project, last)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.target, targets(140_000)[139_999]);
    // A cursor in the middle of it goes on in the middle of it.
    let of_event = DeliveryFilter {
        project: Some(facts(0).project),
        event: Some(id),
        ..DeliveryFilter::default()
    };
    let middle = DeliveryKey {
        event: id,
        ordinal: 60_000,
    };
    let request = PageRequest {
        rows: 2,
        sort: Sort::Descending,
        direction: Direction::Next,
        cursor: Some(middle),
    };
    let (page, _) = index.deliveries(of_event, request).await.unwrap();
    let ordinals: Vec<u32> = page.rows.iter().map(|row| row.key.ordinal).collect();
    assert_eq!((ordinals, page.has_prev), (vec![60_000, 59_999], true));
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_rebuild_that_cannot_be_done_now_is_done_later() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let id = put(&log, 10).await;
    index.catch_up(GRACE).await;
    // Something stands in the way of the file, and the file itself is of no use.
    let shm = index_dir(&bed).join("index.sqlite-shm");
    std::fs::rename(&shm, index_dir(&bed).join("aside")).unwrap();
    std::fs::create_dir_all(shm.join("x")).unwrap();
    index.report_damage();
    until(|| index.stats().failures > 0).await;
    std::fs::remove_dir_all(&shm).unwrap();
    let again = put(&log, 10).await;
    assert_eq!(index.catch_up(GRACE).await, None);
    for id in [id, again] {
        assert!(index.event(facts(0).project, id).await.unwrap().is_some());
    }
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_meanwhile_hides_nothing_and_forgets_no_key() {
    let mut bed = Bed::new();
    bed.options.idempotency_keys_max = 1;
    bed.options.queue_records = 1;
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let first = put_for(&log, keyed("the first"), 1).await;
    for number in 0..1_100 {
        put_for(&log, keyed(&format!("{number}")), 0).await;
    }
    let damaging = tokio::spawn({
        let index = index.clone();
        async move {
            for _ in 0..20 {
                index.report_damage();
                tokio::time::sleep(std::time::Duration::from_millis(15)).await;
            }
        }
    });
    while !damaging.is_finished() {
        let repeat = log
            .accept_parts(keyed("the first"), targets(1), decision())
            .await;
        match repeat {
            Ok(Accepted::Duplicate { first: id, .. }) => assert_eq!(id, first),
            Err(AcceptError::KeyUnknown) => {}
            other => panic!("{other:?}"),
        }
        let id = put_for(&log, facts(10), 0).await;
        assert!(index.event(facts(0).project, id).await.unwrap().is_some());
        assert!(
            index
                .event(facts(0).project, first)
                .await
                .unwrap()
                .is_some()
        );
    }
    damaging.await.unwrap();
    assert!(index.stats().rebuilds > 1);
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn repeats_of_a_key_hide_neither_its_deliveries_nor_the_key() {
    let mut bed = Bed::new();
    bed.options.idempotency_keys_max = 1;
    bed.options.queue_records = 1;
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let first = put_for(&log, keyed("hot"), 1).await;
    for number in 0..1_200 {
        log.accept_parts(keyed("hot"), targets(1), decision())
            .await
            .unwrap();
        put_for(&log, keyed(&format!("{number}")), 0).await;
    }
    let of_key = DeliveryFilter {
        project: Some(facts(0).project),
        idempotency_key: Some("hot".into()),
        ..DeliveryFilter::default()
    };
    let request = PageRequest {
        rows: 10,
        sort: Sort::Descending,
        direction: Direction::Next,
        cursor: None,
    };
    let (page, _) = index.deliveries(of_key, request).await.unwrap();
    assert_eq!(page.rows.len(), 1);
    assert_eq!(page.rows[0].key.event, first);
    let repeat = log
        .accept_parts(keyed("hot"), targets(1), decision())
        .await
        .unwrap();
    assert!(matches!(repeat, Accepted::Duplicate { first: id, .. } if id == first));
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn large_bodies_make_pages_shorter_and_hide_nothing_in_either_direction() {
    let mut bed = Bed::new();
    bed.options.segment_bytes = 64 * MIB;
    let (log, _) = bed.open();
    let mut want = Vec::new();
    for _ in 0..9 {
        want.push(put_for(&log, facts(3 * MIB_LEN), 2).await);
    }
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let mut request = oldest_first(100);
    let (mut found, mut last) = (Vec::new(), None);
    loop {
        let (page, _) = index.events(everything(), request).await.unwrap();
        assert!(page.rows.len() < 4, "a page holds too much");
        found.extend(page.rows.iter().map(|item| item.id));
        last = page.first.or(last);
        let Some(next) = page.next else { break };
        request.cursor = Some(next);
    }
    assert_eq!(found, want);
    // Back from the last page: all others, each once.
    request.direction = Direction::Prev;
    request.cursor = last;
    let mut before = Vec::new();
    loop {
        let (page, _) = index.events(everything(), request).await.unwrap();
        let shown: Vec<EventId> = page.rows.iter().map(|item| item.id).collect();
        // The row of the cursor is shown again where the page is not full.
        let new: Vec<EventId> = shown
            .into_iter()
            .filter(|id| Some(*id) < request.cursor)
            .collect();
        before.splice(0..0, new);
        if !page.has_prev {
            break;
        }
        request.cursor = page.first;
    }
    let until = want.iter().position(|id| Some(*id) == last).unwrap();
    assert_eq!(before, want[..until]);
    // A body counts with each delivery that shows it.
    let all = DeliveryFilter {
        project: Some(facts(0).project),
        ..DeliveryFilter::default()
    };
    let request = PageRequest {
        rows: 100,
        sort: Sort::Ascending,
        direction: Direction::Next,
        cursor: None,
    };
    let (page, _) = index.deliveries(all, request).await.unwrap();
    assert!(page.rows.len() < 4 && page.next.is_some());
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_search_skips_what_retention_took() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    for _ in 0..30 {
        put_for(&log, facts(100_000), 0).await;
    }
    bed.clock
        .0
        .fetch_add(1_000_000, std::sync::atomic::Ordering::SeqCst);
    let json = outrider_webhook::event::EventFacts {
        body: r#"{"a":1}"#.into(),
        ..facts(0)
    };
    let id = put_for(&log, json, 0).await;
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    index.catch_up(GRACE).await;
    assert!(log.drop_expired(NOW_MS + 1).unwrap() > 0);
    let filter = EventFilter {
        search: Some(Search {
            contains: vec![serde_json::json!({"a": 1})],
            ..Search::default()
        }),
        ..everything()
    };
    let (page, _) = index.events(filter, oldest_first(10)).await.unwrap();
    let found: Vec<EventId> = page.rows.iter().map(|item| item.id).collect();
    assert_eq!(found, [id]);
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_in_a_group_is_not_recorded_together() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 10).await;
    let event = bed.sink.last();
    let key = DeliveryKey {
        event: event.id,
        ordinal: 0,
    };
    let large = AttemptRecord {
        excerpt: bytes::Bytes::from(vec![b'x'; 40_000]),
        ..attempt(key, event.position, 1, DeliveryStatus::Retry)
    };
    let records = vec![Record::Attempt(large); 120];
    let refused = log.record_together(&records[0], &records).await;
    assert!(matches!(
        refused,
        Err(TogetherError::TooMuch { records: 121, .. })
    ));
    let small = attempt(key, event.position, 1, DeliveryStatus::Retry);
    let many = vec![Record::Attempt(small); 512];
    let refused = log.record_together(&many[0], &many).await;
    assert!(matches!(
        refused,
        Err(TogetherError::TooMuch { records: 513, .. })
    ));
    log.record_together(&many[0], &many[1..]).await.unwrap();
    let mut records = Vec::new();
    let mut tail = log.tail(None, Check::Checksums).unwrap();
    while tail.next_group(&mut records).unwrap() {}
    let of_attempts = |one: &&Located| matches!(one.entry, Entry::Attempt(_));
    let groups: std::collections::BTreeSet<u64> = records
        .iter()
        .filter(of_attempts)
        .map(|one| one.group)
        .collect();
    assert_eq!(groups.len(), 1);
    log.close().await.unwrap();
}

#[tokio::test]
async fn an_index_that_a_power_cut_may_have_torn_is_made_again_and_a_killed_one_is_not() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let id = put(&log, 10).await;
    let note = index_dir(&bed).join("unsynced");
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    index.catch_up(GRACE).await;
    let noted = std::fs::read(&note).unwrap();
    index.close().await;
    assert!(!note.exists(), "closed in good order");
    log.close().await.unwrap();

    let this_boot = String::from_utf8(noted).unwrap();
    for (boot, rebuilds) in [(this_boot.as_str(), 0), ("another boot", 1), ("", 1)] {
        std::fs::write(&note, boot).unwrap();
        let (log, _) = bed.open();
        let index = Index::open(&index_dir(&bed), &log).unwrap();
        assert_eq!(index.stats().rebuilds, rebuilds, "{boot}");
        assert!(index.event(facts(0).project, id).await.unwrap().is_some());
        index.close().await;
        log.close().await.unwrap();
    }
}
