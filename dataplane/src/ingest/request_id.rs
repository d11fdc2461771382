//! `X-Request-ID`: on every reply, and on what is passed on (contract section 2.2).

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a client, bytes.
const BYTES_MAX: usize = 128;

/// Makes ids: random bits of the process, and a count. No system call and no lock.
pub(super) struct RequestIds {
    process: u64,
    count: AtomicU64,
}

impl RequestIds {
    pub(super) fn new(process: u64) -> Self {
        Self {
            process,
            count: AtomicU64::new(0),
        }
    }

    /// The client's id when it is one, otherwise a fresh one.
    pub(super) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let mut given = headers.get_all(REQUEST_ID).iter();
        match (given.next(), given.next()) {
            (Some(id), None) if is_sane(id.as_bytes()) => id.clone(),
            _ => self.fresh(),
        }
    }

    /// An id that nobody had before.
    pub(super) fn fresh(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:016x}{count:016x}", self.process);
        // Hexadecimal digits are always a header value.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// Visible ASCII only: it ends in log lines, and in whatever reads them.
fn is_sane(id: &[u8]) -> bool {
    (1..=BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[&'static [u8]]) -> HeaderValue {
        let mut headers = HeaderMap::new();
        for id in given {
            headers.append(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
        }
        RequestIds::new(0xabc).of(&headers)
    }

    #[test]
    fn a_bad_id_is_replaced() {
        let fresh = "0000000000000abc0000000000000000";
        assert_eq!(of(&[]), fresh);
        for bad in [&b""[..], b"a b", b"a\xff", b"a\tb", &[b'a'; 129]] {
            assert_eq!(of(&[bad]), fresh, "{bad:?}");
        }
        assert_eq!(of(&[b"a", b"b"]), fresh, "two are none");
    }

    #[test]
    fn a_sane_id_is_kept() {
        for good in [&b"a"[..], b"!~{\"x\":1}", &[b'a'; 128]] {
            assert_eq!(of(&[good]), HeaderValue::from_bytes(good).unwrap());
        }
    }

    #[test]
    fn fresh_ids_differ() {
        let ids = RequestIds::new(1);
        assert_ne!(ids.fresh(), ids.fresh());
        assert_ne!(ids.fresh(), RequestIds::new(2).fresh());
    }
}
