//! Heads on their way through: what belongs to one connection goes no further, all else stays as
//! it was written, in its order.

use http::HeaderName;
use outrider_webhook::address::TargetUrl;
use outrider_webhook::http1::{RequestLine, blanks_off, field, lines};

/// Prefix of what clients tell the proxy, and of what the proxy tells clients.
const OWN_PREFIX: &[u8] = b"x-outrider-";

/// Fields of one connection (RFC 9110 section 7.6.1), beside all that begin with `proxy-`.
const OF_CONNECTION: [&[u8]; 6] = [
    b"connection",
    b"keep-alive",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

/// What a client asks of the proxy, read from a head that was checked.
#[derive(Debug)]
pub(super) struct Ask<'h> {
    head: &'h [u8],
    /// Method, target and version.
    pub(super) line: RequestLine<'h>,
    /// Whether it speaks HTTP/1.0.
    pub(super) is_old: bool,
    /// Whether the connection may carry another request.
    pub(super) is_persistent: bool,
    options: Options<'h>,
}

/// What `Connection` lists.
#[derive(Debug, Default)]
struct Options<'h>(Vec<&'h [u8]>);

impl<'h> Options<'h> {
    fn of(head: &'h [u8]) -> Self {
        let listed = fields(head)
            .filter(|(name, _, _)| is(name, b"connection") || is(name, b"proxy-connection"))
            .flat_map(|(_, value, _)| value.split(|byte| *byte == b','))
            .map(blanks_off);
        Self(listed.filter(|option| !option.is_empty()).collect())
    }

    fn has(&self, option: &[u8]) -> bool {
        self.0.iter().any(|listed| is(listed, option))
    }

    /// Whether a field ends here. What frames a message or says whom it is for is of no
    /// connection, whatever is listed: dropped, it would leave another message than was read.
    fn drops(&self, name: &[u8]) -> bool {
        OF_CONNECTION.iter().any(|always| is(name, always))
            || begins(name, b"proxy-")
            || (self.has(name) && !is(name, b"host") && !is(name, b"content-length"))
    }
}

impl<'h> Ask<'h> {
    /// `None` for bytes that no checked head has.
    pub(super) fn read(head: &'h [u8]) -> Option<Self> {
        let line = RequestLine::split(lines(head).next()?)?;
        let options = Options::of(head);
        let is_old = line.version == b"HTTP/1.0";
        Some(Self {
            head,
            line,
            is_old,
            is_persistent: !options.has(b"close") && (!is_old || options.has(b"keep-alive")),
            options,
        })
    }

    /// The value of a field; of more than one the first.
    pub(super) fn value(&self, name: &HeaderName) -> Option<&'h [u8]> {
        fields(self.head).find_map(|(own, value, _)| is(own, name.as_ref()).then_some(value))
    }

    /// Whether a field is there more than once.
    pub(super) fn is_repeated(&self, name: &HeaderName) -> bool {
        let found = fields(self.head).filter(|(own, ..)| is(own, name.as_ref()));
        found.count() > 1
    }

    /// The head as the destination gets it: in origin form, for the host of the URL.
    pub(super) fn for_destination(&self, url: &TargetUrl, is_chunked: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.head.len());
        put(
            &mut out,
            &[
                self.line.method,
                b" ",
                url.path_and_query().as_str().as_bytes(),
                b" ",
            ],
        );
        put(&mut out, &[self.line.version, b"\r\n"]);
        let host = url.authority().as_bytes();
        let mut has_host = false;
        for (name, _, line) in fields(self.head) {
            if is(name, b"host") {
                put(&mut out, &[name, b": ", host, b"\r\n"]);
                has_host = true;
            } else if !self.options.drops(name) && !begins(name, OWN_PREFIX) {
                put(&mut out, &[line, b"\r\n"]);
            }
        }
        if !has_host {
            put(&mut out, &[b"Host: ", host, b"\r\n"]);
        }
        if is_chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// The head of an answer as the client gets it: nothing in it may look as if it came from the
/// proxy, but for `own`, whole lines, which do.
pub(super) fn for_client(head: &[u8], is_chunked: bool, closes: bool, own: &str) -> Vec<u8> {
    let options = Options::of(head);
    let mut out = Vec::with_capacity(head.len() + own.len() + 32);
    if let Some(line) = lines(head).next() {
        // Ours, whatever version the destination speaks.
        let behind = line.get(b"HTTP/1.1".len()..).unwrap_or_default();
        put(&mut out, &[b"HTTP/1.1", behind, b"\r\n"]);
    }
    for (name, _, line) in fields(head) {
        if !options.drops(name) && !begins(name, OWN_PREFIX) {
            put(&mut out, &[line, b"\r\n"]);
        }
    }
    out.extend_from_slice(own.as_bytes());
    if is_chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if closes {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Name, value without blanks, and line of each field.
fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    let lines = lines(head).skip(1);
    lines.filter_map(|line| {
        let (name, value) = field(line).ok()?;
        Some((name, blanks_off(value), line))
    })
}

fn is(name: &[u8], other: &[u8]) -> bool {
    name.eq_ignore_ascii_case(other)
}

fn begins(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len())
        .is_some_and(|begin| is(begin, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://hooks.example.com:8080/a?b=c";

    fn sent(head: &str) -> String {
        let ask = Ask::read(head.as_bytes()).unwrap();
        let url = TargetUrl::parse(URL).unwrap();
        String::from_utf8(ask.for_destination(&url, false)).unwrap()
    }

    #[test]
    fn what_is_of_the_connection_or_for_the_proxy_goes_no_further() {
        let head = format!(
            "POST {URL} HTTP/1.1\r\nX-First: 1\r\nhOst: other.example\r\nConnection: x-Mine, close\r\n\
             x-mine: 2\r\nProxy-Authorization: Basic eDp5\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: a\r\n\
             Upgrade: h2c\r\nX-Outrider-Tenant: t\r\nContent-Length: 3\r\nX-LAST:  a  b \r\n\r\n"
        );
        let expected = "POST /a?b=c HTTP/1.1\r\nX-First: 1\r\nhOst: hooks.example.com:8080\r\n\
             Content-Length: 3\r\nX-LAST:  a  b \r\n\r\n";
        assert_eq!(sent(&head), expected);
    }

    #[test]
    fn no_option_takes_the_framing_or_the_host_away() {
        let head = format!(
            "POST {URL} HTTP/1.1\r\nHost: x\r\nConnection: content-length, host\r\nContent-Length: 3\r\n\r\n"
        );
        let sent = sent(&head);
        assert!(sent.contains("Content-Length: 3\r\n"), "{sent}");
        assert!(sent.contains("Host: hooks.example.com:8080\r\n"), "{sent}");
    }

    #[test]
    fn an_old_client_without_host_is_given_one() {
        let sent = sent(&format!("GET {URL} HTTP/1.0\r\n\r\n"));
        assert_eq!(
            sent,
            "GET /a?b=c HTTP/1.0\r\nHost: hooks.example.com:8080\r\n\r\n"
        );
    }

    #[test]
    fn connections_last_as_their_version_says() {
        for (rest, expected) in [
            ("HTTP/1.1\r\n\r\n", true),
            ("HTTP/1.1\r\nConnection: Close\r\n\r\n", false),
            ("HTTP/1.1\r\nProxy-Connection: close\r\n\r\n", false),
            ("HTTP/1.0\r\n\r\n", false),
            ("HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n", true),
        ] {
            let head = format!("GET {URL} {rest}");
            let ask = Ask::read(head.as_bytes()).unwrap();
            assert_eq!(ask.is_persistent, expected, "{rest:?}");
        }
    }

    #[test]
    fn no_answer_looks_as_if_the_proxy_had_made_it() {
        let head = b"HTTP/1.0 403 No\r\nx-outrider-egress-error: denied\r\nX-Outrider-Source-IP: 1\r\n\
            Proxy-Status: x\r\nProxy-Authenticate: Basic\r\nConnection: x-a\r\nx-a: 1\r\nTransfer-Encoding: chunked\r\n\
            Set-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
        let own = "x-outrider-source-ip: 127.0.0.2\r\n";
        let got = String::from_utf8(for_client(head, true, true, own)).unwrap();
        let expected = "HTTP/1.1 403 No\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
            x-outrider-source-ip: 127.0.0.2\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        assert_eq!(got, expected);
    }
}
