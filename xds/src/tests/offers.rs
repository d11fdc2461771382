//! Offers of endpoints: taken, refused, answered later, lost with a session.

use std::sync::Arc;
use std::time::Duration;

use outrider_config::Version;
use outrider_webhook::id::{EndpointId, NodeId, ProjectId, SubscriptionId, Uid};
use outrider_webhook::secret::Secret;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fake::{Journal, endpoint, soon};
use crate::{
    Channel, Claim, Command, CommandHandler, ControlClient, EndpointOffer, Node, Offer,
    OfferAnswer, OfferHandler, Offers, Outcome, Server, serve_in_process,
};

const LIMIT: Duration = Duration::from_secs(10);

/// An offer that the control plane decides about, and the way to decide.
type Asked = (Offer, oneshot::Sender<OfferAnswer>);

/// Does what the test says.
struct Scripted(mpsc::Sender<Asked>);

#[tonic::async_trait]
impl OfferHandler for Scripted {
    async fn take(&self, offer: Offer) -> OfferAnswer {
        let (answer, decided) = oneshot::channel();
        self.0.send((offer, answer)).await.unwrap();
        match decided.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await, // the test dropped it: it never decides
        }
    }
}

struct NoCommands;

#[tonic::async_trait]
impl CommandHandler for NoCommands {
    async fn run(&self, _: Command) -> Outcome {
        Outcome::Done
    }
}

struct World {
    asked: mpsc::Receiver<Asked>,
    offers: Offers,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

fn client(channel: Channel, shutdown: &CancellationToken) -> (Offers, JoinHandle<()>) {
    let claim = Claim {
        number: NodeId::new(7).unwrap(),
        instance: Uid::from_bits(7),
    };
    let node = Node {
        id: "dp-7".into(),
        cluster: String::new(),
        claim: Some(claim),
    };
    let client = ControlClient::new(channel, claim, node, Arc::new(NoCommands));
    (client.offers(), tokio::spawn(client.run(shutdown.clone())))
}

impl World {
    async fn start(has_handler: bool) -> Self {
        let (sender, asked) = mpsc::channel(100);
        let journal = Journal::new(vec![endpoint(1, "a")]);
        let mut server = Server::new(journal);
        if has_handler {
            server = server.with_offers(Arc::new(Scripted(sender)));
        }
        let shutdown = CancellationToken::new();
        let (serving, channel) = serve_in_process(server, shutdown.clone());
        let (mut offers, running) = client(channel, &shutdown);
        assert!(soon(offers.connected()).await);
        Self {
            asked,
            offers,
            shutdown,
            tasks: vec![serving, running],
        }
    }

    fn offer(&self, id: u128) -> JoinHandle<Option<OfferAnswer>> {
        let offers = self.offers.clone();
        tokio::spawn(async move { offers.offer(Offer::Endpoint(offered(id)), LIMIT).await })
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            soon(task).await.unwrap();
        }
    }
}

fn offered(id: u128) -> EndpointOffer {
    EndpointOffer {
        project: ProjectId::new(Uid::from_bits(1)),
        endpoint: EndpointId::new(Uid::from_bits(id)),
        subscription: SubscriptionId::new(Uid::from_bits(3)),
        url: "https://customer.example/in".to_owned(),
        secret: Secret::new("hunter2"),
        event_types: vec!["a".to_owned()],
    }
}

fn answers() -> [OfferAnswer; 3] {
    let version = Version {
        journal: Uid::from_bits(9),
        revision: 5,
    };
    let (code, message) = ("code".to_owned(), "why".to_owned());
    let later = OfferAnswer::Later { code: code.clone() };
    let refused = OfferAnswer::Refused { code, message };
    [OfferAnswer::Taken(version), refused, later]
}

#[tokio::test(start_paused = true)]
async fn each_offer_gets_the_answer_that_was_given_to_it() {
    let mut world = World::start(true).await;
    let sent: Vec<_> = (0..3).map(|id| world.offer(id)).collect();
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(soon(world.asked.recv()).await.unwrap());
    }
    // Decided in another order than they came.
    let endpoint_of = |offer: Offer| match offer {
        Offer::Endpoint(offer) => offer,
        Offer::Disabled(_) => panic!("an endpoint was offered"),
    };
    let mut asked: Vec<_> = asked
        .into_iter()
        .map(|(offer, answer)| (endpoint_of(offer), answer))
        .collect();
    asked.sort_by_key(|(offer, _)| std::cmp::Reverse(offer.endpoint));
    for ((offer, answer), id) in asked.into_iter().zip([2, 1, 0]) {
        assert_eq!(offer.endpoint, offered(id as u128).endpoint);
        assert_eq!(offer.secret.expose(), "hunter2");
        answer.send(answers()[id].clone()).unwrap();
    }
    for (sent, answer) in sent.into_iter().zip(answers()) {
        assert_eq!(soon(sent).await.unwrap(), Some(answer));
    }
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn more_than_are_decided_at_a_time_are_to_come_again() {
    let mut world = World::start(true).await;
    let sent: Vec<_> = (0..16).map(|id| world.offer(id)).collect();
    let mut asked = Vec::new();
    for _ in 0..16 {
        asked.push(soon(world.asked.recv()).await.unwrap());
    }
    let busy = OfferAnswer::Later {
        code: "busy".to_owned(),
    };
    assert_eq!(soon(world.offer(16)).await.unwrap(), Some(busy));
    for (_, answer) in asked {
        answer.send(answers()[0].clone()).unwrap();
    }
    for sent in sent {
        assert_eq!(soon(sent).await.unwrap(), Some(answers()[0].clone()));
    }
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_decision_or_a_session_there_is_no_answer() {
    let mut world = World::start(true).await;
    let sent = world.offer(1);
    let (_, undecided) = soon(world.asked.recv()).await.unwrap();
    drop(undecided);
    assert_eq!(soon(sent).await.unwrap(), None, "the limit is over");
    let offers = world.offers.clone();
    world.stop().await;
    assert_eq!(offers.offer(Offer::Endpoint(offered(2)), LIMIT).await, None);
    // A control plane that takes none says so.
    let world = World::start(false).await;
    let answer = soon(world.offer(1)).await.unwrap();
    assert!(matches!(answer, Some(OfferAnswer::Later { .. })));
    world.stop().await;
}
