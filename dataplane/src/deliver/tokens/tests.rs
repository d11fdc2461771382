//! Against a token endpoint on a real socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use outrider_webhook::address::{Policy, TargetUrl};
use outrider_webhook::authentication::oauth2::{ExpiryUnit, Fields, Proof, Settings};
use outrider_webhook::id::{ProjectId, Uid};
use outrider_webhook::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::*;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);
const FAILS: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";

/// Answers the request with this number, from 1, with a whole response, or never.
struct TokenEndpoint {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl TokenEndpoint {
    async fn start(answer: impl Fn(usize) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
        let counter = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // aborted with the endpoint
            while let Ok((mut stream, _)) = listener.accept().await {
                let (counter, answer) = (Arc::clone(&counter), Arc::clone(&answer));
                connections.spawn(async move {
                    let mut read = Vec::new();
                    while !String::from_utf8_lossy(&read).contains("client_secret=hunter2") {
                        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    match answer(counter.fetch_add(1, Ordering::SeqCst) + 1) {
                        Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self {
            address,
            asked,
            task,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn client(&self) -> Client {
        client(&format!("http://{}/token", self.address))
    }
}

impl Drop for TokenEndpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The token with this number, good for an hour.
fn token(number: usize) -> String {
    let body = format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#);
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn client(url: &str) -> Client {
    let settings = Settings {
        url: TargetUrl::parse(url).unwrap(),
        url_text: url.into(),
        client_id: "me".into(),
        proof: Proof::SecretInBody(Secret::new("hunter2")),
        scope: None,
        audience: None,
        fields: Fields::default(),
        unit: ExpiryUnit::Seconds,
    };
    Client::new(settings, url.as_bytes())
}

struct Side {
    egress: Egress,
    chance: Chance,
    tokens: Tokens,
}

impl Side {
    fn new() -> Self {
        let mut policy = Policy::default();
        policy.unsafe_allow("127.0.0.0/8".parse().unwrap());
        Self {
            egress: Egress::new(crate::egress::Settings::new(policy)).unwrap(),
            chance: Chance::seeded(7),
            tokens: Tokens::default(),
        }
    }

    fn asker(&self, within: Duration) -> Asker<'_> {
        Asker {
            egress: &self.egress,
            chance: &self.chance,
            project: ProjectRef {
                id: ProjectId::new(Uid::from_bits(1)),
                name: "test",
            },
            leave: &Leave::HostRoute,
            now_s: 1_700_000_000,
            deadline: Instant::now() + within,
        }
    }

    async fn get(&self, client: &Client) -> Result<String, Unavailable> {
        let held = self.tokens.get(client, self.asker(LONG)).await;
        held.map(|held| held.value.to_str().unwrap().to_owned())
    }

    /// Its end is near, as far as this knows.
    fn hasten(&self, client: &Client) {
        let slot = self.tokens.slot(client);
        slot.lock().held.as_mut().unwrap().renew_at = Instant::now();
    }
}

#[tokio::test]
async fn all_who_need_one_at_once_get_the_same_token() {
    let (side, endpoint) = (Side::new(), TokenEndpoint::start(|n| Some(token(n))).await);
    let client = endpoint.client();
    for got in join_all((0..20).map(|_| side.get(&client))).await {
        assert_eq!(got.unwrap(), "Bearer t1");
    }
    assert_eq!(endpoint.asked(), 1);
    let other = self::client(&format!("http://{}/other", endpoint.address));
    assert_eq!(side.get(&other).await.unwrap(), "Bearer t2");
}

#[tokio::test]
async fn a_token_near_its_end_is_renewed_by_one_and_good_for_the_rest() {
    let (side, endpoint) = (Side::new(), TokenEndpoint::start(|n| Some(token(n))).await);
    let client = endpoint.client();
    side.get(&client).await.unwrap();
    side.hasten(&client);
    let got = join_all((0..20).map(|_| side.get(&client))).await;
    let newer = got.iter().filter(|got| got.as_deref() == Ok("Bearer t2"));
    assert_eq!((newer.count(), endpoint.asked()), (1, 2));
    assert_eq!(side.get(&client).await.unwrap(), "Bearer t2");
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_good_to_its_end() {
    let answer = |n| Some(if n == 1 { token(1) } else { FAILS.to_owned() });
    let (side, endpoint) = (Side::new(), TokenEndpoint::start(answer).await);
    let client = endpoint.client();
    side.get(&client).await.unwrap();
    side.hasten(&client);
    // The second does not ask again at once.
    for _ in 0..2 {
        assert_eq!(side.get(&client).await.unwrap(), "Bearer t1");
    }
    assert_eq!(endpoint.asked(), 2);
    let slot = side.tokens.slot(&client);
    slot.lock().held.as_mut().unwrap().ends_at = Instant::now();
    let Unavailable { reason, .. } = side.get(&client).await.unwrap_err();
    assert_eq!(&*reason, "token endpoint: answered 500");
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once_for_all() {
    let (side, endpoint) = (Side::new(), TokenEndpoint::start(|n| Some(token(n))).await);
    let client = endpoint.client();
    let refused = side.tokens.get(&client, side.asker(LONG)).await.unwrap();
    let renew = || side.tokens.renew(&client, &refused, side.asker(LONG));
    for got in join_all((0..20).map(|_| renew())).await {
        assert_eq!(got.unwrap().value, "Bearer t2");
    }
    // What others have fetched since is not forgotten with it.
    side.tokens.forget(&client, &refused);
    assert_eq!(side.get(&client).await.unwrap(), "Bearer t2");
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test]
async fn those_who_wait_for_a_failure_do_not_ask_one_by_one() {
    let (side, endpoint) = (
        Side::new(),
        TokenEndpoint::start(|_| Some(FAILS.to_owned())).await,
    );
    let client = endpoint.client();
    for got in join_all((0..20).map(|_| side.get(&client))).await {
        let Unavailable { reason, .. } = got.unwrap_err();
        assert_eq!(&*reason, "token endpoint: answered 500");
    }
    assert_eq!(endpoint.asked(), 1);
}

#[tokio::test]
async fn one_attempt_without_time_says_nothing_to_the_next() {
    let answer = |n| (n > 1).then(|| token(n));
    let (side, endpoint) = (Side::new(), TokenEndpoint::start(answer).await);
    let client = endpoint.client();
    let got = side.tokens.get(&client, side.asker(SHORT)).await;
    let Unavailable { reason, .. } = got.unwrap_err();
    assert!(
        reason.contains("in the time") || reason.contains("response_timeout"),
        "{reason}"
    );
    assert_eq!(side.get(&client).await.unwrap(), "Bearer t2");
}

#[tokio::test]
async fn the_address_policy_is_that_of_deliveries() {
    let (side, client) = (Side::new(), client("http://169.254.169.254/token"));
    let Unavailable { reason, .. } = side.get(&client).await.unwrap_err();
    assert!(
        reason.starts_with("token endpoint: egress_denied: "),
        "{reason}"
    );
}

#[tokio::test]
async fn a_fault_of_our_own_is_not_that_of_the_endpoint_and_keeps_nobody_from_asking() {
    let endpoint = TokenEndpoint::start(|number| Some(token(number))).await;
    let (side, client) = (Side::new(), endpoint.client());
    let missing = Leave::Missing("eu".into());
    let asker = Asker {
        leave: &missing,
        ..side.asker(LONG)
    };
    let unavailable = side.tokens.get(&client, asker).await.unwrap_err();
    assert_eq!(unavailable.ours, Some(Failure::NoHealthySource));
    assert!(side.get(&client).await.is_ok());
}
