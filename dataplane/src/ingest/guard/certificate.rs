//! Whether a connection's client certificate is one that a source accepts.

use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use outrider_config::snapshot::Source;
use outrider_webhook::client_certificate::CertificateRefused;
use outrider_webhook::id::SourceId;

use crate::ingest::front::Peer;
use crate::ingest::reply::Reply;

/// Code of a request whose client certificate is missing or not the right one.
const CODE: &str = "client_certificate";
/// A certificate that was good is good for so many seconds: checking costs signatures.
const GOOD_FOR_S: i64 = 60;

/// The last source that a connection's certificate was good for.
#[derive(Debug, Default)]
pub(in crate::ingest) struct Accepted(Mutex<Option<Verdict>>);

/// That a certificate was good, for a revision of a source, and until when that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    source: SourceId,
    revision: u64,
    until_s: i64,
}

impl Accepted {
    fn holds(&self, source: &Source, now_s: i64) -> bool {
        let verdict = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        verdict.is_some_and(|verdict| {
            let age = verdict.until_s - now_s;
            verdict.source == source.id()
                && verdict.revision == source.revision()
                && (0..=GOOD_FOR_S).contains(&age)
        })
    }

    fn keep(&self, source: &Source, now_s: i64) {
        let verdict = Verdict {
            source: source.id(),
            revision: source.revision(),
            until_s: now_s + GOOD_FOR_S,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    }
}

pub(super) fn check(peer: &Peer, source: &Source, now_s: i64) -> Result<(), Reply> {
    let Some(rule) = source.client_certificate() else {
        return Ok(());
    };
    if peer.accepted.holds(source, now_s) {
        return Ok(());
    }
    let (chain, roots) = match &peer.tls {
        Some(tls) => (&tls.chain[..], tls.roots.as_ref()),
        None => (&[][..], None),
    };
    rule.check(chain, roots, now_s).map_err(|refused| {
        let status = match refused {
            CertificateRefused::Missing => StatusCode::UNAUTHORIZED,
            _ => StatusCode::FORBIDDEN,
        };
        Reply::refuse(status, CODE, &refused.to_string())
    })?;
    peer.accepted.keep(source, now_s);
    Ok(())
}
