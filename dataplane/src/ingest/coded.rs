//! Takes the content codings off bodies, without holding up the connections of a thread.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, header};
use outrider_webhook::decode::{self, DecodeError};
use tokio::sync::Semaphore;

/// Bytes of a coded body from which on it is decoded elsewhere: it may become a hundred times as
/// long, and would hold up everything else on this thread.
const INLINE_BYTES_MAX: usize = 16 << 10;
/// Bodies decoded elsewhere at once; others wait for their turn. Each may take as much memory as
/// the largest body, which is not counted before it is there, and more of them than cores are not
/// done sooner.
const ELSEWHERE_MAX: usize = 4;

/// Decodes bodies.
#[derive(Debug)]
pub(super) struct Decoder {
    turns: Semaphore,
}

impl Decoder {
    pub(super) const fn new() -> Self {
        Self {
            turns: Semaphore::const_new(ELSEWHERE_MAX),
        }
    }

    /// The body without its codings, at most `bytes_max` bytes: itself where it has none.
    pub(super) async fn decode<'b>(
        &self,
        headers: &HeaderMap,
        body: &'b Bytes,
        bytes_max: usize,
    ) -> Result<Cow<'b, [u8]>, DecodeError> {
        if body.len() <= INLINE_BYTES_MAX || !headers.contains_key(header::CONTENT_ENCODING) {
            return decode::body(headers, body, bytes_max);
        }
        // Boxed: rare.
        let decoded = Box::pin(self.elsewhere(headers, body.clone(), bytes_max)).await?;
        Ok(decoded.map_or(Cow::Borrowed(body), Cow::Owned))
    }

    /// As above, nothing when it had none.
    async fn elsewhere(
        &self,
        headers: &HeaderMap,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, DecodeError> {
        let codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let codings = codings.map(|value| (header::CONTENT_ENCODING, value.clone()));
        let headers: HeaderMap = codings.collect();
        // Never closed.
        let _turn = self.turns.acquire().await;
        let decoding = tokio::task::spawn_blocking(move || {
            let decoded = decode::body(&headers, &body, bytes_max)?;
            Ok(match decoded {
                Cow::Borrowed(_) => None,
                Cow::Owned(decoded) => Some(decoded),
            })
        });
        decoding.await.unwrap_or(Err(DecodeError::Malformed))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http::HeaderValue;

    use super::*;

    const LONG: usize = 1 << 20;

    /// Text that does not become short.
    fn text() -> Vec<u8> {
        let mut state = 1_u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..64 << 10).map(next).collect()
    }

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    fn headers(coding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(coding))])
    }

    #[tokio::test]
    async fn a_long_body_is_what_it_would_be_if_it_were_short() {
        let (decoder, text) = (Decoder::new(), text());
        let coded = gzip(&text);
        assert!(coded.len() > INLINE_BYTES_MAX);
        let broken = coded.slice(..coded.len() - 9);
        for (coding, body, bytes_max) in [
            ("gzip", &broken, LONG),
            ("gzip", &coded, text.len() - 1),
            ("unheard-of", &coded, LONG),
            ("identity", &coded, LONG),
            ("gzip", &coded, LONG),
        ] {
            let headers = headers(coding);
            let decoded = decoder.decode(&headers, body, bytes_max).await;
            assert_eq!(decoded, decode::body(&headers, body, bytes_max), "{coding}");
        }
        let none = decoder.decode(&HeaderMap::new(), &coded, LONG).await;
        assert!(matches!(none, Ok(Cow::Borrowed(_))));
    }

    #[tokio::test]
    async fn more_of_them_than_there_are_turns_all_get_theirs() {
        let (decoder, text) = (Decoder::new(), text());
        let (coded, headers) = (gzip(&text), headers("gzip"));
        let all = (0..4 * ELSEWHERE_MAX).map(|_| decoder.decode(&headers, &coded, LONG));
        for decoded in futures_util::future::join_all(all).await {
            assert_eq!(decoded.unwrap(), text);
        }
        assert_eq!(decoder.turns.available_permits(), ELSEWHERE_MAX);
    }
}
