//! New connections to one destination come evenly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use outrider_webhook::retry::{Failure, Outcome};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::sources::key;
use super::support::*;
use crate::egress::Egress;
use crate::egress::openings::{Openings, Turn};
use crate::egress::pool::{Bounds, Key, Pool, Pooled};
use crate::metrics::EgressMetrics;

/// Turns that come at once (`openings::AT_ONCE`).
const AT_ONCE: u32 = 32;
const EACH: Duration = Duration::from_millis(10);
const PER_SECOND: u32 = 100;

struct Line {
    openings: Openings,
    pool: Pool<Idle>,
    keys: Vec<Key>,
}

/// A connection that may always be used.
struct Idle(Instant);

impl Pooled for Idle {
    fn opened(&self) -> Instant {
        self.0
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn local(&self) -> SocketAddr {
        "127.0.0.1:1".parse().unwrap()
    }
}

impl Line {
    fn new() -> Self {
        Self {
            openings: Openings::new(PER_SECOND, EgressMetrics::new().unwrap()),
            pool: Pool::new(Bounds {
                idle_timeout: LONG,
                age_max: LONG,
                per_key_max: 8,
                total_max: 8,
            }),
            keys: vec![key("192.0.2.1:443".parse().unwrap())],
        }
    }

    /// How long one more waits, and whether it opens a connection then; what it is told else.
    async fn wait(&self, until: Instant) -> Result<(Duration, bool), Failure> {
        let start = Instant::now();
        let turn = self.openings.turn(&self.keys, &self.pool, until).await;
        let (waited, turn) = (start.elapsed(), turn.map_err(|fault| fault.failure)?);
        if let Turn::Open { has_waited } = turn {
            assert_eq!(has_waited, !waited.is_zero());
        }
        Ok((waited, matches!(turn, Turn::Open { .. })))
    }

    async fn open(&self) -> Duration {
        let (waited, opens) = self.wait(Instant::now() + LONG).await.unwrap();
        assert!(opens);
        waited
    }

    async fn open_all_at_once(&self) {
        for _ in 0..AT_ONCE {
            assert_eq!(self.open().await, Duration::ZERO);
        }
    }
}

/// The clock of these runtimes is whole milliseconds ahead at a turn.
fn is_at(waited: Duration, turn: Duration) -> bool {
    (turn..turn + Duration::from_millis(2)).contains(&waited)
}

#[tokio::test(start_paused = true)]
async fn the_first_come_at_once_and_the_others_in_turn() {
    let line = Line::new();
    line.open_all_at_once().await;
    let waits = join_all((0..5).map(|_| line.open())).await;
    for (before, waited) in waits.iter().enumerate() {
        let turn = EACH * (u32::try_from(before).unwrap() + 1);
        assert!(is_at(*waited, turn), "{waits:?}");
    }
    // Half of what may come at once has grown again.
    tokio::time::sleep(EACH * AT_ONCE / 2).await;
    for _ in 0..AT_ONCE / 2 {
        assert_eq!(line.open().await, Duration::ZERO);
    }
    assert!(line.open().await > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn each_project_and_each_destination_has_a_line_of_its_own() {
    let mut line = Line::new();
    line.open_all_at_once().await;
    let mut key = line.keys[0].clone();
    key.project = project(7).id;
    line.keys = vec![key.clone()];
    line.open_all_at_once().await;
    key.server_name = "other.example.com".into();
    line.keys = vec![key.clone()];
    line.open_all_at_once().await;
    key.address.set_port(8443);
    line.keys = vec![key.clone()];
    line.open_all_at_once().await;
    // Another address of the same host is no other destination.
    key.address.set_ip("192.0.2.2".parse().unwrap());
    line.keys = vec![key];
    assert!(line.open().await > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_too_long_is_told_and_takes_no_turn() {
    let line = Line::new();
    line.open_all_at_once().await;
    let start = Instant::now();
    let soon = async {
        let told = line.wait(start + EACH / 2).await;
        (told, start.elapsed())
    };
    let late = async {
        let told = line.wait(start + EACH * 3 / 2).await;
        (told, start.elapsed())
    };
    let (soon, second, late, last) = tokio::join!(soon, line.open(), late, line.open());
    for ((told, elapsed), until) in [(soon, EACH / 2), (late, EACH * 3 / 2)] {
        assert_eq!(told, Err(Failure::NoHealthySource));
        assert!(is_at(elapsed, until), "{elapsed:?}");
    }
    assert!(
        is_at(second, EACH) && is_at(last, EACH * 2),
        "{second:?} {last:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_not_waited_for_is_there_for_the_next() {
    let line = Line::new();
    line.open_all_at_once().await;
    let gives_up = tokio::time::timeout(EACH / 2, line.open());
    let (gave_up, second, third) = tokio::join!(gives_up, line.open(), line.open());
    gave_up.expect_err("its turn is later");
    assert!(
        is_at(second, EACH) && is_at(third, EACH * 2),
        "{second:?} {third:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_becomes_idle_goes_to_the_first_who_waits() {
    let line = Line::new();
    line.open_all_at_once().await;
    let [key] = &line.keys[..] else { panic!() };
    assert!(line.openings.line_to(key).is_none(), "nobody waits");
    let until = Instant::now() + LONG;
    let becomes_idle = async {
        tokio::time::sleep(EACH / 2).await;
        let awaited = line.openings.line_to(key).expect("somebody waits");
        line.pool.put(key.clone(), Idle(Instant::now()), None);
        awaited.idle_came();
    };
    let comes_later = async {
        tokio::time::sleep(EACH).await;
        line.open().await
    };
    let (first, second, third, later, ()) = tokio::join!(
        line.wait(until),
        line.wait(until),
        line.open(),
        comes_later,
        becomes_idle
    );
    let (waited, opens) = first.unwrap();
    assert!(!opens && is_at(waited, EACH / 2), "{waited:?}");
    // The others move up, and who comes now is behind them.
    let (waited, opens) = second.unwrap();
    assert!(opens && is_at(waited, EACH), "{waited:?}");
    assert!(is_at(third, EACH * 2), "{third:?}");
    assert!(is_at(later, EACH * 2), "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn lines_that_say_nothing_any_more_are_forgotten() {
    let mut line = Line::new();
    for port in 1..=10_000 {
        line.keys[0].address.set_port(port);
        line.open().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let kept = line.openings.lines();
    assert!((1..600).contains(&kept), "{kept}");
}

#[tokio::test]
async fn requests_wait_for_a_turn_or_for_a_connection_that_is_there() {
    let answers = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&answers);
    let receiver = Receiver::start(move |_, mut stream| {
        let waits = Arc::clone(&waits);
        async move {
            while read_request(&mut stream).await.is_some() {
                let _released = waits.acquire().await.unwrap();
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let mut settings = settings();
    settings.new_connections_per_destination = 2; // the last turn is in 8 s, and none above 10
    let egress = Egress::new(settings).unwrap();
    let (url, count) = (receiver.url(), AT_ONCE + 16);
    let release = async {
        until("the first have their connections", || {
            receiver.accepted() >= 32
        })
        .await;
        answers.add_permits(1_000);
    };
    let all = join_all((0..count).map(|_| send(&egress, &url)));
    let (exchanges, ()) = tokio::join!(all, release);
    for exchange in exchanges {
        assert_eq!(exchange.outcome, Outcome::Answered { status: 200 });
    }
    assert!(receiver.accepted() < 48, "none was used again");
}
