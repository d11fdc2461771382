//! Names whose answers change between a look-up and the next: whatever they are, a connection goes
//! to an address that was checked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::super::harness::{DEADLINE, NameServer, Resources, Setup, is_inside, until};
use super::destination::Destination;
use super::support::{Answer, Proxy};
use super::vectors::own_all_addresses;

/// Look-ups that the name server is to be asked for, with each of two times to live.
const LOOKUPS: usize = 5_000;
/// Each is remembered for a second, so there are many names.
const NAMES: usize = 1_000;
const CLIENTS: usize = 32;
const PORTS: [u16; 2] = [80, 443];
/// Where nobody is sent.
const LAST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

const PUBLIC: [&str; 3] = [
    "93.184.215.14",
    "8.8.4.4",
    "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
];
const FORBIDDEN: [&str; 10] = [
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "::1",
    "::ffff:127.0.0.1",
    "fd00:ec2::254",
    "64:ff9b::7f00:1",
];

/// Public and forbidden answers by turns, alone and together, in all orders; each name begins
/// elsewhere.
fn answers(name: &str, number: usize) -> Option<Vec<IpAddr>> {
    let own: usize = name
        .split('.')
        .next()?
        .trim_start_matches('n')
        .parse()
        .ok()?;
    let turn = own + number;
    let one = |from: &[&str]| from[turn % from.len()].parse::<IpAddr>().unwrap();
    let (public, forbidden) = (one(&PUBLIC), one(&FORBIDDEN));
    Some(match turn % 4 {
        0 | 2 => vec![public],
        1 => vec![forbidden],
        _ if turn % 8 == 3 => vec![public, forbidden],
        _ => vec![forbidden, public],
    })
}

/// What clients were told.
#[derive(Default)]
struct Told {
    allowed: AtomicUsize,
    denied: AtomicUsize,
}

impl Told {
    fn note(&self, name: &str, answer: &Answer) {
        let count = match answer.error() {
            "" => {
                let ip = answer.header("x-outrider-dest-ip").unwrap();
                assert!(PUBLIC.contains(&ip), "{name}: {ip}");
                &self.allowed
            }
            "denied:address_denied" => &self.denied,
            "limit" => return, // of new connections in a second
            error => panic!("{name}: {error}"),
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// One name after the other, in both forms by turns, until there were enough look-ups.
async fn ask(proxy: Arc<Proxy>, names: Arc<NameServer>, told: Arc<Told>, client: usize) {
    let mut round = 0;
    while names.all_lookups() < LOOKUPS {
        for own in (client..NAMES).step_by(CLIENTS) {
            let name = format!("n{own}.example.com");
            let mut wire = proxy.connect().await;
            let answer = if (own / CLIENTS + round).is_multiple_of(2) {
                wire.write(format!("CONNECT {name}:443 HTTP/1.1\r\nHost: a\r\n\r\n"))
                    .await;
                Answer {
                    head: wire.head().await,
                    body: Vec::new(),
                }
            } else {
                let head =
                    format!("GET http://{name}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                wire.write(head).await;
                wire.answer().await
            };
            told.note(&name, &answer);
        }
        round += 1;
    }
}

/// Where the destination was reached, once it has seen a connection of the test's own on each port:
/// that comes behind all others.
async fn all_reached(destination: &Destination) -> Vec<SocketAddr> {
    let mut reached = destination.take_reached();
    for port in PORTS {
        let last = SocketAddr::new(LAST.into(), port);
        let _open = TcpStream::connect(last).await.unwrap();
        until("the last connection is seen", DEADLINE, async || {
            reached.extend(destination.take_reached());
            reached.contains(&last).then_some(())
        })
        .await;
    }
    reached.retain(|address| address.ip() != LAST);
    reached
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_change_their_addresses_lead_to_checked_ones_only() {
    let name = "names_that_change_their_addresses_lead_to_checked_ones_only";
    if !is_inside(&format!("{}::{name}", module_path!())) {
        return;
    }
    own_all_addresses();
    // On every address there is, the forbidden ones as well.
    let destination = Destination::everywhere(PORTS).await;
    for ttl_s in [0, 1] {
        let names = Arc::new(NameServer::start(ttl_s, answers).await);
        let (setting, servers) = names.setting();
        let setup = Setup::guarded(&Resources::outgoing(&[])).env(setting, &servers);
        let proxy = Arc::new(Proxy::of(setup, &[]).await);
        let told = Arc::new(Told::default());
        destination.take_reached();
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (proxy, names) = (Arc::clone(&proxy), Arc::clone(&names));
            clients.spawn(ask(proxy, names, Arc::clone(&told), client));
        }
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        let reached = all_reached(&destination).await;
        let is_public = |ip: &IpAddr| PUBLIC.contains(&&ip.to_string()[..]);
        let forbidden = reached.iter().map(|address| address.ip());
        let forbidden: Vec<IpAddr> = forbidden.filter(|ip| !is_public(ip)).collect();
        assert_eq!(
            forbidden,
            [] as [IpAddr; 0],
            "connections to unchecked addresses"
        );
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let (allowed, denied) = (count(&told.allowed), count(&told.denied));
        eprintln!(
            "ttl {ttl_s} s: {} look-ups, {allowed} allowed, {denied} denied, reached {} times, nowhere forbidden",
            names.all_lookups(),
            reached.len()
        );
        assert!(
            allowed > LOOKUPS / 10 && denied > LOOKUPS / 10,
            "{allowed}, {denied}"
        );
        assert!(reached.len() > LOOKUPS / 10);
    }
}
