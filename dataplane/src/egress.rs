//! Stage 8, egress: sends one signed request to where the address policy allows, and nowhere else.
//!
//! It owns name resolution, the connections and their pool, TLS and the reading of the answer,
//! each within limits. Whatever happens is an [`Exchange`]: nothing here fails, panics or goes on
//! for longer than the attempt may. It does not know deliveries, retries or the log, and the
//! verdict on an address is not made here but in `outrider_webhook::address`, which is pure.
//!
//! The order of one attempt: the URL is judged, the name resolved once, all its addresses judged,
//! an open connection to one of them taken or a new one opened, the request sent, the answer read.

mod ask;
mod connect;
mod draft;
mod exchange;
mod fault;
mod gate;
mod get;
mod heard;
mod link;
mod open;
mod openings;
mod pool;
mod post;
mod resolve;
mod route;
mod set_up;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod tls;
mod told;
mod upstream;
mod vetting;
pub(crate) mod via;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use outrider_config::snapshot::EgressPool;
use outrider_webhook::address::ProjectRef;
use outrider_webhook::id::ProjectId;
use outrider_webhook::retry::Failure;
use outrider_webhook::sign::SignedRequest;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::ask::Ask;
pub use self::ask::Terms;
use self::connect::{Dialled, Dialler};
use self::draft::{Draft, Phase};
use self::exchange::{Answer, ReadBounds, Reusable, Sent, exchange};
pub use self::exchange::{Exchange, Timing};
use self::fault::Fault;
use self::gate::Gate;
use self::openings::{Openings, Turn};
use self::pool::{Connection, Key, Pool};
pub use self::post::Form;
pub(crate) use self::resolve::Answers;
use self::resolve::Resolver;
use self::route::{Destination, Names, Refusal};
pub use self::settings::{EgressError, EgressStats, NamedTls, Reflector, Settings};
use self::source::Sources;
pub use self::source::{Caller, Leave};
use self::tls::Profile;
pub(crate) use self::told::Resolved;
pub(crate) use self::upstream::{OpenTiming, Purpose, Unopened, Upstream, Wish};
use self::vetting::Vetting;
use self::via::Proxy;
pub use self::via::ProxySettings;

/// How long a connection may take to become free after its answer was read. A receiver that
/// answers without reading the request keeps it busy: such a connection is closed.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(50);

/// The way out. Clones share everything; the connections end with the last one.
#[derive(Clone)]
pub struct Egress {
    inner: Arc<Inner>,
}

struct Inner {
    vetting: ArcSwap<Vetting>,
    overrides: HashMap<String, SocketAddr>,
    resolver: Resolver,
    via: Option<Arc<Proxy>>,
    certificates: HashMap<Arc<str>, NamedTls>,
    pool: Arc<Pool<Connection>>,
    /// Of the clients of the forward proxy.
    upstreams: Arc<Pool<Upstream>>,
    openings: Openings,
    gate: Arc<Gate>,
    sources: Arc<Sources>,
    reflectors: Vec<Reflector>,
    dialler: Dialler,
    tasks: TaskTracker,
    body_max: u64,
    reap_every: Duration,
    has_reaper: AtomicBool,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    opened: AtomicU64,
    taken: AtomicU64, // from the pool, the stale ones included
    stale: AtomicU64,
}

impl Egress {
    /// Sends a request for a project and reads the answer. Never fails: everything that can
    /// happen is an [`Exchange`].
    pub async fn send(
        &self,
        project: &ProjectRef<'_>,
        request: SignedRequest,
        terms: Terms,
    ) -> Exchange {
        self.run(project, Ask::Signed(request), terms).await
    }

    async fn run(&self, project: &ProjectRef<'_>, ask: Ask<'_>, terms: Terms) -> Exchange {
        let mut draft = Draft::new();
        let timeout = terms.timeout;
        let attempt = self.inner.attempt(project, ask, &terms, &mut draft);
        let result = tokio::time::timeout(timeout, attempt).await;
        match result.unwrap_or_else(|_| Err(draft.out_of_time(timeout))) {
            Ok(answer) => {
                let exchange = draft.finish(Ok(answer.status));
                if let Some(reusable) = answer.reusable {
                    self.keep(reusable).await;
                }
                exchange
            }
            Err(fault) => {
                let fault = draft.blame(fault).await;
                draft.finish(Err(fault))
            }
        }
    }

    /// Looks after the addresses of `pools`, those in force at each moment, until `stop`.
    pub async fn watch_sources(
        &self,
        pools: impl Fn() -> Vec<Arc<EgressPool>> + Clone + Send + Sync + 'static,
        stop: CancellationToken,
    ) {
        let inner = &self.inner;
        inner.sources.in_force(Box::new(pools.clone()));
        let watching = inner
            .sources
            .watch(pools, &inner.reflectors, &inner.resolver, stop);
        watching.await;
    }

    /// Whether everything goes through a forward proxy, which has the addresses.
    pub(crate) fn has_proxy(&self) -> bool {
        self.inner.via.is_some()
    }

    /// Closes the connections nobody uses at the moment.
    pub fn close_idle(&self) {
        self.inner.pool.clear();
        self.inner.upstreams.clear();
    }

    /// Closes idle connections and waits for those in use to end.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.sources.forget_in_force();
        self.close_idle();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Figures for the metrics.
    #[must_use]
    pub fn stats(&self) -> EgressStats {
        let inner = &self.inner;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let stale = read(&inner.counters.stale);
        EgressStats {
            opened: read(&inner.counters.opened),
            reused: read(&inner.counters.taken).saturating_sub(stale),
            stale,
            idle: u64::try_from(inner.pool.idle() + inner.upstreams.idle()).unwrap_or(u64::MAX),
            open: u64::try_from(inner.gate.open()).unwrap_or(u64::MAX),
            dns_lookups: inner.resolver.lookups(),
        }
    }

    /// Puts a connection back once it is ready for another request.
    async fn keep(&self, reusable: Reusable) {
        let inner = &self.inner;
        let Reusable {
            key,
            mut connection,
            keep,
        } = reusable;
        let is_ready = matches!(
            timeout(SETTLE_TIMEOUT, connection.sender.ready()).await,
            Ok(Ok(()))
        );
        if !is_ready {
            return;
        }
        let awaited = inner.openings.line_to(&key);
        inner.pool.put(key, connection, keep);
        if let Some(line) = awaited {
            line.idle_came();
        }
        self.kept();
    }

    /// A connection became idle.
    fn kept(&self) {
        let inner = &self.inner;
        if inner.stop.is_cancelled() {
            self.close_idle(); // after a shutdown nobody else would close it
            return;
        }
        inner.gate.idle_changed();
        if !inner.has_reaper.swap(true, Ordering::Relaxed) {
            let reaper = reap(Arc::downgrade(inner), inner.stop.clone(), inner.reap_every);
            inner.tasks.spawn(reaper);
        }
    }
}

impl Inner {
    async fn attempt(
        &self,
        project: &ProjectRef<'_>,
        ask: Ask<'_>,
        terms: &Terms,
        draft: &mut Draft,
    ) -> Result<Answer, Fault> {
        let bounds = ReadBounds {
            excerpt_max: terms.excerpt_max,
            body_max: self.body_max,
        };
        let mut answers = None;
        let keys = self.keys(project, &ask, terms, &mut answers);
        let keys = keys.await.map_err(|refusal| {
            if let Some(code) = refusal.denied {
                self.sources.metrics().denied(code);
            }
            refusal.fault
        })?;
        let mut request = ask.into_request()?;
        if let Some(through) = keys.first().and_then(Key::forwarded) {
            through.forward(&mut request)?;
        }
        let mut pooled = self.pool.take_any(&keys);
        loop {
            let Dialled {
                key,
                mut connection,
                is_reused,
            } = match pooled.take() {
                Some((key, connection)) => Dialled::reused(key, connection, draft),
                // Boxed: the rare and large part would make every attempt as large.
                None => Box::pin(self.dial(&keys, terms, draft)).await?,
            };
            draft.timing.is_reused = is_reused;
            if is_reused {
                self.counters.taken.fetch_add(1, Ordering::Relaxed);
            } else {
                self.counters.opened.fetch_add(1, Ordering::Relaxed);
                self.check_end(&key, connection.remote)?;
                let opened = told::Opened {
                    project: project.id,
                    request: &request,
                    key: &key,
                    connection: &connection,
                    answers: answers.as_deref(),
                };
                opened.tell(&terms.leave, &draft.timing);
            }
            match exchange(&mut connection, request, bounds, draft).await? {
                Sent::Answered(answer) => return self.answered(answer, (key, connection), draft),
                // Not a byte of it was written, so sending it anew cannot repeat it.
                Sent::Unwritten(unsent) if is_reused => request = unsent,
                Sent::Unwritten(_) => return Err(connection.unwritten().await),
            }
            draft.off();
            self.counters.stale.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection, when it is the request's turn to open one.
    async fn dial(&self, keys: &[Key], terms: &Terms, draft: &mut Draft) -> Result<Dialled, Fault> {
        let left = terms.timeout.saturating_sub(draft.spent());
        draft.enter(Phase::Connect);
        let room = Instant::now() + left / 2;
        match self.openings.turn(keys, &self.pool, room).await? {
            Turn::Idle(key, connection) => Ok(Dialled::reused(key, connection, draft)),
            Turn::Open { has_waited } => {
                let limits = &self.dialler.opener().limits;
                let until = limits.until(terms.connect_timeout, room, has_waited);
                let dialling = self.dialler.dial(keys.to_vec(), &self.pool, until, draft);
                dialling.await
            }
        }
    }

    /// An answer, which may be that of the proxy.
    fn answered(
        &self,
        answer: Answer,
        (key, connection): (Key, Connection),
        draft: &mut Draft,
    ) -> Result<Answer, Fault> {
        match key.forwarded() {
            None => Ok(answer.on(key, connection)),
            Some(through) => {
                through.answered(answer.status, draft)?;
                Ok(answer.on(key, connection))
            }
        }
    }

    /// Where a target may be reached, with the TLS settings of its endpoint, and from where.
    async fn keys(
        &self,
        project: &ProjectRef<'_>,
        ask: &Ask<'_>,
        terms: &Terms,
        answers: &mut Option<Arc<Answers>>,
    ) -> Result<Vec<Key>, Refusal> {
        let mut destination = Destination::of(ask.target());
        if self.via.is_some() {
            destination.traceparent = ask.traceparent().cloned();
        }
        if let (Some(profile), Some(own)) = (&mut destination.tls, &terms.tls) {
            *profile = Profile::Own(Arc::clone(own));
        }
        if let (Some(profile), Some(name)) = (&mut destination.tls, &terms.certificate) {
            match &self.via {
                // Only the proxy has it, so TLS is made there.
                Some(_) => (destination.tls, destination.certificate) = (None, Some(name.clone())),
                None => *profile = self.profile_named(project.id, name)?,
            }
        }
        self.route(project, destination, &terms.leave, answers)
            .await
    }

    /// TLS by a certificate that this host has. Without it nothing is sent: it may come.
    fn profile_named(&self, project: ProjectId, name: &str) -> Result<Profile, Fault> {
        let named = self.certificates.get(name);
        let allowed = named.filter(|one| one.is_for(project));
        let found = allowed.map(|one| Profile::Own(Arc::clone(&one.tls)));
        found.ok_or_else(|| {
            let detail = format!("this host has no client certificate `{name}` for this project");
            Fault::new(Failure::NoHealthySource, detail)
        })
    }

    /// Judges a destination and all its addresses; puts in where connections to it come from.
    async fn route(
        &self,
        project: &ProjectRef<'_>,
        destination: Destination<'_>,
        leave: &Leave,
        answers: &mut Option<Arc<Answers>>,
    ) -> Result<Vec<Key>, Refusal> {
        let vetting = self.vetting.load_full();
        let found = match &self.via {
            Some(proxy) => proxy.keys(&vetting, project, destination, leave).await,
            None => {
                let names = Names {
                    overrides: &self.overrides,
                    resolver: &self.resolver,
                    answers,
                };
                route::find(&vetting, names, project, destination).await
            }
        };
        let keys = found?;
        match &self.via {
            Some(_) => Ok(keys), // the proxy knows what the pool has
            None => Ok(self.sources.leave(leave, keys)?),
        }
    }
}

/// Closes idle connections that are over their time, until egress is gone.
async fn reap(inner: Weak<Inner>, stop: CancellationToken, every: Duration) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {} // both may be dropped at any point
        }
        let Some(inner) = inner.upgrade() else { return };
        inner.pool.reap();
        inner.upstreams.reap();
    }
}
