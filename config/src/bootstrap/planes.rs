//! How the planes find each other, and the key that seals what the data plane keeps of the
//! control plane.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use outrider_webhook::secret::Secret;
use serde::Deserialize;
use url::{Host, Url};

use super::spec::Checks;

/// The xDS listener of a control plane of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsSettings {
    /// Default 127.0.0.1:18000.
    pub listen: SocketAddr,
    /// Mutual TLS. Without it only loopback is served: configuration carries secrets.
    pub tls: Option<TlsFiles>,
}

/// Where a data plane of its own finds its control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneSettings {
    /// Its xDS listener: `http://host:port`, on loopback only, or `https://host:port`. Default
    /// `http://127.0.0.1:18000`.
    pub xds: String,
    /// Host and port of its API, which answers what the data plane does not. Default
    /// `127.0.0.1:5010`.
    pub api: String,
    /// Mutual TLS for xDS.
    pub tls: Option<TlsFiles>,
}

impl ControlPlaneSettings {
    /// Moves to another xDS listener, as from the command line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn move_to(&mut self, xds: &str) -> Result<(), String> {
        self.xds = check_xds(xds, self.tls.is_some())?;
        Ok(())
    }

    /// Whether the way to the API stays on this machine. It is not encrypted.
    #[must_use]
    pub fn is_api_local(&self) -> bool {
        Url::parse(&format!("http://{}", self.api)).is_ok_and(|url| is_loopback(&url))
    }

    /// Moves to another API, given as its URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn move_api_to(&mut self, url: &str) -> Result<(), String> {
        self.api = check_api(url)?;
        Ok(())
    }
}

/// PEM files of one side of mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Roots that the other side's certificate must come from.
    pub ca: PathBuf,
    /// Our certificate, with what leads to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Where the key is that seals the configuration on a data plane's disk (RULINGS 13): 32 bytes
/// as 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StateKey {
    /// In a file of the data directory, made at the first start.
    #[default]
    Own,
    /// In this file.
    File(PathBuf),
    /// This one; meant for the environment.
    Text(Secret),
    /// What this program prints: the words of its command line.
    Command(Vec<String>),
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct XdsSpec {
    listen: Option<String>,
    tls: Option<TlsSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ControlPlaneSpec {
    xds: Option<String>,
    api: Option<String>,
    tls: Option<TlsSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsSpec {
    ca: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StateSpec {
    key: Option<String>,
    key_file: Option<String>,
    key_command: Option<Vec<String>>,
}

impl XdsSpec {
    pub(super) fn check(self, checks: &mut Checks) -> XdsSettings {
        let default = SocketAddr::from(([127, 0, 0, 1], 18000));
        let listen = checks.listener("xds.listen", self.listen, default);
        let is_open = !listen.ip().is_loopback();
        if is_open && self.tls.is_none() {
            let say =
                "is needed for a listener that is not on loopback: configuration carries secrets";
            checks.fail("xds.tls", say);
        }
        XdsSettings {
            listen,
            tls: self.tls.and_then(|tls| tls.check("xds.tls", checks)),
        }
    }
}

impl ControlPlaneSpec {
    pub(super) fn check(self, checks: &mut Checks) -> ControlPlaneSettings {
        let has_tls = self.tls.is_some();
        let xds = self.xds.unwrap_or_else(|| match has_tls {
            true => "https://127.0.0.1:18000".into(),
            false => "http://127.0.0.1:18000".into(),
        });
        let xds = check_xds(&xds, has_tls).unwrap_or_else(|say| {
            checks.fail("control_plane.xds", say);
            xds
        });
        let api = self.api.unwrap_or_else(|| "http://127.0.0.1:5010".into());
        let api = check_api(&api).unwrap_or_else(|say| {
            checks.fail("control_plane.api", say);
            api
        });
        ControlPlaneSettings {
            xds,
            api,
            tls: self
                .tls
                .and_then(|tls| tls.check("control_plane.tls", checks)),
        }
    }
}

/// The URL of an xDS listener, as it was written.
fn check_xds(text: &str, has_tls: bool) -> Result<String, String> {
    let (url, _) = origin(text, &["http", "https"]).ok_or(
        "must be http:// or https://, a host and a port, like https://control.example.com:18000",
    )?;
    match (url.scheme(), has_tls) {
        ("https", false) => Err("https needs `control_plane.tls`: the control plane asks for a certificate".into()),
        ("http", true) => Err("`control_plane.tls` is given: use https".into()),
        ("http", false) if !is_loopback(&url) => Err(
            "http is for loopback only, since configuration carries secrets: use https and `control_plane.tls`".into(),
        ),
        _ => Ok(text.to_owned()),
    }
}

/// Host and port of an API's URL.
fn check_api(text: &str) -> Result<String, String> {
    match origin(text, &["http"]) {
        Some((_, authority)) => Ok(authority),
        None => Err("must be http://, a host and a port, like http://10.0.0.1:5010".into()),
    }
}

/// The URL and its authority, when it is one of these schemes, a host and a port, and no more.
fn origin(text: &str, schemes: &[&str]) -> Option<(Url, String)> {
    let url = Url::parse(text).ok()?;
    let (scheme, authority) = text.split_once("://")?;
    let is_plain = schemes.contains(&scheme)
        && url.has_host()
        && !authority.contains(['/', '?', '#', '@', '\\'])
        && authority.bytes().all(|byte| byte.is_ascii_graphic());
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    (is_plain && has_port).then(|| (url, authority.to_owned()))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

impl TlsSpec {
    fn check(self, path: &str, checks: &mut Checks) -> Option<TlsFiles> {
        let mut file = |name: &str, value: Option<String>| {
            let value = value.filter(|value| !value.is_empty());
            if value.is_none() {
                checks.fail(
                    format!("{path}.{name}"),
                    "is missing: TLS between the planes is mutual, and needs `ca`, `certificate` and `key`",
                );
            }
            value.map(PathBuf::from)
        };
        let (ca, certificate, key) = (
            file("ca", self.ca),
            file("certificate", self.certificate),
            file("key", self.key),
        );
        Some(TlsFiles {
            ca: ca?,
            certificate: certificate?,
            key: key?,
        })
    }
}

impl StateSpec {
    pub(super) fn check(self, checks: &mut Checks) -> StateKey {
        let given = [
            self.key.is_some(),
            self.key_file.is_some(),
            self.key_command.is_some(),
        ];
        if given.into_iter().filter(|is_given| *is_given).count() > 1 {
            checks.fail("state", "takes one of `key`, `key_file` and `key_command`");
        }
        if let Some(key) = self.key {
            if key.len() != 64 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                checks.fail(
                    "state.key",
                    "must be 64 hexadecimal digits: 32 bytes of chance",
                );
            }
            return StateKey::Text(Secret::from(key));
        }
        if let Some(file) = self.key_file {
            if file.is_empty() {
                checks.fail("state.key_file", "must be a path");
            }
            return StateKey::File(file.into());
        }
        match self.key_command {
            Some(words) if words.first().is_none_or(String::is_empty) => {
                let say = "must be a list of words, the first of them a program";
                checks.fail("state.key_command", say);
                StateKey::Own
            }
            Some(words) => StateKey::Command(words),
            None => StateKey::Own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bootstrap;
    use super::*;

    fn load(text: &str) -> Result<Bootstrap, Vec<String>> {
        Bootstrap::load(Some(text), std::iter::empty())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_open_xds_listener_needs_all_of_mutual_tls() {
        let found = load("xds: {listen: 0.0.0.0:18000}").unwrap_err();
        assert!(
            found.len() == 1 && found[0].contains("xds.tls"),
            "{found:?}"
        );
        let text = "xds: {listen: 0.0.0.0:18000, tls: {certificate: a}}";
        let found = load(text).unwrap_err();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("xds.tls.ca") && found[1].contains("xds.tls.key"),
            "{found:?}"
        );
        let text = "xds: {listen: 0.0.0.0:18000, tls: {ca: c, certificate: a, key: k}}";
        assert_eq!(load(text).unwrap().xds.tls.unwrap().ca, PathBuf::from("c"));
    }

    #[test]
    fn configuration_leaves_loopback_only_over_https() {
        for xds in [
            "http://10.0.0.1:18000",
            "http://control.example.com:18000",
            "https://control.example.com:18000",
            "control:18000",
            "http://localhost",
            "http://localhost:0",
            "http://localhost:18000/x",
            "http://a@localhost:18000",
            "grpc://localhost:18000",
        ] {
            let found = load(&format!("control_plane: {{xds: '{xds}'}}")).unwrap_err();
            assert!(
                found.len() == 1 && found[0].contains("control_plane.xds: "),
                "{xds} {found:?}"
            );
        }
        let tls = "tls: {ca: c, certificate: a, key: k}";
        let text = format!("control_plane: {{xds: 'https://control:18000', {tls}}}");
        assert_eq!(
            load(&text).unwrap().control_plane.xds,
            "https://control:18000"
        );
        let text = format!("control_plane: {{{tls}}}");
        assert_eq!(
            load(&text).unwrap().control_plane.xds,
            "https://127.0.0.1:18000"
        );
        for xds in [
            "http://localhost:1",
            "http://[::1]:18000",
            "http://127.9.9.9:18000",
        ] {
            assert!(
                load(&format!("control_plane: {{xds: '{xds}'}}")).is_ok(),
                "{xds}"
            );
        }
    }

    #[test]
    fn the_api_of_the_control_plane_is_a_host_and_a_port() {
        for api in [
            "10.0.0.1:5010",
            "https://a:5010",
            "http://a",
            "http://a:5010/api",
        ] {
            let found = load(&format!("control_plane: {{api: '{api}'}}")).unwrap_err();
            assert!(found[0].contains("control_plane.api: "), "{api} {found:?}");
        }
        let bootstrap = load("control_plane: {api: 'http://[::1]:5010'}").unwrap();
        assert_eq!(bootstrap.control_plane.api, "[::1]:5010");
        assert!(bootstrap.control_plane.is_api_local());
        let bootstrap = load("control_plane: {api: 'http://10.0.0.1:5010'}").unwrap();
        assert!(!bootstrap.control_plane.is_api_local());
    }

    #[test]
    fn a_state_key_is_one_thing_of_the_right_length() {
        for (text, part) in [
            ("state: {key: abc}", "state.key: "),
            ("state: {key_file: ''}", "state.key_file: "),
            ("state: {key_command: []}", "state.key_command: "),
            ("state: {key_file: a, key_command: [b]}", "state: takes one"),
        ] {
            let found = load(text).unwrap_err();
            assert!(
                found.len() == 1 && found[0].contains(part),
                "{text} {found:?}"
            );
        }
        let text = format!("state: {{key: '{}'}}", "0a".repeat(32));
        assert!(matches!(load(&text).unwrap().state_key, StateKey::Text(_)));
        let command = load("state: {key_command: [cat, key]}").unwrap().state_key;
        assert_eq!(command, StateKey::Command(vec!["cat".into(), "key".into()]));
        assert_eq!(load("").unwrap().state_key, StateKey::Own);
    }
}
