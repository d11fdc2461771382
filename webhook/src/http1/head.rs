//! The head of a request, checked while it arrives: each line once, as soon as it is whole.

use http::StatusCode;
use memchr::memchr;

use super::fields::{RequestLine, blanks_off, field, length_of};
use super::is_token;

/// First byte of a TLS record that opens a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Bounds of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the request line.
    pub line_bytes_max: usize,
    /// Bytes of the whole head.
    pub bytes_max: usize,
    /// Header lines.
    pub headers_max: usize,
}

/// How the body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// A head that can be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead {
    /// Its bytes, to the end of the empty line behind it.
    pub bytes: usize,
    /// What follows.
    pub framing: Framing,
}

/// Why a head is refused. Never quotes it: it may hold a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not the grammar of RFC 9112.
    #[error("the request head is malformed: {0}")]
    Malformed(&'static str),
    /// TLS where none is spoken.
    #[error("this port speaks plain HTTP, and that was a TLS handshake")]
    TlsOnPlain,
    /// A version of HTTP that is not spoken.
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
    /// Not a path.
    #[error("the request target must be a path that begins with `/`")]
    Target,
    /// A request line over its limit.
    #[error("the request line is longer than {max} bytes")]
    LineTooLong {
        /// The limit.
        max: usize,
    },
    /// A head over its limits.
    #[error("request head too large: at most {bytes} bytes and {headers} headers")]
    TooLarge {
        /// The limit of bytes.
        bytes: usize,
        /// The limit of lines.
        headers: usize,
    },
    /// An HTTP/1.1 request without `Host`.
    #[error("HTTP/1.1 requests carry a Host header")]
    MissingHost,
    /// Two framings of one body.
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    AmbiguousFraming,
    /// A coding other than chunks.
    #[error("only one `Transfer-Encoding: chunked` is understood")]
    Coding,
}

impl HeadError {
    /// Stable code for replies and metrics: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_request",
            Self::TlsOnPlain => "tls_on_plain_port",
            Self::Version => "http_version",
            Self::Target => "bad_target",
            Self::LineTooLong { .. } => "uri_too_long",
            Self::TooLarge { .. } => "head_too_large",
            Self::MissingHost => "missing_host",
            Self::AmbiguousFraming => "ambiguous_framing",
            Self::Coding => "unsupported_coding",
        }
    }

    /// The status it is answered with.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_)
            | Self::TlsOnPlain
            | Self::Target
            | Self::MissingHost
            | Self::AmbiguousFraming => StatusCode::BAD_REQUEST,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::LineTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::TooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

const BARE_LF: HeadError = HeadError::Malformed("a line ends without CR LF");
const BAD_LINE: HeadError = HeadError::Malformed("the request line is not `METHOD /path HTTP/1.1`");

/// Which targets of requests are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Targets {
    /// Paths.
    #[default]
    Origin,
    /// Whatever stands between the first and the last blank of the line: what a proxy is asked for
    /// is judged by the address policy, which has a reason for each wrong byte.
    Any,
}

/// Checks a head while it arrives. Linear in its bytes, however they are cut.
#[derive(Debug, Default)]
pub struct HeadScanner {
    targets: Targets,
    /// Where the line begins that is not whole yet.
    line_at: usize,
    /// Up to where there is no more end of a line.
    seen: usize,
    /// One empty line before the request is let pass (RFC 9112 section 2.2).
    has_skipped: bool,
    version: Option<Version>,
    headers: usize,
    hosts: usize,
    lengths: usize,
    length: Option<u64>,
    codings: usize,
    is_chunked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

impl HeadScanner {
    /// For requests to a forward proxy: their target is not looked at.
    #[must_use]
    pub fn of_proxy() -> Self {
        Self {
            targets: Targets::Any,
            ..Self::default()
        }
    }

    /// Goes on with `bytes`, which are all of the request so far. `None` while its head is not
    /// whole.
    ///
    /// # Errors
    /// [`HeadError`] at the first line that is wrong, without waiting for the rest.
    pub fn advance(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<RequestHead>, HeadError> {
        if self.line_at == 0 {
            first_byte(bytes)?;
        }
        while let Some(at) = memchr(b'\n', bytes.get(self.seen..).unwrap_or_default()) {
            let end = self.seen + at;
            let line = bytes.get(self.line_at..end).unwrap_or_default();
            self.check_length(line.len(), limits)?;
            let line = line.strip_suffix(b"\r").ok_or(BARE_LF)?;
            (self.line_at, self.seen) = (end + 1, end + 1);
            if end >= limits.bytes_max {
                return Err(limits.too_large());
            }
            if self.version.is_none() && line.is_empty() {
                if self.has_skipped {
                    return Err(BAD_LINE);
                }
                self.has_skipped = true;
            } else if line.is_empty() {
                return self.finish(end + 1).map(Some);
            } else {
                self.line(line, limits)?;
            }
        }
        self.seen = bytes.len();
        self.check_length(bytes.len().saturating_sub(self.line_at), limits)?;
        if bytes.len() > limits.bytes_max {
            return Err(limits.too_large());
        }
        Ok(None)
    }

    /// Of a request line, its CR included, that may not be whole yet.
    const fn check_length(&self, bytes: usize, limits: &HeadLimits) -> Result<(), HeadError> {
        let max = limits.line_bytes_max;
        if self.version.is_none() && bytes > max + 1 {
            return Err(HeadError::LineTooLong { max });
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
        if self.version.is_none() {
            self.version = Some(request_line(line, self.targets)?);
            return Ok(());
        }
        self.headers += 1;
        if self.headers > limits.headers_max {
            return Err(limits.too_large());
        }
        self.header(line)
    }

    fn header(&mut self, line: &[u8]) -> Result<(), HeadError> {
        let (name, value) = field(line).map_err(HeadError::Malformed)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value.trim_ascii()),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.lengths += 1;
                let length = blanks_off(value);
                self.length = Some(length_of(length).map_err(HeadError::Malformed)?);
                Ok(())
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.codings += 1;
                self.is_chunked = blanks_off(value).eq_ignore_ascii_case(b"chunked");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), HeadError> {
        self.hosts += 1;
        let is_plain = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']' | b'%')
        };
        if self.hosts > 1 || !value.iter().all(is_plain) {
            return Err(HeadError::Malformed("the Host header is not one host"));
        }
        Ok(())
    }

    fn finish(&self, bytes: usize) -> Result<RequestHead, HeadError> {
        if self.codings > 0 && self.lengths > 0 {
            return Err(HeadError::AmbiguousFraming);
        }
        if self.codings > 0 && self.version == Some(Version::Http10) {
            let why = "its framing is ambiguous, HTTP/1.0 has no Transfer-Encoding";
            return Err(HeadError::Malformed(why));
        }
        if self.codings > 1 || (self.codings == 1 && !self.is_chunked) {
            return Err(HeadError::Coding);
        }
        if self.lengths > 1 {
            let why = "its framing is ambiguous, there is more than one Content-Length";
            return Err(HeadError::Malformed(why));
        }
        if self.hosts == 0 && self.version == Some(Version::Http11) {
            return Err(HeadError::MissingHost);
        }
        let framing = match (self.length, self.is_chunked) {
            (_, true) => Framing::Chunked,
            (None | Some(0), false) => Framing::Empty,
            (Some(length), false) => Framing::Length(length),
        };
        Ok(RequestHead { bytes, framing })
    }
}

impl HeadLimits {
    const fn too_large(&self) -> HeadError {
        HeadError::TooLarge {
            bytes: self.bytes_max,
            headers: self.headers_max,
        }
    }
}

/// What cannot become a request is told so at once, and not at the end of its time.
fn first_byte(bytes: &[u8]) -> Result<(), HeadError> {
    match bytes.first() {
        Some(&TLS_HANDSHAKE) => Err(HeadError::TlsOnPlain),
        Some(b'\n') => Err(BARE_LF),
        Some(byte) if !is_token(*byte) && *byte != b'\r' => Err(BAD_LINE),
        _ => Ok(()),
    }
}

/// `METHOD SP target SP HTTP/1.x`, with exactly these two blanks where the target is a path.
fn request_line(line: &[u8], targets: Targets) -> Result<Version, HeadError> {
    let parts = RequestLine::split(line).ok_or(BAD_LINE)?;
    if !parts.method.iter().all(|byte| is_token(*byte)) {
        return Err(BAD_LINE);
    }
    if targets == Targets::Origin && parts.target.contains(&b' ') {
        return Err(BAD_LINE);
    }
    let version = match parts.version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(HeadError::Version);
        }
        _ => return Err(BAD_LINE),
    };
    if targets == Targets::Origin {
        is_path(parts.target)?;
    }
    Ok(version)
}

/// Absolute and authority form are for proxies: their second host is one more reading.
fn is_path(target: &[u8]) -> Result<(), HeadError> {
    if target.first() != Some(&b'/') {
        return Err(HeadError::Target);
    }
    if target.contains(&b'#') || !target.iter().all(u8::is_ascii_graphic) {
        return Err(HeadError::Malformed(
            "the request target has a character that must be percent-encoded",
        ));
    }
    Ok(())
}
