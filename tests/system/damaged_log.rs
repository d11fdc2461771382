//! A log that was damaged while nobody ran: what was synced is never given up in silence, what
//! was not is cut off, and the damage is named so that it can be found in a backup.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::harness::{
    Api, DEADLINE, Endpoint, OUTGOING, Outrider, Receiver, Resources, Setup, uid,
};

const SECRET: &str = "shared-with-the-customer";
const IO: Option<i32> = Some(74);
/// Bytes of a segment's header; groups of records follow.
const HEADER: u64 = 64;

/// What is said of a log that lacks its end.
const CUT_SHORT: [&str; 3] = [
    "the log ends at segment 1 offset ",
    "was synced up to segment 1 offset ",
    "Restore the log from a backup",
];

fn segment(outrider: &Outrider, number: u32) -> PathBuf {
    outrider.data_dir().join(format!("log/{number:08}.log"))
}

/// Where the log ends in this segment: what is behind was allocated and never written.
fn end_of(segment: &Path) -> u64 {
    let bytes = fs::read(segment).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    u64::try_from(last + 1).unwrap()
}

fn read_at(segment: &Path, offset: u64) -> u8 {
    let mut byte = [0];
    let file = OpenOptions::new().read(true).open(segment).unwrap();
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0]
}

fn patch(segment: &Path, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(segment).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn cut(segment: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(segment).unwrap();
    file.set_len(bytes).unwrap();
}

/// A gateway that has ended with these events in its log, each in a group and delivered.
async fn stopped(receiver: &Receiver, events: u32, padding: usize) -> (Outrider, BTreeSet<String>) {
    let endpoint = Endpoint::new(1, &receiver.url("/in"), SECRET);
    let mut outrider = Setup::new(&Resources::outgoing(&[endpoint]))
        .env("OUTRIDER__STORE__SEGMENT_BYTES", "1048576")
        .start()
        .await;
    let mut acknowledged = BTreeSet::new();
    for n in 0..events {
        acknowledged.insert(publish(&outrider, n, padding).await);
    }
    let count = acknowledged.len();
    receiver.wait_for(count, DEADLINE).await;
    let finished = "outrider_deliveries_finished_total";
    outrider
        .wait_for_metric(finished, &[], f64::from(events), DEADLINE)
        .await;
    // A clean end, so that every attempt is on disk too and nothing has to be delivered again.
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    (outrider, acknowledged)
}

async fn publish(outrider: &Outrider, n: u32, padding: usize) -> String {
    let data = json!({"n": n, "padding": "x".repeat(padding)});
    let reply = outrider.client().publish_to(&uid(1), "a", data).await;
    reply.unwrap().event_uid()
}

/// The start ends at once with this code and says all of this; nothing was changed by it.
async fn assert_refused(outrider: &Outrider, code: Option<i32>, says: &[&str]) {
    let ended = outrider.run_to_end().await;
    assert_eq!(ended.code, code, "{}", ended.output);
    for words in says {
        assert!(
            ended.output.contains(words),
            "{words:?} is not in:\n{}",
            ended.output
        );
    }
    assert!(!ended.output.contains("panicked"), "{}", ended.output);
}

/// It serves again, knows every event of before, delivers none of them again, and a new one.
async fn assert_serves_as_before(
    outrider: &mut Outrider,
    receiver: &Receiver,
    acknowledged: &BTreeSet<String>,
) {
    let before = receiver.received().len();
    outrider.start().await;
    let mut admin = outrider.admin_api();
    for event in acknowledged {
        let path = format!("/api/v1/projects/{}/events/{event}", OUTGOING);
        admin.get(&path).await.data(200);
    }
    let event = publish(outrider, 0, 10).await;
    let received = receiver.wait_for(before + 1, DEADLINE).await;
    assert_eq!(received.len(), before + 1);
    assert_eq!(received[before].webhook_id(), event);
}

#[tokio::test]
async fn a_flipped_bit_in_what_was_synced_stops_the_start_and_names_the_place() {
    let receiver = Receiver::start().await;
    let (mut outrider, acknowledged) = stopped(&receiver, 8, 100).await;
    let first = segment(&outrider, 1);
    let end = end_of(&first);
    let middle = HEADER + (end - HEADER) / 2;
    for (offset, place) in [
        (8, "segment 1 offset 0: malformed segment header checksum"),
        (HEADER + 30, "segment 1 offset 64: malformed checksum"),
        (middle, "segment 1 offset "),
    ] {
        let byte = read_at(&first, offset);
        patch(&first, offset, &[byte ^ 0x10]);
        let place = format!("the log is corrupt at {place}");
        let says = ["cannot open the event log in ", "/log: ", place.as_str()];
        assert_refused(&outrider, IO, &says).await;
        patch(&first, offset, &[byte]);
    }
    assert_serves_as_before(&mut outrider, &receiver, &acknowledged).await;
}

#[tokio::test]
async fn a_log_that_ends_before_what_was_synced_stops_the_start_and_names_the_place() {
    let receiver = Receiver::start().await;
    let (mut outrider, acknowledged) = stopped(&receiver, 8, 100).await;
    let first = segment(&outrider, 1);
    let whole = fs::read(&first).unwrap();
    let end = end_of(&first);
    // The last one is in the last delivery: the record of a clean end behind it is shorter.
    let middle = HEADER + (end - HEADER) / 2;
    for length in [0, HEADER / 2, HEADER, middle, end - 400] {
        cut(&first, length);
        assert_refused(&outrider, IO, &CUT_SHORT).await;
        assert_eq!(fs::metadata(&first).unwrap().len(), length);
        fs::write(&first, &whole).unwrap();
    }
    assert_serves_as_before(&mut outrider, &receiver, &acknowledged).await;

    // What the message offers to whoever has no backup works.
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    cut(&first, middle);
    assert_refused(&outrider, IO, &CUT_SHORT).await;
    fs::remove_dir_all(outrider.data_dir().join("index")).unwrap();
    outrider.start().await;
    publish(&outrider, 9, 10).await;
}

/// Nothing in the log says that its last group was synced. The index does.
#[tokio::test]
async fn a_flipped_bit_in_the_last_record_before_a_kill_stops_the_start() {
    let receiver = Receiver::start().await;
    let (mut outrider, mut acknowledged) = stopped(&receiver, 3, 100).await;
    outrider.start().await;
    let event = publish(&outrider, 3, 100).await;
    let mut project = Api::of_project(outrider.public(), OUTGOING, &outrider.admin_key());
    project.delivery(&event, "Success").await;
    acknowledged.insert(event);
    outrider.kill();
    let first = segment(&outrider, 1);
    let last = end_of(&first) - 1;
    let byte = read_at(&first, last);
    patch(&first, last, &[byte ^ 1]);
    assert_refused(&outrider, IO, &CUT_SHORT).await;
    patch(&first, last, &[byte]);
    assert_serves_as_before(&mut outrider, &receiver, &acknowledged).await;
}

#[tokio::test]
async fn a_segment_missing_in_the_middle_stops_the_start_and_is_named() {
    let receiver = Receiver::start().await;
    let (mut outrider, acknowledged) = stopped(&receiver, 60, 48 * 1024).await;
    let second = segment(&outrider, 2);
    assert!(
        segment(&outrider, 3).exists(),
        "too few events for the test"
    );
    let aside = second.with_extension("aside");
    fs::rename(&second, &aside).unwrap();
    assert_refused(&outrider, IO, &["segment 2 is missing"]).await;
    fs::rename(&aside, &second).unwrap();
    // One that is there and too short is as bad as one that is not.
    let whole = fs::read(&second).unwrap();
    cut(&second, 500_000);
    assert_refused(&outrider, IO, &["segment 2 offset "]).await;
    fs::write(&second, &whole).unwrap();
    assert_serves_as_before(&mut outrider, &receiver, &acknowledged).await;
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_nothing_that_was_acknowledged_goes_with_it() {
    let receiver = Receiver::start().await;
    let (mut outrider, mut acknowledged) = stopped(&receiver, 5, 100).await;
    let first = segment(&outrider, 1);
    // What an unsynced write may leave behind: part of a group, or blocks in any order.
    let group = fs::read(&first).unwrap()[64..400].to_vec();
    let garbage = [0xa5; 3000];
    for torn in [&group[..], &garbage, &[1]] {
        patch(&first, end_of(&first), torn);
        assert_serves_as_before(&mut outrider, &receiver, &acknowledged).await;
        let last = receiver.received().last().unwrap().webhook_id().to_owned();
        acknowledged.insert(last);
        assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    }
    assert_eq!(
        outrider.stderr().matches("torn tail").count(),
        3,
        "{}",
        outrider.stderr()
    );
}

#[tokio::test]
async fn the_notes_of_a_log_damaged_or_missing_stop_the_start_and_are_named() {
    let receiver = Receiver::start().await;
    let (mut outrider, acknowledged) = stopped(&receiver, 3, 100).await;
    let meta = outrider.data_dir().join("log/meta.json");
    let whole = fs::read_to_string(&meta).unwrap();
    let edited = whole.replacen("\"node\": 0", "\"node\": 1", 1);
    for (text, says) in [
        ("", "is damaged"),
        ("{", "is damaged"),
        (edited.as_str(), "checksum does not fit"),
    ] {
        fs::write(&meta, text).unwrap();
        assert_refused(&outrider, IO, &["log/meta.json", says]).await;
    }
    fs::remove_file(&meta).unwrap();
    let says = ["log/meta.json is missing", "restore it from a backup"];
    assert_refused(&outrider, IO, &says).await;
    fs::write(&meta, &whole).unwrap();
    assert_serves_as_before(&mut outrider, &receiver, &acknowledged).await;
}
