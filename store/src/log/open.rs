//! Opening: lock, meta file, recovery, a segment to go on in, and the writer.

use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, OnceLock};

use outrider_webhook::id::{EventId, UidCodec};
use tokio::sync::watch;

use super::{AcceptedSink, Inner, MetaFacts, Shared};
use crate::catalog::{Catalog, SegmentFacts};
use crate::clock::Clock;
use crate::codec::GROUP_BYTES;
use crate::dir::{self, FileError, Meta};
use crate::error::OpenError;
use crate::event::Position;
use crate::options::Options;
use crate::queue::Queue;
use crate::read::Reader;
use crate::recover::{self, Open, Recovered, Recovery, Resume, TornTail};
use crate::segment::{HEADER_BYTES, SegmentFile, SegmentHeader, salt_print};
use crate::spare::Spares;
use crate::stats::Counters;
use crate::writer::{OpenSegments, Start, Writer};

/// Largest segment: lengths of a group fit in 32 bits.
const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// A log that lacks only the thread of its writer.
pub(super) struct Opened {
    pub(super) writer: Writer,
    pub(super) inner: Inner,
    pub(super) recovered: Recovered,
}

pub(super) fn open(
    options: &Options,
    clock: Arc<dyn Clock>,
    sink: Box<dyn AcceptedSink>,
) -> Result<Opened, OpenError> {
    let (bytes, min, max) = (
        options.segment_bytes,
        Options::SEGMENT_BYTES_MIN,
        SEGMENT_BYTES_MAX,
    );
    if !(min..=max).contains(&bytes) {
        return Err(OpenError::SegmentBytes { bytes, min, max });
    }
    dir::create(&options.dir)?;
    let locked = || OpenError::Locked {
        dir: options.dir.clone(),
    };
    let lock = dir::lock(&options.dir)?.ok_or_else(locked)?;
    let (numbers, now_ms) = (dir::segments(&options.dir)?, clock.now_ms());
    let mut meta = Meta::open(&options.dir, options.node, numbers.is_empty(), now_ms)?;
    let mut recovery = recover::recover(&options.dir, &meta, &numbers, options, now_ms)?;
    check_end(options, &meta, recovery.resume.end)?;
    meta.epoch += 1;
    meta.salvaged.extend(&recovery.damage);
    meta.write(&options.dir)?;

    let resume = recovery.resume;
    let header = |segment| SegmentHeader {
        segment,
        node: meta.node,
        epoch: meta.epoch,
        id_floor: resume.last_id,
        created_ms: now_ms,
        salt_print: salt_print(meta.salt),
    };
    if recovery.is_torn {
        tracing::warn!(end = %resume.end, "the torn tail of the log is cut off, nothing in it was acknowledged");
    }
    clear_behind(&options.dir, &numbers, &resume)?;
    let segment = writable_segment(options, &resume, &header(resume.end.segment))?;
    let (recovered, open) = hand_over(&mut recovery);
    let shared = Arc::new(shared(options, &recovery, &segment, &recovered));
    let spares = Spares::start(
        options,
        Arc::clone(&shared.room),
        header(segment.number + 1),
    )
    .map_err(OpenError::Thread)?;
    let writer = Writer::new(Start {
        shared: Arc::clone(&shared),
        clock: Arc::clone(&clock),
        sink,
        sync: options.sync,
        node: options.node,
        epoch: meta.epoch,
        salt: meta.salt,
        spares,
        segment,
        resume,
        idempotency: recovery.state.idempotency,
        open,
        lock,
    });
    let inner = Inner {
        shared,
        reader: Reader::new(&options.dir, meta.salt),
        clock,
        index: OnceLock::new(),
        opened_at: (resume.end, resume.chain),
        uids: UidCodec::new(&meta.uid_key),
        meta: MetaFacts(meta),
        record_bytes_max: record_bytes_max(options.segment_bytes),
        thread: Mutex::default(),
    };
    Ok(Opened {
        writer,
        inner,
        recovered,
    })
}

/// Before anything is written: what is behind the end may still be of use to somebody.
fn check_end(options: &Options, meta: &Meta, end: Position) -> Result<(), OpenError> {
    let known = options.synced.as_ref();
    let known = known.filter(|known| known.log == meta.salt && !options.salvage);
    match known {
        Some(known) if end < known.through => Err(OpenError::CutShort {
            end,
            synced: known.through,
            index: known.index.clone(),
        }),
        _ => Ok(()),
    }
}

/// Bytes a record may have in segments of a size.
fn record_bytes_max(segment_bytes: u64) -> usize {
    usize::try_from(segment_bytes - HEADER_BYTES).unwrap_or(usize::MAX) - GROUP_BYTES
}

/// Removes the segments behind the end: spares of the last run, or never acknowledged. From the
/// back, so that a crash in between leaves a log without a gap.
fn clear_behind(dir: &Path, numbers: &[u32], resume: &Resume) -> Result<(), FileError> {
    let last = resume.end.segment;
    for number in numbers.iter().rev().take_while(|number| **number > last) {
        let path = dir::segment_path(dir, *number);
        std::fs::remove_file(&path).map_err(FileError::at("remove", &path))?;
    }
    dir::sync_dir(dir)
}

/// The segment the writer goes on in, with everything up to the end known to be on the disk.
fn writable_segment(
    options: &Options,
    resume: &Resume,
    header: &SegmentHeader,
) -> Result<SegmentFile, FileError> {
    let (dir, bytes) = (&options.dir, options.segment_bytes);
    let (proven, end) = (resume.proven, resume.end);
    let file = if end.offset == HEADER_BYTES {
        // Without a group: new, or not even its header may be there.
        SegmentFile::create(dir, header, bytes)?
    } else {
        let mut from = proven.offset;
        for number in proven.segment..end.segment {
            SegmentFile::renew(dir, number, from)?;
            from = HEADER_BYTES;
        }
        SegmentFile::reopen(dir, end.segment, bytes, from, end.offset)?
    };
    #[cfg(test)]
    let file = file.with_faults(&options.faults);
    Ok(file)
}

fn hand_over(recovery: &mut Recovery) -> (Recovered, OpenSegments) {
    let Open {
        driven: pending,
        outcome_unknown,
        cancelled,
    } = recovery.state.take_open();
    let mut open = OpenSegments::default();
    let ending = outcome_unknown.iter().chain(&cancelled);
    let ending = ending.map(|one| (one.key, one.position));
    for (key, position) in pending.places().chain(ending) {
        open.open(key, position.segment);
    }
    let recovered = Recovered {
        pending,
        outcome_unknown,
        cancelled,
        batches: recovery.state.take_batches(),
        lost: recovery.state.take_lost(),
        endpoint_states: recovery.state.take_endpoint_states(),
        gaps: recovery.state.take_gaps(),
        unsettled: recovery.state.take_unsettled(),
        last_id: recovery.resume.last_id,
        events: recovery.state.events,
        torn_tail: recovery.is_torn.then_some(TornTail {
            position: recovery.resume.end,
        }),
        salvaged: recovery.damage.clone(),
        elapsed: recovery.elapsed,
    };
    (recovered, open)
}

fn shared(
    options: &Options,
    recovery: &Recovery,
    segment: &SegmentFile,
    recovered: &Recovered,
) -> Shared {
    let mut catalog = Catalog::default();
    for (number, facts) in &recovery.segments {
        let bytes = file_bytes(&options.dir, *number);
        catalog
            .segments
            .insert(*number, SegmentFacts { bytes, ..*facts });
    }
    catalog.segments.entry(segment.number).or_default().bytes = segment.bytes;
    let ending = recovered.outcome_unknown.iter().chain(&recovered.cancelled);
    let places = recovered.pending.places().map(|(_, position)| position);
    for position in places.chain(ending.map(|one| one.position)) {
        catalog.change_open(position.segment, 1);
    }
    let counters = Counters::default();
    counters
        .open_deliveries
        .set(recovered.pending.len() + recovered.outcome_unknown.len() + recovered.cancelled.len());
    counters
        .idempotency_keys
        .set(recovery.state.idempotency.len());
    let keys_gone = recovery.state.idempotency.gone_through();
    Shared {
        dir: options.dir.clone(),
        queue: Queue::new(options.queue_records, options.queue_bytes),
        counters,
        durable: watch::Sender::new(recovery.resume.end),
        catalog: Mutex::new(catalog),
        room: Arc::default(),
        keys_gone: AtomicI64::new(keys_gone.map_or(0, EventId::raw)),
        fatal: watch::Sender::new(None),
    }
}

/// Bytes of a segment's file; a figure only, so a file that cannot be asked counts as empty.
fn file_bytes(dir: &Path, number: u32) -> u64 {
    std::fs::metadata(dir::segment_path(dir, number)).map_or(0, |metadata| metadata.len())
}
