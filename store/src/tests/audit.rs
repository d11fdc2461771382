//! The audit: that it counts what is there, and finds whatever is wrong.

mod counts;
mod damage;
mod fates;
mod forge;

use std::os::unix::fs::FileExt;

use outrider_webhook::id::DeliveryKey;

use super::support::*;
use crate::audit::{self, Code, Report};
use crate::*;

/// The audit of a log that nobody has open.
fn audited(bed: &Bed) -> Report {
    audit::run(&bed.options.dir).unwrap()
}

/// As [`audited`], of a log with nothing wrong.
fn clean(bed: &Bed) -> Report {
    let report = audited(bed);
    assert!(report.is_clean(), "{:#?}", report.violations);
    report
}

/// The codes of what is wrong, in order.
fn codes(report: &Report) -> Vec<Code> {
    report.violations.iter().map(|found| found.code).collect()
}

/// A STATE of a delivery after `attempts` attempts.
fn state(key: DeliveryKey, position: Position, status: DeliveryStatus, attempts: u32) -> Record {
    Record::State(StateRecord {
        key,
        position,
        at_ms: NOW_MS,
        status,
        next_due_ms: (!status.is_final()).then_some(NOW_MS),
        attempts,
        reason: None,
    })
}

/// Overwrites the payload of a record with zeros.
fn erase_payload(bed: &Bed, at: Position) {
    let bytes = std::fs::read(bed.segment(at.segment)).unwrap();
    let record = &bytes[usize::try_from(at.offset).unwrap()..];
    let field = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
    let (len, head_len) = (field(4), field(8));
    let zeros = vec![0; usize::try_from(len - head_len).unwrap()];
    patch(bed, at.segment, at.offset + u64::from(head_len), &zeros);
}

fn patch(bed: &Bed, segment: u32, offset: u64, bytes: &[u8]) {
    let path = bed.segment(segment);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

/// Every file of a log with its bytes and its time of change.
fn files(bed: &Bed) -> Vec<(std::ffi::OsString, std::time::SystemTime, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(&bed.options.dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let changed = entry.metadata().unwrap().modified().unwrap();
            (
                entry.file_name(),
                changed,
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}
