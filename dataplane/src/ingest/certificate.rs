//! Certificates that providers publish at an address, for presets whose signatures need one.
//!
//! A verifier says which URL; it has passed the preset's rule for hosts. Here it is fetched over
//! https through the address policy, checked as far as the preset asks (decision 0013) and kept
//! until it ends. Whoever forges requests can name as many URLs as the rule lets through: what
//! is fetched at once, and what is kept, is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use outrider_webhook::address::{ProjectRef, TargetUrl};
use outrider_webhook::id::ProjectId;
use outrider_webhook::retry::Outcome;
use outrider_webhook::verify::{Certificate, CertificateNeed, TrustSpec};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use tokio::sync::OnceCell;

use super::slots::Slots;
use crate::egress::{Egress, Leave, Terms};

/// Certificates kept, failures included.
const KEPT_MAX: usize = 256;
/// Fetches under way at once; a request beyond them is refused and comes again.
const FETCHES_MAX: usize = 8;
/// Fetches for one project among them: its presets say where to, and that may be slow.
const FETCHES_OF_PROJECT_MAX: usize = 2;
/// How long a failure is remembered, so that a flood of requests does not become one of fetches.
const FAILED_FOR_MS: i64 = 5_000;
/// One fetch, from the name to the last byte. Providers wait 10 s or more for an answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest document: a handful of certificates.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Certificates in one document.
const CHAIN_MAX: usize = 8;

/// The certificates fetched so far.
pub(super) struct Certificates {
    kept: Mutex<HashMap<Key, Kept>>,
    fetches: Slots<ProjectId>,
}

/// A certificate, and the project that wanted it first.
struct Kept {
    slot: Arc<Slot>,
    by: ProjectId,
}

/// Another way to check makes another certificate of the same document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    url: Box<str>,
    trust: TrustSpec,
    names: Vec<Box<str>>,
    /// Whom the address policy refuses it, where that is what is known; else it is for all.
    refused: Option<ProjectId>,
}

/// What came of a fetch, once it has ended; all who want it wait for the one fetch.
type Slot = OnceCell<Held>;

#[derive(Debug, Clone)]
enum Held {
    Certificate(Arc<Certificate>),
    /// Not before this time again, Unix milliseconds.
    Failed {
        until_ms: i64,
    },
}

/// Why there is none. For the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    /// Too many others are being fetched.
    #[error("too many certificates are being fetched")]
    Busy,
    /// The address policy does not let this project fetch it.
    #[error("the document may not be fetched: {0}")]
    Denied(String),
    /// No whole document with status 200.
    #[error("the document could not be fetched: {0}")]
    Fetch(String),
    /// Not a PEM document of one to eight certificates.
    #[error("the document is not one to 8 certificates in PEM")]
    Document,
    /// The first one has no key that can be used.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] outrider_webhook::verify::CertificateError),
    /// No chain to a trusted root at this time.
    #[error("the certificate is not trusted: {0}")]
    Chain(#[source] rustls::Error),
    /// It is for somebody else.
    #[error("the certificate is for other names")]
    Names,
}

impl Key {
    fn of(need: &CertificateNeed<'_>) -> Self {
        Self {
            url: need.url.to_string().into(),
            trust: need.trust,
            names: need.names.to_vec(),
            refused: None,
        }
    }

    /// Where it is noted that the project may not fetch it.
    fn refused(&self, by: ProjectId) -> Self {
        Self {
            refused: Some(by),
            ..self.clone()
        }
    }
}

impl Held {
    fn is_over(&self, now_ms: i64) -> bool {
        match self {
            Self::Certificate(certificate) => !certificate.is_valid_at(now_ms / 1000),
            Self::Failed { until_ms } => now_ms >= *until_ms,
        }
    }
}

impl Certificates {
    pub(super) fn new() -> Self {
        Self {
            kept: Mutex::default(),
            fetches: Slots::new(FETCHES_MAX, FETCHES_OF_PROJECT_MAX),
        }
    }

    /// The certificate a request of the project `by` needs: the one kept, or fetched by `fetch`,
    /// once for all who wait for it.
    pub(super) async fn get<F>(
        &self,
        need: &CertificateNeed<'_>,
        by: ProjectId,
        now_ms: i64,
        fetch: impl FnOnce() -> F,
    ) -> Option<Arc<Certificate>>
    where
        F: Future<Output = Result<Certificate, Unavailable>>,
    {
        let key = Key::of(need);
        let slot = self.slot(&key, by, now_ms);
        // Who waits for one that is refused makes his own: he may be of another project.
        let held = slot.get_or_try_init(|| async {
            if self.is_refused(&key, by, now_ms) {
                return Err(());
            }
            let fetched = match self.fetches.take(by) {
                Ok(_slot) => fetch().await,
                Err(_) => Err(Unavailable::Busy),
            };
            let error = match fetched {
                Ok(certificate) => return Ok(Held::Certificate(Arc::new(certificate))),
                Err(error) => error,
            };
            tracing::warn!(url = %need.url.redacted(), error = &error as &dyn std::error::Error, "no certificate");
            let failed_for = |for_ms| Held::Failed {
                until_ms: now_ms.saturating_add(for_ms),
            };
            match error {
                // To be busy is no property of this certificate.
                Unavailable::Busy => Ok(failed_for(0)),
                // Nor is what a project may call.
                Unavailable::Denied(_) => {
                    let refusal = self.slot(&key.refused(by), by, now_ms);
                    refusal.set(failed_for(FAILED_FOR_MS)).ok(); // he was faster who is there
                    Err(())
                }
                _ => Ok(failed_for(FAILED_FOR_MS)),
            }
        });
        match held.await {
            Ok(Held::Certificate(certificate)) => Some(Arc::clone(certificate)),
            Ok(Held::Failed { .. }) | Err(()) => None,
        }
    }

    /// Whether the address policy has just refused it to the project.
    fn is_refused(&self, key: &Key, by: ProjectId, now_ms: i64) -> bool {
        let all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = all.get(&key.refused(by)).and_then(|kept| kept.slot.get());
        refusal.is_some_and(|held| !held.is_over(now_ms))
    }

    /// The place of a certificate; a fresh one when what is there is over.
    fn slot(&self, key: &Key, by: ProjectId, now_ms: i64) -> Arc<Slot> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = all.get(key)
            && kept.slot.get().is_none_or(|held| !held.is_over(now_ms))
        {
            return Arc::clone(&kept.slot);
        }
        if all.len() >= KEPT_MAX && !all.contains_key(key) {
            make_room(&mut all, now_ms);
        }
        let slot = Arc::new(Slot::new());
        let kept = Kept {
            slot: Arc::clone(&slot),
            by,
        };
        all.insert(key.clone(), kept);
        slot
    }
}

/// Lets go of what is of no use, of failures, and at last of one of the project that has the most:
/// a certificate that is needed comes back with one fetch.
fn make_room(all: &mut HashMap<Key, Kept>, now_ms: i64) {
    all.retain(|_, kept| kept.slot.get().is_none_or(|held| !held.is_over(now_ms)));
    if all.len() >= KEPT_MAX {
        all.retain(|_, kept| !matches!(kept.slot.get(), Some(Held::Failed { .. })));
    }
    if all.len() < KEPT_MAX {
        return;
    }
    let mut counts = HashMap::<ProjectId, usize>::new();
    for kept in all.values() {
        *counts.entry(kept.by).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    let most = most.map(|(project, _)| project);
    if let Some(one) = all.iter().find(|(_, kept)| Some(kept.by) == most) {
        let one = one.0.clone();
        all.remove(&one);
    }
}

/// Fetches a certificate and checks it as far as the preset asks.
pub(super) async fn fetch(
    egress: &Egress,
    (project, leave): (&ProjectRef<'_>, Leave),
    need: &CertificateNeed<'_>,
    now_ms: i64,
) -> Result<Certificate, Unavailable> {
    let terms = Terms::new(FETCH_TIMEOUT, DOCUMENT_BYTES_MAX).leaving(leave);
    let document = document(egress, project, &need.url, terms).await?;
    check(&document, need, &egress.roots(), now_ms)
}

async fn document(
    egress: &Egress,
    project: &ProjectRef<'_>,
    url: &TargetUrl,
    terms: Terms,
) -> Result<Bytes, Unavailable> {
    let exchange = egress.get(project, url, terms).await;
    match exchange.outcome {
        Outcome::Answered { status: 200 } if !exchange.is_truncated => Ok(exchange.excerpt),
        Outcome::Answered { status: 200 } => Err(Unavailable::Document),
        Outcome::Answered { status } => Err(Unavailable::Fetch(format!("status {status}"))),
        Outcome::Failed(_) => {
            let detail = exchange.detail.unwrap_or_default();
            Err(match exchange.denial {
                Some(_) => Unavailable::Denied(detail),
                None => Unavailable::Fetch(detail),
            })
        }
    }
}

/// The first certificate of a document, checked; the others are those in between.
fn check(
    document: &[u8],
    need: &CertificateNeed<'_>,
    roots: &RootCertStore,
    now_ms: i64,
) -> Result<Certificate, Unavailable> {
    let ders = CertificateDer::pem_slice_iter(document).take(CHAIN_MAX + 1);
    let ders: Vec<CertificateDer<'static>> = ders
        .collect::<Result<_, _>>()
        .map_err(|_| Unavailable::Document)?;
    let Some((leaf, between)) = ders.split_first().filter(|_| ders.len() <= CHAIN_MAX) else {
        return Err(Unavailable::Document);
    };
    let certificate = Certificate::from_der(leaf)?;
    if need.trust == TrustSpec::Chain {
        chain(leaf, between, roots, now_ms).map_err(Unavailable::Chain)?;
    }
    if certificate.is_for(need.names) {
        Ok(certificate)
    } else {
        Err(Unavailable::Names)
    }
}

fn chain(
    leaf: &CertificateDer<'static>,
    between: &[CertificateDer<'static>],
    roots: &RootCertStore,
    now_ms: i64,
) -> Result<(), rustls::Error> {
    let now = u64::try_from(now_ms / 1000).unwrap_or_default();
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(leaf)?,
        roots,
        between,
        UnixTime::since_unix_epoch(Duration::from_secs(now)),
        algorithms.all,
    )
}

#[cfg(test)]
mod tests;
