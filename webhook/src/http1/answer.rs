//! The head of an answer, as a proxy passes it on: one reading of it, or a refusal.

use memchr::memchr;

use super::fields::{blanks_off, field, length_of};

/// Bounds of an answer's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerLimits {
    /// Bytes of the whole head.
    pub bytes_max: usize,
    /// Header lines.
    pub headers_max: usize,
}

/// How an answer's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFraming {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// The head of an answer that can be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerHead {
    /// Its bytes, to the end of the empty line behind it.
    pub bytes: usize,
    /// From 100 to 999.
    pub status: u16,
    /// What follows.
    pub framing: AnswerFraming,
    /// Whether the connection may carry another request, as far as the head says.
    pub is_persistent: bool,
}

/// Why an answer's head is refused. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not the grammar of RFC 9112, or more than one reading.
    #[error("the head of the answer is malformed: {0}")]
    Malformed(&'static str),
    /// A head over its limits.
    #[error("the head of the answer is too large: at most {bytes} bytes and {headers} headers")]
    TooLarge {
        /// The limit of bytes.
        bytes: usize,
        /// The limit of lines.
        headers: usize,
    },
}

/// What the fields of a head say about its message.
#[derive(Debug, Default)]
struct Said {
    headers: usize,
    lengths: usize,
    length: Option<u64>,
    codings: usize,
    is_chunked: bool,
    closes: bool,
    keeps: bool,
}

/// Reads the head at the begin of `bytes`; `None` while it is not whole. `is_head`: whether the
/// request was a HEAD, whose answer has no body.
///
/// # Errors
/// [`AnswerError`] when the bytes can become no head.
pub fn answer_head(
    bytes: &[u8],
    limits: &AnswerLimits,
    is_head: bool,
) -> Result<Option<AnswerHead>, AnswerError> {
    let (mut at, mut status, mut said) = (0, None, Said::default());
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let end = memchr(b'\n', rest);
        if at + end.unwrap_or(rest.len()) >= limits.bytes_max {
            return Err(limits.too_large());
        }
        let Some(end) = end else { return Ok(None) };
        let line = rest.get(..end).unwrap_or_default();
        let line = line
            .strip_suffix(b"\r")
            .ok_or(AnswerError::Malformed("a line ends without CR LF"))?;
        at += end + 1;
        match status {
            None => status = Some(status_line(line)?),
            Some((status, version)) if line.is_empty() => {
                let framing = said.framing(status, is_head)?;
                let is_persistent = framing != AnswerFraming::UntilClose
                    && !said.closes
                    && (version == 1 || said.keeps);
                return Ok(Some(AnswerHead {
                    bytes: at,
                    status,
                    framing,
                    is_persistent,
                }));
            }
            Some(_) => said.line(line, limits)?,
        }
    }
}

impl Said {
    fn line(&mut self, line: &[u8], limits: &AnswerLimits) -> Result<(), AnswerError> {
        self.headers += 1;
        if self.headers > limits.headers_max {
            return Err(limits.too_large());
        }
        let (name, value) = field(line).map_err(AnswerError::Malformed)?;
        let value = blanks_off(value);
        if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            self.length = Some(length_of(value).map_err(AnswerError::Malformed)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings += 1;
            self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"connection") {
            for option in value.split(|byte| *byte == b',').map(blanks_off) {
                self.closes |= option.eq_ignore_ascii_case(b"close");
                self.keeps |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    fn framing(&self, status: u16, is_head: bool) -> Result<AnswerFraming, AnswerError> {
        let refuse = |why| Err(AnswerError::Malformed(why));
        if self.codings > 0 && self.lengths > 0 {
            return refuse("Content-Length and Transfer-Encoding exclude each other");
        }
        if self.codings > 1 || (self.codings == 1 && !self.is_chunked) {
            return refuse("only one `Transfer-Encoding: chunked` is understood");
        }
        if self.lengths > 1 {
            return refuse("there is more than one Content-Length");
        }
        // RFC 9112 section 6.3: these have none, whatever their fields say.
        if is_head || matches!(status, 100..=199 | 204 | 304) {
            return Ok(AnswerFraming::Empty);
        }
        Ok(match (self.length, self.is_chunked) {
            (_, true) => AnswerFraming::Chunked,
            (Some(0), _) => AnswerFraming::Empty,
            (Some(length), _) => AnswerFraming::Length(length),
            (None, _) => AnswerFraming::UntilClose,
        })
    }
}

impl AnswerLimits {
    const fn too_large(&self) -> AnswerError {
        AnswerError::TooLarge {
            bytes: self.bytes_max,
            headers: self.headers_max,
        }
    }
}

/// Status, and the minor version of HTTP/1.
fn status_line(line: &[u8]) -> Result<(u16, u8), AnswerError> {
    const BAD: AnswerError = AnswerError::Malformed("the first line is not `HTTP/1.1 200 OK`");
    let rest = line.strip_prefix(b"HTTP/1.").ok_or(BAD)?;
    let [minor @ (b'0' | b'1'), b' ', status @ ..] = rest else {
        return Err(BAD);
    };
    let (digits, reason) = status.split_at_checked(3).ok_or(BAD)?;
    let is_reason = reason.is_empty() || reason.first() == Some(&b' ');
    if !is_reason || !super::is_clean(reason) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let status = digits
        .iter()
        .fold(0_u16, |status, digit| status * 10 + u16::from(digit - b'0'));
    if status < 100 {
        return Err(BAD);
    }
    Ok((status, minor - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: AnswerLimits = AnswerLimits {
        bytes_max: 200,
        headers_max: 3,
    };

    fn read(head: &str) -> Result<Option<AnswerHead>, AnswerError> {
        answer_head(head.as_bytes(), &LIMITS, false)
    }

    fn framing(head: &str) -> (AnswerFraming, bool) {
        let head = read(head).unwrap().unwrap();
        (head.framing, head.is_persistent)
    }

    #[test]
    fn what_has_two_readings_or_none_is_refused() {
        for head in [
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 2000\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\n\r\n",
            "HTTP/1.1 200 O\x01K\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: \x7f\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(
                matches!(read(head), Err(AnswerError::Malformed(_))),
                "{head:?}"
            );
        }
    }

    #[test]
    fn limits_are_told() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(4));
        let text = read(&many).unwrap_err().to_string();
        assert!(text.ends_with("at most 200 bytes and 3 headers"), "{text}");
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(200));
        assert_eq!(read(&long), Err(LIMITS.too_large()));
    }

    #[test]
    fn bodies_end_where_the_head_says() {
        use AnswerFraming::{Chunked, Empty, Length, UntilClose};
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", (UntilClose, false)),
            (
                "HTTP/1.1 200\r\ncontent-length: 5\r\n\r\n",
                (Length(5), true),
            ),
            ("HTTP/1.1 200 \r\nContent-Length:0\r\n\r\n", (Empty, true)),
            ("HTTP/1.1 204 No\r\n\r\n", (Empty, true)),
            (
                "HTTP/1.1 304 No\r\ncontent-length: 9\r\n\r\n",
                (Empty, true),
            ),
            ("HTTP/1.1 100 Continue\r\n\r\n", (Empty, true)),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n",
                (Chunked, true),
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: x, Close\r\ncontent-length: 1\r\n\r\n",
                (Length(1), false),
            ),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n",
                (Length(1), false),
            ),
            (
                "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n",
                (Length(1), true),
            ),
        ] {
            assert_eq!(framing(head), expected, "{head:?}");
        }
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
        let to_head = answer_head(head, &LIMITS, true).unwrap().unwrap();
        assert_eq!(to_head.framing, Empty);
    }

    proptest! {
        #[test]
        fn a_head_is_not_whole_before_its_last_byte(
            status in 100_u16..=999, values in proptest::collection::vec("[ -~]{0,20}", 0..3),
            behind: Vec<u8>,
        ) {
            let mut head = format!("HTTP/1.1 {status} Any\r\n");
            for value in values {
                head.push_str(&format!("x-field:{value}\r\n"));
            }
            head.push_str("\r\n");
            for end in 0..head.len() {
                prop_assert_eq!(answer_head(&head.as_bytes()[..end], &LIMITS, false), Ok(None));
            }
            let bytes = head.len();
            let mut all = head.into_bytes();
            all.extend(behind);
            let read = answer_head(&all, &LIMITS, false).unwrap().unwrap();
            prop_assert_eq!((read.bytes, read.status), (bytes, status));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, is_head: bool) {
            let _ = answer_head(&bytes, &LIMITS, is_head);
        }
    }
}
