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

#[cfg(test)]
mod tests {
    use outrider_config::Kind;
    use outrider_webhook::id::{NodeId, Uid};
    use outrider_xds::{Claim, Node};
    use serde_json::json;

    use super::*;

    fn version(journal: u128, revision: u64) -> Version {
        Version {
            journal: Uid::from_bits(journal),
            revision,
        }
    }

    fn status() -> DataplaneStatus {
        DataplaneStatus {
            node: Node {
                id: "node-3".into(),
                cluster: "eu".into(),
                claim: Some(Claim {
                    number: NodeId::new(3).unwrap(),
                    instance: Uid::from_bits(9),
                }),
            },
            link: Link::Connected(Duration::from_secs(2)),
            acked: Some(version(1, 41)),
            quarantined: vec![outrider_config::Quarantined {
                kind: Kind::Source,
                uid: Uid::from_bits(5),
                reason: "why".into(),
            }],
            quarantined_total: 1,
            last_nack: Some(outrider_xds::Nack {
                version: version(1, 42),
                reason: "a part is missing".into(),
                repeats: 3,
            }),
            resources_sent: 7,
            bytes_sent: 700,
            full_syncs: 1,
        }
    }

    #[test]
    fn a_refusal_is_shown_with_its_reason_until_it_is_over() {
        let mut status = status();
        let head = version(1, 42);
        let value = serde_json::to_value(shown(&status, head)).unwrap();
        assert_eq!(
            value,
            json!({
                "id": "node-3", "cluster": "eu", "number": 3,
                "is_connected": true, "since_ms": 2000,
                "revision": 41, "head_revision": 42, "is_current": false,
                "quarantined_total": 1,
                "quarantined": [{"kind": "source", "uid": Uid::from_bits(5).to_string(), "reason": "why"}],
                "last_nack": {"revision": 42, "reason": "a part is missing", "repeats": 3, "is_over": false},
                "resources_sent": 7, "bytes_sent": 700, "full_syncs": 1,
            })
        );
        status.acked = Some(head);
        let shown = shown(&status, head);
        assert!(shown.is_current && shown.last_nack.is_some_and(|nack| nack.is_over));
    }

    #[test]
    fn who_is_gone_or_follows_another_journal_is_not_current() {
        let head = version(1, 41);
        let mut gone = status();
        gone.link = Link::Gone(Duration::from_secs(1));
        assert!(!shown(&gone, head).is_current);
        let mut lost = status();
        lost.acked = Some(version(2, 41));
        let shown = shown(&lost, head);
        assert!(!shown.is_current && shown.revision.is_none());
    }
}
