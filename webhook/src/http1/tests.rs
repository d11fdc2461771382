use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    line_bytes_max: 64,
    bytes_max: 512,
    headers_max: 8,
};

fn scan(head: &[u8]) -> Result<Option<RequestHead>, HeadError> {
    HeadScanner::default().advance(head, &LIMITS)
}

/// The head of a request to `/a`, with these lines.
fn post(lines: &str) -> Vec<u8> {
    format!("POST /a HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes()
}

fn code(head: &[u8]) -> &'static str {
    match scan(head) {
        Ok(found) => panic!("{:?}: {found:?}", String::from_utf8_lossy(head)),
        Err(error) => error.code(),
    }
}

#[test]
fn what_two_parsers_could_read_in_two_ways_is_refused() {
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \x0b5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 5\r\n",
        " Content-Length: 5\r\n",
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        "X: a\nContent-Length: 5\r\n",
        "X: a\rContent-Length: 5\r\n",
        "X: a\0\r\n",
        "X\0: a\r\n",
        "X: \x7f\r\n",
        "no colon\r\n",
        ": no name\r\n",
        "Host: y\r\n",
        "X[]: a\r\n",
    ] {
        assert_eq!(code(&post(lines)), "malformed_request", "{lines:?}");
    }
    for lines in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ntransfer-encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: x\r\n",
    ] {
        assert_eq!(code(&post(lines)), "ambiguous_framing", "{lines:?}");
    }
    for value in [
        "xchunked",
        "chunked, identity",
        "gzip, chunked",
        "\"chunked\"",
        "identity",
        "",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: x",
        "x\r\nTransfer-Encoding: chunked",
    ] {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        assert_eq!(code(&post(&lines)), "unsupported_coding", "{value:?}");
    }
    let old = "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(code(old.as_bytes()), "malformed_request");
}

#[test]
fn a_request_line_has_one_form() {
    for (line, expected) in [
        ("POST", "malformed_request"),
        ("POST /a", "malformed_request"),
        ("POST /a HTTP/1.1 x", "malformed_request"),
        ("POST  /a HTTP/1.1", "malformed_request"),
        ("POST\t/a\tHTTP/1.1", "malformed_request"),
        ("PO(ST /a HTTP/1.1", "malformed_request"),
        ("POST /a\0b HTTP/1.1", "malformed_request"),
        ("POST /a#b HTTP/1.1", "malformed_request"),
        ("POST /\u{e4} HTTP/1.1", "malformed_request"),
        ("POST /a http/1.1", "malformed_request"),
        ("POST /a HTTP/1.10", "malformed_request"),
        ("POST /a HTTP/2.0", "http_version"),
        ("PRI * HTTP/2.0", "http_version"),
        ("POST /a HTTP/1.2", "http_version"),
        ("POST http://x/a HTTP/1.1", "bad_target"),
        ("POST a HTTP/1.1", "bad_target"),
        ("OPTIONS * HTTP/1.1", "bad_target"),
        ("CONNECT x:443 HTTP/1.1", "bad_target"),
        (&format!("GET /{} HTTP/1.1", "a".repeat(60)), "uri_too_long"),
    ] {
        let head = format!("{line}\r\nHost: x\r\n\r\n");
        assert_eq!(code(head.as_bytes()), expected, "{line:?}");
    }
    assert_eq!(code(b"\r\n\r\nGET / HTTP/1.1\r\n"), "malformed_request");
}

#[test]
fn what_is_wrong_already_is_refused_before_the_head_is_whole() {
    for (start, expected) in [
        (&b"\x16\x03\x01"[..], "tls_on_plain_port"),
        (b"\0", "malformed_request"),
        (b" GET", "malformed_request"),
        (b"\n", "malformed_request"),
        (b"GET / HTTP/1.1\n", "malformed_request"),
        (b"GET /\r\n", "malformed_request"),
        (b"GET / HTTP/1.1\r\nHost : x\r\n", "malformed_request"),
        (&[b'A'; 66], "uri_too_long"),
    ] {
        assert_eq!(code(start), expected, "{start:?}");
    }
    let endless = [&b"GET / HTTP/1.1\r\nX: "[..], &[b'a'; 500]].concat();
    assert_eq!(code(&endless), "head_too_large");
    let many = "X: a\r\n".repeat(8);
    assert_eq!(code(&post(&many)), "head_too_large");
    assert_eq!(code(b"GET / HTTP/1.1\r\nX: a\r\n\r\n"), "missing_host");
}

#[test]
fn a_plain_head_passes_with_its_framing() {
    let cases = [
        ("", Framing::Empty),
        ("Content-Length: 0\r\n", Framing::Empty),
        ("content-LENGTH:\t12 \r\n", Framing::Length(12)),
        ("Transfer-Encoding: Chunked\r\n", Framing::Chunked),
        ("X: \u{e4}\t ,;\r\nUpgrade: h2c\r\n", Framing::Empty),
    ];
    for (lines, framing) in cases {
        let head = post(lines);
        let bytes = head.len();
        let expected = Some(RequestHead { bytes, framing });
        assert_eq!(scan(&head).unwrap(), expected, "{lines:?}");
        let behind = [&head[..], b"\n\0rest"].concat();
        assert_eq!(scan(&behind).unwrap(), expected, "the rest is not its own");
        let late = [&b"\r\n"[..], &head].concat();
        assert_eq!(scan(&late).unwrap().unwrap().bytes, bytes + 2);
    }
    assert!(scan(b"GET / HTTP/1.0\r\n\r\n").unwrap().is_some());
}

fn chunks(bytes: &[u8]) -> Result<bool, ChunkError> {
    let mut guard = ChunkGuard::default();
    guard.advance(bytes)?;
    Ok(guard.is_done())
}

#[test]
fn chunks_that_can_be_read_in_two_ways_are_refused() {
    let long = format!("1;{}", "a".repeat(257));
    let trailer = format!("0\r\n{}", "X: aaaaaaaaaaaaaaaa\r\n".repeat(500));
    for (body, expected) in [
        ("\r\n", ChunkError::Size),
        (" 1\r\na\r\n", ChunkError::Size),
        ("1 \r\na\r\n", ChunkError::Size),
        ("0x1\r\na\r\n", ChunkError::Size),
        ("+1\r\na\r\n", ChunkError::Size),
        ("-1\r\na\r\n", ChunkError::Size),
        ("1\na\r\n", ChunkError::Size),
        ("1\ra\r\n", ChunkError::Size),
        ("g\r\n", ChunkError::Size),
        ("0000000000000001\r\na\r\n", ChunkError::Size),
        ("ffffffffffffffff\r\n", ChunkError::Size),
        ("1;a\nb\r\na\r\n", ChunkError::Extension),
        ("1;a\0\r\na\r\n", ChunkError::Extension),
        (&long, ChunkError::Extension),
        ("1\r\nab\r\n", ChunkError::End),
        ("1\r\na\n0\r\n\r\n", ChunkError::End),
        ("2\r\na\r\n0\r\n\r\n", ChunkError::End),
        ("0\r\nX\r\n\r\n", ChunkError::Trailer),
        ("0\r\nX : a\r\n\r\n", ChunkError::Trailer),
        ("0\r\n X: a\r\n\r\n", ChunkError::Trailer),
        ("0\r\nX: a\n\r\n", ChunkError::Trailer),
        ("0\r\n\n", ChunkError::Trailer),
        ("0\r\n\rX", ChunkError::Trailer),
        (&trailer, ChunkError::Trailer),
    ] {
        assert_eq!(chunks(body.as_bytes()), Err(expected), "{body:?}");
    }
    for unfinished in ["", "5", "5\r\nabc", "0\r\n", "0\r\n\r", "0\r\nX: a\r\n"] {
        assert_eq!(chunks(unfinished.as_bytes()), Ok(false), "{unfinished:?}");
    }
    for whole in [
        "0\r\n\r\n",
        "000\r\n\r\n",
        "5\r\nab\r\nc\r\n0\r\n\r\n",
        "A;x=\"y\"\r\n0123456789\r\n0;z\r\nX: a\r\nY:\r\n\r\n",
        "0\r\n\r\nGET / what comes behind is not looked at\n\0",
    ] {
        assert_eq!(chunks(whole.as_bytes()), Ok(true), "{whole:?}");
    }
}

proptest! {
    #[test]
    fn a_head_means_the_same_however_it_is_cut(
        head in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "(\r\n)?[A-Z]{1,4} /[a-z]{0,9} HTTP/1[.][01]\r\n([A-Za-z-]{1,9}: ?[ -~]{0,9}\r\n){0,9}\r?\n?"
                .prop_map(String::into_bytes),
        ],
        cuts in proptest::collection::vec(0_usize..200, 0..5),
    ) {
        let at_once = scan(&head);
        let mut scanner = HeadScanner::default();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(head.len())).collect();
        cuts.sort_unstable();
        cuts.push(head.len());
        let mut found = Ok(None);
        for cut in cuts {
            found = scanner.advance(&head[..cut], &LIMITS);
            if !matches!(found, Ok(None)) {
                break;
            }
        }
        prop_assert_eq!(found, at_once);
    }

    #[test]
    fn what_passes_is_what_the_parser_behind_reads(
        head in "(\r\n)?[A-Z]{1,4} /[!-~]{0,9} HTTP/1[.][01]\r\n(([A-Za-z-]{1,9}|[!-~]{1,3}|Host|Content-Length): ?[ -~\t]{0,9}\r\n){0,6}\r\n",
        flip in proptest::option::of((0_usize..120, any::<u8>())),
    ) {
        let mut head = head.into_bytes();
        if let Some((at, byte)) = flip && at < head.len() {
            head[at] = byte;
        }
        if let Ok(Some(found)) = scan(&head) {
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(&head);
            prop_assert_eq!(parsed, Ok(httparse::Status::Complete(found.bytes)));
            let lines = head[..found.bytes].split(|byte| *byte == b'\n');
            let lines = lines.filter(|line| !matches!(line, [] | [b'\r']));
            prop_assert_eq!(request.headers.len() + 1, lines.count());
        }
    }

    #[test]
    fn a_body_in_chunks_of_any_size_passes_however_it_is_cut(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
        cut in 0_usize..300,
    ) {
        let mut body = Vec::new();
        for part in &parts {
            body.extend(format!("{:X}\r\n", part.len()).into_bytes());
            body.extend(part);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
        let (head, tail) = body.split_at(cut.min(body.len()));
        let mut guard = ChunkGuard::default();
        guard.advance(head).unwrap();
        prop_assert_eq!(guard.is_done(), tail.is_empty());
        guard.advance(tail).unwrap();
        prop_assert!(guard.is_done());
    }

    #[test]
    fn no_chunks_make_it_fail_otherwise_than_by_an_error(body in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = chunks(&body);
    }
}
