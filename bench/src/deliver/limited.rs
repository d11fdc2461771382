//! A receiver that takes a number of requests in each second, and answers 429 beyond it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

const SECOND: Duration = Duration::from_secs(1);

/// Which seconds a receiver counts in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Window {
    /// One begins with the first request after the one before.
    Fixed,
    /// The last one, at any time.
    Sliding,
}

/// What arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrived {
    pub(super) taken: u64,
    pub(super) refused: u64,
    /// In any one of the seconds that begin with the first request after the one before, by which
    /// a receiver with fixed ones takes or refuses; the refused ones count too.
    pub(super) most_in_a_second: u64,
    /// In any stretch of a second, wherever it begins.
    pub(super) most_in_any_second: usize,
    /// When that stretch ended.
    pub(super) most_at: Option<Instant>,
    pub(super) first_at: Option<Instant>,
    pub(super) last_at: Option<Instant>,
}

#[derive(Debug)]
struct State {
    per_second: u64,
    window: Window,
    second_began: Option<Instant>,
    in_second: u64,
    /// When those of the last second came that were taken.
    taken: VecDeque<Instant>,
    /// When those of the last second came.
    recent: VecDeque<Instant>,
    arrived: Arrived,
}

impl State {
    fn new(per_second: u64, window: Window) -> Self {
        Self {
            per_second,
            window,
            second_began: None,
            in_second: 0,
            taken: VecDeque::new(),
            recent: VecDeque::new(),
            arrived: Arrived::default(),
        }
    }

    /// Whether it is taken.
    fn take(&mut self, now: Instant) -> bool {
        self.recent.push_back(now);
        forget(&mut self.recent, now);
        forget(&mut self.taken, now);
        match self.second_began {
            Some(began) if now.saturating_duration_since(began) < SECOND => self.in_second += 1,
            _ => (self.second_began, self.in_second) = (Some(now), 1),
        }
        let is_taken = match self.window {
            Window::Fixed => self.in_second <= self.per_second,
            Window::Sliding => (self.taken.len() as u64) < self.per_second,
        };
        let arrived = &mut self.arrived;
        arrived.most_in_a_second = arrived.most_in_a_second.max(self.in_second);
        if self.recent.len() > arrived.most_in_any_second {
            arrived.most_in_any_second = self.recent.len();
            arrived.most_at = Some(now);
        }
        arrived.first_at.get_or_insert(now);
        arrived.last_at = Some(now);
        if is_taken {
            self.taken.push_back(now);
            arrived.taken += 1;
        } else {
            arrived.refused += 1;
        }
        is_taken
    }
}

fn forget(times: &mut VecDeque<Instant>, now: Instant) {
    let is_old = |at: &Instant| now.saturating_duration_since(*at) >= SECOND;
    while times.front().is_some_and(is_old) {
        times.pop_front();
    }
}

/// A running receiver. Dropping it ends it and all its connections.
pub(super) struct Limited {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Limited {
    pub(super) fn start(listener: TcpListener, per_second: u64, window: Window) -> Self {
        let state = Arc::new(Mutex::new(State::new(per_second, window)));
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { state, task }
    }

    pub(super) fn arrived(&self) -> Arrived {
        lock(&self.state).arrived.clone()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counters are plain numbers: a panic elsewhere leaves them usable.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new(); // aborts them when this task is aborted
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, Arc::clone(&state)));
            }
            Err(error) => {
                eprintln!("a receiver cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    // Without it small answers wait for the peer's delayed ACK; a failure only costs time.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, Arc::clone(&state)));
    // An error here is a peer that went away, which a receiver does not mind.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut answer = Response::new(Empty::new());
    if request.into_body().collect().await.is_err() {
        return Ok(answer); // torn off: nobody waits for the answer
    }
    if !lock(&state).take(Instant::now()) {
        *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of requests at these milliseconds, where two are taken in each second.
    fn sent<const N: usize>(window: Window, at_ms: [u64; N]) -> ([bool; N], Arrived) {
        let mut state = State::new(2, window);
        let begin = Instant::now();
        let taken = at_ms.map(|ms| state.take(begin + Duration::from_millis(ms)));
        (taken, state.arrived)
    }

    #[test]
    fn a_second_that_slides_has_those_that_were_taken_in_it() {
        let at_ms = [0, 600, 900, 1_000, 1_100, 1_600, 2_000];
        let (taken, arrived) = sent(Window::Sliding, at_ms);
        assert_eq!(taken, [true, true, false, true, false, true, true]);
        assert_eq!((arrived.taken, arrived.refused), (5, 2));
        assert_eq!(arrived.most_in_any_second, 4);
    }

    #[test]
    fn what_is_beyond_a_second_is_refused_and_the_next_second_begins_anew() {
        let (taken, arrived) = sent(Window::Fixed, [0, 600, 900, 1_000, 1_100]);
        assert_eq!(taken, [true, true, false, true, true]);
        assert_eq!((arrived.taken, arrived.refused), (4, 1));
        assert_eq!(arrived.most_in_a_second, 3);
        assert_eq!(arrived.most_in_any_second, 4);
    }
}
