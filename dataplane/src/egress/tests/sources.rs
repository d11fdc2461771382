//! Which of our addresses a connection comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outrider_config::resource::{EgressPoolSpec, PoolAddressSpec};
use outrider_config::snapshot::{AddressState, EgressPool, PoolSelection};
use outrider_webhook::id::{EgressPoolId, Uid};
use outrider_webhook::retry::{Failure, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Barrier;
use tokio::time::Instant;

use super::support::*;
use crate::egress::open::{Opener, Way};
use crate::egress::pool::{Connection, Key, Pool};
use crate::egress::source::{Source, Sources};
use crate::egress::vetting::Judged;
use crate::egress::{Caller, Egress, Exchange, Leave, gate, open, pool};

const ANSWERED: Outcome = Outcome::Answered { status: 200 };

/// A receiver that notes whom it was called by, and answers when so many are there.
pub(super) async fn noting(at_once: usize) -> (Receiver, Arc<Mutex<Vec<IpAddr>>>) {
    let callers = Arc::new(Mutex::new(Vec::new()));
    let (noted, barrier) = (Arc::clone(&callers), Arc::new(Barrier::new(at_once)));
    let receiver = Receiver::start(move |_, mut stream| {
        noted.lock().unwrap().push(stream.peer_addr().unwrap().ip());
        let barrier = Arc::clone(&barrier);
        async move {
            while read_request(&mut stream).await.is_some() {
                barrier.wait().await;
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    });
    (receiver.await, callers)
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

pub(super) fn pool_of(
    name: &str,
    selection: PoolSelection,
    addresses: &[(IpAddr, AddressState)],
) -> Arc<EgressPool> {
    made(name, selection, addresses, None)
}

fn active(name: &str, last: impl IntoIterator<Item = u8>) -> Arc<EgressPool> {
    let addresses: Vec<_> = last
        .into_iter()
        .map(|last| (ip(last), AddressState::Active))
        .collect();
    pool_of(name, PoolSelection::LeastConnections, &addresses)
}

pub(super) fn leave(pool: &Arc<EgressPool>) -> Leave {
    leave_as(pool, 1)
}

fn leave_as(pool: &Arc<EgressPool>, endpoint: u128) -> Leave {
    Leave::Pool {
        pool: Arc::clone(pool),
        fallback: None,
        caller: Caller {
            project: Uid::from_bits(1),
            endpoint: Some(Uid::from_bits(endpoint)),
        },
        only: None,
    }
}

pub(super) async fn send_from(egress: &Egress, url: &str, leave: Leave) -> Exchange {
    let terms = Terms::new(LONG, EXCERPT).leaving(leave);
    egress.send(&project(1), request(url), terms).await
}

fn from(exchange: &Exchange) -> IpAddr {
    assert_eq!(exchange.outcome, ANSWERED, "{:?}", exchange.detail);
    exchange.local.unwrap().ip()
}

#[tokio::test]
async fn nothing_leaves_for_a_pool_that_is_not_known() {
    let (receiver, callers) = noting(1).await;
    let leave = Leave::Missing("gone".into());
    let exchange = send_from(&egress(), &receiver.url(), leave).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::NoHealthySource));
    assert!(exchange.detail.unwrap().contains("`gone`"));
    assert_eq!(callers.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn nothing_leaves_from_an_address_that_is_not_here_or_not_active() {
    let (receiver, callers) = noting(1).await;
    let egress = egress();
    let elsewhere = "203.0.113.7".parse().unwrap();
    for (address, state) in [
        (elsewhere, AddressState::Active),
        (ip(2), AddressState::Warming),
        (ip(2), AddressState::Draining),
        (ip(2), AddressState::Down),
        (ip(2), AddressState::Retired),
    ] {
        let pool = pool_of("p", PoolSelection::Sticky, &[(address, state)]);
        let exchange = send_from(&egress, &receiver.url(), leave(&pool)).await;
        let expected = Outcome::Failed(Failure::NoHealthySource);
        assert_eq!(exchange.outcome, expected, "{address} {state:?}");
    }
    assert_eq!(callers.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_family_that_the_pool_does_not_have_is_not_called() {
    let (receiver, callers) = noting(1).await;
    let v6 = [("2001:db8::1".parse().unwrap(), AddressState::Active)];
    let pool = pool_of("p", PoolSelection::LeastConnections, &v6);
    let exchange = send_from(&egress(), &receiver.url(), leave(&pool)).await;
    let expected = Outcome::Failed(Failure::ConnectUnreachable);
    assert_eq!(exchange.outcome, expected);
    assert_eq!(callers.lock().unwrap().len(), 0);
}

#[test]
fn both_families_are_among_those_that_are_tried() {
    let sources = Sources::new(crate::metrics::EgressMetrics::new().unwrap());
    let keys = |v4: u8, v6: u8| {
        let v4 = (0..v4).map(|last| key(([198, 51, 100, last], 443).into()));
        let v6 = (0..v6).map(|last| {
            let address = format!("[2001:db8::{last:x}]:443");
            key(address.parse().unwrap())
        });
        v4.chain(v6).collect::<Vec<_>>()
    };
    for (v4, v6, expected) in [
        (16, 16, [8, 8]),
        (16, 1, [15, 1]),
        (2, 16, [2, 14]),
        (1, 2, [1, 2]),
    ] {
        let left = sources.leave(&Leave::HostRoute, keys(v4, v6)).unwrap();
        assert!(left[0].address.is_ipv4());
        let count = |is_ipv4| {
            left.iter()
                .filter(|key| key.address.is_ipv4() == is_ipv4)
                .count()
        };
        assert_eq!([count(true), count(false)], expected);
    }
}

#[tokio::test]
async fn an_address_that_is_not_here_is_left_for_the_next() {
    let (receiver, callers) = noting(1).await;
    let egress = egress();
    let addresses: Vec<_> = (1..=20)
        .map(|last| IpAddr::from([203, 0, 113, last]))
        .chain([ip(5)])
        .map(|address| (address, AddressState::Active))
        .collect();
    let pool = pool_of("p", PoolSelection::LeastConnections, &addresses);
    assert_eq!(
        from(&send_from(&egress, &receiver.url(), leave(&pool)).await),
        ip(5)
    );
    egress.close_idle();
    // Known by now: they are not even tried.
    assert_eq!(
        from(&send_from(&egress, &receiver.url(), leave(&pool)).await),
        ip(5)
    );
    assert_eq!(*callers.lock().unwrap(), [ip(5), ip(5)]);
}

/// What the kernel says then is also what it says of an address that has just gone.
#[tokio::test]
async fn a_destination_without_a_way_there_takes_no_address_down() {
    let sources = Sources::new(crate::metrics::EgressMetrics::new().unwrap());
    let (pool, nowhere) = (active("p", [2, 3]), "198.51.100.1:443".parse().unwrap());
    for _ in 0..3 {
        let keys = sources.leave(&leave(&pool), vec![key(nowhere)]).unwrap();
        let Source::Pool(leaving) = &keys[0].source else {
            panic!("{keys:?}");
        };
        let until = tokio::time::Instant::now() + LONG;
        let Err(fault) = sources.connect(leaving, nowhere, until).await else {
            panic!("connected");
        };
        assert_eq!(fault.failure, Failure::ConnectUnreachable);
    }
}

#[tokio::test]
async fn connections_are_spread_over_the_pool() {
    let (receiver, callers) = noting(16).await;
    let egress = egress();
    let pool = active("p", 2..=9);
    let url = receiver.url();
    let all = (0..16).map(|_| send_from(&egress, &url, leave(&pool)));
    for exchange in futures_util::future::join_all(all).await {
        assert!((2..=9).map(ip).any(|one| one == from(&exchange)));
    }
    let mut counts = BTreeMap::new();
    for caller in callers.lock().unwrap().iter() {
        *counts.entry(*caller).or_insert(0) += 1;
    }
    let expected: BTreeMap<_, _> = (2..=9).map(|last| (ip(last), 2)).collect();
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn pools_share_no_connection_also_of_one_project() {
    let (receiver, callers) = noting(1).await;
    let egress = egress();
    let (one, other) = (active("one", 2..=3), active("other", 4..=5));
    for round in 0..10 {
        for (pool, own) in [(&one, [2, 3]), (&other, [4, 5])] {
            let exchange = send_from(&egress, &receiver.url(), leave(pool)).await;
            assert!(own.map(ip).contains(&from(&exchange)));
            assert_eq!(exchange.timing.is_reused, round > 0);
        }
        let exchange = send_from(&egress, &receiver.url(), Leave::HostRoute).await;
        assert_eq!(from(&exchange), ip(1));
    }
    assert_eq!(callers.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn an_open_connection_from_an_address_that_is_not_active_is_not_used() {
    let (receiver, _) = noting(1).await;
    let egress = egress();
    let before = active("p", [2]);
    assert_eq!(
        from(&send_from(&egress, &receiver.url(), leave(&before)).await),
        ip(2)
    );
    let addresses = [
        (ip(2), AddressState::Draining),
        (ip(3), AddressState::Active),
    ];
    let after = pool_of("p", PoolSelection::LeastConnections, &addresses);
    for is_reused in [false, true] {
        let exchange = send_from(&egress, &receiver.url(), leave(&after)).await;
        assert_eq!(
            (from(&exchange), exchange.timing.is_reused),
            (ip(3), is_reused)
        );
    }
}

#[tokio::test]
async fn an_endpoint_keeps_its_address_under_sticky() {
    let (receiver, callers) = noting(1).await;
    let egress = egress();
    let sticky = |last: std::ops::RangeInclusive<u8>| {
        let addresses: Vec<_> = last.map(|last| (ip(last), AddressState::Active)).collect();
        pool_of("p", PoolSelection::Sticky, &addresses)
    };
    let all = sticky(2..=9);
    let mut homes = BTreeMap::new();
    for _ in 0..2 {
        for endpoint in 0..40_u128 {
            let exchange = send_from(&egress, &receiver.url(), leave_as(&all, endpoint)).await;
            let home = *homes.entry(endpoint).or_insert(from(&exchange));
            assert_eq!(from(&exchange), home);
        }
    }
    let used: BTreeSet<_> = homes.values().copied().collect();
    assert_eq!(used.len(), 8, "{used:?}");
    assert_eq!(
        callers.lock().unwrap().len(),
        8,
        "endpoints of one address share connections"
    );
    let fewer = sticky(2..=8);
    for (endpoint, home) in homes {
        let exchange = send_from(&egress, &receiver.url(), leave_as(&fewer, endpoint)).await;
        if home == ip(9) {
            assert_ne!(from(&exchange), home);
        } else {
            assert_eq!(from(&exchange), home);
        }
    }
}

#[tokio::test]
async fn another_pool_is_used_only_while_the_first_has_nothing() {
    let (receiver, _) = noting(1).await;
    let egress = egress();
    let (other, good) = (active("other", [3]), active("p", [2]));
    let gone = pool_of("p", PoolSelection::Sticky, &[(ip(2), AddressState::Down)]);
    for (pool, expected) in [(&good, 2), (&gone, 3), (&good, 2)] {
        let leave = Leave::Pool {
            pool: Arc::clone(pool),
            fallback: Some(Arc::clone(&other)),
            caller: Caller {
                project: Uid::from_bits(1),
                endpoint: None,
            },
            only: None,
        };
        assert_eq!(
            from(&send_from(&egress, &receiver.url(), leave).await),
            ip(expected)
        );
    }
}

#[tokio::test]
async fn a_pool_has_no_more_connections_than_it_may() {
    let (one, two) = (noting(1).await.0, noting(1).await.0);
    let egress = egress();
    let addresses = [(ip(2), AddressState::Active), (ip(3), AddressState::Active)];
    let pool = made("p", PoolSelection::LeastConnections, &addresses, Some(1));
    for receiver in [&one, &two, &one] {
        let exchange = send_from(&egress, &receiver.url(), leave(&pool)).await;
        assert_eq!(exchange.outcome, ANSWERED);
        assert_eq!(egress.stats().open, 1, "the idle one gave way");
    }
    // Those of nobody's pool are not counted.
    send_from(&egress, &one.url(), Leave::HostRoute).await;
    assert_eq!(egress.stats().open, 2);
}

pub(super) fn key(address: SocketAddr) -> Key {
    Key {
        project: project(1).id,
        source: Source::HostRoute,
        address,
        through: None,
        tls: None,
        server_name: "a.example.com".into(),
        policy_version: Judged::default(),
    }
}

/// A listener that takes no connection: its queue is full, so the kernel answers to nothing.
async fn silent() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queued.push(connected.unwrap());
    }
    (listener, address, queued)
}

#[tokio::test]
async fn a_family_that_does_not_answer_is_not_waited_for() {
    let Ok(v6) = TcpListener::bind("[::1]:0").await else {
        return; // a host without IPv6
    };
    let (_listener, silent, _queued) = silent().await;
    let caps = gate::Caps {
        per_project: 10,
        per_destination: 10,
        total: 10,
    };
    let limits = open::Limits {
        connect: LONG,
        connect_total: LONG,
        tls: LONG,
    };
    let metrics = crate::metrics::EgressMetrics::new().unwrap();
    let gate = gate::Gate::new(caps);
    let opener = Opener::new(limits, Arc::clone(&gate), Arc::new(Sources::new(metrics)));
    let idle = Pool::<Connection>::new(pool::Bounds {
        idle_timeout: LONG,
        age_max: LONG,
        per_key_max: 1,
        total_max: 1,
    });
    let alive = v6.local_addr().unwrap();
    let keys = vec![key(silent), key(alive)];
    let opening = opener.first(
        keys,
        &idle,
        opener.limits.until(None, Instant::now() + LONG, false),
    );
    let opened = tokio::time::timeout(LONG / 2, opening).await.unwrap();
    let Ok((key, Way::New(opened))) = opened else {
        panic!("not opened");
    };
    assert_eq!((key.address, opened.remote), (alive, alive));
    assert_eq!(gate.open(), 1, "the other one was given up");
}

fn made(
    name: &str,
    selection: PoolSelection,
    addresses: &[(IpAddr, AddressState)],
    max_connections: Option<u64>,
) -> Arc<EgressPool> {
    let addresses = addresses.iter().map(|(address, state)| PoolAddressSpec {
        address: Some(address.to_string()),
        state: Some(state.as_str().to_owned()),
        effective_at: None,
        retired_at: Some("2026-01-01T00:00:00Z".to_owned()),
    });
    let spec = EgressPoolSpec {
        name: Some(name.to_owned()),
        selection: Some(selection.as_str().to_owned()),
        addresses: Some(addresses.collect()),
        max_connections,
        ..EgressPoolSpec::default()
    };
    let id = EgressPoolId::new(Uid::from_bits(1));
    Arc::new(EgressPool::compile(id, 1, &spec).unwrap())
}
