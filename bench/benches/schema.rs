//! What a JSON Schema costs an event of about 1 KB: reading its body, and the check itself.

#![allow(missing_docs, reason = "made by criterion's macros")]
#![allow(
    clippy::expect_used,
    reason = "a bench that cannot be set up has to end"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use outrider_webhook::schema::Schema;
use serde_json::{Value, json};

fn schema() -> Schema {
    let line = json!({"type": "object", "required": ["sku", "count"], "additionalProperties": false, "properties": {
        "sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]+$"},
        "count": {"type": "integer", "minimum": 1},
        "price": {"type": "number"},
    }});
    let invoice = json!({"type": "object", "required": ["id", "lines", "customer"], "properties": {
        "id": {"type": "string", "maxLength": 40},
        "currency": {"enum": ["EUR", "USD", "GBP"]},
        "lines": {"type": "array", "items": line},
        "customer": {"type": "object", "required": ["email"]},
    }});
    Schema::compile(&invoice).expect("the schema is one")
}

fn invoice() -> String {
    let lines: Vec<Value> = (0..18)
        .map(|n| json!({"sku": format!("ABC-{n}"), "count": n + 1, "price": 9.99}))
        .collect();
    let customer = json!({"email": "somebody@example.com", "name": "Some Body"});
    json!({"id": "in_0123456789", "currency": "EUR", "customer": customer, "lines": lines})
        .to_string()
}

fn check(criterion: &mut Criterion) {
    let (schema, body) = (schema(), invoice());
    let read = || serde_json::from_str::<Value>(&body).expect("the body is JSON");
    let value = read();
    schema.check(&value).expect("the event fits");
    let mut group = criterion.benchmark_group(format!("a schema and {} bytes", body.len()));
    group.bench_function("read the body", |bencher| bencher.iter(read));
    group.bench_function("check it", |bencher| {
        bencher.iter(|| schema.check(&value).is_ok())
    });
    group.finish();
}

criterion_group!(schema_benches, check);
criterion_main!(schema_benches);
