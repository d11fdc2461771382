//! Endpoints that events made: what the log says of them after a restart.

use bytes::Bytes;
use outrider_webhook::event::{Audience, Decision, Dynamic, EventFacts, MadeEndpoint};
use outrider_webhook::id::{EndpointId, SubscriptionId, Uid};

use super::support::{Bed, NOW_MS, facts, targets};
use crate::{Accepted, CommandRecord, LocalLog, Record};

fn endpoint(number: u128) -> EndpointId {
    EndpointId::new(Uid::from_bits(number))
}

async fn accept(log: &LocalLog, endpoint: EndpointId, is_made: bool, key: Option<&str>) {
    let made = is_made.then(|| MadeEndpoint {
        subscription: SubscriptionId::new(Uid::from_bits(9)),
        sealed: b"sealed".as_slice().into(),
    });
    let facts = EventFacts {
        audience: Audience::Dynamic(Box::new(Dynamic {
            endpoint,
            made,
            url: None,
        })),
        idempotency_key: key.map(Into::into),
        ..facts(10)
    };
    let accepted = log.accept_parts(facts, targets(1), Decision::default());
    assert!(matches!(
        accepted.await,
        Ok(Accepted::Stored(_) | Accepted::Duplicate { .. })
    ));
}

async fn settle(log: &LocalLog, endpoint: EndpointId, verb: &str) {
    let settled = CommandRecord {
        id: endpoint.uid().bits(),
        at_ms: NOW_MS,
        verb: verb.into(),
        cursor: None,
        affected: 0,
        is_done: true,
        body: Bytes::new(),
    };
    log.record_synced(Record::Command(settled)).await.unwrap();
}

#[tokio::test]
async fn what_nobody_has_taken_over_is_found_and_what_is_settled_is_not() {
    let bed = Bed::new();
    let (log, recovered) = bed.open();
    assert!(recovered.unsettled.is_empty());
    accept(&log, endpoint(1), true, None).await;
    accept(&log, endpoint(2), false, None).await;
    accept(&log, endpoint(3), true, None).await;
    accept(&log, endpoint(4), true, Some("key")).await;
    settle(&log, endpoint(3), CommandRecord::ENDPOINT_SETTLED).await;
    settle(&log, endpoint(1), "resend").await;
    // A repeat makes nothing.
    settle(&log, endpoint(4), CommandRecord::ENDPOINT_SETTLED).await;
    accept(&log, endpoint(4), true, Some("key")).await;
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    let found: Vec<EndpointId> = recovered.unsettled.iter().map(|one| one.endpoint).collect();
    assert_eq!(found, [endpoint(1)]);
    let event = log.read(recovered.unsettled[0].position).await.unwrap();
    assert_eq!(recovered.unsettled[0].project, event.facts.project);
    let Audience::Dynamic(dynamic) = event.facts.audience else {
        panic!("another audience");
    };
    assert_eq!(&*dynamic.made.unwrap().sealed, b"sealed");
    // Settled and made once more: the order in the log decides.
    accept(&log, endpoint(3), true, None).await;
    settle(&log, endpoint(1), CommandRecord::ENDPOINT_SETTLED).await;
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    let found: Vec<EndpointId> = recovered.unsettled.iter().map(|one| one.endpoint).collect();
    assert_eq!(found, [endpoint(3)]);
    log.close().await.unwrap();
}
