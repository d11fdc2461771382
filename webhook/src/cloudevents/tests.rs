use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        map.append(name, value);
    }
    map
}

fn whole() -> Value {
    json!({"specversion": "1.0", "id": "A-1", "source": "/shop/orders", "type": "order.paid", "data": {"n": 1}})
}

fn with(name: &str, value: Value) -> Vec<u8> {
    let mut event = whole();
    event[name] = value;
    event.to_string().into_bytes()
}

fn says(error: &CloudEventError, name: &str) {
    assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
}

#[test]
fn an_attribute_that_is_wrong_is_named() {
    for (name, value) in [
        ("specversion", json!("0.3")),
        ("specversion", json!(1)),
        ("id", json!("")),
        ("id", json!(7)),
        ("id", json!(["a"])),
        ("id", json!("a\nb")),
        ("source", json!("")),
        ("source", json!("not a uri")),
        ("type", json!("")),
        ("type", json!(true)),
        ("subject", json!("")),
        ("dataschema", json!("no-scheme")),
        ("datacontenttype", json!("")),
        ("time", json!("yesterday")),
        ("time", json!(1_700_000_000)),
        ("data_base64", json!("%%%")),
        ("ext", json!({"a": 1})),
        ("ext", json!(1.5)),
        ("ext", json!(3_000_000_000_u64)),
        ("Upper", json!("a")),
        ("under_score", json!("a")),
        ("ext", json!("x".repeat(ATTRIBUTE_BYTES_MAX + 1))),
    ] {
        let error = structured(&with(name, value.clone())).unwrap_err();
        says(&error, name);
        assert_eq!(error.code(), "invalid_cloudevent", "{name}: {value}");
    }
    for name in ["specversion", "id", "source", "type"] {
        says(&structured(&with(name, Value::Null)).unwrap_err(), name);
        let mut event = whole();
        event.as_object_mut().unwrap().remove(name);
        let error = structured(event.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, CloudEventError::Missing(missing) if missing == name));
    }
}

#[test]
fn what_is_no_object_or_ambiguous_is_refused() {
    for bad in ["", "[]", "7", "{", r#""text""#, "{}x"] {
        let error = structured(bad.as_bytes()).unwrap_err();
        assert_eq!(error.code(), "malformed_cloudevent", "{bad}: {error}");
    }
    let twice = br#"{"specversion":"1.0","id":"a","id":"b","source":"/s","type":"t"}"#;
    says(&structured(twice).unwrap_err(), "id");
    let error = structured(&with("data_base64", json!("aGk="))).unwrap_err();
    assert!(matches!(error, CloudEventError::TwoData));
    let mut many = whole();
    for n in 0..=ATTRIBUTES_MAX {
        many[format!("ext{n}")] = json!(n);
    }
    let error = structured(many.to_string().as_bytes()).unwrap_err();
    assert!(matches!(error, CloudEventError::TooMany));
}

#[test]
fn a_whole_event_gives_its_attributes() {
    let mut event = whole();
    for (name, value) in [
        ("time", json!("2026-01-01T00:00:00Z")),
        ("subject", json!("order 7")),
        ("dataschema", json!("https://example.com/schema")),
        ("datacontenttype", json!("application/json")),
        ("ext", json!(7)),
        ("other", json!(true)),
        ("none", Value::Null),
    ] {
        event[name] = value;
    }
    let envelope = structured(event.to_string().as_bytes()).unwrap();
    assert_eq!(&*envelope.id, "A-1");
    assert_eq!(&*envelope.source, "/shop/orders");
    assert_eq!(&*envelope.event_type, "order.paid");
    assert_eq!(&*envelope.idempotency_key(), "ce:12:/shop/orders:A-1");
}

#[test]
fn a_batch_is_an_array_within_its_bound() {
    for bad in ["", "{}", "[", "7"] {
        assert_eq!(
            batch(bad.as_bytes()).unwrap_err().code(),
            "malformed_cloudevent"
        );
    }
    let many = format!("[{}0]", "0,".repeat(BATCH_ITEMS_MAX));
    assert!(
        batch(many.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("1000")
    );
    let full = format!("[{}0]", "0,".repeat(BATCH_ITEMS_MAX - 1));
    assert_eq!(batch(full.as_bytes()).unwrap().len(), BATCH_ITEMS_MAX);
    assert!(batch(b"[]").unwrap().is_empty());
}

#[test]
fn binary_mode_reads_headers_and_names_what_is_wrong() {
    let good = [
        ("ce-specversion", "1.0"),
        ("ce-id", "A-1"),
        ("ce-source", "/shop"),
        ("ce-type", "order.paid"),
        ("content-type", "text/plain"),
    ];
    let envelope = binary(&headers(&good)).unwrap();
    assert_eq!(&*envelope.event_type, "order.paid");
    for name in ["specversion", "id", "source", "type"] {
        let without: Vec<_> = good
            .into_iter()
            .filter(|(header, _)| *header != format!("ce-{name}"))
            .collect();
        says(&binary(&headers(&without)).unwrap_err(), name);
    }
    for (header, value, name) in [
        ("ce-id", "again", "id"),
        ("ce-time", "noon", "time"),
        ("ce-", "a", ""),
        ("ce-a-b", "a", "a-b"),
        ("ce-ext", "%ff", "ext"),
        ("ce-ext", "%00", "ext"),
    ] {
        let bad: Vec<_> = good.into_iter().chain([(header, value)]).collect();
        says(&binary(&headers(&bad)).unwrap_err(), name);
    }
}

#[test]
fn header_values_are_unquoted_and_percent_decoded() {
    let event = [
        ("ce-specversion", "\"1.0\""),
        ("ce-id", "\"a \\\"b\\\" \\\\\""),
        ("ce-source", "/caf%C3%A9"),
        ("ce-type", "50%25"),
    ];
    let envelope = binary(&headers(&event)).unwrap();
    assert_eq!(&*envelope.id, "a \"b\" \\");
    assert_eq!(&*envelope.source, "/café");
    assert_eq!(&*envelope.event_type, "50%");
    assert!(envelope.idempotency_key().starts_with("ce:sha256:"));
}

#[test]
fn the_mode_is_in_the_content_type_or_in_the_headers() {
    let of = |pairs: &[(&str, &str)]| mode(&headers(pairs));
    for (content_type, expected) in [
        (
            "application/cloudevents+json",
            Some(ContentMode::Structured),
        ),
        (
            "Application/CloudEvents+JSON; charset=utf-8",
            Some(ContentMode::Structured),
        ),
        ("application/cloudevents", Some(ContentMode::Structured)),
        (
            "application/cloudevents-batch+json",
            Some(ContentMode::Batch),
        ),
        ("application/cloudevents-batch", Some(ContentMode::Batch)),
        ("application/json", None),
        ("", None),
    ] {
        assert_eq!(
            of(&[("content-type", content_type)]).unwrap(),
            expected,
            "{content_type}"
        );
    }
    for unknown in [
        "application/cloudevents+avro",
        "application/cloudevents-batch+xml",
        "application/cloudeventsx",
    ] {
        assert_eq!(
            of(&[("content-type", unknown)]).unwrap_err().code(),
            "unsupported_media_type"
        );
    }
    assert_eq!(of(&[("ce-type", "a")]).unwrap(), Some(ContentMode::Binary));
    assert_eq!(of(&[]).unwrap(), None);
    // A structured event that a proxy gave headers too is a structured event.
    let both = [
        ("content-type", "application/cloudevents+json"),
        ("ce-id", "a"),
    ];
    assert_eq!(of(&both).unwrap(), Some(ContentMode::Structured));
}

#[test]
fn only_an_event_goes_out_with_the_type_it_came_with() {
    let list = |pairs: &[(&str, &str)]| -> HeaderList {
        headers(pairs)
            .into_iter()
            .filter_map(|(name, value)| Some((name?, value)))
            .collect()
    };
    let plain = ("content-type", "text/plain");
    assert_eq!(content_type(&list(&[plain])), None);
    assert_eq!(content_type(&list(&[("ce-specversion", "1.0")])), None);
    assert_eq!(
        content_type(&list(&[("ce-specversion", "1.0"), plain])).unwrap(),
        "text/plain"
    );
    let structured = ("content-type", "application/cloudevents+json");
    assert_eq!(
        content_type(&list(&[structured])).unwrap(),
        "application/cloudevents+json"
    );
}

fn envelope(source: &str, id: &str) -> Envelope {
    Envelope {
        id: id.into(),
        source: source.into(),
        event_type: "t".into(),
    }
}

proptest! {
    #[test]
    fn keys_are_equal_only_for_the_same_pair(a in ("[a:0-9é]{1,6}", "[a:0-9é]{1,6}"), b in ("[a:0-9é]{1,6}", "[a:0-9é]{1,6}")) {
        let (first, second) = (envelope(&a.0, &a.1), envelope(&b.0, &b.1));
        prop_assert_eq!(first.idempotency_key() == second.idempotency_key(), a == b);
    }

    #[test]
    fn a_key_is_a_header_value_of_at_most_255_bytes(source in "\\PC{1,300}", id in "\\PC{1,300}") {
        let key = envelope(&source, &id).idempotency_key();
        prop_assert!(key.len() <= 255);
        prop_assert!(HeaderValue::from_str(&key).is_ok_and(|value| value.to_str().is_ok()));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = structured(&bytes);
        let _ = batch(&bytes);
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let mut map = HeaderMap::new();
            map.insert("ce-id", value.clone());
            map.insert("content-type", value);
            let _ = (binary(&map), mode(&map));
        }
    }
}
