//! A proxy that is lost in the middle of an exchange, and receivers that only look like it: the one
//! costs nothing, the other does.

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::egress_sources::{change_pool, ip, make_pool};
use super::egress_via::{SECRET, attempts, publish, strategy, through};
use super::harness::{
    Authority, DEADLINE, DataPlane, EgressRole, Endpoint, Fault, Planes, Receiver, Resources, until,
};

/// An endpoint that has one try, and so long for it.
fn endpoint(url: &str, seconds: u32) -> Endpoint {
    Endpoint::new(1, url, SECRET)
        .with("http_timeout", seconds)
        .with("strategy", strategy())
}

/// A data plane that delivers to the endpoint through a proxy.
async fn start(endpoint: Endpoint) -> (Planes, DataPlane, EgressRole) {
    let mut planes = Planes::new(Some(&Resources::outgoing(&[endpoint])));
    planes.control.start().await;
    let (mut data, mut egress) = through(&planes, "[]");
    egress.start().await;
    data.start().await;
    (planes, data, egress)
}

/// Waits until the data plane knows that the proxy lives.
async fn pulse(egress: &EgressRole) {
    until("the proxy is asked for its pulse", DEADLINE, async || {
        let page = egress.admin_page("/metrics").await;
        page.contains("{end=\"closed\",method=\"pulse\"}")
            .then_some(())
    })
    .await;
}

async fn assert_none_of(data: &DataPlane, outcome: &str) {
    let page = data.admin_page("/metrics").await;
    let wrong = format!("outcome=\"{outcome}\"");
    assert!(!page.contains(&wrong), "{page}");
}

#[tokio::test]
async fn a_proxy_that_dies_in_an_exchange_costs_the_delivery_nothing() {
    let receiver = Receiver::failing_first(1, Fault::Stall).await;
    let (_planes, data, mut egress) = start(endpoint(&receiver.url("/hook"), 30)).await;
    let event = publish(&data, 1).await;
    receiver.wait_for(1, DEADLINE).await;
    pulse(&egress).await;
    egress.process.kill();
    attempts(&data, "proxy_lost", 1).await;
    egress.start().await;
    let received = receiver.wait_for(2, DEADLINE).await;
    assert_eq!(received[1].webhook_id(), event);
    attempts(&data, "success", 1).await;
    assert_none_of(&data, "connect_reset").await;
    assert_none_of(&data, "response_timeout").await;
}

/// Nothing tells that it is gone but that it says nothing.
#[tokio::test]
async fn a_proxy_that_goes_silent_costs_the_delivery_nothing() {
    let receiver = Receiver::failing_first(1, Fault::Stall).await;
    let (_planes, data, egress) = start(endpoint(&receiver.url("/hook"), 2)).await;
    publish(&data, 1).await;
    receiver.wait_for(1, DEADLINE).await;
    pulse(&egress).await;
    egress.process.freeze();
    attempts(&data, "proxy_lost", 1).await;
    egress.process.thaw();
    attempts(&data, "success", 1).await;
    assert_none_of(&data, "response_timeout").await;
}

/// Requests that the proxy gets whole, as it makes TLS.
#[tokio::test]
async fn a_proxy_that_dies_before_it_answers_is_lost() {
    let (theirs, ours) = (Authority::new(), Authority::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/hook", listener.local_addr().unwrap());
    let acceptor = theirs.identity(&["127.0.0.1"]).acceptor();
    let endpoint = endpoint(&url, 30).with("tls", json!({"client_certificate": "bank"}));
    let mut planes = Planes::new(Some(&Resources::outgoing(&[endpoint])));
    planes.control.start().await;
    let identity = ours.identity(&["bank-client"]);
    let setting = super::egress_via::bank(&planes, &identity, &theirs);
    let (mut data, mut egress) = through(&planes, &setting);
    egress.start().await;
    data.start().await;
    publish(&data, 1).await;
    for is_receivers_fault in [false, true] {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        assert_ne!(stream.read(&mut [0; 64]).await.unwrap(), 0);
        if is_receivers_fault {
            drop(stream); // the last try
            attempts(&data, "connect_reset", 1).await;
        } else {
            egress.process.kill();
            attempts(&data, "proxy_lost", 1).await;
            egress.start().await;
        }
    }
    attempts(&data, "proxy_lost", 1).await;
}

#[tokio::test]
async fn a_receiver_that_breaks_off_is_charged_while_the_proxy_lives() {
    for (fault, seconds, outcome) in [
        (Fault::Reset, 30, "connect_reset"),
        (Fault::Stall, 1, "response_timeout"),
    ] {
        let receiver = Receiver::with(move |_| fault.clone()).await;
        let (_planes, data, egress) = start(endpoint(&receiver.url("/hook"), seconds)).await;
        publish(&data, 1).await;
        pulse(&egress).await;
        publish(&data, 2).await;
        attempts(&data, outcome, 2).await;
        until("they have their end", DEADLINE, async || {
            let page = data.admin_page("/metrics").await;
            let ended = "outrider_deliveries_finished_total{result=\"retry_limit_exceeded\"} 2";
            page.contains(ended).then_some(())
        })
        .await;
        assert_none_of(&data, "proxy_lost").await;
        assert_none_of(&data, "no_healthy_source").await;
    }
}

#[tokio::test]
async fn an_open_tunnel_is_used_while_its_address_is_active() {
    let receiver = Receiver::start().await;
    let mut planes = Planes::new(None);
    planes.control.process.drop_flag("--resources"); // the pool is one to be changed
    planes.control.start().await;
    let (mut data, mut egress) = through(&planes, "[]");
    egress.start().await;
    data.start().await;
    let mut admin = planes.control.admin();
    let pool = make_pool(&mut admin, "default", &[ip("127.0.0.3")], json!({})).await;
    let project = admin.make_project("shop", "outgoing", &json!({})).await;
    let mut project = project.at(data.public());
    let url = receiver.url("/hook");
    let endpoint = project.make_endpoint("e", &url, &json!({})).await;
    let known = async |what: &str| {
        until("both know the pool", DEADLINE, async || {
            let pages = [
                data.admin_page("/config_dump").await,
                egress.admin_page("/config_dump").await,
            ];
            pages.iter().all(|page| page.contains(what)).then_some(())
        })
        .await;
    };
    known("127.0.0.3").await;
    for (number, count) in [(1, 1), (2, 2)] {
        project.publish(&endpoint, "a", &json!(number)).await;
        receiver.wait_for(number, DEADLINE).await;
        attempts(&data, "success", count).await; // its tunnel is kept by then
    }
    let addresses =
        json!([{"address": "127.0.0.3", "state": "draining"}, {"address": "127.0.0.4"}]);
    change_pool(&mut admin, &pool, "default", addresses).await;
    known("127.0.0.4").await;
    project.publish(&endpoint, "a", &json!(3)).await;
    let received = receiver.wait_for(3, DEADLINE).await;
    let peers: Vec<_> = received.iter().map(|one| one.peer).collect();
    assert_eq!(peers[0], peers[1], "it was kept");
    assert_eq!(peers[1].ip(), ip("127.0.0.3"));
    assert_eq!(peers[2].ip(), ip("127.0.0.4"));
}

/// The receiver may have it: it is not made again, although nobody is to blame.
#[tokio::test]
async fn what_may_arrive_once_is_not_made_again_when_the_proxy_was_lost() {
    let receiver = Receiver::with(|_| Fault::Stall).await;
    let mut planes = Planes::new(None);
    planes.control.start().await;
    let (mut data, mut egress) = through(&planes, "[]");
    egress.start().await;
    data.start().await;
    let mut admin = planes.control.admin();
    let project = admin.make_project("shop", "outgoing", &json!({})).await;
    let mut project = project.at(data.public());
    let (url, slow) = (receiver.url("/hook"), json!({"http_timeout": 30}));
    let endpoint = project.make_endpoint("e", &url, &slow).await;
    let once = json!({"name": "once", "endpoint_id": endpoint, "delivery_mode": "at_most_once"});
    project.post("/subscriptions", &once).await.data(201);
    project.publish(&endpoint, "a", &json!(1)).await;
    receiver.wait_for(1, DEADLINE).await;
    pulse(&egress).await;
    egress.process.kill();
    attempts(&data, "proxy_lost", 1).await;
    until("it has its end", DEADLINE, async || {
        let page = data.admin_page("/metrics").await;
        let ended = "outrider_deliveries_finished_total{result=\"outcome_unknown\"} 1";
        page.contains(ended).then_some(())
    })
    .await;
    assert_eq!(receiver.received().len(), 1);
}
