//! What people write of a bootstrap, and its checks. Every default stands next to its field's
//! check.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use outrider_webhook::id::NodeId;
use serde::Deserialize;
use url::Url;

use super::egress_spec::EgressSpec;
use super::intake::IntakeSpec;
use super::planes::{ControlPlaneSpec, StateSpec, XdsSpec};
use super::public::PublicSpec;
use super::smtp::SmtpSpec;
use super::{
    Bootstrap, DeliverySettings, LogFormat, LogSettings, StoreSettings, SyncMode,
    default_public_url,
};

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BootstrapSpec {
    data_dir: Option<String>,
    public: Option<PublicSpec>,
    api: Option<ListenerSpec>,
    admin: Option<ListenerSpec>,
    xds: Option<XdsSpec>,
    control_plane: Option<ControlPlaneSpec>,
    state: Option<StateSpec>,
    log: Option<LogSpec>,
    store: Option<StoreSpec>,
    intake: Option<IntakeSpec>,
    egress: Option<EgressSpec>,
    delivery: Option<DeliverySpec>,
    smtp: Option<SmtpSpec>,
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
struct DeliverySpec {
    in_flight_max: Option<u64>,
    lane_concurrency: Option<u64>,
    batch_pause_ms: Option<u64>,
    excerpt_bytes_max: Option<u64>,
}

/// Collects what is wrong, each with its path.
#[derive(Default)]
pub(super) struct Checks {
    errors: Vec<(String, String)>,
}

impl Checks {
    pub(super) fn fail(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.errors.push((path.into(), message.into()));
    }

    /// A number in its range, or the default when it is not given or out of range.
    pub(super) fn number(
        &mut self,
        path: &str,
        value: Option<u64>,
        default: u64,
        range: (u64, u64),
    ) -> u64 {
        match value {
            Some(value) if (range.0..=range.1).contains(&value) => value,
            Some(_) => {
                self.fail(path, format!("must be from {} to {}", range.0, range.1));
                default
            }
            None => default,
        }
    }

    pub(super) fn size(
        &mut self,
        path: &str,
        value: Option<u64>,
        default: u64,
        range: (u64, u64),
    ) -> usize {
        usize::try_from(self.number(path, value, default, range)).unwrap_or(usize::MAX)
    }

    pub(super) fn duration(&mut self, path: &str, ms: Option<u64>, default_ms: u64) -> Duration {
        Duration::from_millis(self.number(path, ms, default_ms, (1, 3_600_000)))
    }

    pub(super) fn listener(
        &mut self,
        path: &str,
        listen: Option<String>,
        default: SocketAddr,
    ) -> SocketAddr {
        let Some(text) = listen else {
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

    /// No address may be listed twice; the later one is at fault.
    fn distinct(&mut self, listeners: &[(&str, SocketAddr)]) {
        for (index, (path, address)) in listeners.iter().enumerate() {
            let mut before = listeners.iter().take(index);
            if let Some((other, _)) = before.find(|(_, taken)| taken == address) {
                self.fail(*path, format!("{address} is also `{other}`"));
            }
        }
    }

    /// A base that paths are put behind, kept as it was written.
    fn public_url(
        &mut self,
        path: &str,
        url: Option<String>,
        (listen, has_tls): (SocketAddr, bool),
    ) -> String {
        let Some(text) = url else {
            return default_public_url(listen, has_tls);
        };
        let is_base = Url::parse(&text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
        });
        // On the text: the parser gives every URL a path, and forgives spaces and backslashes.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic())
            && !text.contains(['?', '#', '\\'])
            && !text.ends_with('/')
            && text.contains("://");
        if !is_base || !is_plain {
            let say = "must be an absolute http or https URL without credentials, query, fragment or trailing slash, like https://hooks.example.com";
            self.fail(path, say);
        }
        text
    }
}

impl BootstrapSpec {
    pub(super) fn check(self) -> Result<Bootstrap, Vec<(String, String)>> {
        let mut checks = Checks::default();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let listen = |spec: Option<ListenerSpec>| spec.and_then(|spec| spec.listen);
        let mut public = self.public.unwrap_or_default();
        let has_tls = public.has_tls();
        let public_tls = public.tls(&mut checks);
        let public_listen = checks.listener("public.listen", public.listen, local(5005));
        let bootstrap = Bootstrap {
            data_dir: self
                .data_dir
                .filter(|dir| !dir.is_empty())
                .map_or("./outrider-data".into(), PathBuf::from),
            public_listen,
            public_tls,
            public_url: checks.public_url("public.url", public.url, (public_listen, has_tls)),
            api_listen: checks.listener("api.listen", listen(self.api), local(5010)),
            admin_listen: checks.listener("admin.listen", listen(self.admin), local(9901)),
            xds: self.xds.unwrap_or_default().check(&mut checks),
            control_plane: self.control_plane.unwrap_or_default().check(&mut checks),
            state_key: self.state.unwrap_or_default().check(&mut checks),
            log: self.log.unwrap_or_default().check(&mut checks),
            store: self.store.unwrap_or_default().check(&mut checks),
            intake: self.intake.unwrap_or_default().check(&mut checks),
            egress: self.egress.unwrap_or_default().check(&mut checks),
            delivery: self.delivery.unwrap_or_default().check(&mut checks),
            smtp: self.smtp.and_then(|smtp| smtp.check(&mut checks)),
        };
        let mut listeners = vec![
            ("public.listen", bootstrap.public_listen),
            ("api.listen", bootstrap.api_listen),
            ("admin.listen", bootstrap.admin_listen),
            ("xds.listen", bootstrap.xds.listen),
        ];
        let plain = bootstrap.plain_listen();
        listeners.extend(plain.map(|address| ("public.plain_listen", address)));
        let forward = bootstrap.egress.forward.listen;
        listeners.extend(forward.map(|address| ("egress.listen", address)));
        checks.distinct(&listeners);
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

impl DeliverySpec {
    fn check(self, checks: &mut Checks) -> DeliverySettings {
        let lanes = checks.number(
            "delivery.lane_concurrency",
            self.lane_concurrency,
            16,
            (1, 10_000),
        );
        let pause = checks.duration("delivery.batch_pause_ms", self.batch_pause_ms, 50);
        DeliverySettings {
            batch_pause: pause,
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
