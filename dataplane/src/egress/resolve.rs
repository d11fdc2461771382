//! Names to addresses: asked once per attempt, remembered within strict bounds.
//!
//! No search domains and no hosts file: a customer's URL must mean the same on every machine.
//! The answers are all the addresses the name has; what may be called among them is the address
//! policy's business, not decided here.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::EgressError;
use crate::metrics::EgressMetrics;

/// Bounds of the time an answer is used, whatever its own TTL says (`egress` section 7).
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(300);
/// How long "there is no such name" is remembered.
const NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// How long a failure to get an answer is remembered: enough to spare the servers a storm.
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// Names remembered at once, about 1 KiB each.
const NAMES_MAX: usize = 8_192;
/// A name with more addresses is refused. All are checked and remembered, so they are bounded.
const ADDRESSES_MAX: usize = 256;
/// One question to one name server; asked twice within the limit of the whole look-up.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// A name has no usable addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResolveError {
    #[error("the name has no address")]
    NotFound,
    #[error("no name server answered in time")]
    Timeout,
    #[error("the name has {0} addresses, at most {ADDRESSES_MAX} are accepted")]
    TooMany(usize),
    #[error("the name servers failed: {0}")]
    Servers(String),
}

/// What the name servers said, and until when it holds.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(super) addresses: Result<Vec<IpAddr>, ResolveError>,
    valid_until: Instant,
}

impl Answers {
    /// The addresses of the name; none when there are none, or they could not be had.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        self.addresses.as_deref().unwrap_or_default()
    }
}

/// Addresses and the time to live the name servers gave them.
type Found = (Vec<IpAddr>, Duration);

/// A look-up that is under way or done; everybody who asks meanwhile waits for the same one.
type Slot = Arc<OnceCell<Arc<Answers>>>;

/// Resolves names, with a cache.
pub(super) struct Resolver {
    servers: TokioResolver,
    limit: Duration,
    slots: Mutex<HashMap<Box<str>, Slot>>,
    lookups: AtomicU64,
    metrics: EgressMetrics,
}

impl Resolver {
    /// `name_servers`: whom to ask; empty for those of the system. `limit`: one whole look-up.
    ///
    /// # Errors
    /// [`EgressError::Resolver`] when the resolver library refuses the settings.
    pub(super) fn new(
        name_servers: &[SocketAddr],
        limit: Duration,
        metrics: EgressMetrics,
    ) -> Result<Self, EgressError> {
        let servers = match name_servers {
            [] => system_servers(),
            given => given.iter().copied().map(name_server).collect(),
        };
        let config = ResolverConfig::from_name_servers(servers); // and no search domains
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        *builder.options_mut() = options(limit);
        Ok(Self {
            servers: builder.build().map_err(EgressError::Resolver)?,
            limit,
            slots: Mutex::default(),
            lookups: AtomicU64::new(0),
            metrics,
        })
    }

    /// All addresses of a name, IPv4 first. `name` is in A-label form without a final dot.
    pub(super) async fn lookup(&self, name: &str) -> Arc<Answers> {
        let slot = self.slot(name);
        // If the caller that asks is cut off, the next one waiting takes over.
        let answers = slot.get_or_init(|| async { Arc::new(self.ask(name).await) });
        Arc::clone(answers.await)
    }

    /// Look-ups that went to the name servers.
    pub(super) fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed)
    }

    fn slot(&self, name: &str) -> Slot {
        let now = Instant::now();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(name)
            && is_usable(slot, now)
        {
            return Arc::clone(slot);
        }
        if slots.len() >= NAMES_MAX {
            make_room(&mut slots, now);
        }
        let slot = Slot::default();
        slots.insert(name.into(), Arc::clone(&slot));
        slot
    }

    async fn ask(&self, name: &str) -> Answers {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let _timer = self.metrics.looking_up();
        let (addresses, ttl) = bounded(self.ask_both(name).await);
        Answers {
            addresses,
            valid_until: Instant::now() + ttl,
        }
    }

    async fn ask_both(&self, name: &str) -> Result<Found, ResolveError> {
        let Ok(mut name) = Name::from_ascii(name) else {
            return Err(ResolveError::NotFound); // no name server could ever know it
        };
        name.set_fqdn(true);
        let (v4, v6) = timeout(self.limit, async {
            tokio::join!(
                self.ask_one(name.clone(), RecordType::A),
                self.ask_one(name.clone(), RecordType::AAAA),
            )
        })
        .await
        .map_err(|_| ResolveError::Timeout)?;
        match (v4, v6) {
            (Ok((mut v4, v4_ttl)), Ok((v6, v6_ttl))) => {
                v4.extend(v6);
                Ok((v4, v4_ttl.min(v6_ttl)))
            }
            // Half an answer: usable when the other half is known to be empty, and for a short
            // time when it is merely missing.
            (Ok(found), Err(ResolveError::NotFound)) | (Err(ResolveError::NotFound), Ok(found)) => {
                Ok(found)
            }
            (Ok((found, ttl)), Err(_)) | (Err(_), Ok((found, ttl))) => {
                Ok((found, ttl.min(NEGATIVE_TTL)))
            }
            (Err(ResolveError::NotFound), Err(error)) | (Err(error), Err(_)) => Err(error),
        }
    }

    async fn ask_one(&self, name: Name, kind: RecordType) -> Result<Found, ResolveError> {
        let answer = self.servers.lookup(name, kind).await.map_err(explain)?;
        let mut ttl_s = u32::MAX;
        let mut addresses = Vec::new();
        for record in answer.answers() {
            ttl_s = ttl_s.min(record.ttl); // the aliases on the way count too
            match &record.data {
                RData::A(a) => addresses.push(IpAddr::V4(a.0)),
                RData::AAAA(aaaa) => addresses.push(IpAddr::V6(aaaa.0)),
                _ => {}
            }
        }
        if addresses.is_empty() {
            return Err(ResolveError::NotFound);
        }
        Ok((addresses, Duration::from_secs(u64::from(ttl_s))))
    }
}

/// What is remembered of an answer, and for how long.
fn bounded(found: Result<Found, ResolveError>) -> (Result<Vec<IpAddr>, ResolveError>, Duration) {
    match found {
        Ok((addresses, _)) if addresses.len() > ADDRESSES_MAX => {
            (Err(ResolveError::TooMany(addresses.len())), NEGATIVE_TTL)
        }
        Ok((addresses, ttl)) => (Ok(addresses), ttl.clamp(TTL_MIN, TTL_MAX)),
        Err(ResolveError::NotFound) => (Err(ResolveError::NotFound), NEGATIVE_TTL),
        Err(failure) => (Err(failure), FAILURE_TTL),
    }
}

fn is_usable(slot: &Slot, now: Instant) -> bool {
    // A slot without an answer is a look-up under way.
    slot.get().is_none_or(|answers| now < answers.valid_until)
}

/// Drops what has expired, and an eighth of the rest if that was not enough: names are chosen by
/// customers, so the cache must not grow with them.
fn make_room(slots: &mut HashMap<Box<str>, Slot>, now: Instant) {
    slots.retain(|_, slot| is_usable(slot, now));
    let mut excess = slots.len().saturating_sub(NAMES_MAX - NAMES_MAX / 8);
    slots.retain(|_, _| {
        let is_dropped = excess > 0;
        excess = excess.saturating_sub(1);
        !is_dropped
    });
}

fn explain(error: NetError) -> ResolveError {
    match error {
        _ if error.is_no_records_found() || error.is_nx_domain() => ResolveError::NotFound,
        NetError::Timeout => ResolveError::Timeout,
        other => ResolveError::Servers(other.to_string()),
    }
}

fn options(limit: Duration) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.cache_size = 0; // ours is bounded by name and shared by both record types
    options.use_hosts_file = ResolveHosts::Never;
    options.edns0 = true;
    options.attempts = 2;
    options.timeout = QUESTION_TIMEOUT.min(limit);
    // One name server is one UDP "connection" here; more questions than this at once fail.
    options.max_active_requests = 1_024;
    options
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// The name servers of the host. Without any, 127.0.0.1 is asked, as the C library does: a host
/// without DNS must still be able to deliver to literal addresses.
fn system_servers() -> Vec<NameServerConfig> {
    match hickory_resolver::system_conf::read_system_conf() {
        Ok((config, _)) => config.name_servers,
        Err(error) => {
            tracing::warn!(%error, "no name servers configured on this host, asking 127.0.0.1");
            vec![NameServerConfig::udp_and_tcp(IpAddr::V4(
                Ipv4Addr::LOCALHOST,
            ))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u32) -> Vec<IpAddr> {
        (0..count).map(|n| IpAddr::V4(Ipv4Addr::from(n))).collect()
    }

    #[test]
    fn a_name_with_too_many_addresses_is_refused() {
        let (answer, _) = bounded(Ok((addresses(257), TTL_MAX)));
        assert_eq!(answer, Err(ResolveError::TooMany(257)));
        let (answer, _) = bounded(Ok((addresses(256), TTL_MAX)));
        assert_eq!(answer, Ok(addresses(256)));
    }

    #[test]
    fn the_time_an_answer_is_used_is_bounded_on_both_sides() {
        for (ttl_s, expected_s) in [(0, 1), (60, 60), (u64::from(u32::MAX), 300)] {
            let (_, ttl) = bounded(Ok((addresses(1), Duration::from_secs(ttl_s))));
            assert_eq!(ttl, Duration::from_secs(expected_s));
        }
        assert_eq!(bounded(Err(ResolveError::NotFound)).1, NEGATIVE_TTL);
        assert_eq!(bounded(Err(ResolveError::Timeout)).1, FAILURE_TTL);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_used_until_its_time_is_over() {
        let slot = Slot::default();
        assert!(is_usable(&slot, Instant::now()), "still being asked");
        let valid_until = Instant::now() + TTL_MIN;
        let answers = Answers {
            addresses: Ok(addresses(1)),
            valid_until,
        };
        slot.set(Arc::new(answers)).unwrap();
        assert!(is_usable(&slot, Instant::now()));
        tokio::time::advance(TTL_MIN).await;
        assert!(!is_usable(&slot, Instant::now()));
    }

    #[test]
    fn a_full_cache_makes_room_also_when_nothing_has_expired() {
        let mut slots: HashMap<Box<str>, Slot> = (0..NAMES_MAX)
            .map(|n| (n.to_string().into_boxed_str(), Slot::default()))
            .collect();
        make_room(&mut slots, Instant::now());
        assert_eq!(slots.len(), NAMES_MAX - NAMES_MAX / 8);
    }
}
