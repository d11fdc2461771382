//! The forward proxy that deliveries go through.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use outrider_webhook::secret::Secret;
use serde::Deserialize;
use url::{Host, Url};

use super::spec::Checks;

/// A forward proxy of ours (`outrider egress`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViaSettings {
    /// Its name or address.
    pub host: String,
    /// Its port; default that of the scheme, 80 or 443.
    pub port: u16,
    /// TLS to it, for `https`.
    pub tls: Option<ViaTls>,
    /// The name and a password of an identity that may act for all projects.
    pub credentials: Option<(String, Secret)>,
}

impl ViaSettings {
    /// Whether it is, as far as its address tells, what listens here.
    pub(super) fn is_at(&self, listen: SocketAddr) -> bool {
        let is_here = |ip: IpAddr| match listen.ip().is_unspecified() {
            true => ip.is_loopback(),
            false => ip == listen.ip(),
        };
        self.port == listen.port() && self.host.parse().is_ok_and(is_here)
    }
}

/// PEM files for TLS to the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViaTls {
    /// The only roots that its certificate may come from; the public ones when absent.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, by which it knows us.
    pub identity: Option<(PathBuf, PathBuf)>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ViaSpec {
    proxy: Option<String>,
    username: Option<String>,
    password: Option<String>,
    ca: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl ViaSpec {
    /// `None` also when something is wrong, which is reported.
    pub(super) fn check(self, checks: &mut Checks) -> Option<ViaSettings> {
        let parsed = self.proxy.as_deref().map(Url::parse);
        let url = parsed.and_then(Result::ok).filter(is_proxy);
        if url.is_none() {
            let say =
                "must be the proxy, like http://10.0.0.5:3128 or https://egress.example.com:3128";
            checks.fail("egress.via.proxy", say);
        }
        let file = |path: Option<String>| path.filter(|path| !path.is_empty()).map(PathBuf::from);
        let ca = file(self.ca);
        let identity = match (file(self.certificate), file(self.key)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                checks.fail(
                    "egress.via",
                    "takes `certificate` and `key`, both or neither",
                );
                None
            }
        };
        let is_tls = url.as_ref().is_some_and(|url| url.scheme() == "https");
        if !is_tls && url.is_some() && (ca.is_some() || identity.is_some()) {
            let say = "must begin with https:// where `ca` or `certificate` are given";
            checks.fail("egress.via.proxy", say);
        }
        let credentials = match (self.username, self.password) {
            (Some(name), Some(_)) if name.is_empty() || name.contains(':') => {
                checks.fail("egress.via.username", "must be a name without `:`");
                None
            }
            (Some(name), Some(password)) => Some((name, Secret::new(password))),
            (None, None) => None,
            _ => {
                checks.fail(
                    "egress.via",
                    "takes `username` and `password`, both or neither",
                );
                None
            }
        };
        let url = url?;
        let host = match url.host()? {
            Host::Ipv6(ip) => ip.to_string(), // without brackets
            host => host.to_string(),
        };
        Some(ViaSettings {
            host,
            port: url.port_or_known_default()?,
            tls: is_tls.then_some(ViaTls { ca, identity }),
            credentials,
        })
    }
}

/// Credentials have fields of their own, and a path would mean nothing.
fn is_proxy(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use crate::bootstrap::{Bootstrap, ViaSettings};

    fn read(via: &str) -> Result<ViaSettings, Vec<String>> {
        let text = format!("egress:\n  via: {via}\n");
        let read = Bootstrap::load(Some(&text), std::iter::empty());
        let told =
            |problems: Vec<crate::Problem>| problems.iter().map(ToString::to_string).collect();
        read.map(|bootstrap| bootstrap.egress.via.unwrap())
            .map_err(told)
    }

    #[test]
    fn what_is_no_way_is_told_by_name() {
        for (via, part) in [
            ("{}", "egress.via.proxy: must be the proxy"),
            ("{proxy: egress.example.com:3128}", "must be the proxy"),
            ("{proxy: 'ftp://a'}", "must be the proxy"),
            ("{proxy: 'http://a:b@c'}", "must be the proxy"),
            ("{proxy: 'http://a/b'}", "must be the proxy"),
            ("{proxy: 'http://a', ca: b}", "https://"),
            ("{proxy: 'https://a', key: b}", "`certificate` and `key`"),
            (
                "{proxy: 'https://a', username: b}",
                "`username` and `password`",
            ),
            (
                "{proxy: 'https://a', username: 'b:c', password: d}",
                "without `:`",
            ),
        ] {
            let found = read(via).unwrap_err();
            assert!(
                found.len() == 1 && found[0].contains(part),
                "{via} {found:?}"
            );
        }
    }

    #[test]
    fn ports_have_the_default_of_the_scheme() {
        let via = read("{proxy: 'http://[::1]'}").unwrap();
        assert_eq!((via.host.as_str(), via.port, via.tls), ("::1", 80, None));
        let via =
            read("{proxy: 'https://egress.example.com:443/', certificate: a, key: b}").unwrap();
        assert_eq!((via.host.as_str(), via.port), ("egress.example.com", 443));
        assert!(via.tls.unwrap().identity.is_some());
    }
}
