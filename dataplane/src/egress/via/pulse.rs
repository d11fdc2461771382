//! Whether the proxy lives: a connection to each of its addresses on which nothing is done but to
//! ask, so that nothing a destination does can end it.
//!
//! An exchange that breaks asks. An answer that came after the break says that the proxy lives,
//! and so that the destination broke it; the end of the connection, or no answer in time, that the
//! proxy was lost, and all its tunnels with it. While an address is not reached the others come
//! first.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::refusal::value;
use super::{PULSE, Proxy};
use crate::egress::link::Link;

/// Addresses that are looked after at once; a name has fewer.
const ADDRESSES_MAX: usize = 64;
/// For the connection, and the answer to its request.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// Between tries to reach the proxy.
const RETRY: Duration = Duration::from_millis(500);
/// The same where something answers that has no pulse: a proxy of an earlier version.
const RETRY_OTHER: Duration = Duration::from_secs(60);
/// The same where it has none for us at the moment.
const RETRY_LATER: Duration = Duration::from_secs(5);
/// It is asked when nobody asked for so long: a host that vanished says nothing.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// No answer for so long is none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an exchange that broke waits for it, a little longer.
const VERDICT_TIMEOUT: Duration = Duration::from_millis(3_500);
/// An address that nothing was opened through for so long is not looked after: longer than a
/// tunnel is used.
const UNUSED_AFTER: Duration = Duration::from_secs(600);

/// The pulses of all addresses of the proxy.
pub(super) struct Pulses {
    all: Mutex<HashMap<SocketAddr, Arc<Pulse>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// That of one address.
struct Pulse {
    used: Mutex<Instant>,
    /// How often somebody wanted to know.
    asked: AtomicU64,
    wake: Notify,
    seen: watch::Sender<Seen>,
}

/// What is known.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The connection stands.
    is_up: bool,
    /// It is about to.
    is_trying: bool,
    /// So many of those who wanted to know have been answered.
    answered: u64,
    /// When it was lost for the last time.
    lost: Option<Instant>,
    /// The last try to reach the proxy there failed.
    is_unreached: bool,
}

/// How a connection for the pulse came out.
enum Reached {
    Up(Link),
    /// It has none for us now: it is being stopped, or gives as many as it may.
    Later,
    /// There is something, and it has none.
    Other,
    No,
}

impl Pulses {
    pub(super) fn new(tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            all: Mutex::default(),
            tasks,
            stop,
        }
    }

    /// Something was opened through an address, or could not be. It is looked after from now on.
    pub(super) fn used(&self, proxy: &Arc<Proxy>, address: SocketAddr, is_reached: bool) {
        let mut all = self.lock();
        if let Some(pulse) = all.get(&address) {
            pulse.touch();
            pulse.reached(is_reached);
            return;
        }
        if all.len() >= ADDRESSES_MAX || self.stop.is_cancelled() {
            return;
        }
        let pulse = Arc::new(Pulse::new());
        pulse.reached(is_reached);
        all.insert(address, Arc::clone(&pulse));
        drop(all);
        let (proxy, stop) = (Arc::clone(proxy), self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = pulse.keep(&proxy, address) => {}
            }
            proxy.pulses.lock().remove(&address);
        });
    }

    /// Whether the proxy was not reached there when it was tried last.
    pub(super) fn is_unreached(&self, address: SocketAddr) -> bool {
        let all = self.lock();
        all.get(&address)
            .is_some_and(|pulse| pulse.seen.borrow().is_unreached)
    }

    /// Whether the proxy at this address is known to have been lost after `since`.
    pub(super) fn was_lost(&self, (address, since): (SocketAddr, Instant)) -> bool {
        let all = self.lock();
        let lost = all.get(&address).and_then(|pulse| pulse.seen.borrow().lost);
        lost.is_some_and(|at| at >= since)
    }

    /// Whether the proxy at this address was lost after `since`, as far as can be known. False also
    /// when it cannot.
    pub(super) async fn is_lost(&self, address: SocketAddr, since: Instant) -> bool {
        let pulse = self.lock().get(&address).cloned();
        let Some(pulse) = pulse else { return false };
        let mut seen = pulse.seen.subscribe();
        let ticket = pulse.asked.fetch_add(1, Ordering::AcqRel) + 1;
        pulse.wake.notify_one();
        let lost = |seen: &Seen| seen.lost.is_some_and(|at| at >= since);
        let settled = seen.wait_for(|seen| {
            lost(seen) || seen.answered >= ticket || !(seen.is_up || seen.is_trying)
        });
        match timeout(VERDICT_TIMEOUT, settled).await {
            Ok(Ok(seen)) => lost(&seen),
            Ok(Err(_)) | Err(_) => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Pulse>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    fn new() -> Self {
        Self {
            used: Mutex::new(Instant::now()),
            asked: AtomicU64::new(0),
            wake: Notify::new(),
            seen: watch::Sender::new(Seen {
                is_trying: true,
                ..Seen::default()
            }),
        }
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_used(&self) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.elapsed() < UNUSED_AFTER
    }

    fn reached(&self, is_reached: bool) {
        self.seen.send_if_modified(|seen| {
            // One that answers here is there, whatever became of another connection.
            let is_unreached = !is_reached && !seen.is_up;
            std::mem::replace(&mut seen.is_unreached, is_unreached) != is_unreached
        });
    }

    /// Keeps the connection, over its losses, for as long as the address is used.
    async fn keep(&self, proxy: &Proxy, address: SocketAddr) {
        while self.is_used() {
            self.seen.send_modify(|seen| seen.is_trying = true);
            let reached = timeout(REACH_TIMEOUT, reach(proxy, address)).await;
            let is_up = matches!(reached, Ok(Reached::Up(_)));
            self.seen
                .send_modify(|seen| (seen.is_up, seen.is_trying) = (is_up, false));
            let wait = match reached {
                Ok(Reached::Up(link)) => {
                    self.seen.send_modify(|seen| seen.is_unreached = false);
                    let is_unused = self.ask(link).await;
                    self.seen.send_modify(|seen| {
                        seen.is_up = false;
                        if !is_unused {
                            (seen.lost, seen.is_unreached) = (Some(Instant::now()), true);
                        }
                    });
                    if !is_unused {
                        tracing::warn!(proxy = %address, "the egress proxy is lost");
                    }
                    RETRY
                }
                Ok(Reached::Other) => {
                    self.reached(true);
                    RETRY_OTHER
                }
                Ok(Reached::Later) => {
                    self.reached(true);
                    RETRY_LATER
                }
                Ok(Reached::No) | Err(_) => {
                    self.reached(false);
                    RETRY
                }
            };
            sleep(wait).await;
        }
    }

    /// Asks, at once when somebody wants to know, until there is no answer (false) or the address
    /// is not used any more (true).
    async fn ask(&self, mut link: Link) -> bool {
        let mut bytes = [0; 16];
        let mut answered = 0;
        loop {
            let wanted = self.asked.load(Ordering::Acquire);
            if wanted <= answered {
                let idle = sleep_until(Instant::now() + ASK_EVERY);
                // Each may be dropped at any point. Nothing is to come unasked but the end.
                tokio::select! {
                    () = self.wake.notified() => continue,
                    _ = link.read(&mut bytes) => return false,
                    () = idle => {}
                }
                if !self.is_used() {
                    return true;
                }
            }
            let limit = Instant::now() + ANSWER_TIMEOUT;
            let asked = async {
                link.write_all(b".").await?;
                link.flush().await?;
                link.read(&mut bytes).await
            };
            match timeout_at(limit, asked).await {
                Ok(Ok(1..)) => answered = wanted,
                Ok(Ok(_) | Err(_)) | Err(_) => return false,
            }
            self.seen.send_modify(|seen| seen.answered = answered);
        }
    }
}

async fn reach(proxy: &Proxy, address: SocketAddr) -> Reached {
    let Ok(mut link) = proxy.reach(address).await else {
        return Reached::No;
    };
    match proxy.ask(&mut link, &proxy.pulse_request()).await {
        Ok((answer, head)) if answer.status == 200 && value(&head, PULSE.as_str()).is_some() => {
            Reached::Up(link)
        }
        Ok((answer, _)) if matches!(answer.status, 429 | 503) => Reached::Later,
        Ok(_) => Reached::Other,
        Err(_) => Reached::No,
    }
}
