//! The shared vectors, what settings open and do not open, and properties of the parser.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use serde_json::Value;

use super::{
    Authority, Denied, Host, InternalRule, InternalTarget, Policy, PolicyPlace, ProjectRef,
    SelfAddress, TargetUrl,
};
use crate::id::{ProjectId, Uid};

fn project() -> ProjectRef<'static> {
    ProjectRef {
        id: ProjectId::new(Uid::from_bits(7)),
        name: "payments",
    }
}

fn policy_of(case: &Value) -> Policy {
    let mut policy = Policy::default();
    let texts = |key: &str| -> Vec<String> {
        let list = case["policy"][key].as_array().cloned().unwrap_or_default();
        list.iter()
            .map(|v| v.as_str().unwrap().to_owned())
            .collect()
    };
    texts("allow_cidrs")
        .iter()
        .for_each(|range| policy.allow(range.parse().unwrap()));
    texts("deny_cidrs")
        .iter()
        .for_each(|range| policy.deny(range.parse().unwrap()));
    texts("allow_names")
        .iter()
        .for_each(|name| policy.allow_name(name));
    texts("self_addresses")
        .iter()
        .for_each(|ip| policy.own(SelfAddress::Ip(ip.parse().unwrap())));
    if let Some(ports) = case["policy"]["ports"].as_array() {
        policy.ports(
            ports
                .iter()
                .map(|port| u16::try_from(port.as_u64().unwrap()).unwrap())
                .collect(),
        );
    }
    policy
}

/// The first answer for a name: names that are not listed do not exist.
fn resolve(case: &Value, host: &Host) -> Vec<IpAddr> {
    let name = match host {
        Host::Ip(ip) => return vec![*ip],
        Host::Name(name) => name,
    };
    let mut answers = case["dns"][&**name].as_array().cloned().unwrap_or_default();
    if let Some(first) = answers.first().and_then(Value::as_array) {
        answers = first.clone();
    }
    answers
        .iter()
        .map(|ip| ip.as_str().unwrap().parse().unwrap())
        .collect()
}

fn verdict(case: &Value) -> Result<Vec<IpAddr>, Denied> {
    let (policy, input) = (policy_of(case), case["input"].as_str().unwrap());
    let (host, port) = if case["kind"] == "connect" {
        let authority = Authority::parse(input)?;
        policy.check_authority(&project(), &authority)?;
        (authority.host, authority.port)
    } else {
        let target = TargetUrl::parse(input)?;
        policy.check_target(&project(), &target)?;
        (target.host().clone(), target.port())
    };
    policy.check_answers(&project(), port, &resolve(case, &host))
}

#[test]
fn every_shared_case_gets_its_verdict_and_reason() {
    let file = crate::vectors::load("ssrf.json");
    let cases = file["cases"].as_array().unwrap();
    let (mut judged, mut wrong) = (0, Vec::new());
    for case in cases {
        // A redirect is refused by not being followed; the address rules only let the first request out.
        let is_redirect = case["kind"] == "redirect";
        let got = verdict(case);
        let reason = got.as_ref().map_or_else(Denied::code, |_| "ok");
        let expected = if is_redirect {
            "ok"
        } else {
            case["reason"].as_str().unwrap()
        };
        let connect: Vec<String> = case["connect"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|ip| ip.as_str().unwrap().to_owned())
            .collect();
        let allowed: Vec<String> = got.iter().flatten().map(ToString::to_string).collect();
        if reason != expected || (!is_redirect && connect != allowed) {
            wrong.push(format!(
                "{} {}: {reason} {allowed:?}, expected {expected} {connect:?}",
                case["id"], case["input"]
            ));
        }
        judged += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(judged, 225);
}

fn check(policy: &Policy, url: &str) -> Result<Vec<IpAddr>, Denied> {
    let target = TargetUrl::parse(url)?;
    policy.check_target(&project(), &target)?;
    match target.host() {
        Host::Ip(ip) => policy.check_addresses(&project(), &target, &[*ip]),
        Host::Name(_) => Ok(Vec::new()),
    }
}

fn rule(project: &str, target: InternalTarget) -> Policy {
    let mut policy = Policy::default();
    policy.internal(InternalRule {
        projects: vec![project.to_owned()],
        target,
    });
    policy
}

#[test]
fn an_internal_range_opens_to_its_projects_only_and_never_metadata_or_loopback() {
    let everything = || InternalTarget::Cidr("0.0.0.0/0".parse().unwrap());
    assert!(check(&rule("payments", everything()), "http://10.1.2.3/").is_ok());
    assert!(
        check(
            &rule(&project().id.to_string(), everything()),
            "http://10.1.2.3/"
        )
        .is_ok()
    );
    assert!(check(&rule("other", everything()), "http://10.1.2.3/").is_err());
    for url in [
        "http://169.254.169.254/",
        "http://127.0.0.1/",
        "http://100.100.100.200/",
    ] {
        assert!(
            check(&rule("payments", everything()), url).is_err(),
            "{url}"
        );
    }
}

#[test]
fn an_exact_loopback_address_opens_that_port_only() {
    let exact = |text: &str| InternalTarget::Address(text.parse::<SocketAddr>().unwrap());
    let policy = rule("payments", exact("127.0.0.1:5080"));
    assert!(check(&policy, "http://127.0.0.1:5080/x").is_ok());
    assert!(check(&policy, "http://127.0.0.1:5081/x").is_err());
    assert!(check(&policy, "http://127.0.0.2:5080/x").is_err());
    assert!(
        check(
            &rule("payments", exact("169.254.169.254:80")),
            "http://169.254.169.254/"
        )
        .is_err()
    );
}

#[test]
fn an_internal_name_opens_with_its_suffix_and_its_addresses_stay_checked() {
    let policy = rule(
        "payments",
        InternalTarget::NameSuffix("svc.cluster.local".into()),
    );
    let target = TargetUrl::parse("http://backend.svc.cluster.local/").unwrap();
    assert!(policy.check_target(&project(), &target).is_ok());
    assert!(
        policy
            .check_addresses(&project(), &target, &["10.0.0.1".parse().unwrap()])
            .is_err()
    );
    assert!(check(&policy, "http://evilsvc.cluster.local/").is_err());
}

#[test]
fn the_gateways_own_listener_is_refused_even_when_tests_open_loopback() {
    let mut policy = Policy::default();
    policy.unsafe_allow("127.0.0.0/8".parse().unwrap());
    policy.own(SelfAddress::Listener("127.0.0.1:5005".parse().unwrap()));
    policy.own(SelfAddress::Listener("0.0.0.0:9901".parse().unwrap()));
    assert_eq!(
        check(&policy, "http://127.0.0.1:5005/").unwrap_err().code(),
        "self_address"
    );
    assert_eq!(
        check(&policy, "http://127.0.0.3:9901/").unwrap_err().code(),
        "self_address"
    );
    assert!(check(&policy, "http://127.0.0.1:5006/").is_ok());
}

#[test]
fn what_travels_is_canonical() {
    let target = TargetUrl::parse(
        "HTTPS://Bücher.Example.com:443/a b?"
            .replace(' ', "%20")
            .as_str(),
    )
    .unwrap();
    assert_eq!(
        target.to_string(),
        "https://xn--bcher-kva.example.com/a%20b?"
    );
    let target = TargetUrl::parse("http://[2001:DB8::1]:8080/ü?q={1}#part").unwrap();
    assert_eq!(target.authority(), "[2001:db8::1]:8080");
    assert_eq!(target.path_and_query().as_str(), "/%C3%BC?q=%7B1%7D");
}

proptest! {
    #[test]
    fn nothing_makes_the_parsers_panic(text in "\\PC{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        for input in [text.clone(), format!("http://{text}"), String::from_utf8_lossy(&bytes).into_owned()] {
            let _ = TargetUrl::parse(&input);
            let _ = Authority::parse(&input);
            let _ = PolicyPlace::parse(&input);
        }
    }

    #[test]
    fn a_parsed_url_reads_the_same_again(text in "https?://[a-z0-9.-]{1,20}(:[0-9]{1,5})?(/[a-z0-9%/]{0,10})?(\\?[a-z=&]{0,8})?") {
        if let Ok(target) = TargetUrl::parse(&text) {
            prop_assert_eq!(TargetUrl::parse(&target.to_string()).unwrap(), target);
        }
    }

    #[test]
    fn every_spelling_of_loopback_and_metadata_is_refused(low in 0_u32..(1 << 24), spelling in 0..6) {
        let ip = 0x7f00_0000 | low;
        let [a, b, c, d] = ip.to_be_bytes();
        let host = match spelling {
            0 => format!("{a}.{b}.{c}.{d}"),
            1 => format!("{ip}"),
            2 => format!("{ip:#x}"),
            3 => format!("{a:#o}.{b}.{c}.{d}").replace("0o", "0"),
            4 => format!("[::ffff:{a}.{b}.{c}.{d}]"),
            _ => format!("[64:ff9b::{a:02x}{b:02x}:{c:02x}{d:02x}]"),
        };
        let refused = check(&Policy::default(), &format!("http://{host}/")).is_err();
        prop_assert!(refused);
    }
}

#[test]
fn the_longest_names_are_taken_in_any_spelling_and_no_longer_text_is_looked_at() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert_eq!(longest.len(), 253);
    // Letters of four bytes each, and dots of three.
    let wide: String = longest.replace('a', "\u{1d51e}"); // mathematical fraktur small a
    let dotted = wide.replace('.', "\u{3002}") + "\u{3002}"; // ideographic full stop
    for text in [&longest, &format!("{longest}."), &wide, &dotted] {
        let parsed = Authority::parse(&format!("{text}:443"));
        let host = parsed.map(|authority| authority.host.to_string());
        assert_eq!(host.as_ref(), Ok(&longest), "{} bytes", text.len());
    }
    let padded = format!("a{}.example.com", "\u{ad}".repeat(600)); // soft hyphens, which stand for nothing
    for text in [
        format!("a{longest}"),
        padded,
        "\u{4e00}".repeat(3_400),
        "1.".repeat(5_000),
    ] {
        let refused = Authority::parse(&format!("{text}:443"));
        assert_eq!(refused, Err(Denied::InvalidHost), "{} bytes", text.len());
    }
}

#[test]
fn a_project_named_like_the_uid_of_another_gets_none_of_its_rights() {
    let favoured = ProjectId::new(Uid::from_bits(99)).to_string();
    let range = InternalTarget::Cidr("10.0.0.0/8".parse().unwrap());
    let policy = rule(&favoured, range);
    let target = TargetUrl::parse("http://10.1.2.3/").unwrap();
    let impostor = ProjectRef {
        id: project().id,
        name: &favoured,
    };
    assert!(policy.check_target(&impostor, &target).is_err());
    let itself = ProjectRef {
        id: ProjectId::new(Uid::from_bits(99)),
        name: "any",
    };
    assert!(policy.check_target(&itself, &target).is_ok());
}

#[test]
fn an_opened_range_that_embeds_ipv4_stays_closed_to_what_is_closed_in_ipv4() {
    for (range, bad, good) in [
        ("64:ff9b::/96", "64:ff9b::7f00:1", "64:ff9b::808:808"),
        ("64:ff9b::/96", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808"),
        ("64:ff9b:1::/96", "64:ff9b:1::7f00:1", "64:ff9b:1::808:808"),
        ("64:ff9b:1::/96", "64:ff9b:1::a00:1", "64:ff9b:1::808:808"),
        ("2002::/16", "2002:7f00:1::1", "2002:808:808::1"),
        ("2002::/16", "2002:a9fe:a9fe::", "2002:808:808::1"),
        ("::/96", "::a9fe:a9fe", "::808:808"),
        ("::ffff:0:0:0/96", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"),
    ] {
        let mut policy = Policy::default();
        policy.allow(range.parse().unwrap());
        assert!(
            check(&policy, &format!("http://[{bad}]/")).is_err(),
            "{bad}"
        );
        assert!(
            check(&policy, &format!("http://[{good}]/")).is_ok(),
            "{good}"
        );
    }
}

#[test]
fn a_range_wider_than_the_local_nat64_prefix_in_use_does_not_open_it() {
    let mut policy = Policy::default();
    policy.allow("64:ff9b:1::/48".parse().unwrap());
    for host in ["64:ff9b:1::808:808", "64:ff9b:1:7f00:0:100::"] {
        assert!(
            check(&policy, &format!("http://[{host}]/")).is_err(),
            "{host}"
        );
    }
}

#[test]
fn an_exact_address_never_opens_metadata_by_way_of_nat64() {
    let exact = |text: &str| InternalTarget::Address(text.parse::<SocketAddr>().unwrap());
    let policy = rule("payments", exact("[64:ff9b::a9fe:a9fe]:80"));
    assert!(check(&policy, "http://[64:ff9b::a9fe:a9fe]/").is_err());
}

#[test]
fn settings_in_ipv4_mapped_form_mean_the_ipv4_range() {
    let mut policy = Policy::default();
    policy.deny("::ffff:1.1.1.0/120".parse().unwrap());
    policy.allow("::ffff:10.0.0.0/104".parse().unwrap());
    policy.own(SelfAddress::Ip("::ffff:9.9.9.9".parse().unwrap()));
    assert!(check(&policy, "http://1.1.1.1/").is_err());
    assert!(check(&policy, "http://10.2.3.4/").is_ok());
    let own = check(&policy, "http://9.9.9.9/").unwrap_err();
    assert_eq!(own.code(), "self_address");
}

#[test]
fn names_in_settings_mean_the_same_as_names_in_urls() {
    let mut policy = rule("payments", InternalTarget::NameSuffix("Svc.Local.".into()));
    policy.allow_name("BÜRO.internal.");
    for url in [
        "http://a.svc.local/",
        "http://svc.local/",
        "http://büro.internal/",
    ] {
        assert!(check(&policy, url).is_ok(), "{url}");
    }
    assert!(check(&policy, "http://other.internal/").is_err());
}

#[test]
fn a_refusal_names_a_setting_only_where_one_helps() {
    let text = |url: &str| check(&Policy::default(), url).unwrap_err().to_string();
    assert!(text("http://10.0.0.1/").contains("`egress.internal` with `cidr`"));
    assert!(text("http://127.0.0.1/").contains("`egress.internal` with `address`"));
    assert!(text("http://printer.local/").contains("`egress.internal` with `name_suffix`"));
    assert!(!text("http://169.254.169.254/").contains("egress."));
    let mut policy = Policy::default();
    policy.deny("1.1.1.0/24".parse().unwrap());
    let denied = check(&policy, "http://1.1.1.1/").unwrap_err().to_string();
    assert!(denied.contains("`egress.deny_cidrs`"), "{denied}");
}

#[test]
fn an_authority_with_a_port_that_is_no_number_is_no_authority() {
    for text in [
        "hooks.example.com:abc",
        "hooks.example.com:-1",
        "[::1]:x",
        "",
        ":",
    ] {
        assert_eq!(
            Authority::parse(text).unwrap_err().code(),
            "invalid_authority",
            "{text}"
        );
    }
    for text in ["hooks.example.com:0", "hooks.example.com:65536"] {
        assert_eq!(Authority::parse(text).unwrap_err().code(), "invalid_port");
    }
}
