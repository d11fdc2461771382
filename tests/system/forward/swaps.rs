//! The configuration changes while clients go on: nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::super::egress_sources::{change_pool, ip, make_pool, make_project};
use super::super::harness::{DEADLINE, Setup, until};
use super::destination::Destination;
use super::support::Proxy;

const CLIENTS: usize = 8;
const CHANGES: usize = 30;
/// Of each client, so that together they stay within the 500 connections a second of a tenant.
const PAUSE: Duration = Duration::from_millis(20);

/// Tunnels and requests by turns until the end; how many there were.
pub(super) async fn go_on(
    proxy: Arc<Proxy>,
    (to, tenant): (String, String),
    end: Arc<AtomicBool>,
) -> usize {
    let tenant = format!("x-outrider-tenant: {tenant}\r\n");
    let request = format!("GET http://{to}/ HTTP/1.1\r\nHost: a\r\n{tenant}\r\n");
    let connect = format!("CONNECT {to} HTTP/1.1\r\nHost: a\r\n{tenant}\r\n");
    let (mut done, mut kept) = (0, proxy.connect().await);
    while !end.load(Ordering::Relaxed) {
        kept.write(&request).await;
        let answer = kept.answer().await;
        assert_eq!((answer.status(), answer.error()), (200, ""), "{answer:?}");
        let mut tunnel = proxy.connect().await;
        tunnel.write(&connect).await;
        let head = tunnel.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        tunnel
            .write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(tunnel.answer().await.status(), 200);
        done += 2;
        tokio::time::sleep(PAUSE).await;
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_configuration_changes() {
    let (_destination, at) = Destination::start().await;
    let proxy = Arc::new(Proxy::of(Setup::through_api(), &[]).await);
    let mut admin = proxy.outrider.admin_api();
    let pool = make_pool(&mut admin, "eu", &[ip("127.0.0.2")], json!({})).await;
    let mut project = make_project(&mut admin, "shop", Some("eu")).await;
    let (end, mut clients) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..CLIENTS {
        let whom = (at.to_string(), project.project().to_owned());
        let (proxy, end, done) = (Arc::clone(&proxy), Arc::clone(&end), Arc::clone(&done));
        clients.spawn(async move {
            let own = go_on(proxy, whom, end).await;
            done.fetch_add(own, Ordering::Relaxed);
        });
    }
    for number in 0..CHANGES {
        let (used, left) = (2 + number % 3, 2 + (number + 1) % 3);
        let addresses = json!([
            {"address": format!("127.0.0.{used}")},
            {"address": format!("127.0.0.{left}"), "state": "draining"},
        ]);
        change_pool(&mut admin, &pool, "eu", addresses).await;
        let name = format!("e{number}");
        project
            .make_endpoint(&name, "https://customer.example/", &json!({}))
            .await;
        // In force, and used.
        let source = format!("source_ip=\"127.0.0.{used}\"");
        until("the new address is used", DEADLINE, async || {
            let (metric, labels) = ("outrider_egress_connections_total", [&source[..]]);
            let opened = proxy.outrider.metric(metric, &labels);
            (opened.await > 0.0).then_some(())
        })
        .await;
    }
    end.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert!(done.load(Ordering::Relaxed) >= CLIENTS * 2);
}
