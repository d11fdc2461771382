//! The forward proxy: where it listens, and who may use it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use outrider_webhook::id::ProjectId;
use outrider_webhook::rate::Rate;
use outrider_webhook::secret::Secret;
use serde::Deserialize;

use super::intake::RateSpec;
use super::spec::Checks;

/// Characters of a password: long enough that a plain digest of it cannot be turned back.
const PASSWORD_CHARS: (usize, usize) = (16, 256);
/// Passwords of one identity, so that one is changed while the other is in use.
const PASSWORDS_MAX: usize = 2;
const IDENTITIES_MAX: usize = 1_000;
const PROJECTS_MAX: usize = 10_000;

/// The forward proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardSettings {
    /// Where it listens; no proxy without. `outrider egress` listens on 127.0.0.1:3128 unless
    /// told otherwise.
    pub listen: Option<SocketAddr>,
    /// TLS to clients.
    pub tls: Option<ForwardTls>,
    /// Who sends the PROXY protocol, which is then required.
    pub proxy_protocol: Option<Vec<IpNet>>,
    /// Who may use it. None only on loopback.
    pub identities: Vec<ForwardIdentity>,
    /// A tunnel without a byte; default 60 s.
    pub tunnel_idle: Duration,
    /// A tunnel at all; default 10 min.
    pub tunnel_life: Duration,
    /// Connections of clients at once; default 100,000.
    pub connections_max: usize,
    /// The same of one address, or one /64 of IPv6; default half of all, so that there is always
    /// room for another one. Dispatchers may well be behind one address.
    pub connections_per_address_max: usize,
    /// New connections of one project to destinations; 1,000 in 2 s when absent.
    pub opens: Option<Rate>,
}

impl ForwardSettings {
    /// What keeps it from listening at an address.
    ///
    /// # Errors
    /// Words for the operator.
    pub fn fits(&self, listen: SocketAddr) -> Result<(), &'static str> {
        if self.identities.is_empty() && !listen.ip().to_canonical().is_loopback() {
            return Err("needs `egress.identities`: without them only loopback is served");
        }
        if self.identities.is_empty() && self.proxy_protocol.is_some() {
            return Err("needs `egress.identities`: behind a balancer not only loopback is served");
        }
        Ok(())
    }
}

/// PEM files of the forward proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardTls {
    /// The certificate, with what leads to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Roots of the certificates of clients; without them none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// Somebody who may use the forward proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardIdentity {
    /// 1 to 64 letters, digits, `-` and `_`; no two are the same.
    pub name: String,
    /// At most two, of 16 to 256 characters; no two of all identities are the same.
    pub passwords: Vec<Secret>,
    /// A DNS name or URI of its certificate.
    pub certificate: Option<String>,
    /// Whom it may act for; `None` for all.
    pub projects: Option<Vec<ProjectId>>,
}

/// Its part of the section `egress`.
pub(super) struct ForwardSpec {
    pub(super) listen: Option<String>,
    pub(super) tls: Option<ForwardTlsSpec>,
    pub(super) proxy_protocol: Option<Vec<String>>,
    pub(super) identities: Option<Vec<IdentitySpec>>,
    pub(super) tunnel_idle_ms: Option<u64>,
    pub(super) tunnel_life_ms: Option<u64>,
    pub(super) connections_max: Option<u64>,
    pub(super) connections_per_address_max: Option<u64>,
    pub(super) new_connections_per_project: Option<RateSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ForwardTlsSpec {
    certificate: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct IdentitySpec {
    name: Option<String>,
    passwords: Option<Vec<String>>,
    certificate: Option<String>,
    projects: Option<Vec<String>>,
}

impl ForwardSpec {
    pub(super) fn check(self, checks: &mut Checks) -> ForwardSettings {
        let placeholder = SocketAddr::from(([127, 0, 0, 1], 1)); // reported, and not used
        let listen = self
            .listen
            .map(|text| checks.listener("egress.listen", Some(text), placeholder));
        let tls = self.tls.map(|tls| tls.check(checks));
        let identities = self.identities.unwrap_or_default();
        let count = identities.len();
        if count > IDENTITIES_MAX {
            let say = format!("must be at most {IDENTITIES_MAX}");
            checks.fail("egress.identities", say);
        }
        let has_roots = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let mut seen = Seen::default();
        let identities = identities.into_iter().enumerate();
        let identities = identities
            .map(|(index, spec)| spec.check(index, has_roots, &mut seen, checks))
            .collect();
        let proxy_protocol = self
            .proxy_protocol
            .map(|ranges| checks.ranges("egress.proxy_protocol", Some(ranges)));
        if proxy_protocol.as_ref().is_some_and(Vec::is_empty) {
            let say = "must name at least one range of balancers; leave it out when there are none";
            checks.fail("egress.proxy_protocol", say);
        }
        let connections_max = checks.size(
            "egress.connections_max",
            self.connections_max,
            100_000,
            (1, 1_000_000),
        );
        let opens = self.new_connections_per_project;
        let settings = ForwardSettings {
            listen,
            tls,
            proxy_protocol,
            identities,
            tunnel_idle: checks.duration("egress.tunnel_idle_ms", self.tunnel_idle_ms, 60_000),
            tunnel_life: checks.duration("egress.tunnel_life_ms", self.tunnel_life_ms, 600_000),
            connections_max,
            connections_per_address_max: checks.size(
                "egress.connections_per_address_max",
                self.connections_per_address_max,
                (connections_max as u64).div_ceil(2),
                (1, 1_000_000),
            ),
            opens: opens.and_then(|rate| rate.check("egress.new_connections_per_project", checks)),
        };
        if let Some(Err(say)) = listen.filter(|_| count == 0).map(|at| settings.fits(at)) {
            checks.fail("egress.listen", say);
        }
        settings
    }
}

impl ForwardTlsSpec {
    fn check(self, checks: &mut Checks) -> ForwardTls {
        let mut file = |name: &str, path: Option<String>| {
            let path = path.unwrap_or_default();
            if path.is_empty() {
                let say = "must be the path of a PEM file";
                checks.fail(format!("egress.tls.{name}"), say);
            }
            PathBuf::from(path)
        };
        ForwardTls {
            certificate: file("certificate", self.certificate),
            key: file("key", self.key),
            client_ca: self
                .client_ca
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
        }
    }
}

/// Where names and secrets were first.
#[derive(Default)]
struct Seen {
    names: HashMap<String, usize>,
    certificates: HashMap<String, usize>,
    passwords: HashMap<String, usize>,
}

impl IdentitySpec {
    fn check(
        self,
        index: usize,
        has_roots: bool,
        seen: &mut Seen,
        checks: &mut Checks,
    ) -> ForwardIdentity {
        let path = format!("egress.identities[{index}]");
        let name = self.name.unwrap_or_default();
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_letter) {
            let say = "must be 1 to 64 letters, digits, `-` and `_`";
            checks.fail(format!("{path}.name"), say);
        } else if let Some(other) = seen.names.insert(name.clone(), index) {
            let say = format!("is also that of `egress.identities[{other}]`");
            checks.fail(format!("{path}.name"), say);
        }
        let certificate = self.certificate.filter(|text| !text.is_empty());
        if let Some(certificate) = &certificate {
            let at = format!("{path}.certificate");
            if !has_roots {
                checks.fail(at, "needs `egress.tls.client_ca`");
            } else if let Some(other) = seen.certificates.insert(certificate.clone(), index) {
                checks.fail(at, format!("is also that of `egress.identities[{other}]`"));
            }
        }
        let passwords = self.passwords.unwrap_or_default();
        check_passwords(&passwords, &path, index, seen, checks);
        if passwords.is_empty() && certificate.is_none() {
            checks.fail(path.clone(), "needs `passwords` or a `certificate`");
        }
        ForwardIdentity {
            name,
            passwords: passwords.into_iter().map(Secret::new).collect(),
            certificate,
            projects: projects(self.projects, &format!("{path}.projects"), checks),
        }
    }
}

/// Identities are found by their passwords, so each has its own.
fn check_passwords(
    passwords: &[String],
    path: &str,
    index: usize,
    seen: &mut Seen,
    checks: &mut Checks,
) {
    if passwords.len() > PASSWORDS_MAX {
        let say = format!("must be at most {PASSWORDS_MAX}: the one in use and the next");
        checks.fail(format!("{path}.passwords"), say);
    }
    for (at, password) in passwords.iter().enumerate() {
        let (min, max) = PASSWORD_CHARS;
        if !(min..=max).contains(&password.chars().count()) {
            let say = format!("must have {min} to {max} characters");
            checks.fail(format!("{path}.passwords[{at}]"), say);
        } else if let Some(other) = seen.passwords.insert(password.clone(), index) {
            let say = format!("is also a password of `egress.identities[{other}]`");
            checks.fail(format!("{path}.passwords[{at}]"), say);
        }
    }
}

/// `["*"]`, or uids.
pub(super) fn projects(
    given: Option<Vec<String>>,
    path: &str,
    checks: &mut Checks,
) -> Option<Vec<ProjectId>> {
    let given = given.unwrap_or_default();
    if given == ["*"] {
        return None;
    }
    if given.is_empty() || given.len() > PROJECTS_MAX {
        let say = format!("must be 1 to {PROJECTS_MAX} uids of projects, or only `*` for all");
        checks.fail(path, say);
    }
    let mut projects = Vec::with_capacity(given.len());
    for (at, text) in given.iter().enumerate() {
        match text.parse() {
            Ok(uid) => projects.push(ProjectId::new(uid)),
            Err(_) => checks.fail(format!("{path}[{at}]"), "must be the uid of a project"),
        }
    }
    Some(projects)
}

#[cfg(test)]
mod tests {
    use outrider_webhook::rate::Rate;

    use crate::bootstrap::{Bootstrap, ForwardSettings};

    fn read(egress: &str) -> Result<ForwardSettings, Vec<String>> {
        let read = Bootstrap::load(Some(&format!("egress:\n{egress}")), std::iter::empty());
        let told =
            |problems: Vec<crate::Problem>| problems.iter().map(ToString::to_string).collect();
        read.map(|bootstrap| bootstrap.egress.forward).map_err(told)
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let egress = "  listen: 10.0.0.1:0
  tls: {certificate: a.pem}
  proxy_protocol: []
  tunnel_idle_ms: 0
  connections_per_address_max: 0
  new_connections_per_project: {count: 0}
  identities:
    - {name: 'a b', passwords: [short], projects: ['*']}
    - {name: one, passwords: [0123456789abcdef, 0123456789abcdef, 0123456789abcdeg], projects: [x]}
    - {name: one, certificate: a.example, projects: []}
";
        let found = read(egress).unwrap_err();
        let expected = [
            ("egress.listen: ", "port"),
            ("egress.tls.key: ", "PEM"),
            ("egress.proxy_protocol: ", "at least one"),
            ("egress.tunnel_idle_ms: ", "from 1"),
            ("egress.connections_per_address_max: ", "from 1"),
            ("egress.new_connections_per_project.count: ", "from 1"),
            ("egress.new_connections_per_project.duration: ", "missing"),
            ("egress.identities[0].name: ", "letters"),
            ("egress.identities[0].passwords[0]: ", "16 to 256"),
            ("egress.identities[1].passwords: ", "at most 2"),
            ("egress.identities[1].passwords[1]: ", "identities[1]"),
            ("egress.identities[1].projects[0]: ", "uid"),
            ("egress.identities[2].name: ", "identities[1]"),
            ("egress.identities[2].certificate: ", "client_ca"),
            ("egress.identities[2].projects: ", "`*`"),
        ];
        for (path, part) in expected {
            let is_told = |text: &String| text.contains(path) && text.contains(part);
            assert!(found.iter().any(is_told), "{path} {found:#?}");
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        assert!(!found.iter().any(|text| text.contains("0123456789abcde")));
    }

    #[test]
    fn beyond_loopback_somebody_must_be_known() {
        let found = read("  listen: 10.0.0.1:3128").unwrap_err();
        assert!(found[0].contains("egress.identities"), "{found:?}");
        assert!(read("  listen: 127.0.0.1:3128").is_ok());
        let balanced = "  listen: 127.0.0.1:3128\n  proxy_protocol: [127.0.0.1]";
        let found = read(balanced).unwrap_err();
        assert!(found[0].contains("behind a balancer"), "{found:?}");
        let found = read("  identities: [{name: a, projects: ['*']}]").unwrap_err();
        assert!(
            found[0].contains("`passwords` or a `certificate`"),
            "{found:?}"
        );
        let known = "  listen: 10.0.0.1:3128
  identities: [{name: a, passwords: [0123456789abcdef], projects: ['*']}]";
        let settings = read(known).unwrap();
        assert_eq!(settings.identities[0].projects, None);
        let settings = read("  ports: [443]").unwrap();
        assert_eq!(
            (settings.listen, settings.tunnel_idle.as_secs()),
            (None, 60)
        );
        assert_eq!(settings.connections_per_address_max, 50_000);
        assert_eq!(settings.opens, None);
        let rate = "  new_connections_per_project: {count: 5, duration: 60}";
        assert_eq!(read(rate).unwrap().opens, Rate::new(5, 60));
        assert_eq!(
            read("  connections_max: 5")
                .unwrap()
                .connections_per_address_max,
            3
        );
    }
}
