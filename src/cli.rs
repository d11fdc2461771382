//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

/// A webhooks gateway: the forward and reverse proxy for all webhook traffic of an organisation.
#[derive(Debug, Parser)]
#[command(name = "outrider", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run both planes in one process; needs no other service
    Serve(Box<ServeArgs>),
    /// Run the control plane: the API, and the configuration pushed to data planes
    Controlplane(Box<ControlPlaneArgs>),
    /// Run a data plane, which connects to a control plane
    Dataplane(Box<DataPlaneArgs>),
    /// Run the forward proxy alone, on the machines that own the source addresses
    Egress(Box<EgressArgs>),
    /// Check a bootstrap or resource file and report all problems at once
    Check(CheckArgs),
    /// Tell what became of an event and why, from what was recorded
    Explain(ExplainArgs),
    /// Check the event log of a stopped data directory: one fate for each delivery, nothing changed
    Audit(AuditArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// The data directory. No process may have it; nothing in it is changed
    #[arg(
        long,
        value_name = "DIR",
        env = "OUTRIDER__DATA_DIR",
        default_value = "./outrider-data"
    )]
    pub(crate) data_dir: PathBuf,
    /// Write the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The uid of the event
    pub(crate) event: String,
    /// The project of the event; all are looked through when it is not given
    #[arg(long, value_name = "UID")]
    pub(crate) project: Option<String>,
    /// The API of a running gateway
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5010")]
    pub(crate) api: String,
    /// A key: of the project, or the instance-admin key. By default the one in the data directory
    #[arg(
        long,
        value_name = "KEY",
        env = "OUTRIDER_API_KEY",
        hide_env_values = true
    )]
    pub(crate) key: Option<String>,
    /// The data directory that has the instance-admin key
    #[arg(
        long,
        value_name = "DIR",
        env = "OUTRIDER__DATA_DIR",
        default_value = "./outrider-data"
    )]
    pub(crate) data_dir: PathBuf,
    /// Write the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The file
    pub(crate) file: PathBuf,
}

/// What every role is told.
#[derive(Debug, Args)]
pub(crate) struct BootstrapArgs {
    /// Bootstrap file (YAML). Every key can also be set as OUTRIDER__SECTION__KEY
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything is kept [default: ./outrider-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) bootstrap: BootstrapArgs,
    /// Resource file (YAML): projects, sources, endpoints, subscriptions, API keys
    #[arg(long, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,
    /// Address for events [default: 127.0.0.1:5005]
    #[arg(long, value_name = "ADDR")]
    pub(crate) public_listen: Option<SocketAddr>,
    /// Address of the control plane's API [default: 127.0.0.1:5010]
    #[arg(long, value_name = "ADDR")]
    pub(crate) api_listen: Option<SocketAddr>,
    /// Address for administration [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Seed an example, start a receiver, and send one event each way
    #[arg(long, conflicts_with = "resources")]
    pub(crate) quickstart: bool,
    #[command(flatten)]
    pub(crate) testing: UnsafeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ControlPlaneArgs {
    #[command(flatten)]
    pub(crate) bootstrap: BootstrapArgs,
    /// Resource file (YAML): projects, sources, endpoints, subscriptions, API keys
    #[arg(long, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,
    /// Address of the API [default: 127.0.0.1:5010]
    #[arg(long, value_name = "ADDR")]
    pub(crate) api_listen: Option<SocketAddr>,
    /// Address for data planes [default: 127.0.0.1:18000]; beyond loopback it needs `xds.tls`
    #[arg(long, value_name = "ADDR")]
    pub(crate) xds_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) testing: UnsafeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DataPlaneArgs {
    #[command(flatten)]
    pub(crate) bootstrap: BootstrapArgs,
    /// Address for events [default: 127.0.0.1:5005]
    #[arg(long, value_name = "ADDR")]
    pub(crate) public_listen: Option<SocketAddr>,
    /// Address for administration [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Where the control plane pushes from [default: http://127.0.0.1:18000]
    #[arg(long, value_name = "URL")]
    pub(crate) control_plane: Option<String>,
    /// Where the control plane's API is [default: http://127.0.0.1:5010]
    #[arg(long, value_name = "URL")]
    pub(crate) control_plane_api: Option<String>,
    #[command(flatten)]
    pub(crate) testing: UnsafeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EgressArgs {
    #[command(flatten)]
    pub(crate) bootstrap: BootstrapArgs,
    /// Address for clients [default: 127.0.0.1:3128]; beyond loopback it needs `egress.identities`
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address for administration [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Where the control plane pushes from [default: http://127.0.0.1:18000]
    #[arg(long, value_name = "URL")]
    pub(crate) control_plane: Option<String>,
    #[command(flatten)]
    pub(crate) testing: UnsafeArgs,
}

/// Switches for tests. Each is logged as a warning and shown as a metric; none works with a
/// public listener that is not on loopback.
#[derive(Debug, Args, Default)]
pub(crate) struct UnsafeArgs {
    /// Tests only: start the clock at this Unix second
    #[arg(long, value_name = "UNIX")]
    pub(crate) unsafe_now: Option<i64>,
    /// Tests only: the clock stands still at --unsafe-now
    #[arg(long, requires = "unsafe_now")]
    pub(crate) unsafe_hold_clock: bool,
    /// Tests only: connect to IP:PORT when a delivery names HOST
    #[arg(long, value_name = "HOST=IP:PORT", value_parser = resolve_override)]
    pub(crate) unsafe_resolve: Vec<(String, SocketAddr)>,
    /// Tests only: trust the certificates of this PEM file as roots
    #[arg(long, value_name = "PEM")]
    pub(crate) unsafe_extra_root: Vec<PathBuf>,
    /// Tests only: let deliveries reach this range, loopback included
    #[arg(long, value_name = "CIDR")]
    pub(crate) unsafe_egress_allow: Vec<IpNet>,
}

impl UnsafeArgs {
    /// Says of each that is in use that it is.
    pub(crate) fn warn(&self) {
        for flag in self.in_use() {
            tracing::warn!(flag, "a switch for tests is in use");
        }
    }

    /// Names of the switches in use.
    pub(crate) fn in_use(&self) -> Vec<&'static str> {
        [
            ("unsafe_now", self.unsafe_now.is_some()),
            ("unsafe_hold_clock", self.unsafe_hold_clock),
            ("unsafe_resolve", !self.unsafe_resolve.is_empty()),
            ("unsafe_extra_root", !self.unsafe_extra_root.is_empty()),
            ("unsafe_egress_allow", !self.unsafe_egress_allow.is_empty()),
        ]
        .into_iter()
        .filter_map(|(name, is_used)| is_used.then_some(name))
        .collect()
    }
}

fn resolve_override(text: &str) -> Result<(String, SocketAddr), String> {
    let (host, address) = text.split_once('=').ok_or("expected HOST=IP:PORT")?;
    let address = address
        .parse()
        .map_err(|error| format!("`{address}` is not IP:PORT: {error}"))?;
    if host.is_empty() {
        return Err("the host is empty".into());
    }
    Ok((host.to_ascii_lowercase(), address))
}
