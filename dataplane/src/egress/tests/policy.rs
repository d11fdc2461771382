//! Refusals: nothing may be connected to that the address policy did not allow.

use std::net::SocketAddr;

use outrider_webhook::address::Policy;
use outrider_webhook::retry::{Failure, Outcome};

use super::support::*;
use crate::egress::{Egress, Settings};

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
