//! What the proxy's refusals mean, and what its absence.

use std::sync::Arc;

use outrider_webhook::address::{Denial, UNREADABLE};
use outrider_webhook::http1::{blanks_off, field, lines};
use outrider_webhook::retry::Failure;

use super::{ERROR, POLICY};
use crate::egress::fault::Fault;

/// A fault of the proxy, or of the way to it.
pub(super) fn lost(why: impl std::fmt::Display) -> Fault {
    Fault::new(Failure::NoHealthySource, format!("egress proxy: {why}"))
}

/// What a refusal of the proxy means for the attempt.
pub(super) fn refused(status: u16, head: &[u8]) -> Fault {
    match value(head, ERROR.as_str()) {
        Some(error) => refused_by(status, error, value(head, POLICY.as_str())),
        None => lost(format!("status {status}, which is not of our proxy")),
    }
}

/// The same, by the error's name and that of the policy that denies.
pub(super) fn refused_by(status: u16, code: &str, policy: Option<&str>) -> Fault {
    let (code, reason) = code.split_once(':').unwrap_or((code, ""));
    let failure = match (code, reason) {
        // Larger than the proxy takes: it will never be smaller.
        _ if status == 431 => Failure::ProtocolError,
        // The configuration has not come there yet, or its identity may not act for the project.
        ("denied", reason) if is_of_tenant(reason) => Failure::NoHealthySource,
        // It has a policy that it cannot read, which says nothing of the destination.
        ("denied", UNREADABLE) => Failure::NoHealthySource,
        ("denied", _) => Failure::EgressDenied { literal: false },
        (code, _) => Failure::ALL
            .into_iter()
            .find(|failure| failure.code() == code)
            // `auth_required`, `bad_request`, `limit`, `draining`.
            .unwrap_or(Failure::NoHealthySource),
    };
    let code: String = code.chars().take(64).collect();
    let reason: String = reason.chars().take(64).collect();
    let policy = policy.filter(|name| is_policy_name(name));
    let detail = match (reason.as_str(), policy) {
        ("", _) => format!("egress proxy: {code}"),
        (reason, None) => format!("egress proxy: {code}, {reason}"),
        (reason, Some(policy)) => {
            format!("egress proxy: {code}, {reason} by the egress policy `{policy}`")
        }
    };
    if failure.is_infrastructure() {
        tracing::warn!(status, code, reason, "the egress proxy refuses");
    }
    Fault {
        denial: Denial::told(&reason).map(|told| Denial {
            policy: policy.map(Arc::from),
            ..told
        }),
        ..Fault::new(failure, detail)
    }
}

/// Whether a text can be the name of a policy: it goes into records.
fn is_policy_name(text: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_of_name)
}

fn is_of_tenant(reason: &str) -> bool {
    matches!(
        reason,
        "tenant_required"
            | "tenant_not_allowed"
            | "unknown_tenant"
            | "unknown_pool"
            | "unknown_endpoint"
            | "unknown_certificate"
    )
}

/// The text of a field.
pub(super) fn value<'h>(head: &'h [u8], name: &str) -> Option<&'h str> {
    let found = lines(head).skip(1).find_map(|line| {
        let (own, value) = field(line).ok()?;
        own.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
    });
    std::str::from_utf8(blanks_off(found?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(line: &str) -> Failure {
        let head = format!("HTTP/1.1 502 Bad Gateway\r\n{line}\r\n\r\n");
        refused(502, head.as_bytes()).failure
    }

    #[test]
    fn faults_of_the_proxy_are_ours_and_those_of_the_destination_are_not() {
        for (code, expected) in [
            (
                "denied:address_denied",
                Failure::EgressDenied { literal: false },
            ),
            (
                "denied:policy_denied",
                Failure::EgressDenied { literal: false },
            ),
            ("denied:policy_unreadable", Failure::NoHealthySource),
            ("denied:unknown_tenant", Failure::NoHealthySource),
            ("denied:unknown_pool", Failure::NoHealthySource),
            ("auth_required", Failure::NoHealthySource),
            ("limit", Failure::NoHealthySource),
            ("draining", Failure::NoHealthySource),
            ("bad_request", Failure::NoHealthySource),
            ("of_a_later_version", Failure::NoHealthySource),
            ("port_exhausted", Failure::PortExhausted),
            ("no_healthy_source", Failure::NoHealthySource),
            ("dns_failure", Failure::DnsFailure),
            ("connect_refused", Failure::ConnectRefused),
            ("connect_timeout", Failure::ConnectTimeout),
        ] {
            let line = format!("X-Outrider-Egress-Error: {code}");
            assert_eq!(failure(&line), expected, "{code}");
        }
        assert_eq!(failure("server: other"), Failure::NoHealthySource);
    }

    #[test]
    fn the_policy_that_denies_is_told_where_it_can_be_one() {
        let policy = |line: &str| {
            let denied = "X-Outrider-Egress-Error: denied:policy_port";
            let head = format!("HTTP/1.1 403 Forbidden\r\n{denied}\r\n{line}\r\n\r\n");
            let denial = refused(403, head.as_bytes()).denial.unwrap();
            assert_eq!(denial.reason, "policy_port");
            denial.policy.as_deref().map(str::to_owned)
        };
        let name = "x-outrider-egress-policy";
        assert_eq!(policy(&format!("{name}: web-1")), Some("web-1".to_owned()));
        for odd in ["", "a:b", "A", &"x".repeat(64)] {
            assert_eq!(policy(&format!("{name}: {odd}")), None, "{odd}");
        }
        assert_eq!(policy("a: b"), None);
    }
}
