//! Who may send events, and how many: decided from the head of a request, before its body is
//! read. Addresses first, then tokens of the sender's address, of the source or the key, and of
//! the project.
//!
//! What was used is known per data plane, in memory, and outlives changes of the configuration.
//! A request that is refused further on has used its token all the same: whether it is genuine
//! is known only after its body.

mod certificate;
mod quota;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, StatusCode};
use outrider_config::snapshot::{ApiKey, Project, Source};
use outrider_webhook::address::{AddressRules, AddressSet, client_behind};
use outrider_webhook::id::{ApiKeyId, ProjectId, SourceId};
use outrider_webhook::rate::Rate;

pub(super) use self::certificate::Accepted;
pub(super) use self::quota::Quota;
use super::front::Peer;
use super::gate::client_of;
use super::reply::Reply;
use crate::buckets::Buckets;
use crate::metrics::Metrics;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Addresses whose use is remembered at once; about 64 bytes each.
const ADDRESSES_MAX: usize = 128 * 1024;
/// Code of a request of an address that may not send.
const ADDRESS_DENIED: &str = "address_denied";
/// Code of a request beyond a rate.
pub(super) const RATE_LIMITED: &str = "rate_limited";

/// Who may send to this instance, whatever its sources and projects say.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Addresses that may send events.
    pub addresses: AddressRules,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: AddressSet,
    /// How many requests with events one address may send.
    pub rate_per_address: Option<Rate>,
}

/// The tokens of what is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    Source(SourceId),
    Key(ApiKeyId),
    Project(ProjectId),
}

/// One request, as the guard sees it.
pub(super) struct Visit<'p> {
    peer: &'p Peer,
    /// Who sent it: the peer, or whom trusted proxies name.
    pub(super) client: IpAddr,
    /// The tightest of the rates it was counted against.
    pub(super) quota: Option<Quota>,
}

/// Decides who may send, and counts.
pub(super) struct Guard {
    access: Access,
    by_address: Buckets<u128>,
    by_subject: Buckets<Subject>,
    metrics: Arc<Metrics>,
}

impl Guard {
    pub(super) fn new(access: Access, metrics: Arc<Metrics>) -> Self {
        Self {
            access,
            by_address: Buckets::bounded(ADDRESSES_MAX),
            by_subject: Buckets::unbounded(), // configuration bounds it
            metrics,
        }
    }

    /// Who sends this.
    pub(super) fn visit<'p>(&self, peer: &'p Peer, headers: &HeaderMap) -> Visit<'p> {
        let trusted = &self.access.trusted_proxies;
        let client = if trusted.is_empty() {
            peer.address
        } else {
            let values = headers.get_all(FORWARDED_FOR).iter();
            client_behind(peer.address, trusted, values.map(|value| value.as_bytes()))
        };
        Visit {
            peer,
            client,
            quota: None,
        }
    }

    /// Whether somebody may send to this instance at all.
    pub(super) fn admit(&self, visit: &mut Visit<'_>) -> Result<(), Reply> {
        check_address(&self.access.addresses, visit)?;
        let Some(rate) = self.access.rate_per_address else {
            return Ok(());
        };
        let taken = self.by_address.take(client_of(visit.client), &rate, 1);
        self.counted(visit, Quota::of("address", &rate, taken))
    }

    /// Whether somebody may send to this source.
    pub(super) fn admit_to_source(
        &self,
        visit: &mut Visit<'_>,
        source: &Source,
        (project, now_s): (&Project, i64),
    ) -> Result<(), Reply> {
        let (own, all) = (source.protection(), project.protection());
        check_address(own.addresses(), visit)?;
        check_address(all.addresses(), visit)?;
        certificate::check(visit.peer, source, now_s)?;
        self.take(visit, Subject::Source(source.id()), own.rate())?;
        self.take(visit, Subject::Project(project.id()), all.rate())
    }

    /// Whether somebody may publish with this key.
    pub(super) fn admit_with_key(
        &self,
        visit: &mut Visit<'_>,
        key: &ApiKey,
        project: &Project,
    ) -> Result<(), Reply> {
        let all = project.protection();
        check_address(all.addresses(), visit)?;
        self.take(visit, Subject::Key(key.id()), key.rate())?;
        self.take(visit, Subject::Project(project.id()), all.rate())
    }

    /// Takes tokens for more events of a request that was admitted, and tells how many of them
    /// there were.
    pub(super) fn take_more(&self, key: &ApiKey, project: &Project, events: u32) -> u32 {
        let subjects = [
            (Subject::Project(project.id()), project.protection().rate()),
            (Subject::Key(key.id()), key.rate()),
        ];
        subjects
            .into_iter()
            .fold(events, |granted, (subject, rate)| match rate {
                Some(rate) => self.by_subject.take_up_to(subject, &rate, granted),
                None => granted,
            })
    }

    fn take(
        &self,
        visit: &mut Visit<'_>,
        subject: Subject,
        rate: Option<Rate>,
    ) -> Result<(), Reply> {
        let Some(rate) = rate else { return Ok(()) };
        let name = match subject {
            Subject::Source(_) => "source",
            Subject::Key(_) => "api_key",
            Subject::Project(_) => "project",
        };
        let taken = self.by_subject.take(subject, &rate, 1);
        self.counted(visit, Quota::of(name, &rate, taken))
    }

    fn counted(&self, visit: &mut Visit<'_>, quota: Quota) -> Result<(), Reply> {
        let refused = quota.is_exhausted.then(|| {
            let limited = &self.metrics.rate_limited;
            limited.with_label_values(&[quota.name]).inc();
            let message = "exceeded rate limit";
            let reply = Reply::refuse(StatusCode::TOO_MANY_REQUESTS, RATE_LIMITED, message);
            reply.retry_after(quota.wait_s)
        });
        if visit
            .quota
            .as_ref()
            .is_none_or(|other| quota.is_tighter_than(other))
        {
            visit.quota = Some(quota);
        }
        refused.map_or(Ok(()), Err)
    }
}

fn check_address(rules: &AddressRules, visit: &Visit) -> Result<(), Reply> {
    if rules.admits(visit.client) {
        return Ok(());
    }
    let message = "this address may not send here";
    Err(Reply::refuse(
        StatusCode::FORBIDDEN,
        ADDRESS_DENIED,
        message,
    ))
}
