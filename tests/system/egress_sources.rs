//! Which address deliveries come from, as their receivers see it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::harness::{Api, DEADLINE, Fault, Outrider, Received, Receiver, Setup, until};

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn loopback(last: impl IntoIterator<Item = u8>) -> Vec<IpAddr> {
    let all = last.into_iter();
    all.map(|last| IpAddr::from([127, 0, 0, last])).collect()
}

/// A new pool with these active addresses; its uid.
pub(super) async fn make_pool(
    admin: &mut Api,
    name: &str,
    addresses: &[IpAddr],
    more: Value,
) -> String {
    let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"address": ip})).collect();
    let mut body = json!({"name": name, "addresses": addresses});
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
    admin.post("/api/v1/egress-pools", &body).await.uid()
}

pub(super) async fn change_pool(admin: &mut Api, uid: &str, name: &str, addresses: Value) {
    let body = json!({"name": name, "addresses": addresses});
    let path = format!("/api/v1/egress-pools/{uid}");
    admin.put(&path, &body).await.data(202);
}

/// A new outgoing project that leaves from this pool, and tries each event twice.
pub(super) async fn make_project(admin: &mut Api, name: &str, pool: Option<&str>) -> Api {
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 2});
    let config = json!({"strategy": strategy});
    let mut body = json!({"name": name, "type": "outgoing", "config": config});
    if let Some(pool) = pool {
        body["egress_pool"] = pool.into();
    }
    let made = admin.post("/api/v1/projects", &body).await.data(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (uid, key) = (text(&made["project"]["uid"]), text(&made["api_key"]["key"]));
    admin.of_project_here(&uid, &key)
}

fn callers(received: &[Received]) -> BTreeSet<IpAddr> {
    received.iter().map(|one| one.peer.ip()).collect()
}

async fn attempts(project: &mut Api, event: &str, at_least: usize) -> Vec<Value> {
    let path = format!("/eventdeliveries?eventId={event}");
    until("the attempts are recorded", DEADLINE, async || {
        let delivery = project.rows(&path).await.pop()?;
        let uid = delivery["uid"].as_str().unwrap();
        let path = format!("/eventdeliveries/{uid}/deliveryattempts");
        let attempts = project.get(&path).await.data(200);
        let attempts = attempts.as_array().unwrap().clone();
        (attempts.len() >= at_least).then_some(attempts)
    })
    .await
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

#[tokio::test]
async fn an_address_that_is_not_on_the_host_is_never_used_and_the_delivery_waits() {
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let elsewhere = "203.0.113.77";
    let pool = make_pool(&mut admin, "far", &[ip(elsewhere)], json!({})).await;
    let mut project = make_project(&mut admin, "shop", Some("far")).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/"), &json!({}))
        .await;
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    // More than it may make, were they charged.
    for attempt in attempts(&mut project, &event, 4).await {
        assert_eq!(attempt["error_class"], "no_healthy_source", "{attempt}");
        assert_eq!(attempt["counts"], false);
        assert_eq!(attempt["source_address"], Value::Null);
    }
    assert_eq!((receiver.connections(), receiver.received().len()), (0, 0));
    state_is(&outrider, elsewhere, "elsewhere").await;
    let both = json!([{"address": elsewhere}, {"address": "127.0.0.7"}]);
    change_pool(&mut admin, &pool, "far", both).await;
    project.delivery(&event, "Success").await;
    assert_eq!(
        callers(&receiver.received()),
        BTreeSet::from([ip("127.0.0.7")])
    );
    state_is(&outrider, "127.0.0.7", "active").await;
}

#[tokio::test]
async fn deliveries_come_from_all_addresses_of_their_pool() {
    // None is answered, so each keeps its connection while others are opened.
    let receiver = Receiver::with(|_| Fault::Stall).await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let pool = loopback(2..=9);
    make_pool(&mut admin, "eu", &pool, json!({})).await;
    let mut project = make_project(&mut admin, "shop", Some("eu")).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/"), &json!({}))
        .await;
    for number in 0..24 {
        project.publish(&endpoint, "a", &json!(number)).await;
    }
    let expected: BTreeSet<_> = pool.into_iter().collect();
    let came = receiver.wait_until("all addresses", DEADLINE, |received| {
        callers(received).len() >= expected.len()
    });
    assert_eq!(callers(&came.await), expected);
    outrider
        .wait_for_metric(
            "outrider_egress_connections_total",
            &["pool=\"eu\"", "result=\"connected\""],
            8.0,
            DEADLINE,
        )
        .await;
}

#[tokio::test]
async fn pools_of_two_tenants_never_mix() {
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let pools = [
        ("one", loopback(2..=3)),
        ("two", loopback(4..=5)),
        ("own", loopback([6])),
    ];
    for (name, addresses) in &pools {
        make_pool(&mut admin, name, addresses, json!({})).await;
    }
    let mut one = make_project(&mut admin, "one", Some("one")).await;
    let mut two = make_project(&mut admin, "two", Some("two")).await;
    let mut none = make_project(&mut admin, "none", None).await;
    let of_one = one
        .make_endpoint("e", &receiver.url("/one"), &json!({}))
        .await;
    let own = json!({"egress_pool": "own"});
    let with_own = one.make_endpoint("own", &receiver.url("/own"), &own).await;
    let of_two = two
        .make_endpoint("e", &receiver.url("/two"), &json!({}))
        .await;
    let of_none = none
        .make_endpoint("e", &receiver.url("/none"), &json!({}))
        .await;
    let mut projects = [one, two, none];
    let mut last = String::new();
    for number in 0..10 {
        for (project, endpoint) in [(0, &of_one), (1, &of_two), (0, &with_own), (2, &of_none)] {
            let project = &mut projects[project];
            last = project.publish(endpoint, "a", &json!(number)).await;
            project.delivery(&last, "Success").await; // so that its connection is idle
        }
    }
    let received = receiver.wait_for(40, DEADLINE).await;
    for (path, allowed) in [
        ("/one", loopback(2..=3)),
        ("/two", loopback(4..=5)),
        ("/own", loopback([6])),
        ("/none", loopback([77])), // LEAVES_FROM
    ] {
        let mut of_path = received.clone();
        of_path.retain(|one| one.path_and_query == path);
        assert_eq!(of_path.len(), 10);
        let allowed: BTreeSet<_> = allowed.into_iter().collect();
        assert!(
            callers(&of_path).is_subset(&allowed),
            "{path} {:?}",
            callers(&of_path)
        );
    }
    assert!(receiver.connections() < 40, "none was used again");
    let attempt = attempts(&mut projects[2], &last, 1).await.remove(0);
    assert!(
        attempt["source_address"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.77:"),
        "{attempt}"
    );
}

/// Takes connections, and says to each that it comes from somewhere else.
async fn mistaken() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"198.51.100.9\n").await; // it may have gone
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_reflector_that_sees_another_address_is_told_of() {
    let receiver = Receiver::start().await;
    let (one, two) = (mistaken().await, mistaken().await);
    let reflectors = format!("['{}', '{}']", one.0, two.0);
    let setup = Setup::through_api().env("OUTRIDER__EGRESS__REFLECTORS", &reflectors);
    let outrider = setup.start().await;
    let mut admin = outrider.admin_api();
    make_pool(&mut admin, "eu", &loopback([2]), json!({})).await;
    let mut project = make_project(&mut admin, "shop", Some("eu")).await;
    let url = receiver.url("/");
    let endpoint = project.make_endpoint("e", &url, &json!({})).await;
    // Only those that are used are tried.
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    project.delivery(&event, "Success").await;
    let (metric, source) = ("outrider_egress_source_mismatch", "source_ip=\"127.0.0.2\"");
    outrider
        .wait_for_metric(metric, &[source], 1.0, DEADLINE)
        .await;
    assert!(outrider.stderr().contains("source_mismatch"));
    state_is(&outrider, "127.0.0.2", "active").await;
    one.1.abort();
    two.1.abort();
}

#[tokio::test]
async fn an_address_that_is_drained_opens_and_carries_nothing_new() {
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let pool = make_pool(&mut admin, "eu", &loopback([2]), json!({})).await;
    let mut project = make_project(&mut admin, "shop", Some("eu")).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/"), &json!({}))
        .await;
    for (addresses, expected) in [
        (json!([{"address": "127.0.0.2"}]), "127.0.0.2"),
        (
            json!([{"address": "127.0.0.2", "state": "draining"}, {"address": "127.0.0.3"}]),
            "127.0.0.3",
        ),
        (
            json!([{"address": "127.0.0.3", "state": "down"}, {"address": "127.0.0.4"}]),
            "127.0.0.4",
        ),
        (
            json!([{"address": "127.0.0.4", "state": "warming"}, {"address": "127.0.0.5"}]),
            "127.0.0.5",
        ),
    ] {
        change_pool(&mut admin, &pool, "eu", addresses).await;
        let seen = receiver.received().len();
        let event = project.publish(&endpoint, "a", &json!(expected)).await;
        project.delivery(&event, "Success").await;
        let attempt = attempts(&mut project, &event, 1).await.remove(0);
        let source = attempt["source_address"].as_str().unwrap().to_owned();
        assert!(source.starts_with(&format!("{expected}:")), "{attempt}");
        assert_eq!(
            callers(&receiver.received()[seen..]),
            BTreeSet::from([ip(expected)])
        );
    }
    state_is(&outrider, "127.0.0.4", "warming").await;
}
