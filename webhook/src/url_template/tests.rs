use proptest::prelude::*;

use super::*;

fn error(text: &str) -> String {
    match EndpointUrl::parse(text) {
        Ok(_) => panic!("{text} is taken"),
        Err(error) => error.to_string(),
    }
}

fn template(text: &str) -> UrlTemplate {
    UrlTemplate::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn matches(text: &str, url: &str) -> bool {
    template(text).matches(&Concrete::of(&TargetUrl::parse(url).unwrap()))
}

#[test]
fn a_template_that_cannot_be_says_why() {
    let place = "not in scheme, host, port or fragment";
    let closed = |at: usize| format!("the `{{` at position {at} has no `}}`");
    let opened = |at: usize| format!("the `}}` at position {at} has no `{{`");
    let name = |at: usize| format!("the `{{` at position {at} begins no token");
    let segment = |at: usize| format!("the segment at position {at} has a token");
    let many = |count: usize| "/{a}".repeat(count);
    for (text, says) in [
        ("{s}://h.example/".to_owned(), place.to_owned()),
        ("https://{h}/".to_owned(), place.to_owned()),
        ("https://{h}.example/a".to_owned(), place.to_owned()),
        ("https://h.example:{p}/a".to_owned(), place.to_owned()),
        ("https://{u}@h.example/a".to_owned(), place.to_owned()),
        ("https://h.example/{a}#{f}".to_owned(), place.to_owned()),
        ("https://h.example/a#}".to_owned(), place.to_owned()),
        ("https://h.example/{a".to_owned(), closed(19)),
        ("https://h.example/b{a/x}".to_owned(), closed(20)),
        ("https://h.example/{a?b}".to_owned(), closed(19)),
        ("https://h.example/?b={a&c}".to_owned(), closed(22)),
        ("https://h.example/{a}{".to_owned(), closed(22)),
        ("https://h.example/a}".to_owned(), opened(20)),
        ("https://h.example/{a}}".to_owned(), opened(22)),
        ("https://h.example/x?a=1&b}={c}".to_owned(), opened(26)),
        ("https://h.example/{}".to_owned(), name(19)),
        ("https://h.example/{1a}".to_owned(), name(19)),
        ("https://h.example/x/{a-b}".to_owned(), name(21)),
        ("https://h.example/{{a}}".to_owned(), name(19)),
        ("https://h.example/{\u{e4}}".to_owned(), name(19)),
        ("https://h.example/?a={b c}".to_owned(), "spaces".to_owned()),
        ("https://h.example/a%2Fb{x}".to_owned(), segment(19)),
        ("https://h.example/x/{x}%252f".to_owned(), segment(21)),
        ("https://h.example/..;{x}".to_owned(), segment(19)),
        ("https://h.example/{x}%3Fb".to_owned(), segment(19)),
        ("https://h.example/{x}%00".to_owned(), segment(19)),
        ("https://h.example/%u{x}".to_owned(), segment(19)),
        ("https://h.example/%C0{x}".to_owned(), segment(19)),
        ("https://h.example/;{x}".to_owned(), segment(19)),
        (
            "https://h.example/{x}?a=1;b={c}".to_owned(),
            "a `;` at position 26".to_owned(),
        ),
        ("https:///{x}".to_owned(), "host".to_owned()),
        ("ftp://h.example/{x}".to_owned(), "http".to_owned()),
        ("/{x}".to_owned(), "absolute".to_owned()),
        ("https://h.example\\{x}".to_owned(), "not in".to_owned()),
        (
            format!("https://h.example{}", many(17)),
            "at most 16 tokens, this one has 17".to_owned(),
        ),
        (
            format!("https://h.example/{{a}}?{}", "b=c&".repeat(9)),
            "at most 8 pairs, this one has 9".to_owned(),
        ),
    ] {
        let found = error(&text);
        assert!(found.contains(&says), "{text}: {found}");
        assert!(UrlTemplate::parse(&text).is_err());
    }
    assert!(EndpointUrl::parse(&format!("https://h.example{}", many(16))).is_ok());
    assert!(EndpointUrl::parse(&format!("https://h.example/{{a}}?{}", "b=c&".repeat(8))).is_ok());
}

#[test]
fn an_error_says_nothing_of_the_text() {
    for text in [
        "https://h.example/?token=hunter2{",
        "https://h.example/?token={hunter2 }",
        "https://h.example/hunter2}",
        "https://h.example/{hunter2/}",
        "https://{hunter2}/",
    ] {
        assert!(!error(text).contains("hunter2"), "{text}");
    }
}

#[test]
fn a_coded_brace_is_literal() {
    for text in [
        "https://h.example/%7Ba%7D",
        "https://h.example/%7ba%7d?x=%7B",
    ] {
        assert!(
            matches!(EndpointUrl::parse(text), Ok(EndpointUrl::Plain(_))),
            "{text}"
        );
    }
    let text = "https://h.example/%7Ba%7D/{a}";
    assert!(matches(text, "https://h.example/%7Ba%7D/1"));
    assert!(!matches(text, "https://h.example/a/1"));
    assert_eq!(
        without_braces("https://h.example/{a}"),
        "https://h.example/%7Ba%7D"
    );
    assert!(matches!(
        without_braces("https://h.example/a"),
        Cow::Borrowed(_)
    ));
}

#[test]
fn what_is_literal_has_to_be_the_same() {
    let text = "https://Customer.example:443/Hooks/{account}/in";
    assert!(matches(text, "https://customer.EXAMPLE/Hooks/7/in"));
    assert!(matches(text, "HTTPS://customer.example/Hooks/7/in/"));
    assert!(matches(
        &format!("{text}/"),
        "https://customer.example/Hooks/7/in"
    ));
    assert!(matches(
        text,
        "https://customer.example/Hooks/7/in?any=thing#part"
    ));
    for url in [
        "http://customer.example/Hooks/7/in",
        "http://customer.example:443/Hooks/7/in",
        "https://customer.example:8443/Hooks/7/in",
        "https://customer.example.evil.example/Hooks/7/in",
        "https://evil.example/Hooks/7/in",
        "https://customer.example/hooks/7/in",
        "https://customer.example/Hooks/7/in/more",
        "https://customer.example/Hooks/7/in//",
        "https://customer.example/Hooks//in",
        "https://customer.example/Hooks/in",
        "https://customer.example/Hooks/7/8/in",
        "https://customer.example//Hooks/7/in",
        "https://customer.example/Hooks/7",
        "https://customer.example/",
        "https://customer.example/%48ooks/7/in",
    ] {
        assert!(!matches(text, url), "{url}");
    }
    assert!(matches(
        "http://[2001:db8::1]:80/{x}",
        "http://[2001:DB8:0::1]/a"
    ));
    assert!(matches(
        "https://b\u{fc}cher.example/\u{fc}{x}",
        "https://xn--bcher-kva.example/%C3%BC\u{fc}"
    ));
    assert!(!matches(
        "https://b\u{fc}cher.example/\u{fc}{x}",
        "https://xn--bcher-kva.example/%c3%bc1"
    ));
    assert!(matches("https://h.example?a={x}", "https://h.example/?a=1"));
    assert!(matches("https://h.example/{x}#part", "https://h.example/1"));
}

#[test]
fn a_token_stands_for_one_or_more_characters_of_its_segment() {
    for (text, url, is_match) in [
        ("/{a}", "/x", true),
        ("/{a}", "/", false),
        ("/{a}", "/x/", true),
        ("/{a}", "/x/y", false),
        ("/v{a}", "/v", false),
        ("/v{a}", "/v1", true),
        ("/v{a}-{b}.json", "/v1-2.json", true),
        ("/v{a}-{b}.json", "/v1-2-3.json.json", true),
        ("/v{a}-{b}.json", "/v-2.json", false),
        ("/v{a}-{b}.json", "/v1-.json", false),
        ("/v{a}-{b}.json", "/v1.json", false),
        ("/{a}{b}", "/x", false),
        ("/{a}{b}", "/xy", true),
        ("/{a}aa{b}", "/aaaa", true),
        ("/{a}aa{b}", "/aaa", false),
        ("/aa{x}aa", "/aaaa", false),
        ("/aa{x}aa", "/aaaaa", true),
        ("/{a}", "/a=b&c", true),
        ("/{a}", "/a%20b", true),
        ("/{a}", "/100%25", true),
    ] {
        let (text, url) = (
            format!("http://h.example{text}"),
            format!("http://h.example{url}"),
        );
        assert_eq!(matches(&text, &url), is_match, "{text} {url}");
    }
}

#[test]
fn the_pairs_of_the_query_are_among_those_of_the_url() {
    for (text, url, is_match) in [
        ("v=1", "v=1", true),
        ("v=1", "w=2&v=1&x", true),
        ("v=1", "", false),
        ("v=1", "v=12", false),
        ("v=1", "v=2", false),
        ("v=1", "V=1", false),
        ("v=1&a={x}", "a=7&v=1", true),
        ("v=1&a={x}", "a=&v=1", false),
        ("v=1&a={x}", "a=7", false),
        ("a={x}", "a=b=c", true),
        ("a={x}", "a=b/../c", true),
        ("a={x}", "a=?", true),
        ("{k}=1", "k=1", true),
        ("{k}=1", "=1", false),
        ("a={x}y", "a=y&a=xy", false),
        ("a={x}y", "a=zy&a=xy", true),
        ("&&", "", true),
        ("", "a=1", true),
        ("&v=1&", "v=1", true),
    ] {
        let (text, url) = (
            format!("http://h.example/{{p}}?{text}"),
            format!("http://h.example/p?{url}"),
        );
        assert_eq!(matches(&text, &url), is_match, "{text} {url}");
    }
    assert!(!matches("http://h.example/{p}?v=1", "http://h.example/p"));
    let pairs = |count: usize| format!("http://h.example/p?{}v=1", "a&".repeat(count));
    assert!(matches("http://h.example/{p}?v=1", &pairs(31)));
    assert!(!matches("http://h.example/{p}?v=1", &pairs(32)));
    assert!(matches("http://h.example/{p}", &pairs(32)));
}

/// Receivers take the first of two pairs with one name, or the last, or both.
#[test]
fn a_pair_of_the_template_leaves_no_other_of_its_name() {
    for (text, url, is_match) in [
        ("tenant=1", "tenant=1&tenant=2", false),
        ("tenant=1", "tenant=2&tenant=1", false),
        ("tenant=1", "tenant=1&tenant=1", true),
        ("tenant=1", "tenant=1&tenant", false),
        ("tenant=1", "tenant=1&tenant=", false),
        ("tenant=1", "tenant=1&%74enant=2", false),
        ("tenant=1", "tenant=1&t%65nant=1", false),
        ("tenant=1", "tenant=1&Tenant=2", false),
        ("tenant=1", "tenant=1&%20tenant=2", false),
        ("tenant=1", "tenant=1&+tenant=2", false),
        ("tenant=1", "tenant=1&tenant%00x=2", false),
        ("tenant=1", "tenant=1&tenant[]=2", false),
        ("tenant=1", "tenant=1&tenant%5B0%5D=2", false),
        ("tenant=1", "tenant=1;tenant=2", false),
        ("tenant=1", "tenant=1&x=1;tenant=2", false),
        ("tenant=1", "tenant=1&x;", false),
        ("tenant=1", "tenant=1&x=%3Btenant=2", true),
        ("tenant=1", "tenant=1&tenants=2&x.tenant=3&=4", true),
        ("t%65nant=1", "t%65nant=1&tenant=2", false),
        ("t%65nant=1", "tenant=1", false),
        ("tenant={t}", "tenant=1;tenant=2", false),
        ("tenant={t}", "tenant=1&tenant=2", true),
        ("tenant={t}", "tenant=1&tenant=", false),
        ("flag", "flag", true),
        ("flag", "flag&flag=1", false),
        ("a=1&a={x}2", "a=1&a=12", true),
        ("a=1&a={x}2", "a=1&a=3&a=12", false),
        ("a=1&a={x}2", "a=1", false),
        ("{k}=1", "k=1&k=2", true),
        ("{k}=1", "k=1;k=2", false),
        ("{k}=1&v=2", "v=2&v=1", false),
        ("a%3Bb=1", "a%3Bb=1", true),
        ("&", "a=1;b", true),
    ] {
        let (text, url) = (
            format!("http://h.example/{{p}}?{text}"),
            format!("http://h.example/p?{url}"),
        );
        assert_eq!(matches(&text, &url), is_match, "{text} {url}");
    }
    assert!(matches(
        "http://h.example/{p}",
        "http://h.example/p?a=1;a=2"
    ));
}

#[test]
fn a_token_does_not_reach_beyond_its_segment() {
    for value in [
        ".",
        "..",
        "%2e",
        "%2E%2e",
        ".%2E",
        "%252e%252e",
        "%25252e.",
        "%25%32%65.",
        "..;",
        "..;a=b",
        "..%3bx",
        ".;",
        "..%00",
        "a%00",
        "a%2500",
        "a%0d%0ab",
        "a%7f",
        "a%C2%85",
        "a%3Fb",
        "a%253fb",
        "a%23b",
        ";x",
        ";",
        "%3Bx",
        "%20;x",
        "..%20",
        "%20..",
        "..%09",
        ".%20.",
        "..+",
        "..%C2%A0",
        "%20",
        "..%20;x",
        "%ff",
        "a%C3",
        "%c0%ae",
        "..%c0%af",
        "%e0%80%af",
        "%25c0%25af",
        "%u002f",
        "a%U2215b",
        "%25u002e",
        "a%2Fb",
        "a%2fb",
        "%2F",
        "..%2Fadmin",
        "a%252Fb",
        "a%25252Fb",
        "a%25%32%46b",
        "a%5Cb",
        "..%5c",
        "%255C",
        "%2525252525252F",
        "%25252525",
    ] {
        let url = format!("https://h.example/t/{value}/in");
        assert!(!matches("https://h.example/t/{x}/in", &url), "{value}");
    }
    // Nor in what it makes together with the text beside it.
    for (text, value) in [
        (".{x}", ".."),
        ("{x}.", ".."),
        ("%2e{x}", "%2e."),
        ("%{x}", "%2F"),
        ("{x}e", "%2e"),
        ("{x}2e", "%2e"),
        ("{x}%2e", ".%2e"),
        ("{a}{b}", ".."),
        ("a%2{x}", "a%2F"),
        ("{x};a", "..;a"),
    ] {
        let (text, url) = (
            format!("https://h.example/{text}/in"),
            format!("https://h.example/{value}/in"),
        );
        assert!(!matches(&text, &url), "{text} {url}");
    }
    for value in [
        "...",
        "a.b",
        "..a",
        "a..",
        ".a",
        "%2e%2ea",
        "a;b",
        "a;..",
        "%252",
        "%",
        "a%zz",
        "a%20",
        "%20a",
        "a%20b",
        "a+b",
        "u",
        "%C3%BC",
        "%E2%82%AC",
        "%25C3%25BC",
        "....",
    ] {
        let url = format!("https://h.example/t/{value}/in");
        assert!(matches("https://h.example/t/{x}/in", &url), "{value}");
    }
    // What is literal is what its author wrote.
    assert!(matches(
        "https://h.example/a%2Fb/../{x}",
        "https://h.example/a%2Fb/../1"
    ));
}

#[test]
fn a_delivery_goes_where_its_event_says_within_the_template() {
    let of = |text: &str, named: Option<&str>| {
        let url = EndpointUrl::parse(text).unwrap();
        url.resolve(named).map(|url| url.to_string())
    };
    let named = Some("https://h.example/7?q=1");
    assert_eq!(of("https://h.example/{x}", named).as_deref(), named);
    assert_eq!(of("https://h.example/{x}", None), None);
    assert_eq!(of("https://other.example/{x}", named), None);
    assert_eq!(of("https://h.example/{x}?v=1", named), None);
    assert_eq!(of("https://h.example/{x}", Some("nonsense")), None);
    assert_eq!(
        of("https://plain.example/", named).as_deref(),
        Some("https://plain.example/")
    );
    assert_eq!(
        of("https://plain.example/", None).as_deref(),
        Some("https://plain.example/")
    );
}

#[test]
fn a_template_is_shown_without_its_query() {
    let shown = |text: &str| EndpointUrl::parse(text).unwrap().redacted();
    assert_eq!(
        shown("https://H.example:443/a{b}c/{d}?token={x}"),
        "https://h.example/a{}c/{}?***"
    );
    assert_eq!(shown("https://h.example?a={x}"), "https://h.example?***");
    assert_eq!(
        shown("https://h.example/?token=x"),
        "https://h.example/?***"
    );
}

/// What the rule says, with all the time in the world: texts in which a token is a NUL.
fn naive(template: &str, url: &str) -> bool {
    let part = |text: &str| {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let path = path.strip_suffix('/').unwrap_or(path);
        (path.to_owned(), query.to_owned())
    };
    let ((path, query), (concrete, concrete_query)) = (part(template), part(url));
    let pairs = |query: &str| -> Vec<String> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(ToOwned::to_owned).collect()
    };
    let (pairs, found) = (pairs(&query), pairs(&concrete_query));
    let is_match = |pair: &str, found: &str| naive_match(pair.as_bytes(), found.as_bytes(), b'&');
    let name = |pair: &str| pair.split('=').next().unwrap().to_owned();
    naive_match(path.as_bytes(), concrete.as_bytes(), b'/')
        && naive_stays(&path, &concrete)
        && pairs
            .iter()
            .all(|pair| found.iter().any(|found| is_match(pair, found)))
        && found.iter().all(|found| {
            let mut same = pairs
                .iter()
                .filter(|pair| name(pair) == name(found))
                .peekable();
            same.peek().is_none() || same.any(|pair| is_match(pair, found))
        })
        && (pairs.is_empty() || !concrete_query.contains(';'))
}

fn naive_match(pattern: &[u8], text: &[u8], end: u8) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((0, more)), Some((byte, rest))) if *byte != end => {
            naive_match(more, rest, end) || naive_match(pattern, rest, end)
        }
        (Some((0, _)), _) | (None, Some(_)) | (Some(_), None) => false,
        (Some((one, more)), Some((other, rest))) => one == other && naive_match(more, rest, end),
    }
}

fn naive_stays(path: &str, concrete: &str) -> bool {
    let mut both = path.split('/').zip(concrete.split('/'));
    both.all(|(segment, found)| !segment.contains('\0') || naive_is_one(found.as_bytes().to_vec()))
}

/// Decoded byte by byte until nothing is coded, at most three times.
fn naive_is_one(segment: Vec<u8>) -> bool {
    let mut rounds = vec![segment];
    loop {
        let last = rounds.last().unwrap();
        let mut next = Vec::new();
        let mut at = 0;
        while at < last.len() {
            let digits = last.get(at + 1..at + 3).filter(|_| last[at] == b'%');
            let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            let coded = digits.map(|digits| {
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            });
            next.push(coded.unwrap_or(last[at]));
            at += if coded.is_some() { 3 } else { 1 };
        }
        if next == *last {
            break;
        }
        rounds.push(next);
    }
    rounds.len() <= 4
        && rounds.iter().all(|round| {
            let Ok(text) = std::str::from_utf8(round) else {
                return false;
            };
            let name = text.split(';').next().unwrap();
            let dots = name.replace('+', " ").replace(char::is_whitespace, "");
            let is_bare = dots.is_empty()
                || dots == "."
                || dots == ".."
                || dots.bytes().all(|byte| byte == b'.') && dots.len() != name.len();
            !is_bare
                && !text.contains(['/', '\\', '?', '#'])
                && !text.chars().any(char::is_control)
                && !text.to_lowercase().contains("%u")
        })
}

/// The text in which tokens are NULs as a template.
fn written(text: &str) -> String {
    let mut names = 0;
    let token = |c: char| match c {
        '\0' => {
            names += 1;
            format!("{{_t{names}}}")
        }
        other => other.to_string(),
    };
    text.chars().map(token).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Few different characters, so that many match.
    #[test]
    fn it_matches_what_the_rule_says(
        pattern in "(/([ab.\0]{0,4}|[%2e5c;0\0]{0,4})){0,3}(\\?([ab=\0]{0,3}&?){0,3})?",
        url in "(/[ab.]{0,5}){0,3}(\\?([ab=;]{0,4}&?){0,4})?",
        made_of in prop::option::of("[ab./]{0,2}|(%|2|5|e|f|c|;|0|25|2e|2f|5c|3b|00|\\.){1,6}"),
    ) {
        let url = made_of.map_or(url, |value| pattern.replace('\0', &value));
        let text = format!("https://h.example{}", written(&pattern));
        let concrete = format!("https://h.example{url}");
        let found = TargetUrl::parse(&concrete).unwrap();
        // As in a URL that travels, no path is a slash.
        let url = found.path_and_query().as_str();
        let pattern = match pattern.starts_with('/') {
            true => pattern,
            false => format!("/{pattern}"),
        };
        let is_match = match UrlTemplate::parse(&text) {
            Ok(template) => template.matches(&Concrete::of(&found)),
            Err(TemplateError::Segment(_)) => false,
            Err(error) => panic!("{text}: {error}"),
        };
        prop_assert_eq!(is_match, naive(&pattern, url), "{} {}", text, concrete);
    }

    /// Whatever stands for the tokens, what is made of a template matches it, unless it leads out
    /// of its segment.
    #[test]
    fn it_matches_what_is_made_of_it(
        parts in prop::collection::vec(("[a-z]{0,3}", "[A-Z0-9._~-]{1,6}"), 1..5),
        slash in any::<bool>(),
    ) {
        let text: Vec<String> = parts.iter().map(|(literal, _)| format!("{literal}{{x}}")).collect();
        let made: Vec<String> = parts.iter().map(|(literal, value)| format!("{literal}{value}")).collect();
        let stays = made.iter().all(|part| !matches!(part.as_str(), "." | ".."));
        let end = if slash { "/" } else { "" };
        let text = format!("https://h.example/{}?k={{v}}", text.join("/"));
        let made = format!("https://h.example/{}{end}?a=b&k={}", made.join("/"), parts.len());
        prop_assert_eq!(matches(&text, &made), stays, "{} {}", text, made);
    }

    #[test]
    fn no_text_makes_it_panic_and_what_it_takes_has_braces_only_around_names(text in "[a-z{}/?&#%:@ .=_0-9\u{e4}]{0,30}") {
        for text in [text.clone(), format!("https://h.example/{text}"), format!("https://{text}")] {
            if let Ok(EndpointUrl::Template(template)) = EndpointUrl::parse(&text) {
                prop_assert_eq!(text.matches('{').count(), text.matches('}').count());
                prop_assert!(!is_template(template.site.authority()));
                let _ = template.redacted();
                let literal = TargetUrl::parse(&without_braces(&text)).unwrap();
                prop_assert_eq!(template.site.authority(), literal.authority());
            }
        }
    }
}
