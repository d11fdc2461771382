//! When something is due: what the clients of a generator take their work from.
//!
//! With a rate it is an open loop: number `n` is due at `n / rate`, whether or not the ones before
//! it are done, and its latency counts from that time, so what is slow cannot slow down its own
//! measurement. Without one it is a closed loop: every client takes its next one when the one
//! before is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::sync::{Mutex, mpsc};

/// What may be due and not yet taken by a client. When it is full the pacer waits; everything
/// keeps the time it was due.
const DUE_MAX: usize = 65_536;

/// When enough was sent.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// When so much time has passed.
    After(Duration),
    /// When so many events were sent.
    Events(u64),
    /// When somebody says so.
    Told(Arc<AtomicBool>),
}

impl End {
    fn is_reached(&self, sent: u64, after: Duration) -> bool {
        match self {
            Self::After(duration) => after >= *duration,
            Self::Events(count) => sent >= *count,
            Self::Told(told) => told.load(Ordering::Relaxed),
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) number: u64,
    pub(crate) at: Instant,
}

/// Where a client gets its next one from.
#[derive(Clone)]
pub(crate) enum Feed {
    Open(Arc<Mutex<mpsc::Receiver<Due>>>),
    Closed {
        next: Arc<AtomicU64>,
        first: u64,
        end: End,
        begin: Instant,
    },
}

impl Feed {
    /// The next one, as soon as it is due; `None` when enough was given out.
    pub(crate) async fn next(&self) -> Option<Due> {
        match self {
            Self::Open(due) => due.lock().await.recv().await,
            Self::Closed {
                next,
                first,
                end,
                begin,
            } => {
                let at = Instant::now();
                let number = next.fetch_add(1, Ordering::Relaxed);
                let sent = number.saturating_sub(*first);
                let is_over = end.is_reached(sent, at.saturating_duration_since(*begin));
                (!is_over).then_some(Due { number, at })
            }
        }
    }
}

/// A feed that has begun.
pub(crate) struct Feeding {
    feed: Feed,
    begin: Instant,
    pacer: Option<JoinHandle<()>>,
}

impl Feeding {
    /// Begins to count, with number `first`.
    pub(crate) fn start(rate: Option<u32>, end: End, first: u64) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let Some(rate) = rate else {
            let next = Arc::new(AtomicU64::new(first));
            let feed = Feed::Closed {
                next,
                first,
                end,
                begin,
            };
            let pacer = None;
            return Ok(Self { feed, begin, pacer });
        };
        if rate == 0 {
            bail!("the rate must be at least 1");
        }
        let (sender, due) = mpsc::channel(DUE_MAX);
        let pacer = thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(move || pace(rate, &end, (begin, first), &sender))?;
        Ok(Self {
            feed: Feed::Open(Arc::new(Mutex::new(due))),
            begin,
            pacer: Some(pacer),
        })
    }

    pub(crate) const fn begin(&self) -> Instant {
        self.begin
    }

    pub(crate) fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// After the last client.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        drop(self.feed); // a pacer that waits for room gives up
        if self.pacer.is_some_and(|pacer| pacer.join().is_err()) {
            bail!("the pacer failed");
        }
        Ok(())
    }
}

/// Gives out what is due. An own thread: the runtime's timer counts in milliseconds.
fn pace(rate: u32, end: &End, (begin, first): (Instant, u64), sender: &mpsc::Sender<Due>) {
    let mut count = 0_u64;
    loop {
        let after = Duration::from_nanos(count.saturating_mul(1_000_000_000) / u64::from(rate));
        if end.is_reached(count, after) {
            return;
        }
        let at = begin + after;
        loop {
            let wait = at.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            thread::park_timeout(wait); // may wake early: the loop looks again
        }
        let number = first + count;
        if sender.blocking_send(Due { number, at }).is_err() {
            return;
        }
        count += 1;
    }
}
