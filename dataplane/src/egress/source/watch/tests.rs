//! Watching over addresses of loopback, round by round.

use std::cell::Cell;

use outrider_config::resource::{EgressPoolSpec, PoolAddressSpec};
use outrider_webhook::id::{EgressPoolId, ProjectId, Uid};
use outrider_webhook::retry::Failure;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use super::super::choice::Standing;
use super::super::{Caller, Leave, Source};
use super::*;
use crate::egress::pool::Key;
use crate::egress::vetting::Judged;
use crate::metrics::EgressMetrics;

fn sources() -> Sources {
    Sources::new(EgressMetrics::new().unwrap())
}

fn pool(addresses: &[IpAddr]) -> Arc<EgressPool> {
    pool_called("p", addresses)
}

fn pool_called(name: &str, addresses: &[IpAddr]) -> Arc<EgressPool> {
    let addresses = addresses.iter().map(|address| PoolAddressSpec {
        address: Some(address.to_string()),
        ..PoolAddressSpec::default()
    });
    let spec = EgressPoolSpec {
        name: Some(name.to_owned()),
        addresses: Some(addresses.collect()),
        ..EgressPoolSpec::default()
    };
    let id = EgressPoolId::new(Uid::from_bits(1));
    Arc::new(EgressPool::compile(id, 1, &spec).unwrap())
}

/// Connects to 40 destinations, of which the first few did not answer.
fn tried(sources: &Sources, source: IpAddr, silent: u8) {
    let mut known = sources.lock();
    let window = &mut known.entry(source).or_default().window;
    for last in 0..40 {
        let destination = IpAddr::from([198, 51, 100, last]);
        window.note(destination, last >= silent, Instant::now());
    }
}

fn standing(sources: &Sources, source: IpAddr) -> Standing {
    sources.lock()[&source].health.standing(Instant::now())
}

#[tokio::test(start_paused = true)]
async fn only_who_reaches_less_than_its_neighbours_is_suspect() {
    let [one, other] = [2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
    let pools = [pool(&[one, other])];
    for (silent, expected) in [
        ([9, 3], [Standing::Good, Standing::Good]), // exactly three times
        ([10, 3], [Standing::Suspect, Standing::Good]),
        ([40, 40], [Standing::Good, Standing::Good]), // the network, or the receivers
        ([0, 40], [Standing::Good, Standing::Suspect]),
    ] {
        let sources = sources();
        tried(&sources, one, silent[0]);
        tried(&sources, other, silent[1]);
        sources.compare(&pools);
        let found = [one, other].map(|source| standing(&sources, source));
        assert_eq!(found, expected, "{silent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_reflector_is_enough_and_what_could_not_be_tried_says_nothing() {
    let source = IpAddr::from([127, 0, 0, 2]);
    let sources = sources();
    sources.looked(source, true, "");
    let rounds = |reflections: fn() -> Vec<Reflection>| {
        for _ in 0..5 {
            let reflections = reflections();
            sources.reflected(&Round {
                source,
                reflections,
            });
        }
        standing(&sources, source)
    };
    assert_eq!(rounds(|| vec![Reflection::Untried; 2]), Standing::Good);
    assert_eq!(rounds(Vec::new), Standing::Good);
    let alone = rounds(|| vec![Reflection::Missed, Reflection::Untried]);
    assert_eq!(alone, Standing::Good);
    let one = rounds(|| vec![Reflection::Missed, Reflection::Reached { seen: None }]);
    assert_eq!(one, Standing::Good);
    assert_eq!(rounds(|| vec![Reflection::Missed; 2]), Standing::Down);
    assert_eq!(
        rounds(|| vec![Reflection::Reached { seen: None }]),
        Standing::Good
    );
    let other = || Reflection::Reached {
        seen: Some(IpAddr::from([192, 0, 2, 1])),
    };
    sources.reflected(&Round {
        source,
        reflections: vec![other()],
    });
    assert!(sources.lock()[&source].mistaken_for.is_some());
    assert_eq!(standing(&sources, source), Standing::Good, "told, and used");
}

/// Asks for a way to `destination`. `None`: there is one.
fn ask(
    sources: &Sources,
    pools: (&Arc<EgressPool>, Option<&Arc<EgressPool>>),
    destination: &str,
) -> Option<Failure> {
    let leave = Leave::Pool {
        pool: Arc::clone(pools.0),
        fallback: pools.1.cloned(),
        caller: Caller {
            project: Uid::from_bits(1),
            endpoint: None,
        },
        only: None,
    };
    let key = Key {
        project: ProjectId::new(Uid::from_bits(1)),
        source: Source::HostRoute,
        address: destination.parse().unwrap(),
        through: None,
        tls: None,
        server_name: "a.example.com".into(),
        policy_version: Judged::default(),
    };
    let asked = sources.leave(&leave, vec![key]);
    asked.err().map(|fault| fault.failure)
}

/// Reflectors of two kinds, for as long as this is kept.
struct Reflectors {
    alive: Vec<Reflector>,
    dead: Vec<Reflector>,
    taking: JoinHandle<()>,
    /// Nobody else gets the ports of those that are dead.
    _kept: [TcpSocket; 2],
}

impl Reflectors {
    fn start() -> Self {
        let kept: [TcpSocket; 4] = std::array::from_fn(|_| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            socket
        });
        let at = |socket: &TcpSocket| Reflector::At(socket.local_addr().unwrap());
        let [one, two, kept @ ..] = kept;
        let (alive, dead) = ([&one, &two].map(at), kept.each_ref().map(at));
        let [one, two] = [one, two].map(|socket| socket.listen(64).unwrap());
        let taking = tokio::spawn(async move {
            loop {
                // Taken and closed: nothing is said.
                tokio::select! {
                    taken = one.accept() => drop(taken),
                    taken = two.accept() => drop(taken),
                }
            }
        });
        Self {
            alive: alive.to_vec(),
            dead: dead.to_vec(),
            taking,
            _kept: kept,
        }
    }
}

impl Drop for Reflectors {
    fn drop(&mut self) {
        self.taking.abort();
    }
}

/// A round as it is made every ten seconds. Whether one was due.
async fn round_on(sources: &Sources, pools: &[Arc<EgressPool>], reflectors: &[Reflector]) -> bool {
    let nobody = "127.0.0.1:9".parse().unwrap(); // reflectors with addresses are not looked up
    let resolver = Resolver::new(
        &[nobody],
        Duration::from_secs(1),
        EgressMetrics::new().unwrap(),
    )
    .unwrap();
    let used = sources.used(pools);
    let is_due = !used.is_empty();
    let rounds = round(used, reflectors, &resolver).await;
    rounds.iter().for_each(|round| sources.reflected(round));
    is_due
}

/// So long that nobody counts as having asked.
async fn nobody_asks() {
    tokio::time::pause();
    tokio::time::advance(UNUSED_AFTER + Duration::from_secs(1)).await;
    tokio::time::resume(); // connections are made in real time
}

#[tokio::test]
async fn what_reflectors_took_down_comes_back_however_long_nobody_asked() {
    let reflectors = Reflectors::start();
    let (alive, dead) = (&reflectors.alive, &reflectors.dead);
    let source = IpAddr::from([127, 0, 0, 2]);
    let (sources, pools) = (sources(), [pool(&[source])]);
    let asked = || ask(&sources, (&pools[0], None), "198.51.100.1:443");
    sources.look(&pools);
    assert!(!round_on(&sources, &pools, dead).await, "nobody asked yet");
    assert_eq!(asked(), None);
    for _ in 0..10 {
        assert!(round_on(&sources, &pools, alive).await);
        assert_eq!(standing(&sources, source), Standing::Good);
    }
    for expected in [Standing::Good, Standing::Good, Standing::Down] {
        assert!(round_on(&sources, &pools, dead).await);
        assert_eq!(standing(&sources, source), expected);
    }
    assert_eq!(asked(), Some(Failure::NoHealthySource));
    nobody_asks().await;
    for expected in [Standing::Down; 4].into_iter().chain([Standing::Good]) {
        assert!(round_on(&sources, &pools, alive).await, "still due");
        assert_eq!(standing(&sources, source), expected);
    }
    assert!(!round_on(&sources, &pools, alive).await, "up, and unused");
    assert_eq!(asked(), None);
}

#[test]
fn a_pool_is_looked_after_when_it_is_asked_and_not_when_it_is_used() {
    let [own, other] = [2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
    let pools = [pool(&[own]), pool_called("other", &[other])];
    let (v4, v6) = ("198.51.100.1:443", "[2001:db8::1]:443");
    for (fallback, destination, failure, expected) in [
        (None, v4, None, &[own][..]),
        (None, v6, Some(Failure::ConnectUnreachable), &[own]),
        (Some(&pools[1]), v4, None, &[own, other]),
    ] {
        let sources = sources();
        sources.look(&pools);
        assert!(sources.used(&pools).is_empty());
        let found = ask(&sources, (&pools[0], fallback), destination);
        assert_eq!(found, failure, "{destination}");
        assert_eq!(sources.used(&pools), expected, "{destination}");
    }
}

/// One of the two that are asked for has no address of the family, or has four that are missed.
#[tokio::test]
async fn one_reflector_alone_takes_nothing_down_and_takes_down_back() {
    let [v4, v6] = ["127.0.0.2", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
    let (sources, of_v6) = (sources(), "[::1]:443".parse().unwrap());
    let places: Vec<SocketAddr> = (1..=4).map(|port| ([127, 0, 0, 1], port).into()).collect();
    let rounds = async |places: &[Vec<SocketAddr>], reflection: Reflection| {
        for _ in 0..5 {
            let rounds = try_all(&[v4], places, async |_, _| reflection.clone()).await;
            rounds.iter().for_each(|round| sources.reflected(round));
        }
        standing(&sources, v4)
    };
    sources.looked(v4, true, "");
    let (alone, both) = (
        [places.clone(), vec![of_v6]],
        [places.clone(), vec![places[0], of_v6]],
    );
    assert_eq!(rounds(&alone, Reflection::Missed).await, Standing::Good);
    assert_eq!(rounds(&both, Reflection::Missed).await, Standing::Down);
    let reached = Reflection::Reached { seen: None };
    assert_eq!(rounds(&alone, reached).await, Standing::Good);
    let missed = async |_, to: SocketAddr| {
        assert!(to.is_ipv6());
        Reflection::Missed
    };
    let found = try_all(&[v6], &both, missed).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].reflections, [Reflection::Missed]);
}

#[tokio::test]
async fn a_round_has_no_more_sockets_than_it_may() {
    let used: Vec<IpAddr> = (0..=255).map(|last| [127, 0, 0, last].into()).collect();
    let places: Vec<Vec<SocketAddr>> = (1..=8)
        .map(|port| {
            (0..9)
                .map(|last| ([127, 0, 1, last], port).into())
                .collect()
        })
        .collect();
    let (open, most, all) = (Cell::new(0_usize), Cell::new(0_usize), Cell::new(0_usize));
    let rounds = try_all(&used, &places, async |_, _| {
        open.set(open.get() + 1);
        all.set(all.get() + 1);
        most.set(most.get().max(open.get()));
        tokio::task::yield_now().await;
        open.set(open.get() - 1);
        Reflection::Missed
    });
    let rounds = rounds.await;
    assert_eq!(most.get(), SOCKETS_MAX);
    assert_eq!(all.get(), 256 * 8 * PLACES_MAX);
    assert_eq!(rounds.len(), 256);
    assert!(rounds.iter().all(|round| round.reflections.len() == 8));
}
