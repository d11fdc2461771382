//! Verifying and routing one GitHub webhook of 1 KB beside 1, 100 and 10,000 subscriptions of its
//! project: those it cannot match must cost next to nothing. And looking for the endpoint of a URL
//! among as many URL templates as a host may have in a project.

#![allow(missing_docs, reason = "made by criterion's macros")]
#![allow(
    clippy::expect_used,
    reason = "a bench that cannot be set up has to end"
)]

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, Method};
use outrider_config::snapshot::{Document, Kind, Snapshot, Transaction, Version};
use outrider_dataplane::route::route;
use outrider_webhook::address::TargetUrl;
use outrider_webhook::event::{Audience, EventFacts, Origin, RawEvent, VerifiedEvent};
use outrider_webhook::id::{ProjectId, Uid};
use serde_json::{Value, json};
use sha2::Sha256;

const SECRET: &str = "shared-with-github";
const MASK: &str = "benchsource";
const PROJECT: u128 = 1;
const SOURCE: u128 = 2;
const ENDPOINT: u128 = 3;
const FIRST_SUBSCRIPTION: u128 = 100;
const NOW_S: i64 = 1_760_000_000;

/// What the other subscriptions want, and so why they do not get the event.
#[derive(Clone, Copy)]
enum Others {
    /// Another event type each.
    Types,
    /// Another pattern of event types each.
    Patterns,
    /// The same type, with a filter on a header that the event does not pass.
    HeaderFilters,
    /// The same type, with a filter on the body that the event does not pass.
    BodyFilters,
}

impl Others {
    const ALL: [(&str, Self); 4] = [
        ("types", Self::Types),
        ("patterns", Self::Patterns),
        ("header filters", Self::HeaderFilters),
        ("body filters", Self::BodyFilters),
    ];

    fn filter_config(self, number: u128) -> Value {
        match self {
            Self::Types => json!({"event_types": [format!("type-{number}")]}),
            Self::Patterns => json!({"event_types": [format!("type-{number}.*")]}),
            Self::HeaderFilters => json!({
                "event_types": ["push"],
                "filter": {"headers": {"x-tenant": format!("tenant-{number}")}},
            }),
            Self::BodyFilters => json!({
                "event_types": ["push"],
                "filter": {"body": {"repository": {"id": number}}},
            }),
        }
    }
}

/// A project with `count` subscriptions of one source, of which one wants the event.
fn snapshot(count: u128, others: Others) -> Snapshot {
    let config = json!({"multiple_endpoint_subscriptions": true});
    let source = json!({"name": "s", "type": "http", "mask_id": MASK, "preset": "github", "secrets": [SECRET]});
    let endpoint = json!({"name": "e", "url": "http://example.com/", "secret": "s"});
    let mut documents = vec![
        document(
            Kind::Project,
            PROJECT,
            &json!({"name": "p", "type": "incoming", "config": config}),
        ),
        document(Kind::Source, SOURCE, &source),
        document(Kind::Endpoint, ENDPOINT, &endpoint),
    ];
    for number in 0..count {
        let filter_config = match number {
            0 => json!({"event_types": ["push"]}),
            _ => others.filter_config(number),
        };
        let spec = json!({
            "name": format!("b{number}"),
            "endpoint_id": Uid::from_bits(ENDPOINT).to_string(),
            "source_id": Uid::from_bits(SOURCE).to_string(),
            "filter_config": filter_config,
        });
        documents.push(document(
            Kind::Subscription,
            FIRST_SUBSCRIPTION + number,
            &spec,
        ));
    }
    in_force(documents)
}

fn in_force(documents: Vec<Document>) -> Snapshot {
    let transaction = Transaction {
        version: Version {
            journal: Uid::from_bits(9),
            revision: 1,
        },
        is_full: true,
        upserts: documents,
        removals: Vec::new(),
    };
    let (snapshot, quarantined) = Snapshot::empty().apply(&transaction);
    assert_eq!(quarantined, []);
    snapshot
}

fn document(kind: Kind, id: u128, spec: &Value) -> Document {
    Document {
        kind,
        uid: Uid::from_bits(id),
        project: ProjectId::new(Uid::from_bits(PROJECT)),
        revision: 1,
        spec: spec.to_string().into(),
    }
}

/// A push of about 1 KB, signed.
fn webhook() -> RawEvent {
    let body = json!({
        "ref": "refs/heads/main",
        "repository": {"id": 0, "full_name": "octo/hello", "private": false},
        "sender": {"login": "octocat", "id": 583_231},
        "commits": [{"message": "x".repeat(800), "distinct": true}],
    })
    .to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key will do");
    mac.update(body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("user-agent", "GitHub-Hookshot/044aadd"),
        ("x-github-event", "push"),
        ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("x-hub-signature-256", &signature),
    ] {
        headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
    }
    RawEvent {
        method: Method::POST,
        path: format!("/ingest/{MASK}"),
        query: String::new(),
        headers,
        body: body.into(),
        received_ms: NOW_S * 1000,
    }
}

/// Verifies and routes; gives the number of deliveries.
fn judge(snapshot: &Snapshot, raw: RawEvent) -> usize {
    let (table, source) = snapshot.source_by_mask(MASK).expect("the source is there");
    let proof = source
        .verifier()
        .verify(&raw, NOW_S)
        .expect("the webhook is signed");
    let event_type = source
        .verifier()
        .event_type(&raw)
        .expect("the webhook has a type");
    let headers = raw
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    let facts = EventFacts {
        project: source.project(),
        origin: Origin::Source(source.id()),
        audience: Audience::Source(source.id()),
        event_type,
        headers: headers.collect(),
        query: raw.query.into(),
        path: raw.path.into(),
        body: raw.body,
        idempotency_key: None,
        idempotency_window_ms: 0,
        received_ms: raw.received_ms,
    };
    let event = VerifiedEvent::new(proof, facts);
    route(event, table, 1).event.targets().len()
}

fn verify_and_route(criterion: &mut Criterion) {
    for (name, others) in Others::ALL {
        let mut group = criterion.benchmark_group(format!("verify and route, others want {name}"));
        for count in [1, 100, 10_000] {
            let snapshot = snapshot(count, others);
            assert_eq!(judge(&snapshot, webhook()), 1);
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter_batched(webhook, |raw| judge(&snapshot, raw), BatchSize::SmallInput);
            });
        }
        group.finish();
    }
}

/// URL templates of one host in one project: all that there may be.
const TEMPLATES: u128 = 100;

/// A project with endpoints of these URL templates.
fn templated(template: impl Fn(u128) -> String) -> Snapshot {
    let mut documents = vec![document(
        Kind::Project,
        PROJECT,
        &json!({"name": "p", "type": "outgoing"}),
    )];
    documents.extend((0..TEMPLATES).map(|number| {
        let name = format!("e{number}");
        let spec = json!({"name": name, "url": template(number), "secret": "s"});
        document(Kind::Endpoint, ENDPOINT + number, &spec)
    }));
    in_force(documents)
}

/// The usual case, with what is found at the end; and what is made to cost most: a segment that
/// has to be decoded, and templates whose pairs all have to be held against all of the URL's.
fn find_by_url(criterion: &mut Criterion) {
    let coded = "%2561".repeat(300);
    let letter = |number: u8| char::from(b'b' + number);
    let wanted: String = (0..7).map(|n| format!("a=1{{x}}{}&", letter(n))).collect();
    let ends: String = (0..7).map(|n| format!("&a=1a{}", letter(n))).collect();
    let named = format!("a=1aaaaaaaaaab{}", "&a=1aaaaaaaaaab".repeat(24));
    let cases: [(&str, Snapshot, String, usize); 3] = [
        (
            "hit at the last",
            templated(|n| format!("https://h.example/hooks/c{n}/{{account}}/in?v={{version}}")),
            "https://h.example/hooks/c99/7/in?x=y&v=2".to_owned(),
            1,
        ),
        (
            "coded segment",
            templated(|n| format!("https://h.example/{{t}}/in?v{n}={{a}}")),
            format!("https://h.example/{coded}/in?v=1"),
            0,
        ),
        (
            "all pairs against all",
            templated(|n| format!("https://h.example/in?{wanted}a=1{{x}}never{n}")),
            format!("https://h.example/in?{named}{ends}"),
            0,
        ),
    ];
    let mut group = criterion.benchmark_group(format!("find a URL among {TEMPLATES} templates"));
    for (name, snapshot, url, hits) in cases {
        let project = ProjectId::new(Uid::from_bits(PROJECT));
        let table = snapshot.project(project).expect("the project is there");
        let url = TargetUrl::parse(&url).expect("a URL");
        assert_eq!(table.endpoints_matching(&url).count(), hits);
        group.bench_function(name, |bencher| {
            bencher.iter(|| table.endpoints_matching(&url).count());
        });
    }
    group.finish();
}

criterion_group!(route_benches, verify_and_route, find_by_url);
criterion_main!(route_benches);
