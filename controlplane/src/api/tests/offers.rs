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
