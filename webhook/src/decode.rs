//! `Content-Encoding`: what a coded body says, within bounds.
//!
//! Only for reading: bodies are stored, signed and forwarded as they came. Decoding is where a
//! small request can become a large one, so every coding stops at the same bound of its output.

use std::borrow::Cow;
use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderMap, header};

/// Codings that may be applied one after the other. Nobody needs more than one; two are met
/// where a proxy compressed what was compressed already.
pub const CODINGS_MAX: usize = 2;
/// A decoded body may be this many times as long as it came. Text compresses 10 to 20 times,
/// repetitive JSON 50 times; what is beyond is made to do harm.
pub const RATIO_MAX: usize = 100;
/// Up to this length the ratio does not matter: a short text of one letter is no attack.
pub const RATIO_FREE_BYTES: usize = 64 * 1024;
/// The window a zstd frame may ask for is two to this power (RFC 8878, section 3.1.1.1.2).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// First guess of a decoded length.
const FIRST_BYTES: usize = 8 * 1024;

/// Why a coded body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A coding that is not known here.
    #[error("`Content-Encoding` may be gzip, deflate, br or zstd")]
    UnknownCoding,
    /// Too many codings.
    #[error("`Content-Encoding` names {0} codings, at most {CODINGS_MAX} are understood")]
    TooManyCodings(usize),
    /// The decoded body is too long, by itself or for its coded length.
    #[error("the decoded body is longer than {bytes_max} bytes, which is the limit here")]
    TooLarge {
        /// Bytes that a decoded body of this length may have.
        bytes_max: usize,
    },
    /// Not in the coding that the header names, cut short, or followed by something else (which
    /// the decoder of `br` does not tell: it leaves it unread).
    #[error("the body is not in the coding that `Content-Encoding` names")]
    Malformed,
}

impl DecodeError {
    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownCoding | Self::TooManyCodings(_) => "unsupported_coding",
            Self::TooLarge { .. } => "decoded_body_too_large",
            Self::Malformed => "malformed_coding",
        }
    }
}

/// One content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// Names are case-insensitive; `x-gzip` is gzip (RFC 9110, section 8.4.1).
    fn parse(name: &str) -> Result<Option<Self>, DecodeError> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name {
            _ if name.is_empty() || is("identity") => Ok(None),
            _ if is("gzip") || is("x-gzip") => Ok(Some(Self::Gzip)),
            _ if is("deflate") => Ok(Some(Self::Deflate)),
            _ if is("br") => Ok(Some(Self::Brotli)),
            _ if is("zstd") => Ok(Some(Self::Zstd)),
            _ => Err(DecodeError::UnknownCoding),
        }
    }
}

/// The body without its content codings, at most `bytes_max` bytes and [`RATIO_MAX`] times as long
/// as it came beyond [`RATIO_FREE_BYTES`]. The same bytes when the headers name no coding. No
/// bytes at all are none in every coding: senders name it out of habit.
///
/// # Errors
/// [`DecodeError`]: the codings are not known, or the body is not in them or too long.
pub fn body<'b>(
    headers: &HeaderMap,
    body: &'b [u8],
    bytes_max: usize,
) -> Result<Cow<'b, [u8]>, DecodeError> {
    let mut decoded = Cow::Borrowed(body);
    if !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(decoded);
    }
    let by_ratio = body.len().saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
    let bytes_max = bytes_max.min(by_ratio);
    let codings = codings(headers)?;
    if body.is_empty() {
        return Ok(decoded);
    }
    // In the order in which they were applied; the last one comes off first.
    for coding in codings.into_iter().rev() {
        decoded = Cow::Owned(decode(coding, &decoded, bytes_max)?);
    }
    Ok(decoded)
}

fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, DecodeError> {
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let value = value.to_str().map_err(|_| DecodeError::UnknownCoding)?;
        for name in value.split(',') {
            codings.extend(Coding::parse(name.trim())?);
        }
    }
    match codings.len() {
        0..=CODINGS_MAX => Ok(codings),
        more => Err(DecodeError::TooManyCodings(more)),
    }
}

fn decode(coding: Coding, body: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecodeError> {
    match coding {
        Coding::Gzip => read(flate2::bufread::MultiGzDecoder::new(body), bytes_max),
        Coding::Deflate => inflate(body, bytes_max),
        Coding::Brotli => read(
            brotli_decompressor::Decompressor::new(body, FIRST_BYTES),
            bytes_max,
        ),
        Coding::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(body);
            let mut decoder = decoder.map_err(|_| DecodeError::Malformed)?;
            let bounded = decoder.window_log_max(ZSTD_WINDOW_LOG_MAX);
            bounded.map_err(|_| DecodeError::Malformed)?;
            read(decoder, bytes_max)
        }
    }
}

fn read(decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decoded = Vec::with_capacity(bytes_max.min(FIRST_BYTES));
    // One byte more tells a body at the limit from one beyond it.
    let mut within = decoder.take((bytes_max as u64).saturating_add(1));
    within
        .read_to_end(&mut decoded)
        .map_err(|_| DecodeError::Malformed)?;
    if decoded.len() > bytes_max {
        return Err(DecodeError::TooLarge { bytes_max });
    }
    Ok(decoded)
}

/// `deflate` is the zlib format; senders that leave its header out are common enough that every
/// browser takes both. By hand, since the reader of `flate2` takes a body that was cut for a whole one.
fn inflate(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecodeError> {
    let mut inflater = Decompress::new(has_zlib_header(body));
    let mut decoded = Vec::with_capacity(bytes_max.min(FIRST_BYTES));
    loop {
        let (taken, given) = (inflater.total_in(), decoded.len());
        let rest = usize::try_from(taken).ok().and_then(|at| body.get(at..));
        let status = inflater
            .decompress_vec(
                rest.unwrap_or_default(),
                &mut decoded,
                FlushDecompress::None,
            )
            .map_err(|_| DecodeError::Malformed)?;
        if decoded.len() > bytes_max {
            return Err(DecodeError::TooLarge { bytes_max });
        }
        if status == Status::StreamEnd {
            let is_whole = inflater.total_in() == body.len() as u64;
            return is_whole.then_some(decoded).ok_or(DecodeError::Malformed);
        }
        if inflater.total_in() == taken && decoded.len() == given {
            if decoded.len() < decoded.capacity() {
                return Err(DecodeError::Malformed); // there was room, but nothing came
            }
            decoded.reserve(decoded.len().max(FIRST_BYTES));
        } else if decoded.len() == decoded.capacity() {
            decoded.reserve(decoded.len().max(FIRST_BYTES));
        }
    }
}

/// RFC 1950, section 2.2: method 8, and the first two bytes are a multiple of 31.
fn has_zlib_header(body: &[u8]) -> bool {
    match body {
        [method, flags, ..] => {
            method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests;
