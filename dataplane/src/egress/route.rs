//! Where a request may go: the target judged, its name resolved once, every address judged.
//! Nothing is opened here.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use outrider_webhook::address::{Denied, Host, Policy, ProjectRef, Scheme, TargetUrl};
use outrider_webhook::retry::Failure;

use super::fault::Fault;
use super::pool::Key;
use super::resolve::Resolver;
use super::tls::Profile;

/// Checked addresses tried in one attempt. All answers are checked, whatever their number.
const ADDRESSES_TRIED_MAX: usize = 16;

/// An address policy, and its number in the life of this process.
pub(super) struct Vetting {
    pub(super) policy: Policy,
    pub(super) version: u64,
}

/// There is nowhere to go.
pub(super) struct Refusal {
    pub(super) fault: Fault,
    /// The code, when the policy refused.
    pub(super) denied: Option<&'static str>,
}

impl Refusal {
    fn denied(denied: &Denied, is_static: bool) -> Self {
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

/// Judges a target for a project and finds where it may be sent: one key per checked address, in
/// the order of trying.
pub(super) async fn find(
    vetting: &Vetting,
    overrides: &HashMap<String, SocketAddr>,
    resolver: &Resolver,
    project: &ProjectRef<'_>,
    target: &TargetUrl,
) -> Result<Vec<Key>, Refusal> {
    let policy = &vetting.policy;
    let refused = policy.check_target(project, target);
    refused.map_err(|denied| Refusal::denied(&denied, true))?;
    // With the port that is connected to: it differs from the URL's for an override only.
    let check = |answers: &[IpAddr], port: u16, is_static: bool| match policy
        .check_answers(project, port, answers)
    {
        Ok(addresses) => Ok((addresses, port)),
        Err(denied) => Err(Refusal::denied(&denied, is_static)),
    };
    let (mut addresses, port) = match target.host() {
        Host::Ip(ip) => check(&[*ip], target.port(), true)?,
        Host::Name(name) => match overrides.get(&**name) {
            Some(instead) => check(&[instead.ip()], instead.port(), false)?,
            None => {
                let answers = resolver.lookup(name).await;
                let answers = answers.addresses.as_ref().map_err(|error| {
                    Fault::new(Failure::DnsFailure, format!("resolving `{name}`: {error}"))
                })?;
                check(answers, target.port(), false)?
            }
        },
    };
    // Customers mostly allow-list our IPv4 addresses. Stable, so the servers' order is kept.
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.truncate(ADDRESSES_TRIED_MAX);
    let (tls, server_name) = (tls_profile(target), server_name(target));
    let keys = addresses.into_iter().map(|ip| Key {
        project: project.id,
        source: None, // the host's route
        address: SocketAddr::new(ip, port),
        tls: tls.clone(),
        server_name: server_name.clone(),
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

fn server_name(target: &TargetUrl) -> Box<str> {
    match target.host() {
        Host::Name(name) => name.clone(),
        Host::Ip(ip) => ip.to_string().into_boxed_str(),
    }
}
