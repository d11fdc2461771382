//! Crash after crash on one directory: under load the gateway is killed, loses its power, or is
//! drained, is started again, perhaps with another clock, and has to know everything it ever
//! acknowledged. How each round ends is drawn from the seed; when, from the seed and the machine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::harness::{
    Cut, Disk, Endpoint, Faults, Outrider, Producer, Receiver, Resources, Setup, Undone, audit,
};
use super::SECRET;
use super::ledger::Ledger;
use super::reads::{self, Finals};

/// Rounds of `make test`; `OUTRIDER_CRASH_ROUNDS` asks for more.
const ROUNDS: usize = 10;
/// Rounds after which everything is looked at, and not only what the round was about.
const CHECK_EVERY: usize = 5;
const CHECK_EVERY_OF_MANY: usize = 20;
const ENDPOINTS: u32 = 3;
/// The least there may be: what is in several segments is in more danger.
const SEGMENT_BYTES: &str = "1048576";
/// Farthest the clock is off, seconds: receivers refuse signatures that are 300 s off.
const CLOCK_OFF_S: i64 = 200;
/// Longest after the last acknowledgement waited for that a gateway may live, milliseconds.
const LIFE_MS: u64 = 40;
/// Longest that a start goes on which is interrupted, milliseconds.
const START_MS: u64 = 300;

/// How a run of the gateway ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Kill,
    PowerCut,
    TornCut,
    Drain,
}

impl End {
    fn draw(rng: &mut StdRng) -> Self {
        match rng.random_range(0..10_u32) {
            0..3 => Self::Kill,
            3..6 => Self::PowerCut,
            6..9 => Self::TornCut,
            _ => Self::Drain,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kill => "kill -9",
            Self::PowerCut => "power cut",
            Self::TornCut => "torn power cut",
            Self::Drain => "drain",
        })
    }
}

#[derive(Debug, Default)]
struct Totals {
    cuts: usize,
    interrupted_starts: usize,
    /// Ends that left a group of records in the log that is not whole.
    torn_logs: usize,
    unanswered: usize,
    undone: Undone,
}

/// Everything that stays over the rounds.
struct Run {
    ledger: Arc<Ledger>,
    receiver: Receiver,
    producer: Producer,
    outrider: Outrider,
    disk: Disk,
    finals: Finals,
    /// Endpoints made through the API, right before a crash.
    configured: Vec<String>,
    totals: Totals,
}

impl Run {
    async fn start(faults: Faults) -> Self {
        let ledger = Arc::new(Ledger::default());
        let receiver = ledger.receiver(faults).await;
        let endpoints: Vec<Endpoint> = (1..=ENDPOINTS)
            .map(|number| Endpoint::new(number, &receiver.url("/hook"), SECRET))
            .collect();
        let setup = Setup::new(&Resources::outgoing(&endpoints))
            .env("OUTRIDER__STORE__SEGMENT_BYTES", SEGMENT_BYTES);
        let (disk, setup) = Disk::below(setup);
        Self {
            ledger,
            receiver,
            producer: Producer::to_endpoints(ENDPOINTS),
            outrider: setup.start().await,
            disk,
            finals: Finals::default(),
            configured: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// Load, and its end. How many events were acknowledged, and what the end undid.
    async fn load(&mut self, end: End, rng: &mut StdRng) -> (usize, Undone) {
        let before = self.producer.count_acknowledged();
        let refuses = rng.random_bool(0.1);
        if refuses {
            self.receiver.close().await;
        }
        let mut load = self.producer.start(&self.outrider);
        load.wait_for(rng.random_range(20..300)).await;
        if refuses {
            self.receiver.open().await;
        }
        let mut api = reads::project(&self.outrider);
        self.finals.sample(&mut api).await;
        let name = format!("configured-{}", self.configured.len());
        let url = self.receiver.url("/other");
        self.configured
            .push(api.make_endpoint(&name, &url, &json!({})).await);
        sleep(Duration::from_millis(rng.random_range(0..LIFE_MS))).await;
        if let End::Drain = end {
            let code = self.outrider.terminate().await;
            assert_eq!(code, Some(0), "{}", self.outrider.stderr());
        }
        let undone = self.end(end, rng).await;
        load.finish().await;
        (self.producer.count_acknowledged() - before, undone)
    }

    /// Ends the process and, if that is how it ends, the power; what is left proves itself.
    async fn end(&mut self, end: End, rng: &mut StdRng) -> Undone {
        self.outrider.kill();
        let undone = match end {
            End::Kill | End::Drain => {
                self.disk.survive();
                Undone::default()
            }
            End::PowerCut => self.disk.cut(Cut::LosesAll, rng),
            End::TornCut => self.disk.cut(Cut::Tears, rng),
        };
        self.totals.cuts += usize::from(matches!(end, End::PowerCut | End::TornCut));
        self.totals.undone.writes += undone.writes;
        self.totals.undone.names += undone.names;
        let report = audit(&self.outrider.data_dir(), &["--json"]).await;
        assert_eq!(report.code, Some(0), "after a {end}: {}", report.output);
        let report: Value = serde_json::from_str(&report.output).unwrap();
        self.totals.torn_logs += usize::from(!report["torn_tail"].is_null());
        undone
    }

    /// A start that ends before it is through, in any way but an error.
    async fn interrupted_start(&mut self, rng: &mut StdRng) {
        self.outrider.launch();
        sleep(Duration::from_millis(rng.random_range(0..START_MS))).await;
        let ended = self.outrider.has_ended();
        assert_eq!(ended, None, "{}", self.outrider.stderr());
        let end = match rng.random_range(0..3_u32) {
            0 => End::Kill,
            1 => End::PowerCut,
            _ => End::TornCut,
        };
        self.end(end, rng).await;
        self.totals.interrupted_starts += 1;
    }

    /// What got no answer is asked again, as is some of what got one. Each is one event.
    async fn ask_again(&mut self, rng: &mut StdRng) -> usize {
        let unanswered = self.producer.unanswered();
        let acknowledged: Vec<u64> = self.producer.acknowledged().into_keys().collect();
        let some = (0..4).map(|_| acknowledged[rng.random_range(0..acknowledged.len())]);
        let mut client = self.outrider.client();
        let mut api = reads::project(&self.outrider);
        let newest = self.configured.last().unwrap();
        api.get(&format!("/endpoints/{newest}")).await.data(200);
        for n in unanswered.iter().copied().chain(some) {
            let uid = self.producer.repeat(&mut client, n).await;
            reads::assert_one_event(&mut api, n, &uid).await;
        }
        self.totals.unanswered += unanswered.len();
        unanswered.len()
    }

    /// Everything that was ever acknowledged.
    async fn check(&mut self) {
        let acknowledged = self.producer.acknowledged();
        self.ledger.wait_for_all(&acknowledged).await;
        let mut api = reads::project(&self.outrider);
        reads::assert_lists_agree(&mut api, &acknowledged, &mut self.finals).await;
        let endpoints = api.uids("/endpoints?perPage=1000").await;
        for uid in &self.configured {
            assert!(endpoints.contains(uid), "endpoint {uid}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_is_delivered_after_kills_and_power_cuts_under_load() {
    let asked = std::env::var("OUTRIDER_CRASH_ROUNDS");
    let rounds = asked.map_or(ROUNDS, |text| text.parse().expect("a number of rounds"));
    let check_every = match rounds {
        0..=ROUNDS => CHECK_EVERY,
        _ => CHECK_EVERY_OF_MANY,
    };
    let faults = Faults::new();
    let mut run = Run::start(faults).await;
    for round in 1..=rounds {
        let rng = &mut faults.rng_of_round(round);
        let end = End::draw(rng);
        let (acknowledged, undone) = run.load(end, rng).await;
        while rng.random_bool(0.2) {
            run.interrupted_start(rng).await;
        }
        let is_checked = round % check_every == 0 || round == rounds;
        let clock_off_s = match rng.random_bool(0.5) {
            true => rng.random_range(-CLOCK_OFF_S..=CLOCK_OFF_S),
            false => 0,
        };
        run.outrider.set_clock(clock_off_s);
        run.outrider.start().await;
        let unanswered = run.ask_again(rng).await;
        eprintln!(
            "round {round:3}: {end:14} {acknowledged:4} acknowledged, {unanswered:2} unanswered, \
             {:4} writes and {} names undone, clock {clock_off_s:+} s",
            undone.writes, undone.names
        );
        if is_checked {
            run.check().await;
        }
    }
    let acknowledged = run.producer.count_acknowledged();
    eprintln!(
        "{rounds} rounds: {acknowledged} acknowledged, none lost; {:?}",
        run.totals
    );
}
