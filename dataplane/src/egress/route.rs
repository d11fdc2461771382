//! Where a request may go: the target judged, its name resolved once, every address judged.
//! Nothing is opened here.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderValue;
use outrider_webhook::address::{Denied, Host, ProjectRef, Scheme, TargetUrl};
use outrider_webhook::retry::Failure;

use super::fault::Fault;
use super::pool::Key;
use super::resolve::{Answers, Resolver};
use super::source::Source;
use super::tls::Profile;
use super::vetting::Vetting;

/// Checked addresses tried in one attempt. All answers are checked, whatever their number.
pub(super) const ADDRESSES_TRIED_MAX: usize = 16;

/// There is nowhere to go.
pub(super) struct Refusal {
    pub(super) fault: Fault,
    /// The code, when the policy refused.
    pub(super) denied: Option<&'static str>,
}

impl Refusal {
    pub(super) fn denied(denied: &Denied, is_static: bool) -> Self {
        Self {
            fault: Fault::denied(denied, is_static),
            denied: Some(denied.code()),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            denied: None,
        }
    }
}

/// Where somebody wants to go, and on which terms connections there are shared.
pub(super) struct Destination<'a> {
    pub(super) host: &'a Host,
    /// 1 to 65535.
    pub(super) port: u16,
    pub(super) tls: Option<Profile>,
    /// The certificate by which it knows us, where the proxy has it and makes TLS.
    pub(super) certificate: Option<Arc<str>>,
    /// Connections under different names are different ones.
    pub(super) server_name: Box<str>,
    /// `traceparent` of the request, where a proxy is to hear of it.
    pub(super) traceparent: Option<HeaderValue>,
}

impl<'a> Destination<'a> {
    /// That of a URL, with TLS as this process does it.
    pub(super) fn of(target: &'a TargetUrl) -> Self {
        Self {
            host: target.host(),
            port: target.port(),
            tls: tls_profile(target),
            certificate: None,
            server_name: server_name(target.host()),
            traceparent: None,
        }
    }
}

/// How names become addresses, and what they became.
pub(super) struct Names<'a> {
    pub(super) overrides: &'a HashMap<String, SocketAddr>,
    pub(super) resolver: &'a Resolver,
    /// What the name servers said, for who wants to know.
    pub(super) answers: &'a mut Option<Arc<Answers>>,
}

/// Judges a destination for a project and finds where it is: one key per checked address, IPv4
/// first. So many of each family as may be tried: which of them can be used, the pool knows.
pub(super) async fn find(
    vetting: &Vetting,
    names: Names<'_>,
    project: &ProjectRef<'_>,
    destination: Destination<'_>,
) -> Result<Vec<Key>, Refusal> {
    let (guard, host) = (vetting.guard(), destination.host);
    let refused = guard.check_place(project, host, destination.port);
    refused.map_err(|denied| Refusal::denied(&denied, true))?;
    // With the port that is connected to: it differs from the URL's for an override only.
    let check = |answers: &[IpAddr], port: u16, is_static: bool| match guard.check_answers(
        project,
        (host, port),
        answers,
    ) {
        Ok(addresses) => Ok((addresses, port)),
        Err(denied) => Err(Refusal::denied(&denied, is_static)),
    };
    let (mut addresses, port) = match host {
        Host::Ip(ip) => check(&[*ip], destination.port, true)?,
        Host::Name(name) => match names.overrides.get(&**name) {
            Some(instead) => check(&[instead.ip()], instead.port(), false)?,
            None => {
                let answers = names.answers.insert(names.resolver.lookup(name).await);
                let answers = answers.addresses.as_ref().map_err(|error| {
                    Fault::new(Failure::DnsFailure, format!("resolving `{name}`: {error}"))
                })?;
                check(answers, destination.port, false)?
            }
        },
    };
    // Customers mostly allow-list our IPv4 addresses. Stable, so the servers' order is kept.
    addresses.sort_by_key(IpAddr::is_ipv6);
    let v6_from = addresses.partition_point(IpAddr::is_ipv4);
    let (v4, v6) = addresses.split_at(v6_from);
    let of_each = [v4, v6].map(|all| all.iter().take(ADDRESSES_TRIED_MAX));
    let addresses = of_each.into_iter().flatten();
    let keys = addresses.map(|ip| Key {
        project: project.id,
        source: Source::HostRoute, // until the pool is known
        address: SocketAddr::new(*ip, port),
        through: None,
        tls: destination.tls.clone(),
        server_name: destination.server_name.clone(),
        policy_version: vetting.version,
    });
    Ok(keys.collect())
}

fn tls_profile(target: &TargetUrl) -> Option<Profile> {
    match target.scheme() {
        Scheme::Http => None,
        Scheme::Https => Some(Profile::Default),
    }
}

/// The name that a host has in certificates and in `Host`.
pub(super) fn server_name(host: &Host) -> Box<str> {
    match host {
        Host::Name(name) => name.clone(),
        Host::Ip(ip) => ip.to_string().into_boxed_str(),
    }
}
