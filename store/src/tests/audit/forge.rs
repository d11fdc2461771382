//! Logs that no writer writes: made of records by the real codec, group by group, with checksums
//! and chain as they should be. So what is found is what the records say.

use outrider_webhook::event::EventFacts;
use outrider_webhook::id::{DeliveryKey, EventId, NodeId};
use sha2::Digest;

use super::*;
use crate::codec::{self, Chain, Draft, GROUP_BYTES, GroupHead, IdemKey, PREFIX, Seed, chain_of};
use crate::dir::Meta;
use crate::segment::{HEADER_BYTES, SegmentHeader, salt_print};

/// A log in the making. The head of the next group may be changed.
pub(super) struct Forge {
    pub(super) bed: Bed,
    meta: Meta,
    segment: u32,
    bytes: Vec<u8>,
    pub(super) chain: Chain,
    pub(super) number: u64,
    pub(super) seq: u64,
    pub(super) last_id: EventId,
    pub(super) at_ms: i64,
    pub(super) synced_through: Option<u64>,
}

/// Kinds of events to accept.
pub(super) struct Event {
    pub(super) facts: EventFacts,
    pub(super) targets: usize,
}

impl Forge {
    pub(super) fn new() -> Self {
        let bed = Bed::new();
        let dir = &bed.options.dir;
        std::fs::create_dir_all(dir).unwrap();
        let mut meta = Meta::open(dir, NodeId::new(0).unwrap(), true, NOW_MS).unwrap();
        meta.epoch = 1;
        meta.write(dir).unwrap();
        let mut forge = Self {
            bed,
            meta,
            segment: 0,
            bytes: Vec::new(),
            chain: [0; 32],
            number: 1,
            seq: 1,
            last_id: EventId::ZERO,
            at_ms: NOW_MS,
            synced_through: None,
        };
        forge.roll();
        forge
    }

    /// Goes on in the next segment.
    pub(super) fn roll(&mut self) {
        self.save();
        self.segment += 1;
        self.bytes = SegmentHeader {
            segment: self.segment,
            node: 0,
            epoch: 1,
            id_floor: self.last_id,
            created_ms: NOW_MS,
            salt_print: salt_print(self.meta.salt),
        }
        .encode();
        assert_eq!(self.bytes.len() as u64, HEADER_BYTES);
    }

    fn save(&self) {
        if self.segment > 0 {
            std::fs::write(self.bed.segment(self.segment), &self.bytes).unwrap();
        }
    }

    /// The next id.
    pub(super) fn next_id(&self) -> EventId {
        self.last_id.next(NodeId::new(0).unwrap(), self.at_ms)
    }

    /// Writes a group of these records with their ids; where each is.
    pub(super) fn group(&mut self, members: &[(&Draft, i64)]) -> Vec<Position> {
        let seed = Seed::new(self.meta.salt, self.segment);
        let start = self.bytes.len();
        self.bytes.resize(start + GROUP_BYTES, 0);
        let mut hash = chain_of(&self.chain, self.number, self.at_ms);
        let (mut positions, mut members_crc) = (Vec::new(), 0);
        for ((draft, id), seq) in members.iter().zip(self.seq..) {
            let at = self.bytes.len();
            let crc = draft.write(&mut self.bytes, seed, seq, *id);
            members_crc = crc32c::crc32c_append(members_crc, &crc.to_le_bytes());
            hash.update(&self.bytes[at + 4..at + PREFIX]);
            hash.update(draft.digest());
            positions.push(Position {
                segment: self.segment,
                offset: at as u64,
            });
        }
        let chain = hash.finalize().into();
        let head = GroupHead {
            first_seq: self.seq,
            last_id: self.last_id,
            number: self.number,
            synced_through: self.synced_through.take().unwrap_or(self.number - 1),
            at_ms: self.at_ms,
            count: u32::try_from(members.len()).unwrap(),
            bytes: u32::try_from(self.bytes.len() - start - GROUP_BYTES).unwrap(),
            members_crc,
            previous: self.chain,
            chain,
        };
        head.write(&mut self.bytes[start..], seed);
        self.chain = chain;
        self.number += 1;
        self.seq += members.len() as u64;
        positions
    }

    /// A group of one record.
    pub(super) fn one(&mut self, draft: &Draft, id: i64) -> Position {
        self.group(&[(draft, id)])[0]
    }

    /// Accepts an event, its TARGETS in the same group; its id and place.
    pub(super) fn accept(&mut self, event: &Event) -> (EventId, Position) {
        let id = self.next_id();
        let (draft, more) = drafts(event);
        let all: Vec<_> = std::iter::once(&draft)
            .chain(&more)
            .map(|draft| (draft, id.raw()))
            .collect();
        let position = self.group(&all)[0];
        self.last_id = id;
        (id, position)
    }

    /// Accepts an event with this many targets; the first delivery and the event's place.
    pub(super) fn event(&mut self, targets: usize) -> (DeliveryKey, Position) {
        let facts = facts(10);
        let (event, position) = self.accept(&Event { facts, targets });
        (DeliveryKey { event, ordinal: 0 }, position)
    }

    /// Records an attempt.
    pub(super) fn attempt(
        &mut self,
        (key, event): (DeliveryKey, Position),
        number: u32,
        result: DeliveryStatus,
    ) -> Position {
        let draft = codec::attempt(&attempt(key, event, number, result));
        self.one(&draft, key.event.raw())
    }

    /// Records a STATE.
    pub(super) fn state(
        &mut self,
        (key, event): (DeliveryKey, Position),
        status: DeliveryStatus,
        attempts: u32,
    ) -> Position {
        let Record::State(record) = state(key, event, status, attempts) else {
            unreachable!()
        };
        self.one(&codec::state(&record), key.event.raw())
    }

    /// What the audit says.
    pub(super) fn report(&self) -> Report {
        self.save();
        audited(&self.bed)
    }
}

/// The records of an event.
pub(super) fn drafts(event: &Event) -> (Draft, Vec<Draft>) {
    let (facts, list) = (&event.facts, targets(event.targets));
    let key = facts
        .idempotency_key
        .as_deref()
        .map(|key| IdemKey::new(facts.project, key));
    let draft = codec::accept(facts, &list, &decision(), key);
    (draft, codec::targets(&list))
}
