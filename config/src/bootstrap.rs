//! The bootstrap: what a process must know before it can ask anybody.
//!
//! A YAML file, overlaid with the environment: `OUTRIDER__STORE__NODE=3` is `store.node: 3`. Both
//! end in one tree, which is read and checked once, with all problems reported together.

mod certificates_spec;
mod egress;
mod egress_spec;
mod environment;
mod forward_spec;
mod intake;
mod planes;
mod public;
mod smtp;
mod spec;
#[cfg(test)]
mod tests;
mod via_spec;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use outrider_webhook::id::NodeId;

use crate::input::{Node, Value, read};
use crate::problem::Problem;

pub use certificates_spec::NamedCertificate;
pub use egress::{EgressSettings, Reflector};
use environment::{name_variable, overlay};
pub use forward_spec::{ForwardIdentity, ForwardSettings, ForwardTls};
pub use intake::IntakeSettings;
pub use planes::{ControlPlaneSettings, StateKey, TlsFiles, XdsSettings};
pub use public::{CertificateFiles, PublicTls, TlsVersion};
pub use smtp::{SmtpSecurity, SmtpSettings};
use spec::BootstrapSpec;
pub use via_spec::{ViaSettings, ViaTls};

/// Prefix of environment variables that belong to the bootstrap.
pub const ENV_PREFIX: &str = "OUTRIDER__";

/// A checked bootstrap. Its fields are plain because the command line may still replace some.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// Where everything is kept. Default `./outrider-data`.
    pub data_dir: PathBuf,
    /// The public listener. Default 127.0.0.1:5005.
    pub public_listen: SocketAddr,
    /// TLS on the public listener.
    pub public_tls: Option<PublicTls>,
    /// How clients reach the public listener: an absolute http(s) URL without query, fragment
    /// or trailing slash. Default `http://` or `https://` and the listener's address.
    pub public_url: String,
    /// The control plane's API listener. Default 127.0.0.1:5010.
    pub api_listen: SocketAddr,
    /// The administration listener. Default 127.0.0.1:9901.
    pub admin_listen: SocketAddr,
    /// The xDS listener of a control plane of its own.
    pub xds: XdsSettings,
    /// Where a data plane of its own finds its control plane.
    pub control_plane: ControlPlaneSettings,
    /// Seals the configuration that a data plane of its own keeps.
    pub state_key: StateKey,
    /// Logs.
    pub log: LogSettings,
    /// The event log.
    pub store: StoreSettings,
    /// Bounds of intake requests.
    pub intake: IntakeSettings,
    /// The way out.
    pub egress: EgressSettings,
    /// Deliveries.
    pub delivery: DeliverySettings,
    /// Where mails are handed over, if any are sent.
    pub smtp: Option<SmtpSettings>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or several for parts of the
    /// process: `info,outrider_store=debug`. Default `info`.
    pub level: String,
    /// Default [`LogFormat::Auto`].
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// Size of a segment, bytes; 1 MiB to 4 GiB, default 256 MiB.
    pub segment_bytes: u64,
    /// When writes are made durable. Default [`SyncMode::Always`].
    pub sync: SyncMode,
    /// This node, 0 (default) to 1023: part of every event id.
    pub node: NodeId,
}

/// When writes are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Before anything is acknowledged.
    Always,
    /// Every so often: a power loss may lose what was acknowledged in between.
    Interval(Duration),
    /// Never by us: a power loss may lose what the system had not written.
    Off,
}

/// Deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverySettings {
    /// Attempts under way at once; default 1024.
    pub in_flight_max: usize,
    /// Attempts under way at once per endpoint; default 16 (RULINGS section E).
    pub lane_concurrency: u32,
    /// Between two steps of a batch; default 50 ms, 1 ms to an hour.
    pub batch_pause: Duration,
    /// Bytes of a response kept with its attempt; default 4 KiB, at most 50 KiB (RULINGS section E).
    pub excerpt_bytes_max: usize,
}

fn default_public_url(listen: SocketAddr, has_tls: bool) -> String {
    let scheme = if has_tls { "https" } else { "http" };
    format!("{scheme}://{listen}")
}

impl Bootstrap {
    /// Moves the public listener, and its URL with it unless that was set.
    pub fn listen_publicly_at(&mut self, address: SocketAddr) {
        let has_tls = self.public_tls.is_some();
        if self.public_url == default_public_url(self.public_listen, has_tls) {
            self.public_url = default_public_url(address, has_tls);
        }
        self.public_listen = address;
    }

    /// The listener without TLS, beside the one with it.
    #[must_use]
    pub fn plain_listen(&self) -> Option<SocketAddr> {
        self.public_tls.as_ref()?.plain_listen
    }

    /// Reads the file, if there is one, and the environment.
    ///
    /// # Errors
    /// All problems, of both.
    pub fn load(
        text: Option<&str>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        let mut root = match text {
            Some(text) => Node::from_yaml(text).map_err(|problem| vec![problem])?,
            None => Node::null(),
        };
        let mut problems = Vec::new();
        root.line = None; // what the environment puts in the tree has no line, not even this one
        if let Value::Null = root.value {
            root.value = Value::Map(Vec::new()); // an empty file says nothing
        }
        let variables = overlay(&mut root, env);
        let mut findings = Vec::new();
        let spec: BootstrapSpec = read(&mut root, &[], &mut findings).unwrap_or_default();
        problems.extend(findings.into_iter().map(|found| Problem {
            path: found.path,
            line: found.line,
            message: found.fault.to_string(),
        }));
        let misfits: Vec<String> = problems
            .iter()
            .map(|problem| problem.path.clone())
            .collect();
        let report = |errors: Vec<(String, String)>| {
            errors
                .into_iter()
                .filter(|(path, _)| !misfits.contains(path))
                .map(|(path, message)| Problem {
                    line: root.line_of(&path),
                    path,
                    message,
                })
                .collect::<Vec<_>>()
        };
        let bootstrap = match spec.check() {
            Ok(bootstrap) => Some(bootstrap),
            Err(errors) => {
                problems.extend(report(errors));
                None
            }
        };
        match bootstrap {
            Some(bootstrap) if problems.is_empty() => Ok(bootstrap),
            _ => {
                problems.sort_by_key(|problem| problem.line);
                Err(problems
                    .into_iter()
                    .map(|problem| name_variable(problem, &variables))
                    .collect())
            }
        }
    }
}
