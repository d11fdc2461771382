use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn request(query: &str, headers: &[(&'static str, &'static str)], body: &str) -> RawEvent {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    RawEvent {
        method: Method::POST,
        path: "/".into(),
        query: query.into(),
        headers: map,
        body: Bytes::copy_from_slice(body.as_bytes()),
        received_ms: 0,
    }
}

/// Text and bytes of a value.
fn found(selector: &str, request: &RawEvent) -> (Option<String>, Option<String>) {
    let selector = Selector::parse(selector).unwrap();
    let view = Lazy::new(
        &request.headers,
        &request.query,
        Cow::Borrowed(&*request.body),
    );
    let bytes = selector.bytes(request, &view);
    (
        selector.text(request, &view).map(Cow::into_owned),
        bytes.map(|bytes| String::from_utf8(bytes.into_owned()).unwrap()),
    )
}

#[test]
fn other_forms_are_refused() {
    let deep = format!("request.body{}", ".a".repeat(PARTS_MAX + 1));
    for text in [
        "",
        "header.X",
        "request",
        "request.header",
        "request.header.",
        "request.cookie.a",
        "request.header.a b",
        "Request.header.a",
        "request.body.",
        "request.body..a",
        "request.body.a.",
        deep.as_str(),
    ] {
        assert_eq!(Selector::parse(text), Err(SelectorError), "{text}");
    }
}

#[test]
fn a_value_that_is_missing_empty_null_or_given_twice_is_none() {
    let request = request(
        "q=&r=1&%72=2",
        &[("x-empty", ""), ("x-two", "a"), ("x-two", "b")],
        r#"{"empty": "", "null": null, "list": [], "text": "t"}"#,
    );
    for selector in [
        "request.header.X-None",
        "request.header.X-Empty",
        "request.header.X-Two",
        "request.query.none",
        "request.query.q",
        "request.query.r",
        "request.body.none",
        "request.body.empty",
        "request.body.null",
        "request.body.list.0",
        "request.body.text.0",
    ] {
        assert_eq!(found(selector, &request), (None, None), "{selector}");
    }
}

#[test]
fn numbers_that_lost_digits_are_no_key() {
    let request = request(
        "",
        &[],
        r#"{"a": 18446744073709551616, "b": [1e300], "c": 18446744073709551615}"#,
    );
    assert_eq!(found("request.body.a", &request).1, None);
    assert_eq!(found("request.body.b", &request).1, None);
    assert_eq!(
        found("request.body.c", &request).1.unwrap(),
        "18446744073709551615"
    );
}

#[test]
fn places_in_lists_have_one_spelling() {
    let request = request("", &[], r#"[["x"]]"#);
    assert_eq!(found("request.body.0.0", &request).0.unwrap(), "x");
    for selector in [
        "request.body.00.0",
        "request.body.+0.0",
        "request.body.1.0",
        "request.body.-1.0",
    ] {
        assert_eq!(found(selector, &request).0, None, "{selector}");
    }
}

#[test]
fn text_and_number_are_one_event_type_but_not_one_key() {
    let request = request(
        "",
        &[],
        r#"{"a": "1", "b": 1, "c": {"x": [true]}, "d": true}"#,
    );
    let both = |text: &str, bytes: &str| (Some(text.to_owned()), Some(bytes.to_owned()));
    assert_eq!(found("request.body.a", &request), both("1", "\"1\""));
    assert_eq!(found("request.body.b", &request), both("1", "1"));
    assert_eq!(found("request.body.d", &request), both("true", "true"));
    assert_eq!(
        found("request.body.c", &request),
        (None, Some(r#"{"x":[true]}"#.to_owned()))
    );
}

#[test]
fn convoys_spellings_all_find_the_value() {
    let request = request(
        "t+y=order%2Epaid",
        &[("x-event", "push")],
        r#"{"data": {"a.b": ["c"]}}"#,
    );
    for (selector, text, shown) in [
        ("req.Header.X-Event", "push", "request.header.x-event"),
        ("request.QueryParam.t y", "order.paid", "request.query.t y"),
        ("request.queryparam.t y", "order.paid", "request.query.t y"),
        ("req.Body.data.a\\.b.0", "c", "request.body.data.a\\.b.0"),
    ] {
        assert_eq!(
            found(selector, &request).0.as_deref(),
            Some(text),
            "{selector}"
        );
        assert_eq!(Selector::parse(selector).unwrap().to_string(), shown);
    }
}

#[test]
fn forms_and_xml_have_selectors_too() {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let request_ = request("id=from+query", &form, "type=paid");
    assert_eq!(found("request.body.type", &request_).0.unwrap(), "paid");
    assert_eq!(found("request.body.id", &request_).0.unwrap(), "from query");
    let xml = [("content-type", "text/xml")];
    let request_ = request("", &xml, "<order id='7'><type>paid</type></order>");
    assert_eq!(
        found("request.body.order.type", &request_).0.unwrap(),
        "paid"
    );
    assert_eq!(found("request.body.order.@id", &request_).0.unwrap(), "7");
}

proptest! {
    #[test]
    fn what_is_shown_is_parsed_as_the_same(parts in prop::collection::vec("[a-z.]{1,6}", 1..6)) {
        let selector = Selector::Body(parts.into_iter().map(String::into_boxed_str).collect());
        prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,64}", rest in "[.\\\\a0]{0,16}") {
        let _ = (Selector::parse(&text), Selector::parse(&format!("request.body.{rest}")));
    }

    #[test]
    fn a_member_is_found_by_its_name(name in "[^.\\\\]{1,12}", value in 0_u32..) {
        let request = request("", &[], &json!({"list": [{name.clone(): value}]}).to_string());
        let shown = found(&format!("request.body.list.0.{name}"), &request).1;
        prop_assert_eq!(shown, Some(value.to_string()));
    }
}
