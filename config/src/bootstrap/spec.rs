//! What people write of a bootstrap, and its checks. Every default stands next to its field's
//! check.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use outrider_webhook::address::{InternalRule, InternalTarget, SelfAddress};
use outrider_webhook::id::NodeId;
use serde::Deserialize;

use super::{
    Bootstrap, DeliverySettings, EgressSettings, IntakeSettings, LogFormat, LogSettings,
    StoreSettings, SyncMode,
};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BootstrapSpec {
    data_dir: Option<String>,
    public: Option<ListenerSpec>,
    admin: Option<ListenerSpec>,
    xds: Option<ListenerSpec>,
    log: Option<LogSpec>,
    store: Option<StoreSpec>,
    intake: Option<IntakeSpec>,
    egress: Option<EgressSpec>,
    delivery: Option<DeliverySpec>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListenerSpec {
    listen: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LogSpec {
    level: Option<String>,
    format: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StoreSpec {
    segment_bytes: Option<u64>,
    sync: Option<String>,
    sync_interval_ms: Option<u64>,
    node: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct IntakeSpec {
    head_timeout_ms: Option<u64>,
    body_timeout_ms: Option<u64>,
    keepalive_ms: Option<u64>,
    header_bytes_max: Option<u64>,
    headers_max: Option<u64>,
    in_flight_bytes_max: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EgressSpec {
    internal: Option<Vec<InternalSpec>>,
    allow_cidrs: Option<Vec<String>>,
    deny_cidrs: Option<Vec<String>>,
    allow_names: Option<Vec<String>>,
    ports: Option<Vec<u64>>,
    self_addresses: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct InternalSpec {
    projects: Option<Vec<String>>,
    cidr: Option<String>,
    name_suffix: Option<String>,
    address: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DeliverySpec {
    in_flight_max: Option<u64>,
    lane_concurrency: Option<u64>,
    excerpt_bytes_max: Option<u64>,
}

/// Collects what is wrong, each with its path.
#[derive(Default)]
struct Checks {
    errors: Vec<(String, String)>,
}

impl Checks {
    fn fail(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.errors.push((path.into(), message.into()));
    }

    /// A number in its range, or the default when it is not given or out of range.
    fn number(&mut self, path: &str, value: Option<u64>, default: u64, range: (u64, u64)) -> u64 {
        match value {
            Some(value) if (range.0..=range.1).contains(&value) => value,
            Some(_) => {
                self.fail(path, format!("must be from {} to {}", range.0, range.1));
                default
            }
            None => default,
        }
    }

    fn size(&mut self, path: &str, value: Option<u64>, default: u64, range: (u64, u64)) -> usize {
        usize::try_from(self.number(path, value, default, range)).unwrap_or(usize::MAX)
    }

    fn duration(&mut self, path: &str, ms: Option<u64>, default_ms: u64) -> Duration {
        Duration::from_millis(self.number(path, ms, default_ms, (1, 3_600_000)))
    }

    fn listener(
        &mut self,
        path: &str,
        spec: Option<ListenerSpec>,
        default: SocketAddr,
    ) -> SocketAddr {
        let Some(text) = spec.and_then(|spec| spec.listen) else {
            return default;
        };
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => {
                self.fail(
                    path,
                    "needs a port from 1 to 65535: nobody could tell which one was taken",
                );
                default
            }
            Ok(address) => address,
            Err(_) => {
                self.fail(
                    path,
                    "must be an address and a port, like 127.0.0.1:5005 or [::1]:5005",
                );
                default
            }
        }
    }

    fn range(&mut self, path: String, text: &str) -> Option<IpNet> {
        let range = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        if range.is_err() {
            self.fail(
                path,
                "must be a range of addresses, like 10.0.0.0/8 or fd00::/8",
            );
        }
        range.ok().map(|range| range.trunc())
    }

    fn ranges(&mut self, path: &str, texts: Option<Vec<String>>) -> Vec<IpNet> {
        let texts = texts.unwrap_or_default();
        texts
            .iter()
            .enumerate()
            .filter_map(|(index, text)| self.range(format!("{path}[{index}]"), text))
            .collect()
    }
}

impl BootstrapSpec {
    pub(super) fn check(self) -> Result<Bootstrap, Vec<(String, String)>> {
        let mut checks = Checks::default();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let bootstrap = Bootstrap {
            data_dir: self
                .data_dir
                .filter(|dir| !dir.is_empty())
                .map_or("./outrider-data".into(), PathBuf::from),
            public_listen: checks.listener("public.listen", self.public, local(5005)),
            admin_listen: checks.listener("admin.listen", self.admin, local(9901)),
            xds_listen: checks.listener("xds.listen", self.xds, local(18000)),
            log: self.log.unwrap_or_default().check(&mut checks),
            store: self.store.unwrap_or_default().check(&mut checks),
            intake: self.intake.unwrap_or_default().check(&mut checks),
            egress: self.egress.unwrap_or_default().check(&mut checks),
            delivery: self.delivery.unwrap_or_default().check(&mut checks),
        };
        if bootstrap.admin_listen == bootstrap.public_listen {
            checks.fail(
                "admin.listen",
                format!("{} is also `public.listen`", bootstrap.admin_listen),
            );
        }
        if checks.errors.is_empty() {
            Ok(bootstrap)
        } else {
            Err(checks.errors)
        }
    }
}

impl LogSpec {
    fn check(self, checks: &mut Checks) -> LogSettings {
        let level = self.level.unwrap_or_else(|| "info".into());
        let is_level =
            |text: &str| ["error", "warn", "info", "debug", "trace", "off"].contains(&text);
        let is_part = |part: &str| match part.split_once('=') {
            Some((target, level)) => !target.trim().is_empty() && is_level(level.trim()),
            None => is_level(part.trim()),
        };
        if !level.split(',').all(is_part) {
            let say = "must be a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or a list like `info,outrider_store=debug`";
            checks.fail("log.level", say);
        }
        let format = match self.format.as_deref() {
            None | Some("auto") => LogFormat::Auto,
            Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(_) => {
                checks.fail("log.format", "must be `auto`, `text` or `json`");
                LogFormat::Auto
            }
        };
        LogSettings { level, format }
    }
}

impl StoreSpec {
    fn check(self, checks: &mut Checks) -> StoreSettings {
        let sync = match self.sync.as_deref() {
            None | Some("always") => SyncMode::Always,
            Some("interval") => SyncMode::Interval(checks.duration(
                "store.sync_interval_ms",
                self.sync_interval_ms,
                100,
            )),
            Some("off") => SyncMode::Off,
            Some(_) => {
                checks.fail("store.sync", "must be `always`, `interval` or `off`");
                SyncMode::Always
            }
        };
        if self.sync_interval_ms.is_some() && self.sync.as_deref() != Some("interval") {
            checks.fail("store.sync_interval_ms", "belongs to `sync: interval`");
        }
        let number = checks.number("store.node", self.node, 0, (0, NodeId::MAX.into()));
        let node = u16::try_from(number).ok().and_then(NodeId::new);
        StoreSettings {
            segment_bytes: checks.number(
                "store.segment_bytes",
                self.segment_bytes,
                256 * MIB,
                (MIB, 4096 * MIB - 1),
            ),
            sync,
            node: node.unwrap_or(NODE_DEFAULT),
        }
    }
}

/// Node 0.
const NODE_DEFAULT: NodeId = match NodeId::new(0) {
    Some(node) => node,
    None => unreachable!(),
};

impl IntakeSpec {
    fn check(self, checks: &mut Checks) -> IntakeSettings {
        IntakeSettings {
            head_timeout: checks.duration("intake.head_timeout_ms", self.head_timeout_ms, 10_000),
            body_timeout: checks.duration("intake.body_timeout_ms", self.body_timeout_ms, 60_000),
            keepalive: checks.duration("intake.keepalive_ms", self.keepalive_ms, 60_000),
            head_bytes_max: checks.size(
                "intake.header_bytes_max",
                self.header_bytes_max,
                32 * KIB,
                (KIB, MIB),
            ),
            headers_max: checks.size("intake.headers_max", self.headers_max, 100, (16, 1000)),
            in_flight_bytes_max: checks.size(
                "intake.in_flight_bytes_max",
                self.in_flight_bytes_max,
                256 * MIB,
                (32 * MIB, 1024 * 1024 * MIB), // at least one body of the largest allowed size
            ),
        }
    }
}

impl EgressSpec {
    fn check(self, checks: &mut Checks) -> EgressSettings {
        let rules = self.internal.unwrap_or_default();
        let internal = rules
            .into_iter()
            .enumerate()
            .filter_map(|(index, rule)| rule.check(index, checks))
            .collect();
        let names = self.allow_names.unwrap_or_default();
        for (index, _) in names.iter().enumerate().filter(|(_, name)| !is_name(name)) {
            checks.fail(
                format!("egress.allow_names[{index}]"),
                "must be a host name",
            );
        }
        let addresses = self.self_addresses.unwrap_or_default();
        let mut self_addresses = Vec::with_capacity(addresses.len());
        for (index, text) in addresses.iter().enumerate() {
            match (
                text.parse().map(SelfAddress::Ip),
                text.parse().map(SelfAddress::Listener),
            ) {
                (Ok(address), _) | (_, Ok(address)) => self_addresses.push(address),
                _ => checks.fail(
                    format!("egress.self_addresses[{index}]"),
                    "must be an address, or an address and a port",
                ),
            }
        }
        EgressSettings {
            internal,
            allow_cidrs: checks.ranges("egress.allow_cidrs", self.allow_cidrs),
            deny_cidrs: checks.ranges("egress.deny_cidrs", self.deny_cidrs),
            allow_names: names,
            ports: ports(self.ports, checks),
            self_addresses,
        }
    }
}

fn ports(numbers: Option<Vec<u64>>, checks: &mut Checks) -> Option<Vec<u16>> {
    let numbers = numbers?;
    if numbers.is_empty() {
        checks.fail(
            "egress.ports",
            "needs at least one port; leave it out for the default ones",
        );
    }
    let mut ports = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        match u16::try_from(*number) {
            Ok(port) if port > 0 => ports.push(port),
            _ => checks.fail(format!("egress.ports[{index}]"), "must be from 1 to 65535"),
        }
    }
    Some(ports)
}

impl InternalSpec {
    fn check(self, index: usize, checks: &mut Checks) -> Option<InternalRule> {
        let path = format!("egress.internal[{index}]");
        let projects = self.projects.unwrap_or_default();
        if projects.is_empty() || projects.iter().any(String::is_empty) {
            checks.fail(
                format!("{path}.projects"),
                "must name at least one project, by name or uid",
            );
        }
        let target = match (self.cidr, self.name_suffix, self.address) {
            (Some(text), None, None) => checks
                .range(format!("{path}.cidr"), &text)
                .map(InternalTarget::Cidr),
            (None, Some(name), None) => {
                let name = name.trim_start_matches('.').to_ascii_lowercase();
                if !is_name(&name) {
                    checks.fail(
                        format!("{path}.name_suffix"),
                        "must be a host name or the end of one",
                    );
                }
                Some(InternalTarget::NameSuffix(name.into()))
            }
            (None, None, Some(text)) => {
                let address = text.parse().map(InternalTarget::Address);
                if address.is_err() {
                    checks.fail(
                        format!("{path}.address"),
                        "must be an address and a port, like 127.0.0.1:8080",
                    );
                }
                address.ok()
            }
            _ => {
                checks.fail(
                    path,
                    "needs exactly one of `cidr`, `name_suffix` and `address`",
                );
                None
            }
        };
        Some(InternalRule {
            projects,
            target: target?,
        })
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(is_plain) && !text.starts_with('.')
}

impl DeliverySpec {
    fn check(self, checks: &mut Checks) -> DeliverySettings {
        let lanes = checks.number(
            "delivery.lane_concurrency",
            self.lane_concurrency,
            16,
            (1, 10_000),
        );
        DeliverySettings {
            in_flight_max: checks.size(
                "delivery.in_flight_max",
                self.in_flight_max,
                1024,
                (1, 100_000),
            ),
            lane_concurrency: u32::try_from(lanes).unwrap_or(u32::MAX),
            excerpt_bytes_max: checks.size(
                "delivery.excerpt_bytes_max",
                self.excerpt_bytes_max,
                4 * KIB,
                (0, 50 * KIB),
            ),
        }
    }
}
