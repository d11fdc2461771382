//! Policies that close destinations, for the clients of the proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use super::super::egress_policies::{POLICIES, close, open};
use super::super::egress_sources::make_project;
use super::super::harness::{Api, DEADLINE, Receiver, Setup, until};
use super::destination::Destination;
use super::support::{Origin, Proxy};
use super::swaps::go_on;

const CLIENTS: usize = 4;
const CHANGES: usize = 20;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Both forms of a request to a place, for a project.
fn both(to: impl std::fmt::Display, project: &Api) -> [String; 2] {
    let lines = format!("x-outrider-tenant: {}\r\n", project.project());
    [
        format!("CONNECT {to} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"),
        format!("GET http://{to}/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n"),
    ]
}

#[tokio::test]
async fn what_is_closed_is_refused_in_both_forms_and_open_tunnels_stay() {
    let (proxy, origin) = (
        Proxy::of(Setup::through_api(), &[]).await,
        Origin::start().await,
    );
    let mut admin = proxy.outrider.admin_api();
    let ours = make_project(&mut admin, "ours", None).await;
    let others = make_project(&mut admin, "others", None).await;
    let [connect, get] = both(origin.address(), &ours);
    let mut client = proxy.connect().await;
    client.write(&connect).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut server = origin.accept().await;
    // A request whose connection is kept.
    let mut requests = proxy.connect().await;
    requests.write(&get).await;
    let mut kept = origin.accept().await;
    kept.head().await;
    kept.write(OK).await;
    assert_eq!(requests.answer().await.status(), 200);
    let policy = json!({"name": "inside", "projects": [ours.project()], "deny": ["127.0.0.1"]});
    let uid = close(&proxy.outrider, &mut admin, policy).await;
    assert_eq!(kept.rest().await, b"", "what was idle is closed");
    for request in [&connect, &get] {
        let answer = proxy.ask(request).await;
        answer.assert_refusal(request, 403, "denied:policy_denied", "http_request_denied");
        assert_eq!(answer.header("x-outrider-egress-policy"), Some("inside"));
        let words = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            words.contains("127.0.0.1 is closed by the egress policy `inside`"),
            "{words}"
        );
    }
    // A request on the connection of the client that was served before is refused as well.
    requests.write(&get).await;
    assert_eq!(requests.answer().await.error(), "denied:policy_denied");
    origin.assert_nobody_came().await;
    client.write("ping").await;
    server.expect("ping").await;
    server.write("pong").await;
    client.expect("pong").await;
    client.finish().await;
    server.finish().await;
    let [_, of_others] = both(origin.address(), &others);
    let mut other = proxy.connect().await;
    other.write(&of_others).await;
    origin.accept().await.write(OK).await;
    assert_eq!(other.answer().await.status(), 200);
    let version = proxy
        .outrider
        .metric("outrider_egress_policy_version", &[])
        .await;
    let line = format!("\"policy_version\":{version}");
    until("the line of a refusal", DEADLINE, async || {
        let log = proxy.outrider.stderr();
        let mut lines = log
            .lines()
            .filter(|one| one.contains("\"reason\":\"policy_denied\",\"policy\":\"inside\""));
        lines
            .next()
            .map(|found| assert!(found.contains(&line), "{found}"))
    })
    .await;
    // The line of the tunnel is written at its end, and says by what it was judged.
    until("the line of the tunnel", DEADLINE, async || {
        let log = proxy.outrider.stderr();
        let mut lines = log
            .lines()
            .filter(|one| one.contains("\"method\":\"connect\""));
        let found = lines.find(|one| one.contains("\"decision\":\"allowed\""))?;
        assert!(found.contains("\"policy_version\":0,"), "{found}");
        Some(())
    })
    .await;
    open(&proxy.outrider, &mut admin, &uid).await;
    let mut again = proxy.connect().await;
    again.write(&get).await;
    origin.accept().await.write(OK).await;
    assert_eq!(again.answer().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_that_is_allowed_fails_while_policies_come_and_go() {
    let (_destination, at) = Destination::start().await;
    let receiver = Receiver::start().await;
    let proxy = Arc::new(Proxy::of(Setup::through_api(), &[]).await);
    let mut admin = proxy.outrider.admin_api();
    let mut project = make_project(&mut admin, "shop", None).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/"), &json!({}))
        .await;
    let (end, mut clients) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for number in 0..CLIENTS {
        // Each has a project of its own, which may open so many connections a second.
        let own = make_project(&mut admin, &format!("p{number}"), None).await;
        let whom = (at.to_string(), own.project().to_owned());
        clients.spawn(go_on(Arc::clone(&proxy), whom, Arc::clone(&end)));
    }
    let mut published = 0;
    for number in 0..CHANGES {
        let policy = match number % 2 {
            0 => json!({"name": "p", "deny": ["closed.example", "192.0.2.0/24"]}),
            _ => json!({"name": "p", "only": ["127.0.0.0/8", "open.example"]}),
        };
        let uid = close(&proxy.outrider, &mut admin, policy).await;
        for _ in 0..5 {
            project.publish(&endpoint, "a", &json!(published)).await;
            published += 1;
        }
        if number % 3 == 0 {
            let path = format!("{POLICIES}/{uid}");
            let ports = json!({"ports": [at.port(), receiver.address().port()]});
            admin.put(&path, &ports).await.data(202);
        }
        receiver.wait_for(published, DEADLINE).await;
        open(&proxy.outrider, &mut admin, &uid).await;
    }
    end.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        assert!(ended.unwrap() > 0);
    }
    let failed = ["outcome=\"blocked\"", "outcome=\"connect_reset\""];
    for outcome in failed {
        let metric = "outrider_delivery_attempts_total";
        assert_eq!(
            proxy.outrider.metric(metric, &[outcome]).await,
            0.0,
            "{outcome}"
        );
    }
    assert_eq!(
        receiver.received().len(),
        published,
        "no delivery was tried twice"
    );
}
