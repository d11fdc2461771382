//! HTTP/1.1 messages as they are accepted: one reading of each, or a refusal.
//!
//! Request smuggling lives on the places where two parsers read the same bytes differently.
//! The rules here are stricter than the parser behind them, so that whatever passes means the
//! same to everybody (RFC 9112 sections 2.2, 3, 5, 6 and 11.2). Pure: whoever reads the socket
//! brings the bytes as they come.

mod answer;
mod chunks;
mod fields;
mod head;
#[cfg(test)]
mod tests;

pub use self::answer::{AnswerError, AnswerFraming, AnswerHead, AnswerLimits, answer_head};
pub use self::chunks::{ChunkError, ChunkGuard, Consumed};
pub use self::fields::{RequestLine, blanks_off, field, lines};
pub use self::head::{Framing, HeadError, HeadLimits, HeadScanner, RequestHead};

/// Letters of a token (RFC 9110 section 5.6.2): methods and names of fields.
const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
            | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
            | b'`' | b'|' | b'~'
    )
}

/// Bytes that no value of a field may have: controls, but for the tab.
const fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// Whether there are none of [`is_control`]. Without an early end it is a few wide compares.
fn is_clean(bytes: &[u8]) -> bool {
    !bytes
        .iter()
        .fold(false, |found, byte| found | is_control(*byte))
}
