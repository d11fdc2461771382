//! The bootstrap: what a process must know before it can ask anybody.
//!
//! A YAML file, overlaid with the environment: `OUTRIDER__STORE__NODE=3` is `store.node: 3`. Both
//! end in one tree, which is read and checked once, with all problems reported together.

mod certificates_spec;
mod egress_spec;
mod forward_spec;
mod intake;
mod planes;
mod public;
mod smtp;
mod spec;
mod via_spec;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use outrider_webhook::address::{self, InternalRule, SelfAddress};
use outrider_webhook::id::NodeId;

use crate::input::{Node, Value, read};
use crate::problem::Problem;

pub use certificates_spec::NamedCertificate;
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

/// The way out (RULINGS 31).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressSettings {
    /// The forward proxy.
    pub forward: ForwardSettings,
    /// The forward proxy that deliveries go through; straight to their receivers without.
    pub via: Option<ViaSettings>,
    /// Certificates that endpoints name.
    pub client_certificates: Vec<NamedCertificate>,
    /// Parts of the inside, opened to named projects.
    pub internal: Vec<InternalRule>,
    /// Private ranges, opened to every project.
    pub allow_cidrs: Vec<IpNet>,
    /// Closed ranges; they win over everything that opens.
    pub deny_cidrs: Vec<IpNet>,
    /// Names that are opened to every project although their form is refused.
    pub allow_names: Vec<String>,
    /// The allowed ports, when not the default ones.
    pub ports: Option<Vec<u16>>,
    /// Addresses of the gateway beside its listeners.
    pub self_addresses: Vec<SelfAddress>,
    /// Where source addresses are tried on; two to eight, or none.
    pub reflectors: Vec<Reflector>,
    /// Who is asked for the addresses of names; none for the name servers of the host.
    pub name_servers: Vec<SocketAddr>,
}

/// A place of the operator's that takes connections from our source addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reflector {
    /// At an address.
    At(SocketAddr),
    /// At a name and a port.
    Named(String, u16),
}

impl EgressSettings {
    /// Families of which there is one reflector: it is never enough to take an address down. What
    /// names have is not known before they are asked for.
    #[must_use]
    pub fn lone_reflectors(&self) -> Vec<(&'static str, SocketAddr)> {
        let literal = |reflector: &Reflector| match reflector {
            Reflector::At(address) => Some(*address),
            Reflector::Named(..) => None,
        };
        let Some(all) = self
            .reflectors
            .iter()
            .map(literal)
            .collect::<Option<Vec<_>>>()
        else {
            return Vec::new();
        };
        let families = [("IPv4", true), ("IPv6", false)];
        let lone = families.into_iter().filter_map(|(family, is_ipv4)| {
            let mut own = all.iter().filter(|address| address.is_ipv4() == is_ipv4);
            let first = own.next()?;
            own.next().is_none().then_some((family, *first))
        });
        lone.collect()
    }

    /// The policy, for a gateway that listens on `listeners`.
    #[must_use]
    pub fn policy(&self, listeners: &[SocketAddr]) -> address::Policy {
        let mut policy = address::Policy::default();
        self.internal
            .iter()
            .cloned()
            .for_each(|rule| policy.internal(rule));
        self.allow_cidrs
            .iter()
            .for_each(|range| policy.allow(*range));
        self.deny_cidrs.iter().for_each(|range| policy.deny(*range));
        self.allow_names
            .iter()
            .for_each(|name| policy.allow_name(name));
        if let Some(ports) = &self.ports {
            policy.ports(ports.clone());
        }
        let own = listeners
            .iter()
            .map(|listener| SelfAddress::Listener(*listener));
        own.chain(self.self_addresses.iter().copied())
            .for_each(|address| policy.own(address));
        policy
    }
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

/// Puts the environment's values into the tree. Answers which path came from which variable.
fn overlay(root: &mut Node, env: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = env
        .filter(|(name, _)| name.starts_with(ENV_PREFIX))
        .collect();
    variables.sort(); // the same result whatever the order of the environment
    let mut paths = Vec::with_capacity(variables.len());
    for (name, value) in variables {
        let keys: Vec<String> = name
            .trim_start_matches(ENV_PREFIX)
            .split("__")
            .map(str::to_ascii_lowercase)
            .collect();
        root.set(&keys, value_of(&value));
        paths.push((keys.join("."), name));
    }
    paths
}

/// A value as YAML has it: `3` is a number, `[a, b]` a list. What would only by accident be
/// more than a word, such as `a: b`, is the text itself.
fn value_of(text: &str) -> Node {
    let is_flow = text.starts_with(['[', '{']);
    match Node::from_yaml(text) {
        Ok(mut node) if is_flow || !matches!(node.value, Value::List(_) | Value::Map(_)) => {
            node.line = None;
            node
        }
        _ => Node {
            line: None,
            value: Value::Text(text.to_owned()),
        },
    }
}

/// A problem of a value from the environment names its variable.
fn name_variable(mut problem: Problem, variables: &[(String, String)]) -> Problem {
    let is_inside = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    if let Some((path, name)) = variables
        .iter()
        .find(|(path, _)| is_inside(path, &problem.path))
    {
        problem.path = problem.path.replacen(path.as_str(), name, 1);
        problem.line = None;
    } else if problem.line.is_none()
        && let Some((_, name)) = variables
            .iter()
            .find(|(path, _)| is_inside(&problem.path, path))
    {
        problem.message = format!("`{}`: {}", problem.path, problem.message);
        problem.path.clone_from(name);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, env: &[(&str, &str)]) -> Result<Bootstrap, Vec<Problem>> {
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Bootstrap::load(Some(text), env)
    }

    fn texts(result: Result<Bootstrap, Vec<Problem>>) -> Vec<String> {
        result.unwrap_err().iter().map(Problem::to_string).collect()
    }

    #[test]
    fn all_problems_of_file_and_environment_are_reported_at_once() {
        let text = "\
public: {listen: nowhere}
admin:
  lisen: 127.0.0.1:1
store:
  node: 1024
  sync: sometimes
egress:
  internal:
    - {projects: [a], cidr: 10.0.0.0/33}
    - {projects: [], name_suffix: internal.example, cidr: 10.0.0.0/8}
  ports: [0]
  reflectors: ['192.0.2.300:80']
  name_servers: ['192.0.2.53', '192.0.2.53:0']
log: {level: loud}
";
        let found = texts(load(
            text,
            &[
                ("OUTRIDER__DELIVERY__LANE_CONCURRENCY", "0.5"),
                ("OUTRIDER__STROE__NODE", "1"),
            ],
        ));
        let expected = [
            ("line 1: public.listen: ", "address"),
            ("line 3: admin.lisen: ", "`listen`"),
            ("line 5: store.node: ", "1023"),
            ("line 6: store.sync: ", "`always`"),
            ("line 9: egress.internal[0].cidr: ", "range"),
            ("line 10: egress.internal[1].projects: ", "project"),
            ("line 10: egress.internal[1]: ", "exactly one"),
            ("line 11: egress.ports[0]: ", "65535"),
            ("line 12: egress.reflectors: ", "2 to 8"),
            ("line 12: egress.reflectors[0]: ", "and a port"),
            ("line 13: egress.name_servers[0]: ", "and a port"),
            ("line 13: egress.name_servers[1]: ", "and a port"),
            ("line 14: log.level: ", "level"),
            ("OUTRIDER__DELIVERY__LANE_CONCURRENCY: ", "whole number"),
            ("OUTRIDER__STROE__NODE: ", "`store`"),
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (start, part) in expected {
            assert!(
                found
                    .iter()
                    .any(|text| text.starts_with(start) && text.contains(part)),
                "{start} {found:#?}"
            );
        }
    }

    #[test]
    fn two_listeners_on_one_address_are_refused() {
        let found = texts(load("public: {listen: 127.0.0.1:9901}", &[]));
        assert!(
            found[0].contains("admin.listen") && found.len() == 1,
            "{found:?}"
        );
        let found = texts(load("public: {listen: 127.0.0.1:0}", &[]));
        assert!(found[0].contains("port"), "{found:?}");
        let found = texts(load("api: {listen: 127.0.0.1:5005}", &[]));
        assert_eq!(
            found,
            ["line 1: api.listen: 127.0.0.1:5005 is also `public.listen`"]
        );
        let text =
            "api: {listen: 127.0.0.1:1}\nadmin: {listen: 127.0.0.1:1}\nxds: {listen: 127.0.0.1:1}";
        let found = texts(load(text, &[]));
        assert!(
            found.len() == 2 && found.iter().all(|text| text.contains("`api.listen`")),
            "{found:?}"
        );
        let found = texts(load("api: {listen: 5010, url: x}", &[]));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn a_public_url_that_paths_cannot_be_put_behind_is_refused() {
        for url in [
            "hooks.example.com",
            "/hooks",
            "ftp://hooks.example.com",
            "http://",
            "https://hooks.example.com/",
            "https://hooks.example.com/a/",
            "https://hooks.example.com?a=b",
            "https://hooks.example.com#a",
            "https://user:word@hooks.example.com",
            "https:hooks.example.com",
            "https://hooks.example.com/a b",
            "https:\\\\hooks.example.com",
        ] {
            let found = texts(load(&format!("public: {{url: '{url}'}}"), &[]));
            assert!(
                found.len() == 1 && found[0].starts_with("line 1: public.url: must be"),
                "{url} {found:?}"
            );
        }
        for url in ["https://hooks.example.com", "http://[::1]:80/a/b"] {
            let bootstrap = load(&format!("public: {{url: '{url}'}}"), &[]).unwrap();
            assert_eq!(bootstrap.public_url, url);
        }
    }

    #[test]
    fn the_public_url_follows_the_listener_unless_it_was_set() {
        let moved = "127.0.0.1:80".parse().unwrap();
        let mut bootstrap = load("public: {listen: '[::1]:8080'}", &[]).unwrap();
        assert_eq!(bootstrap.public_url, "http://[::1]:8080");
        bootstrap.listen_publicly_at(moved);
        assert_eq!(bootstrap.public_url, "http://127.0.0.1:80");
        let env = [("OUTRIDER__PUBLIC__URL", "https://hooks.example.com")];
        let mut bootstrap = load("", &env).unwrap();
        bootstrap.listen_publicly_at(moved);
        assert_eq!(
            (bootstrap.public_url.as_str(), bootstrap.public_listen),
            ("https://hooks.example.com", moved)
        );
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let text = "store: {node: 3, sync: interval, sync_interval_ms: 50}\ndata_dir: /a\n";
        let env = [
            ("OUTRIDER__STORE__NODE", "7"),
            ("OUTRIDER__PUBLIC__LISTEN", "[::1]:8080"),
            ("OUTRIDER__EGRESS__ALLOW_CIDRS", "[10.0.0.0/8, fd00::/8]"),
            (
                "OUTRIDER__EGRESS__REFLECTORS",
                "['[::1]:80', Reflect.example:4000]",
            ),
            ("OUTRIDER__DATA_DIR", "0017"),
            ("OUTRIDER_OTHER", "x"),
            ("PATH", "/bin"),
        ];
        let bootstrap = load(text, &env).unwrap();
        assert_eq!(bootstrap.store.node.get(), 7);
        assert_eq!(
            bootstrap.store.sync,
            SyncMode::Interval(Duration::from_millis(50))
        );
        assert_eq!(bootstrap.public_listen, "[::1]:8080".parse().unwrap());
        assert_eq!(bootstrap.egress.allow_cidrs.len(), 2);
        let expected = [
            Reflector::At("[::1]:80".parse().unwrap()),
            Reflector::Named("reflect.example".to_owned(), 4000),
        ];
        assert_eq!(bootstrap.egress.reflectors, expected);
        assert_eq!(bootstrap.data_dir, PathBuf::from("0017"));
    }

    #[test]
    fn one_reflector_of_a_family_is_noticed() {
        for (reflectors, expected) in [
            ("[]", &[][..]),
            ("['192.0.2.1:80', '192.0.2.2:80']", &[]),
            ("['192.0.2.1:80', '[2001:db8::1]:80']", &["IPv4", "IPv6"]),
            (
                "['192.0.2.1:80', '192.0.2.2:80', '[2001:db8::1]:80']",
                &["IPv6"],
            ),
            ("['192.0.2.1:80', reflect.example:80]", &[]),
        ] {
            let text = format!("egress: {{reflectors: {reflectors}}}");
            let lone = load(&text, &[]).unwrap().egress.lone_reflectors();
            let families: Vec<_> = lone.iter().map(|(family, _)| *family).collect();
            assert_eq!(families, expected, "{reflectors}");
        }
    }

    #[test]
    fn nothing_at_all_gives_the_documented_defaults() {
        let bootstrap = Bootstrap::load(None, std::iter::empty()).unwrap();
        assert_eq!(bootstrap.public_listen.to_string(), "127.0.0.1:5005");
        assert_eq!(bootstrap.public_url, "http://127.0.0.1:5005");
        assert_eq!(bootstrap.api_listen.to_string(), "127.0.0.1:5010");
        assert_eq!(bootstrap.admin_listen.to_string(), "127.0.0.1:9901");
        assert_eq!(bootstrap.xds.listen.to_string(), "127.0.0.1:18000");
        assert_eq!(
            bootstrap.delivery,
            DeliverySettings {
                in_flight_max: 1024,
                lane_concurrency: 16,
                batch_pause: Duration::from_millis(50),
                excerpt_bytes_max: 4096
            }
        );
        assert_eq!(bootstrap.store.sync, SyncMode::Always);
        assert!(load("", &[]).is_ok() && load("# nothing\n", &[]).is_ok());
    }
}
