//! Recovery: from the segments to what is open, after a clean end, a kill or a power cut alike.
//!
//! A final state is final: after it only a STATE opens a delivery again. An attempt recorded
//! behind it came from a worker that had lost its lease, and changes nothing.

mod commands;
mod gaps;
mod made;
mod pending;
mod state;

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use outrider_webhook::id::{DeliveryKey, EventId};

pub use self::commands::Batch;
pub use self::made::Unsettled;
pub use self::pending::{Gap, OpenDeliveries, Pending};
pub(crate) use self::state::{Open, State};
use crate::catalog::SegmentFacts;
use crate::codec::Chain;
use crate::dir::{Damage, Meta};
use crate::event::Position;
use crate::options::Options;
use crate::record::EndpointStateRecord;
use crate::scan::{FoundGroup, ScanError, Scanner, Step};
use crate::segment::HEADER_BYTES;
use crate::writer::Idempotency;

/// A delivery that was opened again, and whose event cannot be read any more: it can only end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Which delivery.
    pub key: DeliveryKey,
    /// Where the ACCEPT record of its event was.
    pub position: Position,
    /// Attempts made so far.
    pub attempts: u32,
}

/// The end of the log that was cut off at recovery: nothing in it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornTail {
    /// Where the log ends now.
    pub position: Position,
}

/// What recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// Deliveries that are not final, in order of acceptance.
    pub pending: OpenDeliveries,
    /// At-most-once deliveries with an attempt that began and has no outcome (RULINGS 27).
    /// Nothing drives them: the caller records `Failure(outcome_unknown)` for each.
    pub outcome_unknown: Vec<Pending>,
    /// Deliveries that were cancelled while an attempt was under way, which did not end. Nothing
    /// drives them: the caller records `Discarded(cancelled)` for each.
    pub cancelled: Vec<Pending>,
    /// Batches of commands, in the order of the log: all that are not finished, and the latest
    /// that are.
    pub batches: Vec<Batch>,
    /// Deliveries that nothing can drive: the caller records `Failure(payload_gone)` for each.
    pub lost: Vec<Lost>,
    /// The last condition of each class of each endpoint that the data plane decided about.
    pub endpoint_states: Vec<EndpointStateRecord>,
    /// Endpoints that events made and nobody has taken over, in the order of the log.
    pub unsettled: Vec<Unsettled>,
    /// The last event id that was given out.
    pub last_id: EventId,
    /// Events in the log.
    pub events: u64,
    /// Deliveries with an order key that ended without success, while no later one of the same
    /// key arrived; in order of acceptance.
    pub gaps: Vec<Gap>,
    /// What was cut off.
    pub torn_tail: Option<TornTail>,
    /// What was given up by this start, with [`Options::salvage`].
    pub salvaged: Vec<Damage>,
    /// How long recovery took.
    pub elapsed: Duration,
}

/// Where the writer goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resume {
    /// Behind the last group.
    pub(crate) end: Position,
    /// Behind the last group that is known to be synced.
    pub(crate) proven: Position,
    pub(crate) next_seq: u64,
    pub(crate) next_group: u64,
    pub(crate) chain: Chain,
    pub(crate) last_id: EventId,
}

impl Resume {
    pub(crate) const fn start() -> Self {
        let position = Position {
            segment: 1,
            offset: HEADER_BYTES,
        };
        Self {
            end: position,
            proven: position,
            next_seq: 1,
            next_group: 1,
            chain: [0; 32],
            last_id: EventId::ZERO,
        }
    }
}

/// Everything recovery read.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) state: State,
    pub(crate) resume: Resume,
    pub(crate) segments: Vec<(u32, SegmentFacts)>,
    pub(crate) is_torn: bool,
    pub(crate) damage: Vec<Damage>,
    pub(crate) elapsed: Duration,
}

/// Reads the segments `numbers`, which exist, from the first to the end of the log.
pub(crate) fn recover(
    dir: &Path,
    meta: &Meta,
    numbers: &[u32],
    options: &Options,
    now_ms: i64,
) -> Result<Recovery, ScanError> {
    let started = Instant::now();
    let keys = Idempotency::new(options.idempotency_keys_max, options.idempotency_slack());
    let mut state = State::new(keys, now_ms);
    let mut walk = Walk {
        resume: Resume::start(),
        segments: Vec::new(),
        unproven: VecDeque::new(),
    };
    let (mut is_torn, mut damage) = (false, Vec::new());
    if let Some(first) = numbers.first().copied() {
        check_contiguous(numbers)?;
        let from = Position {
            segment: first,
            offset: HEADER_BYTES,
        };
        walk.resume.proven = from;
        let mut scanner = Scanner::new(dir, meta.salt, from, &meta.salvaged, options.salvage)?;
        let end = loop {
            match scanner.next()? {
                Step::End(end) => break end,
                Step::Group(found) => {
                    state.apply(scanner.bytes(&found)?, &found)?;
                    walk.pass(&found);
                }
            }
        };
        walk.finish(end.position);
        (is_torn, damage) = (end.is_torn, scanner.damage);
    }
    state.finish(dir, meta.salt)?;
    let mut resume = walk.resume;
    resume.last_id = state.last_id();
    Ok(Recovery {
        state,
        resume,
        segments: walk.segments,
        is_torn,
        damage,
        elapsed: started.elapsed(),
    })
}

fn check_contiguous(numbers: &[u32]) -> Result<(), ScanError> {
    for pair in numbers.windows(2) {
        if let [before, after] = pair
            && before + 1 != *after
        {
            return Err(ScanError::Gap(before + 1));
        }
    }
    Ok(())
}

/// The scan as the writer will go on from it.
struct Walk {
    resume: Resume,
    segments: Vec<(u32, SegmentFacts)>,
    /// Groups that no later group has called synced: number and start.
    unproven: VecDeque<(u64, Position)>,
}

impl Walk {
    fn pass(&mut self, found: &FoundGroup) {
        let head = &found.head;
        let is_proven = |(number, _): &mut (u64, Position)| *number <= head.synced_through;
        while self.unproven.pop_front_if(is_proven).is_some() {}
        self.unproven.push_back((head.number, found.start));
        self.resume.next_seq = head.first_seq + u64::from(head.count);
        self.resume.next_group = head.number + 1;
        self.resume.chain = head.chain;
        match self.segments.last_mut() {
            Some((number, facts)) if *number == found.start.segment => {
                facts.newest_ms = facts.newest_ms.max(head.at_ms);
            }
            _ => {
                let facts = SegmentFacts {
                    newest_ms: head.at_ms,
                    ..SegmentFacts::default()
                };
                self.segments.push((found.start.segment, facts));
            }
        }
    }

    fn finish(&mut self, end: Position) {
        self.resume.end = end;
        self.resume.proven = self.unproven.front().map_or(end, |(_, start)| *start);
        if self
            .segments
            .last()
            .is_none_or(|(number, _)| *number != end.segment)
        {
            self.segments.push((end.segment, SegmentFacts::default()));
        }
    }
}
