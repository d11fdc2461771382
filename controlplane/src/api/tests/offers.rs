//! Endpoints that data planes made for events.

use outrider_webhook::id::{EndpointId, SubscriptionId, Uid};
use outrider_xds::{EndpointOffer, Offer, OfferAnswer, OfferHandler};

use super::super::OfferDesk;
use super::*;

fn offer(fixture: &Fixture, url: &str) -> Offer {
    Offer::Endpoint(EndpointOffer {
        project: fixture.names["out"].parse().unwrap(),
        endpoint: EndpointId::new(Uid::from_bits(7)),
        subscription: SubscriptionId::new(Uid::from_bits(8)),
        url: url.to_owned(),
        secret: Secret::new("s"),
        event_types: Vec::new(),
    })
}

/// Data planes refuse such URLs from events, but for those that earlier builds have in their logs:
/// in these, braces were characters like others.
#[tokio::test]
async fn what_an_event_made_is_never_a_template() {
    let mut fixture = Fixture::with_projects().await;
    let clock = Arc::clone(&fixture.clock) as Arc<dyn Clock>;
    let desk = OfferDesk::new(fixture.control.clone(), Policy::default(), clock);
    let braces = "https://a.example/{b}?c={d}";
    for url in [braces, braces, "https://a.example/%7Bb%7D?c=%7Bd%7D"] {
        let answer = desk.take(offer(&fixture, url)).await;
        assert!(matches!(answer, OfferAnswer::Taken(_)), "{answer:?}");
    }
    let other = offer(&fixture, "https://a.example/%7Bb%7D");
    let answer = desk.take(other).await;
    assert!(matches!(answer, OfferAnswer::Refused { .. }), "{answer:?}");
    fixture
        .names
        .insert("e".to_owned(), Uid::from_bits(7).to_string());
    let path = "/api/v1/projects/{out}/endpoints/{e}";
    fixture
        .run(vec![
            get(path, 200).shows(json!({"url": "https://a.example/%7Bb%7D?c=%7Bd%7D"})),
            // Once a person gave it a template, it is not the one of that URL any more.
            row("PUT", path, json!({"name": "t", "url": braces}), 202),
        ])
        .await;
    let answer = desk.take(offer(&fixture, braces)).await;
    assert!(matches!(answer, OfferAnswer::Refused { .. }), "{answer:?}");
}

/// Events for it are acknowledged, and what closes it today may be taken back: its deliveries are
/// judged when they are sent.
#[tokio::test]
async fn what_the_configuration_closes_is_taken_and_what_the_bootstrap_closes_is_not() {
    let mut fixture = Fixture::with_projects().await;
    let policy = json!({"name": "p", "deny": ["closed.example"]});
    let create = row("POST", "/api/v1/egress-policies", policy, 201);
    fixture.run(vec![create]).await;
    let clock = Arc::clone(&fixture.clock) as Arc<dyn Clock>;
    let desk = OfferDesk::new(fixture.control.clone(), Policy::default(), clock);
    let refused = desk.take(offer(&fixture, "https://10.0.0.1/")).await;
    assert!(
        matches!(refused, OfferAnswer::Refused { .. }),
        "{refused:?}"
    );
    let taken = desk
        .take(offer(&fixture, "https://a.closed.example/"))
        .await;
    assert!(matches!(taken, OfferAnswer::Taken(_)), "{taken:?}");
}
