//! `/api/v1/dataplanes`: which data planes there are, how far each is, and what it refused. Not
//! in the contract: Convoy has no such thing.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use outrider_config::Version;
use outrider_xds::{DataplaneStatus, Link};
use serde::Serialize;

use super::Api;
use super::call::AdminCall;
use super::error::Answer;
use super::reply::Reply;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/api/v1/dataplanes", get(list))
}

/// A data plane as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    cluster: &'a str,
    /// The number in the ids of its events; null for a client that is none of ours.
    number: Option<u16>,
    is_connected: bool,
    /// Of its connection, or since its end.
    since_ms: u64,
    /// The revision in force there; null before the first one.
    revision: Option<u64>,
    /// The newest revision there is.
    head_revision: u64,
    is_current: bool,
    quarantined_total: u64,
    quarantined: Vec<Quarantined<'a>>,
    last_nack: Option<Nack<'a>>,
    /// Since its newest connection.
    resources_sent: u64,
    bytes_sent: u64,
    full_syncs: u64,
}

/// A resource that it refused, while it serves the version before it.
#[derive(Serialize)]
struct Quarantined<'a> {
    kind: &'static str,
    uid: String,
    reason: &'a str,
}

/// A revision that it could not read.
#[derive(Serialize)]
struct Nack<'a> {
    revision: u64,
    reason: &'a str,
    repeats: u32,
    /// Whether a later revision got through.
    is_over: bool,
}

async fn list(AdminCall(call): AdminCall) -> Answer {
    let head = call.api.control().version();
    let all = call.api.server().dataplanes();
    let shown: Vec<Shown<'_>> = all.iter().map(|one| shown(one, head)).collect();
    Reply::of("Data planes fetched successfully", &shown)
}

fn shown(one: &DataplaneStatus, head: Version) -> Shown<'_> {
    let (is_connected, since) = match one.link {
        Link::Connected(since) => (true, since),
        Link::Gone(since) => (false, since),
    };
    let acked = one.acked.filter(|acked| acked.journal == head.journal);
    let revision = acked.map(|acked| acked.revision);
    let nack = one.last_nack.as_ref().map(|nack| Nack {
        revision: nack.version.revision,
        reason: &nack.reason,
        repeats: nack.repeats,
        is_over: revision.is_some_and(|revision| revision >= nack.version.revision),
    });
    let quarantined = one.quarantined.iter().map(|refused| Quarantined {
        kind: refused.kind.as_str(),
        uid: refused.uid.to_string(),
        reason: &refused.reason,
    });
    Shown {
        id: &one.node.id,
        cluster: &one.node.cluster,
        number: one.node.claim.map(|claim| claim.number.get()),
        is_connected,
        since_ms: millis(since),
        revision,
        head_revision: head.revision,
        is_current: is_connected && revision == Some(head.revision),
        quarantined_total: one.quarantined_total,
        quarantined: quarantined.collect(),
        last_nack: nack,
        resources_sent: one.resources_sent,
        bytes_sent: one.bytes_sent,
        full_syncs: one.full_syncs,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
