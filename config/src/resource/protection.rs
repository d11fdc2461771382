//! Who may send, and how often: the same settings for a source and for a project.

use std::net::IpAddr;

use ipnet::IpNet;
use outrider_webhook::address::AddressRules;
use outrider_webhook::rate::{self, Rate};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Checks, Range, Reason};

/// Longest list of address ranges.
const CIDRS_MAX: usize = 1024;
pub(super) const COUNT: Range = Range {
    min: 1,
    max: rate::COUNT_MAX as u64,
    unit: "requests",
};
const WINDOW_S: Range = Range {
    min: 1,
    max: rate::WINDOW_S_MAX,
    unit: "seconds",
};

/// How often something may happen; off when both are absent or 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateSpec {
    /// Requests, 1 to 1,000,000,000; all of them may come at once.
    pub count: Option<u64>,
    /// In so many seconds, 1 to 86,400.
    pub duration: Option<u64>,
}

impl RateSpec {
    /// The rate; `None` when it is off, or what is wrong with it was reported.
    pub(super) fn compile(&self, checks: &mut Checks, field: &str) -> Option<Rate> {
        let given = |number: Option<u64>| number.filter(|number| *number != 0);
        let (count, window_s) = (given(self.count), given(self.duration));
        if count.is_none() && window_s.is_none() {
            return None;
        }
        let (count_field, window_field) = (format!("{field}.count"), format!("{field}.duration"));
        let count = checks.require(&count_field, count);
        let window_s = checks.require(&window_field, window_s);
        let (count, window_s) = (count?, window_s?);
        rate(
            checks,
            [&count_field, &window_field],
            (count, window_s),
            COUNT,
        )
    }
}

/// So many in so many seconds, neither of them 0; `None` when what is wrong with it was reported.
/// `range` is that of the count.
pub(super) fn rate(
    checks: &mut Checks,
    [count_field, window_field]: [&str; 2],
    (count, window_s): (u64, u64),
    range: Range,
) -> Option<Rate> {
    checks.number(count_field, Some(count), count, range);
    checks.number(window_field, Some(window_s), window_s, WINDOW_S);
    Rate::new(u32::try_from(count).ok()?, window_s)
}

/// What people write; the fields stand in the resource itself, under names of its own.
pub(super) struct ProtectionSpec<'a> {
    /// The names of the fields: ranges that may send, that may not, and the rate.
    pub(super) names: [&'static str; 3],
    pub(super) allow: Option<&'a [String]>,
    pub(super) deny: Option<&'a [String]>,
    pub(super) rate: Option<&'a RateSpec>,
}

/// Who may send events, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protection {
    addresses: AddressRules,
    cidrs: [Box<[IpNet]>; 2],
    rate: Option<Rate>,
}

impl Protection {
    pub(super) fn compile(checks: &mut Checks, spec: &ProtectionSpec<'_>) -> Self {
        let [allow_field, deny_field, rate_field] = spec.names;
        let allow = ranges(checks, allow_field, spec.allow);
        let deny = ranges(checks, deny_field, spec.deny);
        Self {
            addresses: AddressRules::new(&allow, &deny),
            cidrs: [allow.into(), deny.into()],
            rate: spec.rate.and_then(|rate| rate.compile(checks, rate_field)),
        }
    }

    /// Whose requests are taken.
    #[must_use]
    pub fn addresses(&self) -> &AddressRules {
        &self.addresses
    }

    /// How many are taken; `None` is as many as come.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }

    pub(super) fn dump(&self) -> Value {
        let [allow, deny] = &self.cidrs;
        json!({"allow_cidrs": allow, "deny_cidrs": deny, "rate_limit": self.rate.map(dump_rate)})
    }
}

pub(super) fn dump_rate(rate: Rate) -> Value {
    json!({"count": rate.count(), "duration": rate.window().as_secs()})
}

fn ranges(checks: &mut Checks, field: &str, texts: Option<&[String]>) -> Vec<IpNet> {
    let texts = texts.unwrap_or_default();
    if texts.len() > CIDRS_MAX {
        let reason = Reason::OutOfRange {
            min: 0,
            max: CIDRS_MAX as u64,
            unit: "ranges",
        };
        checks.fail(field, reason);
        return Vec::new();
    }
    let parse = |(index, text): (usize, &String)| {
        let net = text.parse::<IpNet>().map(|net| net.trunc());
        let net = net.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let reason = Reason::Shape("a range of addresses, like 192.0.2.0/24 or 2001:db8::/32");
        checks.take(&format!("{field}[{index}]"), net.map_err(|_| reason))
    };
    texts.iter().enumerate().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(
        allow: &[&str],
        deny: &[&str],
        rate: (Option<u64>, Option<u64>),
    ) -> Result<Protection, Vec<String>> {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (allow, deny) = (owned(allow), owned(deny));
        let rate = RateSpec {
            count: rate.0,
            duration: rate.1,
        };
        let mut checks = Checks::default();
        let spec = ProtectionSpec {
            names: ["allow", "deny", "rate"],
            allow: Some(&allow),
            deny: Some(&deny),
            rate: Some(&rate),
        };
        let made = Protection::compile(&mut checks, &spec);
        let errors = checks.finish(Some(made));
        errors.map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_limit() {
        let many = vec!["10.0.0.0/8"; CIDRS_MAX + 1];
        for (allow, deny, rate, expected) in [
            (&["10.0.0.0/33"][..], &[][..], (None, None), "`allow[0]`: "),
            (&[], &["::1", "x"], (None, None), "`deny[1]`: "),
            (&[], &[""], (None, None), "`deny[0]`: "),
            (&many, &[], (None, None), "`allow`: must be from 0 to 1024"),
            (&[], &[], (Some(1), None), "`rate.duration`: is missing"),
            (&[], &[], (Some(0), Some(1)), "`rate.count`: is missing"),
            (&[], &[], (Some(1), Some(86_401)), "from 1 to 86400 seconds"),
            (&[], &[], (Some(1 << 40), Some(1)), "from 1 to 1000000000"),
        ] {
            let errors = compile(allow, deny, rate).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].contains(expected), "{errors:?}");
        }
    }

    #[test]
    fn nothing_is_limited_unless_it_was_said() {
        let open = compile(&[], &[], (Some(0), Some(0))).unwrap();
        assert!(open.addresses().are_open() && open.rate().is_none());
        let made = compile(&["192.0.2.7/24"], &["192.0.2.1"], (Some(5), Some(60))).unwrap();
        assert!(made.addresses().admits("192.0.2.2".parse().unwrap()));
        assert!(!made.addresses().admits("192.0.2.1".parse().unwrap()));
        assert_eq!(made.rate(), Rate::new(5, 60));
        let dumped = json!({
            "allow_cidrs": ["192.0.2.0/24"],
            "deny_cidrs": ["192.0.2.1/32"],
            "rate_limit": {"count": 5, "duration": 60},
        });
        assert_eq!(made.dump(), dumped);
    }
}
