//! Refusals: nothing may be connected to that the address policy did not allow.

use std::net::SocketAddr;
use std::sync::Arc;

use outrider_webhook::address::{Closing, Closings, Denial, Policy, PolicyPlace, TargetUrl};
use outrider_webhook::retry::{Failure, Outcome};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::support::*;
use crate::egress::{Egress, Exchange, Form, ProxySettings, Settings, Terms};

fn strict() -> Policy {
    Policy::default()
}

#[tokio::test]
async fn a_literal_loopback_address_is_refused_for_good_unless_allowed() {
    let receiver = Receiver::answering(OK).await;
    let egress = Egress::new(Settings::new(strict())).unwrap();
    let exchange = send(&egress, &receiver.url()).await;
    assert_eq!(
        exchange.outcome,
        Outcome::Failed(Failure::EgressDenied { literal: true })
    );
    assert!(exchange.detail.is_some());
    let stats = egress.stats();
    assert_eq!((receiver.accepted(), stats.opened, stats.open), (0, 0, 0));
}

#[tokio::test]
async fn a_name_that_leads_to_a_refused_address_is_refused_for_now() {
    let receiver = Receiver::answering(OK).await;
    let mut settings = Settings::new(strict());
    settings.resolve_overrides = vec![("hooks.example.com".to_owned(), receiver.address)];
    let egress = Egress::new(settings).unwrap();
    let exchange = send(&egress, "http://hooks.example.com/").await;
    assert_eq!(
        exchange.outcome,
        Outcome::Failed(Failure::EgressDenied { literal: false })
    );
    assert_eq!(receiver.accepted(), 0);
}

#[tokio::test]
async fn an_override_leads_to_its_address_and_keeps_the_name() {
    let receiver = Receiver::answering(OK).await;
    let mut settings = settings();
    settings.resolve_overrides = vec![("hooks.example.com".to_owned(), receiver.address)];
    let egress = Egress::new(settings).unwrap();
    let exchange = send(&egress, "http://hooks.example.com/").await;
    assert_eq!(exchange.outcome, Outcome::Answered { status: 200 });
    assert_eq!(exchange.remote, Some::<SocketAddr>(receiver.address));
}

#[tokio::test]
async fn a_new_policy_closes_idle_connections_and_holds_at_once() {
    let receiver = Receiver::answering(OK).await;
    let egress = egress();
    send(&egress, &receiver.url()).await;
    assert_eq!(egress.stats().idle, 1);
    egress.set_policy(strict());
    assert_eq!(egress.stats().idle, 0);
    let refused = send(&egress, &receiver.url()).await;
    assert_eq!(
        refused.outcome,
        Outcome::Failed(Failure::EgressDenied { literal: true })
    );
    egress.set_policy(loopback_allowed());
    let allowed = send(&egress, &receiver.url()).await;
    assert_eq!(allowed.outcome, Outcome::Answered { status: 200 });
    assert_eq!(receiver.accepted(), 2);
}

/// What the configuration says in its revision 5: this is closed for a project.
fn closing(place: &str, project_number: u128) -> Arc<Closings> {
    let deny = [PolicyPlace::parse(place).unwrap()];
    let mut closings = Closings::default();
    let closing = Closing::new("strict".into(), &deny, None, None);
    closings.add(5, closing, &[project(project_number).id]);
    Arc::new(closings)
}

#[tokio::test]
async fn what_the_configuration_closes_is_closed_at_once_and_not_for_good() {
    let receiver = Receiver::answering(OK).await;
    let egress = egress();
    assert_eq!(egress.policy_version(), 0);
    send(&egress, &receiver.url()).await;
    let closings = closing("127.0.0.0/8", 1);
    egress.set_closings(&closings);
    assert_eq!((egress.stats().idle, egress.policy_version()), (0, 5));
    let refused = send(&egress, &receiver.url()).await;
    // A literal address, and still it may be open by the next time.
    let denied = Failure::EgressDenied { literal: false };
    assert_eq!(refused.outcome, Outcome::Failed(denied));
    let denial = Denial {
        reason: "policy_denied",
        policy: Some("strict".into()),
    };
    assert_eq!(refused.denial, Some(denial));
    let detail = refused.detail.unwrap();
    assert_eq!(detail, "127.0.0.1 is closed by the egress policy `strict`");
    egress.set_closings(&Arc::default());
    let allowed = send(&egress, &receiver.url()).await;
    assert_eq!(allowed.outcome, Outcome::Answered { status: 200 });
    assert_eq!((receiver.accepted(), egress.policy_version()), (2, 0));
}

/// What this version cannot read says nothing of the receiver, and costs no attempt.
#[tokio::test]
async fn a_policy_that_cannot_be_read_is_a_fault_of_ours() {
    let egress = egress();
    let mut closings = Closings::default();
    closings.add(5, Closing::unreadable("new".into()), &[]);
    egress.set_closings(&Arc::new(closings));
    for url in ["http://127.0.0.1:8080/", "http://hooks.example.com/"] {
        let refused = send(&egress, url).await;
        assert_eq!(refused.outcome, Outcome::Failed(Failure::NoHealthySource));
        let denial = Denial {
            reason: "policy_unreadable",
            policy: Some("new".into()),
        };
        assert_eq!(refused.denial, Some(denial), "{url}");
    }
}

#[tokio::test]
async fn the_same_closings_once_more_close_no_idle_connection() {
    let receiver = Receiver::answering(OK).await;
    let egress = egress();
    let closings = closing("127.0.0.0/8", 2);
    egress.set_closings(&closings);
    for _ in 0..3 {
        let allowed = send(&egress, &receiver.url()).await;
        assert_eq!(allowed.outcome, Outcome::Answered { status: 200 });
        egress.set_closings(&closings);
    }
    assert_eq!((receiver.accepted(), egress.stats().idle), (1, 1));
    // Another policy of the bootstrap takes none of it away.
    egress.set_policy(loopback_allowed());
    assert_eq!(egress.policy_version(), 5);
}

#[tokio::test]
async fn every_answer_of_a_name_is_judged_by_what_the_configuration_closes() {
    let receiver = Receiver::answering(OK).await;
    let mut settings = settings();
    settings.resolve_overrides = vec![("hooks.example.com".to_owned(), receiver.address)];
    let egress = Egress::new(settings).unwrap();
    for place in ["127.0.0.1", ".example.com"] {
        egress.set_closings(&closing(place, 1));
        let refused = send(&egress, "http://hooks.example.com/").await;
        let denied = Failure::EgressDenied { literal: false };
        assert_eq!(refused.outcome, Outcome::Failed(denied), "{place}");
    }
    assert_eq!(receiver.accepted(), 0);
}

#[tokio::test]
async fn what_is_fetched_for_a_project_is_judged_as_its_deliveries_are() {
    let receiver = Receiver::answering(OK).await;
    let egress = egress();
    egress.set_closings(&closing("127.0.0.1", 1));
    let url = TargetUrl::parse(&receiver.url()).unwrap();
    let form = || Form {
        url: &url,
        authorization: None,
        body: "a=b".into(),
    };
    let terms = || Terms::new(LONG, EXCERPT);
    let reason = |exchange: Exchange| exchange.denial.map(|denial| denial.reason);
    let (ours, others) = (project(1), project(2));
    for refused in [
        egress.get(&ours, &url, terms()).await,
        egress.post(&ours, form(), terms()).await,
    ] {
        assert_eq!(reason(refused), Some("policy_denied"));
    }
    assert_eq!(receiver.accepted(), 0);
    for allowed in [
        egress.get(&others, &url, terms()).await,
        egress.post(&others, form(), terms()).await,
    ] {
        assert_eq!(allowed.outcome, Outcome::Answered { status: 200 });
    }
}

/// A proxy that has heard of nothing, and what it is given beside CONNECT.
async fn ignorant_proxy() -> (ProxySettings, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = ProxySettings {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
        tls: None,
        authorization: None,
    };
    let proxy = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") {
                client.read_exact(&mut byte).await.unwrap();
                head.push(byte[0]);
            }
            if !head.starts_with(b"CONNECT hooks.example.com:80 ") {
                continue; // whatever else it is asked
            }
            let ends = "x-outrider-source-ip: 127.0.0.2\r\nx-outrider-dest-ip: 127.0.0.9\r\n";
            let reply = format!("HTTP/1.1 200 OK\r\n{ends}\r\n");
            client.write_all(reply.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            return rest;
        }
    });
    (settings, proxy)
}

#[tokio::test]
async fn where_a_tunnel_leads_is_judged_here_as_well() {
    let (proxy, given) = ignorant_proxy().await;
    let mut settings = settings();
    settings.via = Some(proxy);
    let egress = Egress::new(settings).unwrap();
    egress.set_closings(&closing("127.0.0.9", 1));
    let refused = send(&egress, "http://hooks.example.com/").await;
    let denied = Failure::EgressDenied { literal: false };
    assert_eq!(refused.outcome, Outcome::Failed(denied), "{refused:?}");
    let policy = refused.denial.unwrap().policy;
    assert_eq!(policy.as_deref(), Some("strict"));
    assert_eq!(given.await.unwrap(), b"", "nothing was sent");
    assert_eq!(egress.stats().idle, 0);
}
