//! Bounds of what is taken in on the public listener: what people write of them, and their
//! checks.

use std::time::Duration;

use outrider_webhook::address::{AddressRules, AddressSet};
use outrider_webhook::rate::{self, Rate};
use serde::Deserialize;

use super::spec::{Checks, KIB, MIB};

/// Bounds of intake requests, and of the connections they come on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeSettings {
    /// Whole request head, from the first byte; default 10 s.
    pub head_timeout: Duration,
    /// Whole request body; default 60 s.
    pub body_timeout: Duration,
    /// Bytes a second that a body has to come with, on average and after 5 s; default 240, which
    /// is also Kestrel's. 0 is no such limit.
    pub body_rate_min: u64,
    /// Idle time between two requests of a connection; default 60 s.
    pub keepalive: Duration,
    /// Bytes of the request line; default 8 KiB.
    pub line_bytes_max: usize,
    /// Bytes of the request head; default 32 KiB.
    pub head_bytes_max: usize,
    /// Header lines; default 100.
    pub headers_max: usize,
    /// Bytes of all bodies being read or stored at once; default 256 MiB (RULINGS 6).
    pub in_flight_bytes_max: usize,
    /// Connections at once; default 10,000.
    pub connections_max: usize,
    /// Connections at once from one address, or one /64 of IPv6; default a quarter of all.
    pub connections_per_address_max: usize,
    /// Requests on one connection, before it is closed; default 100,000.
    pub requests_per_connection_max: u64,
    /// Addresses that may send events.
    pub addresses: AddressRules,
    /// Proxies whose `X-Forwarded-For` is believed; none by default.
    pub trusted_proxies: AddressSet,
    /// How many requests with events one address may send; off by default.
    pub rate_per_address: Option<Rate>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct IntakeSpec {
    head_timeout_ms: Option<u64>,
    body_timeout_ms: Option<u64>,
    body_bytes_per_s_min: Option<u64>,
    keepalive_ms: Option<u64>,
    request_line_bytes_max: Option<u64>,
    header_bytes_max: Option<u64>,
    headers_max: Option<u64>,
    in_flight_bytes_max: Option<u64>,
    connections_max: Option<u64>,
    connections_per_address_max: Option<u64>,
    requests_per_connection_max: Option<u64>,
    allow_cidrs: Option<Vec<String>>,
    deny_cidrs: Option<Vec<String>>,
    trusted_proxies: Option<Vec<String>>,
    rate_limit_per_address: Option<RateSpec>,
}

/// So many in so many seconds.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateSpec {
    count: Option<u64>,
    duration: Option<u64>,
}

impl RateSpec {
    pub(super) fn check(&self, path: &str, checks: &mut Checks) -> Option<Rate> {
        let mut number = |name: &str, value: Option<u64>, max| {
            let path = format!("{path}.{name}");
            if value.is_none() {
                checks.fail(&path, "is missing");
            }
            checks.number(&path, value, 1, (1, max))
        };
        let count = number("count", self.count, rate::COUNT_MAX.into());
        let window_s = number("duration", self.duration, rate::WINDOW_S_MAX);
        Rate::new(u32::try_from(count).ok()?, window_s)
    }
}

impl IntakeSpec {
    pub(super) fn check(self, checks: &mut Checks) -> IntakeSettings {
        let allow = checks.ranges("intake.allow_cidrs", self.allow_cidrs);
        let deny = checks.ranges("intake.deny_cidrs", self.deny_cidrs);
        let trusted = checks.ranges("intake.trusted_proxies", self.trusted_proxies);
        let rate = self.rate_limit_per_address.as_ref();
        let rate_per_address =
            rate.and_then(|rate| rate.check("intake.rate_limit_per_address", checks));
        let mut size = |name: &str, value, default, range| {
            checks.size(&format!("intake.{name}"), value, default, range)
        };
        let head_bytes_max = size(
            "header_bytes_max",
            self.header_bytes_max,
            32 * KIB,
            (KIB, MIB),
        );
        let line_bytes_max = size(
            "request_line_bytes_max",
            self.request_line_bytes_max,
            8 * KIB,
            (256, 64 * KIB),
        );
        let headers_max = size("headers_max", self.headers_max, 100, (16, 256));
        // At least one body of the largest allowed size.
        let in_flight = (32 * MIB, 1024 * 1024 * MIB);
        let in_flight_bytes_max = size(
            "in_flight_bytes_max",
            self.in_flight_bytes_max,
            256 * MIB,
            in_flight,
        );
        let connections_max = size(
            "connections_max",
            self.connections_max,
            10_000,
            (1, 1_000_000),
        );
        let quarter = (connections_max as u64).div_ceil(4);
        let connections_per_address_max = size(
            "connections_per_address_max",
            self.connections_per_address_max,
            quarter,
            (1, 1_000_000),
        );
        let mut number = |name: &str, value, default, range| {
            checks.number(&format!("intake.{name}"), value, default, range)
        };
        let requests = self.requests_per_connection_max;
        IntakeSettings {
            requests_per_connection_max: number(
                "requests_per_connection_max",
                requests,
                100_000,
                (1, 1_000_000_000),
            ),
            body_rate_min: number(
                "body_bytes_per_s_min",
                self.body_bytes_per_s_min,
                240,
                (0, MIB),
            ),
            head_timeout: checks.duration("intake.head_timeout_ms", self.head_timeout_ms, 10_000),
            body_timeout: checks.duration("intake.body_timeout_ms", self.body_timeout_ms, 60_000),
            keepalive: checks.duration("intake.keepalive_ms", self.keepalive_ms, 60_000),
            line_bytes_max,
            head_bytes_max,
            headers_max,
            in_flight_bytes_max,
            connections_max,
            connections_per_address_max,
            addresses: AddressRules::new(&allow, &deny),
            trusted_proxies: trusted.into_iter().collect(),
            rate_per_address,
        }
    }
}
