//! The parts of heads that requests and answers share.

use super::{is_clean, is_token};

/// The three parts of a request line, as they stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLine<'h> {
    /// Up to the first blank.
    pub method: &'h [u8],
    /// What stands between the blanks; may have blanks of its own in a request to a proxy.
    pub target: &'h [u8],
    /// From the last blank on.
    pub version: &'h [u8],
}

impl<'h> RequestLine<'h> {
    /// Splits a line, which has no CR LF. `None` when a part is missing.
    #[must_use]
    pub fn split(line: &'h [u8]) -> Option<Self> {
        let first = line.iter().position(|byte| *byte == b' ')?;
        let last = line.iter().rposition(|byte| *byte == b' ')?;
        let parts = Self {
            method: line.get(..first)?,
            target: line.get(first + 1..last)?,
            version: line.get(last + 1..)?,
        };
        let is_whole = !parts.method.is_empty() && !parts.target.is_empty();
        is_whole.then_some(parts)
    }
}

/// The first line of a head that was checked, and the lines of its fields, all without CR LF.
pub fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

/// Name and value of a field's line; the value with its blanks.
///
/// # Errors
/// What is wrong with it.
pub fn field(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    // A folded line begins with a blank, which no name does.
    let name_bytes = line.iter().take_while(|byte| is_token(**byte)).count();
    let (name, value) = match line.split_at_checked(name_bytes) {
        Some((name, [b':', value @ ..])) if !name.is_empty() => (name, value),
        _ => return Err("a header line is not `Name: value`"),
    };
    if !is_clean(value) {
        return Err("a header value has a control character");
    }
    Ok((name, value))
}

/// Without the blanks around a value: space and tab only (RFC 9110 section 5.6.3).
#[must_use]
pub fn blanks_off(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let from = value.iter().take_while(|byte| is_blank(byte)).count();
    let value = value.get(from..).unwrap_or_default();
    let behind = value.iter().rev().take_while(|byte| is_blank(byte)).count();
    value.get(..value.len() - behind).unwrap_or_default()
}

/// Digits only: no sign, no list, nothing that overflows.
pub(super) fn length_of(text: &[u8]) -> Result<u64, &'static str> {
    const WRONG: &str = "Content-Length is not a number";
    if text.is_empty() || text.len() > 19 {
        return Err(WRONG);
    }
    text.iter().try_fold(0_u64, |length, byte| match byte {
        b'0'..=b'9' => Ok(length * 10 + u64::from(byte - b'0')),
        _ => Err(WRONG),
    })
}
