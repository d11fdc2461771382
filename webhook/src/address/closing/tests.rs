//! What policies close, and that none of them ever opens anything.

use super::super::{InternalRule, InternalTarget};
use super::*;
use crate::id::Uid;
use proptest::prelude::*;

const OURS: u128 = 7;
const OTHERS: u128 = 8;

fn id(number: u128) -> ProjectId {
    ProjectId::new(Uid::from_bits(number))
}

fn places(texts: &[&str]) -> Vec<PolicyPlace> {
    let parse = |text: &&str| PolicyPlace::parse(text).unwrap_or_else(|| panic!("{text}"));
    texts.iter().map(parse).collect()
}

fn closing(deny: &[&str], only: &[&str], ports: &[u16]) -> Closing {
    let only = (!only.is_empty()).then(|| places(only));
    let ports = (!ports.is_empty()).then_some(ports);
    Closing::new("strict".into(), &places(deny), only.as_deref(), ports)
}

fn for_all(closing: Closing) -> Closings {
    let mut closings = Closings::default();
    closings.add(3, closing, &[]);
    closings
}

/// The verdict over a URL whose name has these addresses, and the words of a refusal.
fn verdict(closings: &Closings, (project, url): (u128, &str), answers: &[&str]) -> String {
    let target = TargetUrl::parse(url).unwrap();
    let answers: Vec<IpAddr> = answers.iter().map(|ip| ip.parse().unwrap()).collect();
    let of = id(project);
    let checked = closings
        .check_place(of, target.host(), target.port())
        .and_then(|()| match target.host() {
            Host::Ip(ip) => closings.check_answers(of, target.host(), &[*ip]),
            Host::Name(_) => closings.check_answers(of, target.host(), &answers),
        });
    checked.map_or_else(
        |denied| format!("{}: {denied}", denied.code()),
        |()| "ok".into(),
    )
}

fn expect(closings: &Closings, cases: &[(&str, &[&str], &str)]) {
    for (url, answers, expected) in cases {
        let got = verdict(closings, (OURS, url), answers);
        assert!(got.starts_with(expected), "{url} {answers:?}: {got}");
    }
}

#[test]
fn what_is_neither_addresses_nor_a_name_is_no_place() {
    let long = "a".repeat(NAME_TEXT_BYTES_MAX + 1);
    for text in [
        "",
        ".",
        "..example.com",
        "*.example.com",
        "a b",
        "example.com/24",
        "https://example.com",
        "example.com:443",
        "10.0.0.0/33",
        "10.0.0",
        "0x7f.1",
        "1.2.3.4.",
        "[::1]",
        "-a.example",
        &long,
    ] {
        assert_eq!(PolicyPlace::parse(text), None, "{text}");
    }
    let name = |text: &str| Some(PolicyPlace::Name(text.into()));
    assert_eq!(PolicyPlace::parse(".Example.COM."), name("example.com"));
    assert_eq!(
        PolicyPlace::parse("bücher.example"),
        name("xn--bcher-kva.example")
    );
    assert_eq!(PolicyPlace::parse("com"), name("com"));
    for (text, range) in [
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:db8::1", "2001:db8::1/128"),
    ] {
        let expected = Some(PolicyPlace::Range(range.parse().unwrap()));
        assert_eq!(PolicyPlace::parse(text), expected, "{text}");
    }
}

#[test]
fn what_is_denied_is_closed_with_all_below_it_and_one_bad_answer_refuses_all() {
    let denies = for_all(closing(
        &[".example.com", "1.1.1.0/24", "2606:4700::/32"],
        &[],
        &[],
    ));
    expect(
        &denies,
        &[
            (
                "https://example.com/",
                &["8.8.8.8"],
                "policy_denied: example.com is closed by the egress policy `strict`",
            ),
            (
                "https://a.b.EXAMPLE.com./",
                &["8.8.8.8"],
                "policy_denied: a.b.example.com",
            ),
            ("https://notexample.com/", &["8.8.8.8"], "ok"),
            ("https://example.com.org/", &["8.8.8.8"], "ok"),
            (
                "https://other.org/",
                &["8.8.8.8", "1.1.1.9"],
                "policy_denied: 1.1.1.9 is closed",
            ),
            (
                "https://other.org/",
                &["8.8.8.8", "::ffff:1.1.1.9"],
                "policy_denied",
            ),
            ("https://other.org/", &["2606:4700::1"], "policy_denied"),
            ("https://other.org/", &["8.8.8.8", "2001:4860::8"], "ok"),
            ("http://1.1.1.1/", &[], "policy_denied: 1.1.1.1"),
            ("http://[::ffff:1.1.1.1]/", &[], "policy_denied"),
            // What leads to such an address is closed as it is itself.
            ("http://[64:ff9b::101:101]/", &[], "policy_denied"),
            ("http://[2002:101:101::1]/", &[], "policy_denied"),
            ("http://[64:ff9b::808:808]/", &[], "ok"),
        ],
    );
}

#[test]
fn with_a_list_of_what_may_be_called_nothing_else_may() {
    let by_name = for_all(closing(&[], &["bank.example"], &[]));
    expect(
        &by_name,
        &[
            ("https://bank.example/", &["8.8.8.8"], "ok"),
            ("https://api.bank.example/", &["8.8.8.8", "1.1.1.1"], "ok"),
            (
                "https://bank.example.org/",
                &["8.8.8.8"],
                "policy_not_listed: bank.example.org is not among what the egress policy `strict` lists",
            ),
            ("http://8.8.8.8/", &[], "policy_not_listed: 8.8.8.8"),
        ],
    );
    let by_address = for_all(closing(&[], &["8.8.0.0/16"], &[]));
    expect(
        &by_address,
        &[
            ("https://any.example/", &["8.8.8.8", "::ffff:8.8.1.1"], "ok"),
            (
                "https://any.example/",
                &["8.8.8.8", "8.9.8.8"],
                "policy_not_listed: 8.9.8.8",
            ),
            (
                "https://any.example/",
                &["2001:4860::8"],
                "policy_not_listed",
            ),
            ("http://8.8.8.8/", &[], "ok"),
            ("http://[64:ff9b::808:808]/", &[], "policy_not_listed"), // not itself in the list
        ],
    );
    let by_both = for_all(closing(&["1.1.1.1"], &["bank.example", "8.8.0.0/16"], &[]));
    expect(
        &by_both,
        &[
            ("https://bank.example/", &["9.9.9.9"], "ok"),
            (
                "https://bank.example/",
                &["9.9.9.9", "1.1.1.1"],
                "policy_denied: 1.1.1.1",
            ),
            ("https://any.example/", &["8.8.8.8"], "ok"),
            ("https://any.example/", &["9.9.9.9"], "policy_not_listed"),
        ],
    );
}

#[test]
fn ports_that_are_not_named_are_closed() {
    let web = for_all(closing(&[], &[], &[8443, 443]));
    expect(
        &web,
        &[
            ("https://a.example/", &["8.8.8.8"], "ok"),
            ("https://a.example:8443/", &["8.8.8.8"], "ok"),
            (
                "http://a.example/",
                &["8.8.8.8"],
                "policy_port: port 80 is closed by the egress policy `strict`",
            ),
            ("http://8.8.8.8:8080/", &[], "policy_port: port 8080"),
        ],
    );
}

#[test]
fn every_policy_for_the_project_must_admit_and_those_of_others_say_nothing() {
    let mut closings = for_all(closing(&[], &[], &[443]));
    closings.add(9, closing(&["example.com"], &[], &[]), &[id(OURS)]);
    closings.add(
        5,
        closing(&["example.org"], &[], &[]),
        &[id(OURS), id(OTHERS)],
    );
    assert_eq!(closings.revision(), 9);
    let of = |project, url| verdict(&closings, (project, url), &["8.8.8.8"]);
    for (url, ours, others) in [
        ("https://example.com/", "policy_denied", "ok"),
        ("https://example.org/", "policy_denied", "policy_denied"),
        ("https://example.net/", "ok", "ok"),
        ("http://example.net/", "policy_port", "policy_port"),
    ] {
        let (got, theirs) = (of(OURS, url), of(OTHERS, url));
        assert!(
            got.starts_with(ours) && theirs.starts_with(others),
            "{url}: {got}, {theirs}"
        );
    }
    assert_eq!(Closings::default().revision(), 0);
    assert_eq!(
        verdict(&Closings::default(), (OURS, "http://127.0.0.1/"), &[]),
        "ok"
    );
}

#[test]
fn what_the_bootstrap_opens_is_closed_too() {
    let mut policy = Policy::default();
    for target in [
        InternalTarget::Address("127.0.0.1:5080".parse().unwrap()),
        InternalTarget::Cidr("10.0.0.0/8".parse().unwrap()),
        InternalTarget::NameSuffix("svc.local".into()),
    ] {
        let projects = vec!["payments".to_owned()];
        policy.internal(InternalRule { projects, target });
    }
    policy.allow("192.168.0.0/16".parse().unwrap());
    let project = ProjectRef {
        id: id(OURS),
        name: "payments",
    };
    let strict = for_all(closing(
        &["127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "local"],
        &[],
        &[],
    ));
    for (url, answer) in [
        ("http://127.0.0.1:5080/", "127.0.0.1"),
        ("http://10.1.2.3/", "10.1.2.3"),
        ("http://a.example/", "192.168.0.1"),
        ("http://b.svc.local/", "10.0.0.1"),
    ] {
        let target = TargetUrl::parse(url).unwrap();
        let place = (target.host(), target.port());
        let judge = |closings: &Closings| {
            let policy = &policy;
            let guard = Guard { policy, closings };
            guard.check_target(&project, &target)?;
            guard.check_answers(&project, place, &[answer.parse().unwrap()])
        };
        assert!(judge(&Closings::default()).is_ok(), "{url}");
        assert_eq!(judge(&strict).unwrap_err().code(), "policy_denied", "{url}");
    }
}

#[test]
fn what_cannot_be_read_closes_everything() {
    let closings = for_all(Closing::unreadable("new".into()));
    expect(
        &closings,
        &[
            (
                "https://a.example/",
                &["8.8.8.8"],
                "policy_unreadable: the egress policy `new` cannot be read",
            ),
            ("http://8.8.8.8/", &[], "policy_unreadable"),
        ],
    );
    let answers = ["8.8.8.8".parse().unwrap()];
    let host = Host::Name("a.example".into());
    let late = closings.check_answers(id(OURS), &host, &answers);
    assert_eq!(late.unwrap_err().code(), "policy_unreadable");
}

/// Few names and addresses, so that they meet.
fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        "[ab](\\.[ab]){0,3}\\.c".prop_map(|name| Host::Name(name.into())),
        (0_u32..8).prop_map(|low| Host::Ip(IpAddr::V4((0x0808_0800 | low).into()))),
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0_u32..8).prop_map(|low| IpAddr::V4((0x0808_0800 | low).into())),
        (0_u32..8).prop_map(|low| IpAddr::V6(
            std::net::Ipv4Addr::from(0x0808_0800 | low).to_ipv6_mapped()
        )),
        (0_u128..8).prop_map(|low| IpAddr::V6(((0x2606 << 112) | low).into())),
    ]
}

fn place() -> impl Strategy<Value = PolicyPlace> {
    prop_oneof![
        "([ab]\\.){0,3}c".prop_map(|name| PolicyPlace::Name(name.into())),
        (address(), 29_u8..=32).prop_map(|(ip, bits)| {
            let bits = if ip.is_ipv6() { bits + 96 } else { bits };
            PolicyPlace::Range(IpNet::new(ip, bits).unwrap().trunc())
        }),
    ]
}

/// What somebody writes: denied, listed, ports.
type Written = (Vec<PolicyPlace>, Option<Vec<PolicyPlace>>, Option<Vec<u16>>);

fn written() -> impl Strategy<Value = Written> {
    let some = || proptest::collection::vec(place(), 0..4);
    let listed = proptest::option::of(proptest::collection::vec(place(), 1..4));
    let ports = proptest::option::of(proptest::collection::vec(440_u16..446, 1..4));
    (some(), listed, ports)
}

fn compiled((deny, only, ports): &Written) -> Closing {
    Closing::new("p".into(), deny, only.as_deref(), ports.as_deref())
}

/// The rules as they are told, place by place.
fn naive((deny, only, ports): &Written, (host, port): (&Host, u16), answers: &[IpAddr]) -> bool {
    let names = |places: &[PolicyPlace], host: &Host| {
        places.iter().any(|place| match (place, host) {
            (PolicyPlace::Name(suffix), Host::Name(name)) => {
                **name == **suffix || name.ends_with(&format!(".{suffix}"))
            }
            _ => false,
        })
    };
    let plain = |ip: &IpAddr| ip.to_canonical();
    let covers = |places: &[PolicyPlace], ip: &IpAddr| {
        places.iter().any(|place| match place {
            PolicyPlace::Range(IpNet::V6(range)) if range.prefix_len() >= 96 => {
                match range.network().to_ipv4_mapped() {
                    Some(v4) => {
                        let range = IpNet::new(v4.into(), range.prefix_len() - 96).unwrap();
                        range.contains(&plain(ip))
                    }
                    None => range.contains(match &plain(ip) {
                        IpAddr::V6(v6) => v6,
                        IpAddr::V4(_) => return false,
                    }),
                }
            }
            PolicyPlace::Range(range) => range.contains(&plain(ip)),
            PolicyPlace::Name(_) => false,
        })
    };
    let is_denied = names(deny, host) || answers.iter().any(|ip| covers(deny, ip));
    let is_listed = only
        .as_ref()
        .is_none_or(|only| names(only, host) || answers.iter().all(|ip| covers(only, ip)));
    let is_port = ports.as_ref().is_none_or(|ports| ports.contains(&port));
    !is_denied && is_listed && is_port
}

fn admits(closings: &Closings, (host, port): (&Host, u16), answers: &[IpAddr]) -> bool {
    closings.check_place(id(OURS), host, port).is_ok()
        && closings.check_answers(id(OURS), host, answers).is_ok()
}

proptest! {
    #[test]
    fn what_is_compiled_says_the_same_as_the_rules_one_by_one(
        rules in written(),
        host in host(),
        port in 440_u16..446,
        mut answers in proptest::collection::vec(address(), 1..4),
    ) {
        if let Host::Ip(ip) = &host {
            answers = vec![*ip];
        }
        let got = admits(&for_all(compiled(&rules)), (&host, port), &answers);
        prop_assert_eq!(got, naive(&rules, (&host, port), &answers));
    }

    #[test]
    fn one_more_policy_never_admits_what_was_refused_before(
        before in proptest::collection::vec((written(), any::<bool>()), 0..3),
        more in written(),
        is_for_us in any::<bool>(),
        host in host(),
        port in 440_u16..446,
        mut answers in proptest::collection::vec(address(), 0..4),
        closed in proptest::collection::vec(0_u32..8, 0..3),
    ) {
        if let Host::Ip(ip) = &host {
            answers = vec![*ip];
        }
        let mut policy = Policy::default();
        policy.ports(vec![441, 442, 443, 444]);
        for low in closed {
            policy.deny(IpAddr::V4((0x0808_0800 | low).into()).into());
        }
        let whom = |is_ours: bool| if is_ours { vec![id(OURS)] } else { Vec::new() };
        let mut closings = Closings::default();
        for (rules, is_ours) in &before {
            closings.add(1, compiled(rules), &whom(*is_ours));
        }
        let project = ProjectRef { id: id(OURS), name: "payments" };
        let judge = |closings: &Closings| {
            let guard = Guard { policy: &policy, closings };
            guard.check_place(&project, &host, port).ok()?;
            guard.check_answers(&project, (&host, port), &answers).ok()
        };
        let bootstrap = judge(&Closings::default());
        let old = judge(&closings);
        closings.add(2, compiled(&more), &whom(is_for_us));
        let new = judge(&closings);
        // Admitted now is what was admitted before, to the same addresses.
        prop_assert!(new.is_none() || new == old, "{new:?}, before {old:?}");
        prop_assert!(old.is_none() || old == bootstrap, "{old:?}, bootstrap {bootstrap:?}");
    }
}
