use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use outrider_webhook::id::Uid;

use super::*;

fn source(number: u128) -> SourceId {
    SourceId::new(Uid::from_bits(number))
}

fn sample(at_ms: i64, body: usize) -> Sample {
    sample_of("bad_event_type", at_ms, body)
}

fn sample_of(reason: &'static str, at_ms: i64, body: usize) -> Sample {
    let (head, ()) = Request::post("/").body(()).unwrap().into_parts();
    let refused = Refused {
        reason,
        status: StatusCode::BAD_REQUEST,
        at_ms,
        request_id: &HeaderValue::from_static("1"),
        client: None,
        head: &head,
        body: Some(&Bytes::from(vec![b'x'; body])),
    };
    let masks = Masks {
        headers: Vec::new(),
        query: None,
    };
    Sample::of(&refused, &masks)
}

fn times(rejected: &Rejected, number: u128) -> Vec<i64> {
    let shown = rejected.shown(source(number), usize::MAX);
    let shown = shown["rejected"].as_array().unwrap();
    shown
        .iter()
        .map(|one| one["at_ms"].as_i64().unwrap())
        .collect()
}

#[test]
fn a_source_keeps_its_newest_samples_newest_first() {
    let rejected = Rejected::default();
    for at_ms in 0..50 {
        rejected.keep(source(1), sample(at_ms, 0));
    }
    rejected.keep(source(2), sample(7, 0));
    let newest: Vec<i64> = (30..50).rev().collect();
    assert_eq!(times(&rejected, 1), newest);
    assert_eq!(times(&rejected, 2), [7]);
    assert_eq!(times(&rejected, 3), [0; 0]);
    assert_eq!(rejected.of(source(2))[0].reason(), "bad_event_type");
}

#[test]
fn all_sources_together_have_a_bound_and_the_oldest_goes_first() {
    let rejected = Rejected::default();
    for number in 0..30_000_u32 {
        rejected.keep(source(number.into()), sample(number.into(), 1024));
        let kept = rejected.lock();
        assert!(kept.samples <= SAMPLES_MAX && kept.bytes <= BYTES_MAX);
        assert!(kept.order.len() <= 2 * SAMPLES_MAX + 1 && kept.sources.len() <= SAMPLES_MAX);
    }
    assert_eq!(times(&rejected, 0), [0; 0]);
    assert_eq!(times(&rejected, 29_999), [29_999]);
}

#[test]
fn a_flood_of_one_source_leaves_the_samples_of_another() {
    let rejected = Rejected::default();
    rejected.keep(source(2), sample(1, 0));
    for at_ms in 0..60_000 {
        rejected.keep(source(1), sample(at_ms, 0));
    }
    assert!(rejected.lock().order.len() <= 2 * SAMPLES_MAX + 1);
    assert_eq!(times(&rejected, 2), [1]);
    let kept = rejected.lock();
    let all = || kept.sources.values().flatten();
    assert_eq!(kept.samples, all().count());
    assert_eq!(
        kept.bytes,
        all().map(|(_, sample)| sample.bytes()).sum::<usize>()
    );
}

#[test]
fn a_flood_of_one_reason_leaves_the_others() {
    let rejected = Rejected::default();
    rejected.keep(source(1), sample_of("signature_mismatch", 1, 0));
    for at_ms in 2..60_000 {
        rejected.keep(source(1), sample_of("rate_limited", at_ms, 0));
        assert!(rejected.lock().order.len() <= 2 * SAMPLES_MAX + 1);
    }
    let times = times(&rejected, 1);
    assert_eq!((times.len(), times[0], times[19]), (20, 59_999, 1));
    // The oldest of all is still the first to go when all together are too many.
    for number in 2..20_000_u32 {
        rejected.keep(source(number.into()), sample(0, 0));
    }
    assert!(rejected.of(source(1)).is_empty());
}

#[test]
fn what_is_shown_fits_and_says_what_it_leaves_out() {
    let rejected = Rejected::default();
    for at_ms in 0..10 {
        rejected.keep(source(1), sample(at_ms, 1024));
    }
    let shown = rejected.shown(source(1), 5_000);
    let samples = shown["rejected"].as_array().unwrap();
    assert!((1..10).contains(&samples.len()));
    assert_eq!(samples[0]["at_ms"], 9);
    assert_eq!(shown["left_out"], 10 - samples.len());
    assert!(shown["rejected"].to_string().len() <= 5_001);
}
