use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use outrider_config::snapshot::{Document, Kind, Snapshot, Transaction, Version};
use outrider_webhook::event::{Audience, EventFacts, HeaderList};
use outrider_webhook::id::{EndpointId, ProjectId, SourceId, Uid};
use outrider_webhook::verify::ApiKeyDigest;
use serde_json::{Value, json};

use super::*;

const PROJECT: ProjectId = ProjectId::new(Uid::from_bits(1));

fn snapshot(config: &Value, schema: &Value) -> Snapshot {
    let document = |kind, uid, spec: Value| Document {
        kind,
        uid: Uid::from_bits(uid),
        project: PROJECT,
        revision: 1,
        spec: spec.to_string().into(),
    };
    let version = Version {
        journal: Uid::from_bits(9),
        revision: 1,
    };
    let (snapshot, held) = Snapshot::empty().apply(&Transaction {
        version,
        is_full: true,
        upserts: vec![
            document(Kind::Project, 1, json!({"name": "p", "type": "outgoing", "config": config})),
            document(Kind::EventType, 2, json!({"name": "paid", "json_schema": schema, "deprecated_at": "2026-01-01T00:00:00Z"})),
            document(Kind::EventType, 3, json!({"name": "free"})),
            document(Kind::EventType, 4, json!({"name": "*"})),
        ],
        removals: Vec::new(),
    });
    assert_eq!(held, []);
    snapshot
}

fn facts(event_type: &str, headers: &[(&'static str, &'static str)], body: &[u8]) -> EventFacts {
    let headers = headers.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    EventFacts {
        project: PROJECT,
        origin: Origin::Api,
        audience: Audience::Endpoint(EndpointId::new(Uid::from_bits(7))),
        event_type: event_type.into(),
        headers: headers.collect::<HeaderList>(),
        query: "amount=5".into(),
        path: "".into(),
        body: Bytes::copy_from_slice(body),
        idempotency_key: None,
        idempotency_window_ms: 0,
        received_ms: 0,
    }
}

fn incoming(facts: EventFacts) -> EventFacts {
    EventFacts {
        origin: Origin::Source(SourceId::new(Uid::from_bits(8))),
        ..facts
    }
}

async fn judged(snapshot: &Snapshot, facts: &EventFacts) -> Verdict {
    let key = ApiKeyDigest::of("key");
    let event = VerifiedEvent::new(key.prove(&key).unwrap(), facts.clone());
    let table = snapshot.project(PROJECT).unwrap();
    let judged = judge(&Metrics::new().unwrap(), event, table).await;
    judged.unwrap().1
}

fn refusal(verdict: Verdict) -> (u16, &'static str, String) {
    let Verdict::Refused(misfit) = verdict else {
        panic!("{verdict:?}");
    };
    let error = NotTaken::from(misfit);
    (error.status().as_u16(), error.code(), error.to_string())
}

fn amount() -> Value {
    json!({"required": ["amount"], "properties": {"amount": {"type": "integer"}}})
}

#[tokio::test]
async fn what_does_not_fit_is_refused_or_marked_or_nobody_looks() {
    let bad = facts("paid", &[], br#"{"amount":"hunter2"}"#);
    let good = facts("paid", &[], br#"{"amount":5}"#);
    for (config, expected) in [
        (json!({}), Verdict::Fits),
        (
            json!({"schema_enforcement": "off", "unknown_event_types": "reject"}),
            Verdict::Fits,
        ),
        (
            json!({"schema_enforcement": "flag"}),
            Verdict::Flawed("`/amount` breaks `type`".into()),
        ),
    ] {
        let snapshot = snapshot(&config, &amount());
        assert_eq!(judged(&snapshot, &bad).await, expected, "{config}");
        assert_eq!(judged(&snapshot, &good).await, Verdict::Fits, "{config}");
    }
    let snapshot = snapshot(&json!({"schema_enforcement": "reject"}), &amount());
    let said =
        "the event is not as the schema of its type `paid` wants it: `/amount` breaks `type`";
    assert_eq!(
        refusal(judged(&snapshot, &bad).await),
        (400, "schema_mismatch", said.into())
    );
    assert_eq!(refusal(judged(&snapshot, &incoming(bad)).await).0, 422);
    // Deprecated is not refused, and a type without a schema takes anything.
    assert_eq!(judged(&snapshot, &good).await, Verdict::Fits);
    assert_eq!(
        judged(&snapshot, &facts("free", &[], b"null")).await,
        Verdict::Fits
    );
    assert_eq!(
        judged(&snapshot, &facts("unknown", &[], b"null")).await,
        Verdict::Fits
    );
}

#[tokio::test]
async fn a_type_that_is_not_in_the_catalogue_is_refused_where_that_is_wanted() {
    let snapshot = snapshot(&json!({"unknown_event_types": "reject"}), &amount());
    assert_eq!(
        judged(&snapshot, &facts("free", &[], b"1")).await,
        Verdict::Fits
    );
    let unknown = facts("Paid", &[], b"1");
    let said = "event type `Paid` is not in the catalogue of this project";
    assert_eq!(
        refusal(judged(&snapshot, &unknown).await),
        (400, "unknown_event_type", said.into())
    );
    assert_eq!(refusal(judged(&snapshot, &incoming(unknown)).await).0, 422);
}

#[tokio::test]
async fn the_schema_sees_the_view_of_a_body() {
    let schema = json!({"required": ["amount"], "properties": {"amount": {"enum": [5, "5"]}}});
    let snapshot = snapshot(&json!({"schema_enforcement": "flag"}), &schema);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let xml = [("content-type", "application/xml")];
    for (facts, fits) in [
        (facts("paid", &form, b"other=1"), true), // the query has it
        (facts("paid", &form, b"amount=6"), false),
        (facts("paid", &xml, b"<amount>5</amount>"), true),
        (facts("paid", &[], br#"{"amount":5}"#), true),
        (
            facts("paid", &[("content-encoding", "br")], b"\x01\x02\x03"),
            false,
        ),
        (facts("paid", &[], b"\xff"), false),
    ] {
        let verdict = judged(&snapshot, &incoming(facts)).await;
        assert_eq!(verdict == Verdict::Fits, fits, "{verdict:?}");
    }
    // Of an API call it is the data, whatever headers that is to travel with.
    let verdict = judged(&snapshot, &facts("paid", &xml, br#"{"amount":5}"#)).await;
    assert_eq!(verdict, Verdict::Fits);
}

#[tokio::test]
async fn a_large_event_is_judged_as_a_small_one() {
    let snapshot = snapshot(&json!({"schema_enforcement": "flag"}), &amount());
    for (amount, expected) in [
        (json!(1), Verdict::Fits),
        (json!("x"), Verdict::Flawed("too large to say where".into())),
    ] {
        let body = json!({"amount": amount, "more": vec![1; 200_000]}).to_string();
        let facts = facts("paid", &[], body.as_bytes());
        assert_eq!(judged(&snapshot, &facts).await, expected);
    }
}
