//! Endpoints with URL templates in a resource file.

use super::*;

fn file(config: &str, url: &str) -> String {
    format!(
        "projects: [{{name: a, type: outgoing, config: {config}, endpoints: [{{name: e, url: '{url}', secret: hunter2}}]}}]"
    )
}

#[test]
fn a_template_that_cannot_be_is_refused_and_says_what_is_wrong() {
    for (url, says) in [
        (
            "https://{h}.example/",
            "not in scheme, host, port or fragment",
        ),
        ("{s}://h.example/", "not in scheme, host, port or fragment"),
        (
            "https://h.example:{p}/",
            "not in scheme, host, port or fragment",
        ),
        (
            "https://h.example/{a}#{b}",
            "not in scheme, host, port or fragment",
        ),
        ("https://h.example/{a", "the `{` at position 19 has no `}`"),
        (
            "https://h.example/hunter2}",
            "the `}` at position 26 has no `{`",
        ),
        ("https://h.example/{hunter2 }", "control characters, spaces"),
        (
            "https://h.example/{1}",
            "the `{` at position 19 begins no token",
        ),
        (
            "https://h.example/{}",
            "the `{` at position 19 begins no token",
        ),
        ("https://h.example/a%2F{b}", "the segment at position 19"),
        ("ftp://h.example/{b}", "only http and https"),
        ("https://10.0.0.0.1/{b}", "host"),
    ] {
        expect(
            &file("{}", url),
            &[("line 1: projects[0].endpoints[0].url: ", says)],
        );
    }
    let long = format!("https://h.example/{{a}}/{}", "x".repeat(2048));
    let start = "line 1: projects[0].endpoints[0].url: ";
    expect(&file("{}", &long), &[(start, "from 0 to 2048 bytes")]);
}

#[test]
fn the_rules_of_the_project_hold_for_a_template() {
    let start = "line 1: projects[0].endpoints[0].url: ";
    let secure = "{ssl: {enforce_secure_endpoints: true}}";
    expect(
        &file(secure, "http://h.example/{a}"),
        &[(start, "must be https")],
    );
    for (config, url) in [
        (secure, "https://h.example/{a}/x?y={_b2}"),
        (
            "{allow_unmatched_dynamic_urls: true}",
            "http://h.example/{a}",
        ),
        (
            "{allow_unmatched_dynamic_urls: false}",
            "http://h.example/%7Ba%7D",
        ),
    ] {
        assert_eq!(problems(&file(config, url)), [""; 0], "{url}");
    }
}

#[test]
fn the_setting_for_urls_that_match_no_template_is_yes_or_no() {
    let text = file("{allow_unmatched_dynamic_urls: 7}", "https://h.example/{a}");
    let found = problems(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("projects[0].config.allow_unmatched_dynamic_urls"),
        "{found:?}"
    );
}
