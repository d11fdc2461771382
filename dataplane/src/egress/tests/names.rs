//! Names, against a name server of our own on loopback.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{Name, RData, Record};
use outrider_config::snapshot::{AddressState, PoolSelection};
use outrider_webhook::retry::{Failure, Outcome};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::sources::{leave, pool_of, send_from};
use super::support::*;
use crate::egress::resolve::{ResolveError, Resolver};
use crate::egress::{Egress, Settings};
use crate::metrics::EgressMetrics;

/// Name (with its final dot) to records; a missing name does not exist.
type Zone = HashMap<&'static str, Vec<RData>>;

struct NameServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl NameServer {
    async fn start(zone: Zone) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = [0_u8; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let answer = answer(&zone, &question).to_vec().unwrap();
                socket.send_to(&answer, peer).await.unwrap();
            }
        });
        Self { address, task }
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(
            &[self.address],
            Duration::from_secs(5),
            EgressMetrics::new().unwrap(),
        )
        .unwrap()
    }

    fn settings(&self) -> Settings {
        let mut settings = settings();
        settings.name_servers = vec![self.address];
        settings
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(zone: &Zone, question: &Message) -> Message {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    let query = question.queries[0].clone();
    let kind = query.query_type();
    let mut name = query.name().clone();
    answer.add_query(query);
    loop {
        let Some(records) = zone.get(name.to_string().as_str()) else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            return answer;
        };
        let mut alias = None;
        for record in records {
            if let RData::CNAME(CNAME(target)) = record {
                alias = Some(target.clone());
            } else if record.record_type() != kind {
                continue;
            }
            answer.add_answer(Record::from_rdata(name.clone(), 60, record.clone()));
        }
        match alias {
            Some(target) => name = target,
            None => return answer,
        }
    }
}

fn v4(text: &str) -> RData {
    RData::A(A(text.parse().unwrap()))
}

fn v6(text: &str) -> RData {
    RData::AAAA(AAAA(text.parse().unwrap()))
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn an_unknown_name_is_a_dns_failure_that_is_remembered() {
    let server = NameServer::start(Zone::new()).await;
    let egress = Egress::new(server.settings()).unwrap();
    for _ in 0..3 {
        let exchange = send(&egress, "http://gone.example.com/").await;
        assert_eq!(exchange.outcome, Outcome::Failed(Failure::DnsFailure));
    }
    assert_eq!(egress.stats().dns_lookups, 1);
}

#[tokio::test]
async fn a_name_without_addresses_is_not_found() {
    let alias = RData::CNAME(CNAME(Name::from_ascii("gone.example.com.").unwrap()));
    let server = NameServer::start(Zone::from([
        ("empty.example.com.", vec![]),
        ("dangling.example.com.", vec![alias]),
    ]))
    .await;
    let resolver = server.resolver();
    for name in [
        "empty.example.com",
        "dangling.example.com",
        "-bad-",
        "a..b",
        "",
    ] {
        let answers = resolver.lookup(name).await;
        assert_eq!(answers.addresses, Err(ResolveError::NotFound), "{name}");
    }
}

#[tokio::test]
async fn a_silent_name_server_is_a_dns_failure_within_the_attempts_time() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut settings = settings();
    settings.name_servers = vec![socket.local_addr().unwrap()];
    let egress = Egress::new(settings).unwrap();
    let request = request("http://slow.example.com/");
    let exchange = egress
        .send(&project(1), request, Terms::new(SHORT, EXCERPT))
        .await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::DnsFailure));
    assert!(Duration::from_micros(exchange.timing.dns_us) >= SHORT);
}

#[tokio::test]
async fn a_silent_name_server_ends_at_the_limit_of_the_lookup() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let resolver = Resolver::new(
        &[socket.local_addr().unwrap()],
        SHORT,
        EgressMetrics::new().unwrap(),
    )
    .unwrap();
    let answers = resolver.lookup("slow.example.com").await;
    assert_eq!(answers.addresses, Err(ResolveError::Timeout));
}

#[tokio::test]
async fn one_refused_address_among_the_answers_refuses_all() {
    let receiver = Receiver::answering(OK).await;
    for bad in [v4("10.0.0.1"), v6("::1")] {
        let records = vec![v4("127.0.0.1"), bad];
        let server = NameServer::start(Zone::from([("mixed.example.com.", records)])).await;
        let egress = Egress::new(server.settings()).unwrap();
        let url = format!("http://mixed.example.com:{}/", receiver.address.port());
        let exchange = send(&egress, &url).await;
        assert_eq!(
            exchange.outcome,
            Outcome::Failed(Failure::EgressDenied { literal: false })
        );
    }
    assert_eq!(receiver.accepted(), 0);
}

#[tokio::test]
async fn all_addresses_of_both_families_are_found_through_aliases() {
    let alias = RData::CNAME(CNAME(Name::from_ascii("real.example.com.").unwrap()));
    let server = NameServer::start(Zone::from([
        ("alias.example.com.", vec![alias]),
        (
            "real.example.com.",
            vec![v6("2606:4700::1"), v4("192.0.2.1"), v4("192.0.2.2")],
        ),
        ("four.example.com.", vec![v4("192.0.2.3")]),
        ("six.example.com.", vec![v6("2606:4700::2")]),
    ]))
    .await;
    let resolver = server.resolver();
    for (name, expected) in [
        (
            "alias.example.com",
            ips(&["192.0.2.1", "192.0.2.2", "2606:4700::1"]),
        ),
        ("four.example.com", ips(&["192.0.2.3"])),
        ("six.example.com", ips(&["2606:4700::2"])),
    ] {
        assert_eq!(
            resolver.lookup(name).await.addresses,
            Ok(expected),
            "{name}"
        );
    }
    assert_eq!(resolver.lookups(), 3);
}

#[tokio::test]
async fn an_address_that_refuses_is_followed_by_the_next_one() {
    let receiver = Receiver::answering(OK).await;
    // Nobody listens on that port of 127.0.0.9.
    let records = vec![v4("127.0.0.9"), v4("127.0.0.1")];
    let server = NameServer::start(Zone::from([("two.example.com.", records)])).await;
    let egress = Egress::new(server.settings()).unwrap();
    let url = format!("http://two.example.com:{}/", receiver.address.port());
    let exchange = send(&egress, &url).await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 200 });
    assert_eq!(exchange.remote, Some(receiver.address));
    assert!(send(&egress, &url).await.timing.is_reused);
}

/// Which of the answers can be used is known by the pool. Its address is on no host, so that it
/// gets as far as an address that is not here.
#[tokio::test]
async fn many_answers_of_one_family_do_not_hide_those_of_the_other() {
    let mut records: Vec<_> = (1..=20)
        .map(|last| v4(&format!("127.0.1.{last}")))
        .collect();
    records.push(v6("2606:4700::1"));
    let server = NameServer::start(Zone::from([("many.example.com.", records)])).await;
    let egress = Egress::new(server.settings()).unwrap();
    let own = [("2001:db8::1".parse().unwrap(), AddressState::Active)];
    let pool = pool_of("p", PoolSelection::LeastConnections, &own);
    let exchange = send_from(&egress, "http://many.example.com/", leave(&pool)).await;
    let expected = Outcome::Failed(Failure::NoHealthySource);
    assert_eq!(exchange.outcome, expected, "{:?}", exchange.detail);
}

#[tokio::test]
async fn those_who_ask_at_once_share_one_lookup() {
    let server = NameServer::start(Zone::from([("one.example.com.", vec![v4("192.0.2.1")])])).await;
    let resolver = Arc::new(server.resolver());
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let resolver = Arc::clone(&resolver);
        asking.spawn(async move { resolver.lookup("one.example.com").await });
    }
    while let Some(answers) = asking.join_next().await {
        assert_eq!(answers.unwrap().addresses, Ok(ips(&["192.0.2.1"])));
    }
    assert_eq!(resolver.lookups(), 1);
}

#[tokio::test]
async fn a_lookup_that_is_given_up_does_not_block_the_next_one() {
    let server = NameServer::start(Zone::from([("one.example.com.", vec![v4("192.0.2.1")])])).await;
    let resolver = server.resolver();
    tokio::select! {
        biased;
        _ = resolver.lookup("one.example.com") => panic!("answered before it was asked"),
        () = std::future::ready(()) => {}
    }
    let answers = resolver.lookup("one.example.com").await;
    assert_eq!(answers.addresses, Ok(ips(&["192.0.2.1"])));
}
