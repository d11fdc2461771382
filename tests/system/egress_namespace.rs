//! Source addresses that go and ports that end, in a network namespace of the test's own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::egress_sources::{make_pool, make_project};
use super::harness::{DEADLINE, Fault, Outrider, Received, Receiver, Setup, is_inside, run, until};

const ADDRESSES: [&str; 2] = ["10.77.0.2", "10.77.0.3"];

/// An address that disappears is left within a second, on a machine that has a moment for it.
const LEFT_WITHIN: Duration = Duration::seconds(10);

fn add(address: &str) {
    run(
        "ip",
        &["addr", "add", &format!("{address}/32"), "dev", "lo"],
    );
}

fn remove(address: &str) {
    run(
        "ip",
        &["addr", "del", &format!("{address}/32"), "dev", "lo"],
    );
}

fn pool() -> Vec<IpAddr> {
    ADDRESSES.map(|address| address.parse().unwrap()).to_vec()
}

/// When the log says this of an address, by the product's clock.
fn told_at(outrider: &Outrider, what: &str, source: &str) -> OffsetDateTime {
    let log = outrider.stderr();
    let mut lines = log.lines();
    let line = lines.find(|line| line.contains(what) && line.contains(source));
    let line = line.unwrap_or_else(|| panic!("no `{what}`: {log}"));
    let line: Value = serde_json::from_str(line).unwrap();
    OffsetDateTime::parse(line["timestamp"].as_str().unwrap(), &Rfc3339).unwrap()
}

async fn state_is(outrider: &Outrider, source: &str, state: &str) {
    let (source, state) = (
        format!("source_ip=\"{source}\""),
        format!("state=\"{state}\""),
    );
    let labels = [&source[..], &state];
    let metric = "outrider_egress_source_state";
    outrider
        .wait_for_metric(metric, &labels, 1.0, DEADLINE)
        .await;
}

fn from(received: &[Received]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for one in received {
        *counts.entry(one.peer.ip().to_string()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn an_address_that_disappears_is_left_and_used_again_when_it_is_back() {
    let name = "an_address_that_disappears_is_left_and_used_again_when_it_is_back";
    if !is_inside(&format!("{}::{name}", module_path!())) {
        return;
    }
    ADDRESSES.into_iter().for_each(add);
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    make_pool(&mut admin, "eu", &pool(), json!({"selection": "sticky"})).await;
    let mut project = make_project(&mut admin, "shop", Some("eu")).await;
    let mut endpoints = Vec::new();
    for number in 0..16 {
        let (name, url) = (format!("e{number}"), receiver.url(&format!("/{number}")));
        endpoints.push(project.make_endpoint(&name, &url, &json!({})).await);
    }
    for address in ADDRESSES {
        state_is(&outrider, address, "active").await;
    }
    let mut expected = 0;
    let mut send_all = async || {
        for endpoint in &endpoints {
            project.publish(endpoint, "a", &json!(1)).await;
        }
        let before = expected;
        expected += endpoints.len();
        from(&receiver.wait_for(expected, DEADLINE).await[before..])
    };
    let shares = send_all().await;
    assert_eq!(shares.len(), 2, "{shares:?}");

    #[expect(
        clippy::disallowed_methods,
        reason = "compared with the wall clock of the log"
    )]
    let gone = OffsetDateTime::now_utc();
    remove(ADDRESSES[0]);
    state_is(&outrider, ADDRESSES[0], "down").await;
    let took = told_at(&outrider, "egress source down", ADDRESSES[0]) - gone;
    assert!(took < LEFT_WITHIN, "{took}");
    let left = send_all().await;
    assert_eq!(left.keys().collect::<Vec<_>>(), [ADDRESSES[1]]);

    add(ADDRESSES[0]);
    state_is(&outrider, ADDRESSES[0], "active").await;
    assert_eq!(send_all().await, shares, "each endpoint is where it was");
    assert!(outrider.stderr().contains("egress source up"));
}

#[tokio::test]
async fn used_up_ports_are_an_error_of_ours_and_never_another_address() {
    let name = "used_up_ports_are_an_error_of_ours_and_never_another_address";
    if !is_inside(&format!("{}::{name}", module_path!())) {
        return;
    }
    ADDRESSES.into_iter().for_each(add);
    let stalling = Receiver::with(|_| Fault::Stall).await;
    let other = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    make_pool(&mut admin, "eu", &pool(), json!({})).await;
    let mut project = make_project(&mut admin, "shop", Some("eu")).await;
    let mut endpoints = Vec::new();
    let long = json!({"http_timeout": 60});
    for number in 0..4 {
        let (name, url) = (format!("e{number}"), stalling.url(&format!("/{number}")));
        endpoints.push(project.make_endpoint(&name, &url, &long).await);
    }
    let beside = project
        .make_endpoint("beside", &other.url("/"), &json!({}))
        .await;
    // Ten ports for each of two addresses; 48 events want a connection each.
    let ports = |range| {
        run(
            "sysctl",
            &["-qw", &format!("net.ipv4.ip_local_port_range={range}")],
        )
    };
    ports("40000 40009");
    for number in 0..12 {
        for endpoint in &endpoints {
            project.publish(endpoint, "a", &json!(number)).await;
        }
    }
    let all = "/eventdeliveries?perPage=100";
    let attempt = until("an attempt that found no port", DEADLINE, async || {
        for delivery in project.rows(all).await {
            let uid = delivery["uid"].as_str().unwrap();
            let path = format!("/eventdeliveries/{uid}/deliveryattempts");
            let attempts = project.get(&path).await.data(200);
            let found = attempts.as_array().unwrap().iter();
            let mut found = found.filter(|one| one["error_class"] == "port_exhausted");
            if let Some(attempt) = found.next() {
                return Some(attempt.clone());
            }
        }
        None
    })
    .await;
    assert_eq!(attempt["counts"], false, "{attempt}");
    let counts = from(&stalling.wait_for(20, DEADLINE).await);
    let expected = ADDRESSES.map(|address| (address.to_owned(), 10));
    assert_eq!(counts, BTreeMap::from(expected));
    // The ports are used up for that destination alone.
    let event = project.publish(&beside, "a", &json!(1)).await;
    project.delivery(&event, "Success").await;
    let peer = other.received()[0].peer;
    let of_stalling = stalling.received();
    let is_shared = of_stalling.iter().any(|one| one.peer == peer);
    assert!(is_shared, "{peer} is a port that no other connection has");
    ports("32768 60999"); // each look at figures takes one
    let exhausted = "outrider_egress_port_exhausted_total";
    assert!(outrider.metric(exhausted, &[]).await >= 1.0);
    let ratio = "outrider_egress_ports_in_use_ratio";
    outrider
        .wait_for_metric(ratio, &[ADDRESSES[0]], f64::MIN_POSITIVE, DEADLINE)
        .await;
}
