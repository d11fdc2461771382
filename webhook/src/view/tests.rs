use http::HeaderValue;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn typed(content_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(content_type).unwrap();
    headers.insert(header::CONTENT_TYPE, value);
    headers
}

fn seen(content_type: &str, body: impl AsRef<[u8]>) -> Option<Value> {
    of(&typed(content_type), body.as_ref())
}

fn multipart(parts: &[&str]) -> String {
    let parts: String = parts
        .iter()
        .map(|part| format!("--b\r\n{part}\r\n"))
        .collect();
    format!("{parts}--b--\r\n")
}

const MULTIPART: &str = "multipart/form-data; boundary=b";

#[test]
fn bytes_that_are_nothing_we_know_have_no_view() {
    for body in [&b"\xff\x00"[..], b"{\"a\":", b"plain text", b"{} {}"] {
        assert_eq!(of(&HeaderMap::new(), body), None);
        assert_eq!(seen("application/json", body), None);
    }
}

#[test]
fn json_deeper_than_the_parser_goes_has_no_view() {
    assert_eq!(seen("application/json", "[".repeat(100_000)), None);
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    assert_eq!(seen("application/json", deep), None);
}

#[test]
fn a_body_with_too_many_values_has_no_view() {
    let most = format!("[{}0]", "0,".repeat(VALUES_MAX - 1));
    assert!(seen("application/json", &most).is_some());
    let more = format!("[{}0]", "0,".repeat(VALUES_MAX));
    assert_eq!(seen("application/json", &more), None);
    assert_eq!(
        seen(
            "application/xml",
            format!("<r>{}</r>", "<a/>".repeat(VALUES_MAX))
        ),
        None
    );
    assert_eq!(
        seen(
            "application/x-www-form-urlencoded",
            "a&".repeat(VALUES_MAX + 1)
        ),
        None
    );
}

#[test]
fn json_is_its_own_view_whatever_it_is_called() {
    for content_type in [
        "application/json",
        "application/vnd.x+json; charset=utf-8",
        "text/plain",
        "x",
    ] {
        assert_eq!(seen(content_type, r#"{"a":1}"#), Some(json!({"a": 1})));
    }
    assert_eq!(of(&HeaderMap::new(), b"[1]"), Some(json!([1])));
}

#[test]
fn an_empty_body_is_an_empty_object() {
    for content_type in [
        "application/json",
        "text/xml",
        MULTIPART,
        "application/x-www-form-urlencoded",
    ] {
        assert_eq!(seen(content_type, ""), Some(json!({})));
    }
}

#[test]
fn a_form_is_its_first_values_and_those_of_the_query_after_them() {
    let headers = typed("application/x-www-form-urlencoded; charset=UTF-8");
    let view = of_request(
        &headers,
        "b=query&d=%C3%A4",
        b"a=1&a=2&b=x+y%21&c&=e&bad=%zz%ff",
    );
    let expected = json!({"a": "1", "b": "x y!", "c": "", "": "e", "bad": "%zz\u{fffd}", "d": "ä"});
    assert_eq!(view, Some(expected));
}

#[test]
fn a_query_does_not_belong_to_json() {
    assert_eq!(
        of_request(&typed("application/json"), "a=1", b"{}"),
        Some(json!({}))
    );
}

#[test]
fn multipart_that_is_not_closed_or_not_framed_has_no_view() {
    let part = "Content-Disposition: form-data; name=a\r\n\r\n1";
    let whole = multipart(&[part]);
    assert_eq!(seen(MULTIPART, &whole), Some(json!({"a": "1"})));
    for end in 1..whole.len() - "--\r\n".len() {
        assert_eq!(seen(MULTIPART, &whole[..end]), None, "{end}");
    }
    for content_type in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=c",
    ] {
        assert_eq!(seen(content_type, &whole), None);
    }
    for part in [
        "Content-Disposition: form-data\r\n\r\n1",
        "Content-Disposition: attachment; name=a\r\n\r\n1",
        "Content-Type: text/plain\r\n\r\n1",
        "Content-Disposition: form-data; name=\"a\r\n\r\n1",
        "no header",
    ] {
        assert_eq!(seen(MULTIPART, multipart(&[part])), None, "{part}");
    }
    let many = vec![part; 1_001];
    assert_eq!(seen(MULTIPART, multipart(&many)), None);
}

#[test]
fn multipart_is_its_texts_and_what_its_files_are() {
    let body = multipart(&[
        "Content-Disposition: form-data; name=\"a b\"\r\n\r\none\r\ntwo",
        "content-disposition: FORM-DATA; filename=\"c:\\x \\\"y\\\".bin\"; name=f\r\nContent-Type: image/png\r\n\r\n123\r\n--bo\r\n",
        "Content-Disposition: form-data; name=\"a b\"\r\n\r\nsecond",
        "Content-Disposition: form-data; name=empty\r\n\r\n",
        "Content-Disposition: form-data; name=g; filename=g\r\n\r\n",
    ]);
    let body = body.replace("--bo", "--xo");
    let expected = json!({
        "a b": "one\r\ntwo",
        "f": {"filename": "c:\\x \"y\".bin", "content_type": "image/png", "size": 11},
        "empty": "",
        "g": {"filename": "g", "content_type": "application/octet-stream", "size": 0},
    });
    let with_preamble = format!("a preamble\r\n{body}an epilogue");
    assert_eq!(
        seen(
            "Multipart/Form-Data; charset=utf-8; boundary=\"b\"",
            with_preamble
        ),
        Some(expected)
    );
}

#[test]
fn xml_that_is_malformed_or_defines_anything_has_no_view() {
    for body in [
        "<a>",
        "<a></b>",
        "</a>",
        "<a/><b/>",
        "text",
        "<a/>text",
        "<a b='1' b='2'/>",
        "<a b=1/>",
        "<a>&unknown;</a>",
        "<a b='&unknown;'/>",
        "<a>&#x110000;</a>",
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>",
        "<!DOCTYPE a [<!ENTITY b 'bb'><!ENTITY c '&b;&b;'>]><a>&c;</a>",
        "<!-- only -->",
        "{\"a\":1}",
    ] {
        assert_eq!(seen("text/xml", body), None, "{body}");
    }
    assert_eq!(seen("text/xml", b"<a>\xff</a>"), None);
}

#[test]
fn xml_is_seen_to_a_depth_and_no_deeper() {
    let nested = |depth| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(seen("application/xml", nested(128)).is_some());
    assert_eq!(seen("application/xml", nested(129)), None);
    assert_eq!(seen("application/xml", "<a>".repeat(1_000_000)), None);
}

#[test]
fn xml_becomes_members_attributes_texts_and_arrays() {
    let body = r#"<?xml version="1.0"?>
        <!-- a note --><n:order id="7" note="a&amp;b">
            <item sku="1">one</item>
            <item>two &lt;&#33;<![CDATA[<raw>]]></item>
            <empty/>
            <n:paid> 12.50 </n:paid>
            said
        </n:order>"#;
    let expected = json!({"n:order": {
        "@id": "7", "@note": "a&b",
        "item": [{"@sku": "1", "#text": "one"}, "two <!<raw>"],
        "empty": "",
        "n:paid": " 12.50 ",
        "#text": "said",
    }});
    assert_eq!(
        seen("application/soap+xml; charset=utf-8", body),
        Some(expected)
    );
}

#[test]
fn a_coded_body_is_seen_decoded_and_one_in_an_unknown_coding_not() {
    let mut headers = typed("application/json");
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    let coded = zstd::bulk::compress(br#"{"a":1}"#, 3).unwrap();
    assert_eq!(of(&headers, &coded), Some(json!({"a": 1})));
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("x"));
    assert_eq!(of(&headers, br#"{"a":1}"#), None);
}

proptest! {
    #[test]
    fn no_bytes_make_a_view_panic(body: Vec<u8>) {
        for content_type in ["", "application/xml", MULTIPART, "application/x-www-form-urlencoded"] {
            let _ = seen(content_type, &body);
        }
    }

    #[test]
    fn no_text_like_xml_or_multipart_makes_a_view_panic(
        xml in "(<a>|</a>|<b c='|'|>|/>|&|;|#|x|<!--|-->|<!\\[CDATA\\[|\\]\\]>|<\\?){0,40}",
        parts in "(--b|--|\r\n|Content-Disposition: form-data|; name=|\"|\\\\|a|;|=){0,40}",
    ) {
        let _ = (seen("text/xml", xml), seen(MULTIPART, parts));
    }

    #[test]
    fn what_a_form_says_is_seen(pairs in prop::collection::btree_map("[^\\x00]{0,8}", ".{0,16}", 0..8)) {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&pairs);
        let expected: Map<String, Value> = pairs.into_iter().map(|(name, value)| (name, value.into())).collect();
        prop_assert_eq!(seen("application/x-www-form-urlencoded", form.finish()), Some(Value::Object(expected)));
    }

    #[test]
    fn what_parts_say_is_seen(pairs in prop::collection::btree_map("[ -~]{0,8}", "[ -~\\t]{0,24}", 0..8)) {
        let parts: Vec<String> = pairs.iter().map(|(name, value)| {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}")
        }).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let expected: Map<String, Value> = pairs.into_iter().map(|(name, value)| (name, value.into())).collect();
        prop_assert_eq!(seen(MULTIPART, multipart(&parts)), Some(Value::Object(expected)));
    }
}
