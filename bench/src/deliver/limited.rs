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

/// What arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrived {
    pub(super) taken: u64,
    pub(super) refused: u64,
    /// In any one of its own seconds, by which it takes or refuses; the refused ones count too.
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
    second_began: Option<Instant>,
    in_second: u64,
    /// When those of the last second came.
    recent: VecDeque<Instant>,
    arrived: Arrived,
}

impl State {
    /// Whether it is taken.
    fn take(&mut self, now: Instant) -> bool {
        self.recent.push_back(now);
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= SECOND;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        match self.second_began {
            Some(began) if now.saturating_duration_since(began) < SECOND => self.in_second += 1,
            _ => (self.second_began, self.in_second) = (Some(now), 1),
        }
        let arrived = &mut self.arrived;
        arrived.most_in_a_second = arrived.most_in_a_second.max(self.in_second);
        if self.recent.len() > arrived.most_in_any_second {
            arrived.most_in_any_second = self.recent.len();
            arrived.most_at = Some(now);
        }
        arrived.first_at.get_or_insert(now);
        arrived.last_at = Some(now);
        let is_taken = self.in_second <= self.per_second;
        if is_taken {
            arrived.taken += 1;
        } else {
            arrived.refused += 1;
        }
        is_taken
    }
}

/// A running receiver. Dropping it ends it and all its connections.
pub(super) struct Limited {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Limited {
    pub(super) fn start(listener: TcpListener, per_second: u64) -> Self {
        let state = Arc::new(Mutex::new(State {
            per_second,
            second_began: None,
            in_second: 0,
            recent: VecDeque::new(),
            arrived: Arrived::default(),
        }));
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

    #[test]
    fn what_is_beyond_a_second_is_refused_and_the_next_second_begins_anew() {
        let mut state = State {
            per_second: 2,
            second_began: None,
            in_second: 0,
            recent: VecDeque::new(),
            arrived: Arrived::default(),
        };
        let begin = Instant::now();
        let taken = [0, 600, 900, 1_000, 1_100].map(|ms| {
            let at = begin + Duration::from_millis(ms);
            state.take(at)
        });
        assert_eq!(taken, [true, true, false, true, true]);
        let arrived = state.arrived;
        assert_eq!((arrived.taken, arrived.refused), (4, 1));
        assert_eq!(arrived.most_in_a_second, 3);
        assert_eq!(arrived.most_in_any_second, 4);
    }
}
