//! What a pool of source addresses has room for, and what has changed for who waited for it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outrider_config::resource::{EgressPoolSpec, PoolAddressSpec};
use outrider_config::snapshot::EgressPool;
use outrider_webhook::id::{EgressPoolId, Uid};
use outrider_webhook::retry::{Failure, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::sources::{leave, noting};
use super::support::*;
use crate::egress::{Egress, Exchange};

const ANSWERED: Outcome = Outcome::Answered { status: 200 };
const OURS: Outcome = Outcome::Failed(Failure::NoHealthySource);

fn pool(max: u64, owner: Option<u128>, addresses: &[(u8, &str)]) -> Arc<EgressPool> {
    let addresses = addresses.iter().map(|(last, state)| PoolAddressSpec {
        address: Some(format!("127.0.0.{last}")),
        state: Some((*state).to_owned()),
        ..PoolAddressSpec::default()
    });
    let spec = EgressPoolSpec {
        name: Some("p".to_owned()),
        mode: owner.map(|_| "dedicated".to_owned()),
        projects: owner.map(|owner| vec![Uid::from_bits(owner).to_string()]),
        addresses: Some(addresses.collect()),
        max_connections: Some(max),
        ..EgressPoolSpec::default()
    };
    let id = EgressPoolId::new(Uid::from_bits(1));
    Arc::new(EgressPool::compile(id, 1, &spec).unwrap())
}

fn send_as(
    egress: &Egress,
    number: u128,
    url: &str,
    pool: &Arc<EgressPool>,
) -> JoinHandle<Exchange> {
    let (egress, request) = (egress.clone(), request(url));
    let terms = Terms::new(LONG, EXCERPT).leaving(leave(pool));
    tokio::spawn(async move { egress.send(&project(number), request, terms).await })
}

fn impatient() -> Egress {
    let mut settings = settings();
    settings.connect_total_timeout = SHORT;
    Egress::new(settings).unwrap()
}

#[tokio::test]
async fn a_project_has_half_of_a_shared_pool() {
    let (receiver, callers) = noting(3).await; // answers when three are there
    let (egress, url) = (impatient(), receiver.url());
    let pool = pool(4, None, &[(2, "active"), (3, "active")]);
    let mut held = vec![
        send_as(&egress, 1, &url, &pool),
        send_as(&egress, 1, &url, &pool),
    ];
    until("two are there", || callers.lock().unwrap().len() == 2).await;
    let third = send_as(&egress, 1, &url, &pool).await.unwrap();
    assert_eq!(third.outcome, OURS, "{:?}", third.detail);
    held.push(send_as(&egress, 2, &url, &pool));
    for exchange in held {
        assert_eq!(exchange.await.unwrap().outcome, ANSWERED);
    }
    // Its own idle connections make room, and nobody else's.
    let (other, _) = noting(1).await;
    let exchange = send_as(&egress, 1, &other.url(), &pool).await.unwrap();
    assert_eq!(exchange.outcome, ANSWERED, "{:?}", exchange.detail);
    assert_eq!(egress.stats().open, 3);
}

#[tokio::test]
async fn a_dedicated_pool_is_whole_for_each_that_it_is_for() {
    let (receiver, _) = noting(3).await;
    let (egress, url) = (impatient(), receiver.url());
    let pool = pool(3, Some(1), &[(2, "active")]);
    let all = [1, 1, 1].map(|number| send_as(&egress, number, &url, &pool));
    for exchange in all {
        assert_eq!(exchange.await.unwrap().outcome, ANSWERED);
    }
}

/// What is in force when who waited is let in, and where it came from then.
async fn waited(now: Option<Arc<EgressPool>>) -> Exchange {
    let released = Arc::new(Notify::new());
    let holding = Arc::clone(&released);
    let receiver = Receiver::start(move |number, mut stream| {
        let holding = Arc::clone(&holding);
        async move {
            read_request(&mut stream).await.unwrap();
            if number == 0 {
                holding.notified().await;
            }
            let answer = OK.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let (egress, url) = (egress(), receiver.url());
    let before = pool(1, None, &[(2, "active")]);
    let in_force = Arc::new(Mutex::new(vec![Arc::clone(&before)]));
    let (stop, pools) = (CancellationToken::new(), Arc::clone(&in_force));
    let (watching, stopped) = (egress.clone(), stop.clone());
    let watch = tokio::spawn(async move {
        let pools = move || pools.lock().unwrap().clone();
        watching.watch_sources(pools, stopped).await;
    });
    // Once it has begun.
    tokio::time::sleep(Duration::ZERO).await;
    let first = send_as(&egress, 1, &url, &before);
    until("the first is there", || receiver.accepted() == 1).await;
    let second = send_as(&egress, 1, &url, &before);
    until("the second waits", || egress.inner.gate.waiting() == 1).await;
    *in_force.lock().unwrap() = now.into_iter().collect();
    released.notify_one();
    assert_eq!(first.await.unwrap().outcome, ANSWERED);
    let exchange = second.await.unwrap();
    stop.cancel();
    watch.await.unwrap();
    exchange
}

#[tokio::test]
async fn who_waited_leaves_from_the_pool_as_it_is_by_then() {
    let same = pool(1, None, &[(2, "active")]);
    let exchange = waited(Some(same)).await;
    assert_eq!(exchange.local.unwrap().ip(), IpAddr::from([127, 0, 0, 2]));
    let moved = pool(1, None, &[(2, "draining"), (3, "active")]);
    let exchange = waited(Some(moved)).await;
    assert_eq!(exchange.outcome, ANSWERED, "{:?}", exchange.detail);
    assert_eq!(exchange.local.unwrap().ip(), IpAddr::from([127, 0, 0, 3]));
    for other in [
        None,
        Some(pool(1, Some(1), &[(2, "active")])), // whether it is for them is another question
        Some(pool(1, None, &[(2, "draining")])),
    ] {
        let exchange = waited(other).await;
        assert_eq!(exchange.outcome, OURS, "{:?}", exchange.detail);
        assert_eq!(exchange.local, None);
    }
}
