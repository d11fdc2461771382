//! Reading along.

use super::support::*;
use crate::*;

fn ids(records: &[Located]) -> Vec<outrider_webhook::id::EventId> {
    let event = |record: &Located| match &record.entry {
        Entry::Accept { event, .. } => Some(event.id),
        _ => None,
    };
    records.iter().filter_map(event).collect()
}

#[test]
fn where_there_is_no_log_there_is_nothing_to_read() {
    let bed = Bed::new();
    assert!(matches!(
        Tail::open(&bed.options.dir, None, Check::Chain),
        Err(TailError::Meta(_))
    ));
}

#[tokio::test]
async fn a_reader_follows_the_log_over_segments_and_can_resume() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let mut tail = log.tail(None, Check::Chain).unwrap();
    let (mut records, mut written) = (Vec::new(), Vec::new());
    assert!(!tail.next_group(&mut records).unwrap());
    for round in 0..10 {
        written.push(put(&log, 150_000 + round).await);
        while tail.next_group(&mut records).unwrap() {}
        assert_eq!(ids(&records), written);
        if round == 5 {
            tail = log.tail(tail.position(), Check::Chain).unwrap();
        }
    }
    assert!(log.stats().segments > 1);
    assert_eq!(tail.position(), Some(*log.durable().borrow()));
    log.close().await.unwrap();
    while tail.next_group(&mut records).unwrap() {}
    let Entry::Barrier(barrier) = &records.last().unwrap().entry else {
        panic!("no barrier")
    };
    assert_eq!(
        (barrier.pending, barrier.last_id, barrier.is_close),
        (10, written[9], true)
    );
}

#[tokio::test]
async fn a_record_replaced_with_right_checksums_breaks_the_chain() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 10).await;
    put(&log, 10).await;
    log.close().await.unwrap();
    forge(&bed);
    let read = |check| {
        let mut tail = Tail::open(&bed.options.dir, None, check).unwrap();
        let mut records = Vec::new();
        while tail.next_group(&mut records)? {}
        Ok::<_, TailError>(records.len())
    };
    assert_eq!(read(Check::Checksums).unwrap(), 3);
    assert!(matches!(
        read(Check::Chain),
        Err(TailError::Scan(ScanError::Chain(_)))
    ));
}

/// Changes a byte of the first event's body and mends every checksum over it.
fn forge(bed: &Bed) {
    use crate::codec::{GROUP_BYTES, GroupHead, Seed};
    let meta = crate::dir::Meta::read(&bed.options.dir).unwrap().unwrap();
    let seed = Seed::new(meta.salt, 1);
    let path = bed.segment(1);
    let mut bytes = std::fs::read(&path).unwrap();
    let mut head = GroupHead::decode(&bytes[64..], seed).unwrap();
    let record = &mut bytes[64 + GROUP_BYTES..];
    let field = |record: &[u8], at: usize| {
        u32::from_le_bytes(record[at..at + 4].try_into().unwrap()) as usize
    };
    let (len, head_len) = (field(record, 4), field(record, 8));
    record[len - 1] = b'!';
    let payload_crc = crc32c::crc32c(&record[head_len..len]);
    record[12..16].copy_from_slice(&payload_crc.to_le_bytes());
    let crc = seed.checksum(&record[4..head_len]).to_le_bytes();
    record[..4].copy_from_slice(&crc);
    head.members_crc = crc32c::crc32c(&crc);
    head.write(&mut bytes[64..], seed);
    std::fs::write(&path, bytes).unwrap();
}
