//! The proxy as a role of its own: its end, when nothing new begins and what is open goes on until
//! it is asked again; and its life without a control plane.

use std::net::SocketAddr;

use rustix::process::{Signal, kill_process};
use serde_json::json;

use super::super::harness::{
    DEADLINE, EgressRole, Endpoint, Fault, Planes, Receiver, Resources, Setup, uid, until,
};
use super::support::{Answer, Origin, Proxy, Wire, connect};

/// A proxy in a process of its own, with the control plane it had at its start.
async fn start() -> (Planes, EgressRole) {
    let mut planes = Planes::new(Some(&Resources::outgoing(&[])));
    planes.control.start().await;
    let mut role = planes.egress("egress");
    role.start().await;
    (planes, role)
}

async fn tunnel(role: &EgressRole, origin: &Origin) -> (Wire, Wire) {
    let mut client = Wire::to(role.listen).await;
    client.write(connect(origin)).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    (client, origin.accept().await)
}

async fn ask(role: &EgressRole, request: &str) -> Answer {
    let mut client = Wire::to(role.listen).await;
    client.write(request).await;
    client.answer().await
}

/// Asks for a place where nobody is, so that nothing is left of what was asked too early.
async fn wait_until_draining(proxy: SocketAddr) {
    let nowhere = connect(&Origin::start().await);
    until("new requests are refused", DEADLINE, async || {
        let mut client = Wire::to(proxy).await;
        client.write(&nowhere).await;
        let answer = client.answer().await;
        (answer.error() == "draining").then_some(())
    })
    .await;
}

#[tokio::test]
async fn while_it_drains_tunnels_go_on_and_nothing_begins() {
    let (_planes, mut role) = start().await;
    let (origin, other) = (Origin::start().await, Origin::start().await);
    let (mut client, mut server) = tunnel(&role, &origin).await;
    let request = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", other.url("/"));
    let mut requester = Wire::to(role.listen).await;
    requester.write(&request).await;
    let mut answering = other.accept().await;
    answering.head().await;
    let mut waiting = Wire::to(role.listen).await; // has sent nothing yet
    role.process.signal();
    wait_until_draining(role.listen).await;
    let answer = ask(&role, &request).await;
    answer.assert_refusal("forward", 503, "draining", "proxy_internal_response");
    waiting.write(connect(&origin)).await;
    let answer = waiting.answer().await;
    answer.assert_refusal("connect", 503, "draining", "proxy_internal_response");
    // What was under way ends as it would have.
    client.write("still").await;
    server.expect("still").await;
    server.write("here").await;
    client.expect("here").await;
    answering
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(requester.answer().await.body, b"ok");
    assert_eq!(requester.rest().await, b"");
    client.finish().await;
    server.finish().await;
    drop((client, server, waiting));
    assert_eq!(role.process.ended().await, Some(0));
}

#[tokio::test]
async fn asked_again_it_cuts_what_is_left() {
    let (_planes, mut role) = start().await;
    let origin = Origin::start().await;
    let (mut client, mut server) = tunnel(&role, &origin).await;
    role.process.signal();
    wait_until_draining(role.listen).await;
    client.write("still").await;
    server.expect("still").await;
    role.process.signal();
    assert_eq!((client.rest().await, server.rest().await), (vec![], vec![]));
    assert_eq!(role.process.ended().await, Some(0));
    let lines = super::log::lines(&role.process.stderr(), origin.address().port());
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["end"], &lines[0]["bytes_up"]),
        (&json!("drain"), &json!(5))
    );
}

#[tokio::test]
async fn it_serves_what_it_knows_while_the_control_plane_is_away() {
    let mut planes = Planes::new(Some(&Resources::outgoing(&[])));
    let mut role = planes.egress("egress");
    // Without any configuration it serves nobody.
    role.process.launch();
    until("it waits", DEADLINE, async || {
        let said = role.process.stderr();
        said.contains("waiting for the control plane").then_some(())
    })
    .await;
    let refused = tokio::net::TcpStream::connect(role.listen).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    planes.control.start().await;
    role.until_ready().await;
    let origin = Origin::start().await;
    let (mut client, mut server) = tunnel(&role, &origin).await;
    planes.control.process.kill();
    client.write("still").await;
    server.expect("still").await;
    drop((client, server));
    assert_eq!(role.process.terminate().await, Some(0));
    // What it kept is enough for a start.
    role.start().await;
    let (mut client, mut server) = tunnel(&role, &origin).await;
    client.write("here").await;
    server.expect("here").await;
}

/// In a process that also delivers, tunnels have the time that the deliveries take.
#[tokio::test]
async fn beside_deliveries_it_ends_with_them() {
    let receiver = Receiver::with(|_| Fault::Stall).await;
    let slow = Endpoint::new(1, &receiver.url("/"), "shared-with-the-customer");
    let resources = Resources::outgoing(&[slow.with("http_timeout", 30)]);
    let (mut proxy, origin) = (
        Proxy::of(Setup::new(&resources), &[]).await,
        Origin::start().await,
    );
    let (mut client, mut server) = proxy.tunnel(&origin).await;
    let event = serde_json::json!({});
    let sent = proxy
        .outrider
        .client()
        .publish_to(&uid(1), "a", event)
        .await;
    sent.unwrap().event_uid();
    receiver.wait_for(1, DEADLINE).await;
    kill_process(proxy.outrider.pid(), Signal::TERM).unwrap();
    wait_until_draining(proxy.address).await;
    client.write("still").await;
    server.expect("still").await;
    drop(receiver); // which ends the delivery
    assert_eq!((client.rest().await, server.rest().await), (vec![], vec![]));
    until("it has ended", DEADLINE, async || {
        proxy.outrider.has_ended()
    })
    .await;
}
