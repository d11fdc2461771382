//! Destinations as customers write them, parsed strictly: what is ambiguous is refused.

use std::fmt;

use http::uri::PathAndQuery;

use super::Denied;
use super::host::Host;

/// How to talk to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP, default port 80.
    Http,
    /// HTTP over TLS, default port 443.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The URL of a delivery: absolute, http or https, no credentials, one possible reading.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TargetUrl {
    scheme: Scheme,
    host: Host,
    port: u16,
    authority: Box<str>,
    path_and_query: PathAndQuery,
}

impl TargetUrl {
    /// Parses a URL. A fragment is dropped: it never travels.
    ///
    /// # Errors
    /// [`Denied`] with the first rule it breaks.
    pub fn parse(text: &str) -> Result<Self, Denied> {
        if text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
        {
            return Err(Denied::InvalidUrl);
        }
        let (scheme, rest) = split_scheme(text)?;
        let rest = rest.strip_prefix("//").ok_or(Denied::InvalidUrl)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if authority.contains('@') {
            return Err(Denied::UserinfoNotAllowed);
        }
        let (host, port) = split_authority(authority)?;
        let port = port.unwrap_or(scheme.default_port());
        let authority = if port == scheme.default_port() {
            host.to_string()
        } else {
            format!("{host}:{port}")
        };
        let path_and_query = path_and_query(tail)?;
        Ok(Self {
            scheme,
            host,
            port,
            authority: authority.into(),
            path_and_query,
        })
    }

    /// Its scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether it goes over TLS.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        matches!(self.scheme, Scheme::Https)
    }

    /// Its host.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Its port, 1 to 65535.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Value of the `Host` header: host, and the port unless it is the default one.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query in origin form.
    #[must_use]
    pub const fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }

    /// Whether scheme, host and port are those of another URL.
    #[must_use]
    pub fn is_of_site(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.port == other.port && self.host == other.host
    }
}

impl TargetUrl {
    /// For people to read: customers put tokens into queries, so the query is `***`.
    #[must_use]
    pub fn redacted(&self) -> String {
        let query = if self.path_and_query.query().is_some() {
            "?***"
        } else {
            ""
        };
        format!(
            "{}://{}{}{query}",
            self.scheme.as_str(),
            self.authority,
            self.path_and_query.path()
        )
    }
}

impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetUrl({})", self.redacted())
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme.as_str(),
            self.authority,
            self.path_and_query
        )
    }
}

/// The target of a CONNECT: host and port, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, 1 to 65535.
    pub port: u16,
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Authority {
    /// Parses `host:port`; the port is mandatory.
    ///
    /// # Errors
    /// [`Denied`] with the first rule it breaks.
    pub fn parse(text: &str) -> Result<Self, Denied> {
        if text.is_empty()
            || text.ends_with(':')
            || text.contains(['/', '?', '#', '\\'])
            || text.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(Denied::InvalidAuthority);
        }
        if text.contains('@') {
            return Err(Denied::InvalidHost);
        }
        let is_bare_v6 = !text.starts_with('[') && text.matches(':').count() > 1;
        match split_authority(text) {
            _ if is_bare_v6 => Err(Denied::InvalidAuthority),
            Ok((host, Some(port))) => Ok(Self { host, port }),
            Ok((_, None)) | Err(Denied::InvalidUrl) => Err(Denied::InvalidAuthority),
            Err(denied) => Err(denied),
        }
    }
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), Denied> {
    let (scheme, rest) = text.split_once(':').ok_or(Denied::InvalidUrl)?;
    let mut bytes = scheme.bytes();
    let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if !starts_well
        || !bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    {
        return Err(Denied::InvalidUrl);
    }
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok((Scheme::Http, rest)),
        "https" => Ok((Scheme::Https, rest)),
        _ => Err(Denied::SchemeNotAllowed),
    }
}

/// Host and port; an empty port means none was given.
fn split_authority(text: &str) -> Result<(Host, Option<u16>), Denied> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, rest) = rest.split_once(']').ok_or(Denied::InvalidHost)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if rest.is_empty() => None,
            None => return Err(Denied::InvalidHost),
        };
        return Ok((Host::parse_v6(inside)?, port));
    }
    let (host, port) = match text.split_once(':') {
        Some((_, port)) if port.contains(':') => return Err(Denied::InvalidHost),
        Some((host, port)) => (host, parse_port(port)?),
        None => (text, None),
    };
    Ok((Host::parse(host)?, port))
}

fn parse_port(text: &str) -> Result<Option<u16>, Denied> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Denied::InvalidUrl);
    }
    match text.parse::<u16>() {
        Ok(0) | Err(_) => Err(Denied::InvalidPort),
        Ok(port) => Ok(Some(port)),
    }
}

/// What follows the authority, in origin form; bytes that HTTP does not carry are percent-encoded.
fn path_and_query(tail: &str) -> Result<PathAndQuery, Denied> {
    let tail = tail.split('#').next().unwrap_or_default();
    let mut encoded = String::with_capacity(tail.len() + 1);
    if !tail.starts_with('/') {
        encoded.push('/');
    }
    encode_tail(tail, &mut encoded);
    encoded.parse().map_err(|_| Denied::InvalidUrl)
}

/// A part of a path or query as it travels.
pub(crate) fn encode_tail(tail: &str, encoded: &mut String) {
    for byte in tail.bytes() {
        if byte.is_ascii_graphic()
            && !matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
        {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
}
