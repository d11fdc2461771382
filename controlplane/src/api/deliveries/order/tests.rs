use std::sync::Arc;

use axum::http::HeaderValue;
use bytes::Bytes;
use outrider_store::{Position, StoredEvent};
use outrider_webhook::event::{
    Audience, Decision, DeliveryMode, EventFacts, HeaderList, Origin, Replay, Target,
};
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ProjectId, Uid};

use super::*;

const NOW_MS: i64 = 1_767_225_600_000;
const POSITION: Position = Position {
    segment: 1,
    offset: 64,
};

fn key() -> DeliveryKey {
    DeliveryKey {
        event: EventId::ZERO,
        ordinal: 0,
    }
}

/// A delivery that waits, after so many attempts.
fn delivery(order_key: Option<u64>, attempts: u32) -> DeliveryItem {
    let endpoint = EndpointId::new(Uid::from_bits(2));
    let target = Target {
        endpoint,
        subscription: None,
        mode: DeliveryMode::AtLeastOnce,
        order_key,
    };
    let event = StoredEvent {
        id: key().event,
        position: POSITION,
        facts: EventFacts {
            project: ProjectId::new(Uid::from_bits(1)),
            origin: Origin::Api,
            audience: Audience::Endpoint(endpoint),
            event_type: "a".into(),
            headers: Vec::new(),
            query: "".into(),
            path: "".into(),
            body: Bytes::new(),
            idempotency_key: None,
            idempotency_window_ms: 0,
            received_ms: NOW_MS,
        },
        targets: vec![target.clone()].into(),
        revision: 1,
        decision: Decision::default(),
    };
    DeliveryItem {
        key: key(),
        event: Arc::new(event),
        target,
        status: match attempts {
            0 => DeliveryStatus::Scheduled,
            _ => DeliveryStatus::Retry,
        },
        attempts,
        due_ms: Some(NOW_MS),
        updated_ms: NOW_MS,
        reason: None,
        attempt: None,
    }
}

/// An attempt of 250 ms whose receiver was told this.
fn attempt(number: u32, told: &[HeaderName], flags: u32) -> AttemptRecord {
    let header = |name: &HeaderName| (name.clone(), HeaderValue::from_static("1"));
    let request_headers: HeaderList = told.iter().map(header).collect();
    AttemptRecord {
        key: key(),
        position: POSITION,
        number,
        started_ms: NOW_MS + i64::from(number) * 1_000,
        duration_us: 250_000,
        status: Some(500),
        error: None,
        source: None,
        destination: None,
        dns_us: 0,
        connect_us: 0,
        tls_us: 0,
        first_byte_us: 0,
        flags,
        revision: 1,
        request_headers,
        response_headers: Vec::new(),
        excerpt: Bytes::new(),
        result: DeliveryStatus::Retry,
        next_due_ms: None,
        reason: None,
    }
}

fn in_line(number: u32) -> AttemptRecord {
    attempt(number, &[ORDER_SEQUENCE], 0)
}

fn apart(number: u32) -> AttemptRecord {
    attempt(number, &[ORDER_SEQUENCE, ORDER_LATE], 0)
}

/// How it goes, and why.
fn said(item: &DeliveryItem, attempts: &[AttemptRecord]) -> (String, Option<String>) {
    let shown = shown(item, attempts);
    let text = |name: &str| shown[name].as_str().map(str::to_owned);
    (text("goes").unwrap(), text("why"))
}

fn both(goes: &str, why: Option<&str>) -> (String, Option<String>) {
    (goes.to_owned(), why.map(str::to_owned))
}

#[test]
fn without_an_order_key_nothing_is_said_whatever_was_sent() {
    assert_eq!(shown(&delivery(None, 1), &[apart(1)]), Value::Null);
    assert_eq!(Goes::of(&attempt(1, &[], 0)), None);
}

#[test]
fn one_that_keeps_to_its_line_says_so() {
    assert_eq!(said(&delivery(Some(7), 0), &[]), both("in_line", None));
    let attempts = [in_line(1), in_line(2)];
    let shown = shown(&delivery(Some(7), 2), &attempts);
    assert_eq!(
        (&shown["goes"], &shown["parked_at"]),
        (&json!("in_line"), &Value::Null)
    );
    let says = shown["says"].as_str().unwrap();
    assert!(says.starts_with("it goes in the order"), "{says}");
    let mut ended = delivery(Some(7), 2);
    ended.status = DeliveryStatus::Success;
    let shown = super::shown(&ended, &attempts);
    let says = shown["says"].as_str().unwrap();
    assert!(says.starts_with("it went in the order"), "{says}");
}

#[test]
fn a_parked_one_says_when() {
    let parked = attempt(2, &[ORDER_SEQUENCE], AttemptRecord::PARKED);
    let attempts = [in_line(1), parked, apart(3)];
    let shown = shown(&delivery(Some(7), 3), &attempts);
    assert_eq!(
        (&shown["goes"], &shown["why"]),
        (&json!("apart"), &json!("parked"))
    );
    assert_eq!(shown["parked_at"], "2026-01-01T00:00:02.25Z");
    let says = shown["says"].as_str().unwrap();
    assert!(says.contains("2026-01-01T00:00:02.25Z"), "{says}");
}

#[test]
fn one_that_was_asked_for_again_is_told_by_what_was_sent_or_by_what_opened_it() {
    let mut attempts = [in_line(1), apart(2)];
    let item = delivery(Some(7), 2);
    // It may have been parked by one that is not shown, or because it could not be read.
    assert_eq!(said(&item, &attempts), both("apart", None));
    assert_eq!(said(&item, &attempts[1..]), both("apart", None));
    let told = shown(&item, &attempts);
    let says = told["says"].as_str().unwrap();
    assert!(says.ends_with("that its attempts do not tell"), "{says}");
    attempts[0].result = DeliveryStatus::Failure;
    assert_eq!(said(&item, &attempts), both("apart", Some("asked_again")));
    let mut opened = delivery(Some(7), 1);
    opened.status = DeliveryStatus::Scheduled;
    opened.reason = Some("resend".into());
    assert_eq!(
        said(&opened, &attempts[..1]),
        both("apart", Some("asked_again"))
    );
}

#[test]
fn an_attempt_after_the_end_was_asked_for_although_nothing_was_sent() {
    let mut ended = in_line(1);
    ended.result = DeliveryStatus::Failure;
    let unsent = attempt(2, &[], 0);
    let mut item = delivery(Some(7), 2);
    item.status = DeliveryStatus::Failure;
    let attempts = [ended, unsent];
    assert_eq!(said(&item, &attempts), both("apart", Some("asked_again")));
    assert_eq!(said(&item, &attempts[..1]), both("in_line", None));
}

#[test]
fn a_replay_is_apart_before_its_first_attempt() {
    let mut item = delivery(Some(7), 0);
    let event = Arc::get_mut(&mut item.event).unwrap();
    event.decision.replay = Some(Box::new(Replay {
        of: EventId::ZERO,
        number: 1,
        command: Uid::from_bits(3),
    }));
    assert_eq!(said(&item, &[]), both("apart", Some("replay")));
}
