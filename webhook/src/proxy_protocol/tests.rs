use proptest::prelude::*;

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn done(consumed: usize, source: &str, destination: &str) -> Parsed {
    Parsed::Done {
        consumed,
        source: Some(address(source)),
        destination: Some(address(destination)),
    }
}

/// A header that keeps the address of the socket.
const fn kept(consumed: usize) -> Parsed {
    Parsed::Done {
        consumed,
        source: None,
        destination: None,
    }
}

/// The code of a refusal; all that could follow changes nothing.
fn code(bytes: &[u8]) -> &'static str {
    let longer = [bytes, b"GET / HTTP/1.1\r\n\r\n"].concat();
    match (parse(bytes), parse(&longer)) {
        (Parsed::Invalid(invalid), Parsed::Invalid(later)) if invalid == later => invalid.code(),
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn what_is_no_header_is_refused_at_its_first_byte() {
    for bytes in [
        &b"G"[..],
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"proxy TCP4 ",
        b"PROXY\t",
        b"PROXY\r\n",
        b"PROXYTCP4",
        b" PROXY TCP4 ",
        b"\r\nPROXY TCP4 ",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\r\n\r\n\r\n",
        b"\0",
    ] {
        assert_eq!(code(bytes), "not_proxy_protocol", "{bytes:?}");
    }
}

#[test]
fn a_line_that_is_not_exact_is_refused() {
    for (line, expected) in [
        // Something else than one space between two fields.
        ("TCP4  192.0.2.1 192.0.2.2 1 2", "bad_fields"),
        ("TCP4 192.0.2.1\t192.0.2.2 1 2", "bad_fields"),
        ("TCP4 192.0.2.1 192.0.2.2 1 2 ", "bad_fields"),
        (" TCP4 192.0.2.1 192.0.2.2 1 2", "bad_fields"),
        ("TCP4 192.0.2.1  192.0.2.2 1 2", "bad_fields"),
        ("TCP4 192.0.2.1 192.0.2.2 1", "bad_fields"),
        ("TCP4 192.0.2.1 192.0.2.2", "bad_fields"),
        ("TCP4 192.0.2.1 192.0.2.2 1 2 3", "bad_fields"),
        ("TCP4", "bad_fields"),
        ("", "bad_fields"),
        // Another protocol.
        ("TCP5 192.0.2.1 192.0.2.2 1 2", "bad_fields"),
        ("tcp4 192.0.2.1 192.0.2.2 1 2", "bad_fields"),
        ("UDP4 192.0.2.1 192.0.2.2 1 2", "bad_fields"),
        ("UNKNOWNS", "bad_fields"),
        ("unknown", "bad_fields"),
        ("TCP4 192.0.2.1 192.0.2.2 1 \u{661}", "bad_port"),
        // Addresses.
        ("TCP4 192.0.2.01 192.0.2.2 1 2", "bad_address"),
        ("TCP4 192.0.2.256 192.0.2.2 1 2", "bad_address"),
        ("TCP4 192.0.2 192.0.2.2 1 2", "bad_address"),
        ("TCP4 0xc0.0.2.1 192.0.2.2 1 2", "bad_address"),
        ("TCP4 3221225985 192.0.2.2 1 2", "bad_address"),
        ("TCP4 ::1 ::2 1 2", "bad_address"),
        ("TCP4 192.0.2.1 ::2 1 2", "bad_address"),
        ("TCP6 192.0.2.1 192.0.2.2 1 2", "bad_address"),
        ("TCP6 ::1 192.0.2.2 1 2", "bad_address"),
        ("TCP6 [::1] ::2 1 2", "bad_address"),
        ("TCP6 ::1%lo ::2 1 2", "bad_address"),
        ("TCP6 1::2::3 ::2 1 2", "bad_address"),
        ("TCP6 1:2:3:4:5:6:7 ::2 1 2", "bad_address"),
        ("TCP6 1:2:3:4:5:6:7:8:9 ::2 1 2", "bad_address"),
        ("TCP6 ::00001 ::2 1 2", "bad_address"),
        ("TCP6 ::ffff:192.0.2.01 ::2 1 2", "bad_address"),
        // Ports.
        ("TCP4 192.0.2.1 192.0.2.2 65536 2", "bad_port"),
        ("TCP4 192.0.2.1 192.0.2.2 1 65536", "bad_port"),
        ("TCP4 192.0.2.1 192.0.2.2 01 2", "bad_port"),
        ("TCP4 192.0.2.1 192.0.2.2 00 2", "bad_port"),
        ("TCP4 192.0.2.1 192.0.2.2 +1 2", "bad_port"),
        ("TCP4 192.0.2.1 192.0.2.2 -1 2", "bad_port"),
        ("TCP4 192.0.2.1 192.0.2.2 0x1 2", "bad_port"),
        ("TCP4 192.0.2.1 192.0.2.2  2", "bad_port"),
    ] {
        let bytes = format!("PROXY {line}\r\n");
        assert_eq!(code(bytes.as_bytes()), expected, "{line:?}");
    }
    let not_text = b"PROXY TCP4 192.0.2.\xb2 192.0.2.2 1 2\r\n";
    assert_eq!(code(not_text), "bad_fields");
}

#[test]
fn a_line_ends_in_cr_lf_and_nothing_else() {
    for line in [
        &b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"[..],
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX\r\n",
        b"PROXY UNKNOWN\n",
        b"PROXY UNKNOWN \rPROXY TCP4\r\n",
        b"PROXY \n",
    ] {
        assert_eq!(code(line), "bad_line_end", "{line:?}");
    }
}

#[test]
fn a_line_has_at_most_107_bytes() {
    let unknown = |filling: usize, end: &str| {
        let line = format!("PROXY UNKNOWN {}{end}", "f".repeat(filling));
        line.into_bytes()
    };
    assert_eq!(parse(&unknown(91, "\r\n")), kept(107));
    assert_eq!(code(&unknown(92, "\r\n")), "line_too_long");
    assert_eq!(parse(&unknown(92, "")), Parsed::NeedMore);
    assert_eq!(code(&unknown(93, "")), "line_too_long");
    // The longest of each kind that the specification names.
    let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY UNKNOWN {long} {long} 65535 65535\r\n");
    assert_eq!((line.len(), parse(line.as_bytes())), (107, kept(107)));
    let line = format!("PROXY TCP6 {long} {long} 65535 65535\r\n");
    let end = format!("[{long}]:65535");
    assert_eq!(parse(line.as_bytes()), done(104, &end, &end));
    let line = "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    let end = "255.255.255.255:65535";
    assert_eq!(parse(line.as_bytes()), done(56, end, end));
}

#[test]
fn a_block_that_is_none_of_version_2_is_refused_at_its_first_byte() {
    let block = |command, family, block: &[u8]| writer::v2_block(command, family, block);
    let begin = |bytes: Vec<u8>, length: usize| bytes.into_iter().take(length).collect::<Vec<_>>();
    for command in [0x00, 0x01, 0x10, 0x11, 0x31, 0xf1] {
        let bytes = begin(block(command, 0x11, &[0; 12]), 13);
        assert_eq!(code(&bytes), "bad_version", "{command:#x}");
    }
    for command in [0x22, 0x2f] {
        let bytes = begin(block(command, 0x11, &[0; 12]), 13);
        assert_eq!(code(&bytes), "bad_command", "{command:#x}");
    }
    for family in [0x03, 0x0f, 0x13, 0x1f, 0x23, 0x33, 0x40, 0x41, 0xf1] {
        let bytes = begin(block(0x21, family, &[0; 12]), 14);
        assert_eq!(code(&bytes), "bad_family", "{family:#x}");
    }
    for (family, addresses) in [
        (0x11, 12),
        (0x12, 12),
        (0x21, 36),
        (0x22, 36),
        (0x31, 216),
        (0x32, 216),
    ] {
        let bytes = begin(block(0x21, family, &vec![0; addresses - 1]), 16);
        assert_eq!(code(&bytes), "header_too_short", "{family:#x}");
        assert_eq!(
            code(&block(0x21, family, &[])),
            "header_too_short",
            "{family:#x}"
        );
    }
}

#[test]
fn a_block_has_at_most_536_bytes() {
    for (command, family) in [(0x20, 0x00), (0x21, 0x00), (0x21, 0x11)] {
        let longest = writer::v2_block(command, family, &[0; BYTES_MAX - 16]);
        assert!(matches!(
            parse(&longest),
            Parsed::Done { .. } | Parsed::Invalid(Invalid::Vector)
        ));
        let longer = writer::v2_block(command, family, &[0; BYTES_MAX - 15]);
        assert_eq!(code(longer.get(..16).unwrap()), "header_too_long");
    }
    let source = address("192.0.2.1:1");
    let longest = writer::v2(source, source, &[(4, &[0; BYTES_MAX - 16 - 12 - 3])]);
    assert_eq!(
        parse(&longest),
        done(BYTES_MAX, "192.0.2.1:1", "192.0.2.1:1")
    );
}

#[test]
fn vectors_that_do_not_add_up_are_refused() {
    let addresses = [0; 12];
    for vectors in [
        &[4][..],
        &[4, 0],
        &[4, 0, 1],
        &[4, 1, 0, 7],
        &[4, 0xff, 0xff, 7],
        &[4, 0, 0, 4],
        &[4, 0, 1, 7, 4, 0, 2, 7],
    ] {
        let block = [&addresses, vectors].concat();
        assert_eq!(
            code(&writer::v2_block(0x21, 0x11, &block)),
            "bad_vector",
            "{vectors:?}"
        );
    }
    // Those of a UDP or UNIX client as well, whose addresses are not used.
    for (family, addresses) in [(0x12, 12), (0x31, 216)] {
        let block = vec![1; addresses + 2];
        assert_eq!(code(&writer::v2_block(0x21, family, &block)), "bad_vector");
    }
}

#[test]
fn what_is_local_or_unknown_keeps_the_address_of_the_socket() {
    for line in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"PROXY UNKNOWN \r\n",
        b"PROXY UNKNOWN 192.0.2.1 any thing\xff\0\r\n",
    ] {
        assert_eq!(parse(line), kept(line.len()), "{line:?}");
    }
    for (command, family, content) in [
        (0x20, 0x00, &[][..]),
        // What a health check carries is discarded, its family as well.
        (0x20, 0x11, &[1; 12]),
        (0x20, 0x11, &[]),
        (0x20, 0xff, &[1; 5]),
        (0x21, 0x00, &[]),
        (0x21, 0x00, &[1; 5]),
        (0x21, 0x01, &[1; 5]),
        (0x21, 0x10, &[1; 5]),
        // UDP, and UNIX sockets.
        (0x21, 0x12, &[0; 12]),
        (0x21, 0x22, &[0; 36]),
        (0x21, 0x31, &[0; 216]),
        (0x21, 0x32, &[0; 216]),
    ] {
        let bytes = writer::v2_block(command, family, content);
        assert_eq!(parse(&bytes), kept(bytes.len()), "{command:#x} {family:#x}");
    }
}

#[test]
fn the_examples_of_the_specification_are_read() {
    let request = "GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n";
    let sent = format!("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n{request}");
    let parsed = parse(sent.as_bytes());
    assert_eq!(parsed, done(47, "192.168.0.1:56324", "192.168.0.11:443"));
    assert_eq!(sent.get(47..), Some(request));
    // The struct of section 2.2, byte for byte.
    let mut block = vec![
        0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0x00,
        0x0c, 192, 168, 0, 1, 192, 168, 0, 11, 0xdc, 0x04, 0x01, 0xbb,
    ];
    block.extend(request.as_bytes());
    assert_eq!(
        parse(&block),
        done(28, "192.168.0.1:56324", "192.168.0.11:443")
    );
}

#[test]
fn spellings_that_the_specification_lets_pass_are_read() {
    for (line, source, destination) in [
        (
            "TCP6 2001:DB8::A 2001:db8:0:0:0:0:0:b 0 65535",
            "[2001:db8::a]:0",
            "[2001:db8::b]:65535",
        ),
        (
            "TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2",
            "[::ffff:192.0.2.1]:1",
            "[::ffff:192.0.2.2]:2",
        ),
        ("TCP6 0001::0000 :: 1 2", "[1::]:1", "[::]:2"),
    ] {
        let bytes = format!("PROXY {line}\r\n");
        let expected = done(bytes.len(), source, destination);
        assert_eq!(parse(bytes.as_bytes()), expected, "{line}");
    }
}

#[test]
fn only_trusted_balancers_are_listened_to() {
    let trusted: AddressSet = ["10.0.0.0/8", "fd00::/8"]
        .map(|range| range.parse().unwrap())
        .into_iter()
        .collect();
    let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    let ask = |peer: &str, bytes: &[u8]| client(address(peer), &trusted, bytes);
    for peer in ["192.0.2.9:5", "[fc00::1]:5", "127.0.0.1:5"] {
        for bytes in [&b""[..], line, b"GET / HTTP/1.1\r\n"] {
            assert_eq!(ask(peer, bytes), Err(Invalid::UntrustedPeer), "{peer}");
        }
    }
    let nobody = AddressSet::default();
    let untrusted = client(address("10.0.0.1:5"), &nobody, line);
    assert_eq!(untrusted, Err(Invalid::UntrustedPeer));

    let direct = ask("10.0.0.1:5", b"GET / HTTP/1.1\r\n");
    assert_eq!(direct, Err(Invalid::NotProxyProtocol));
    assert_eq!(ask("10.0.0.1:5", b""), Ok(None));
    let client = |peer: &str, bytes: &[u8]| ask(peer, bytes).unwrap().unwrap();
    for peer in ["10.0.0.1:5", "[::ffff:10.0.0.1]:5", "[fd00::1]:5"] {
        let named = client(peer, line);
        assert_eq!(named.address, address("192.0.2.1:1"));
        assert_eq!(named.consumed, line.len());
    }
    let check = b"PROXY UNKNOWN\r\n";
    let kept = client("[::ffff:10.0.0.1]:5", check);
    assert_eq!(kept.address, address("10.0.0.1:5"));
    let mapped = client("10.0.0.1:5", b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
    assert_eq!(mapped.address, address("192.0.2.1:1"));
}

/// Two addresses of one family.
fn ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let pair = |(source, destination, ports): (IpAddr, IpAddr, (u16, u16))| {
        let source = SocketAddr::new(source, ports.0);
        (source, SocketAddr::new(destination, ports.1))
    };
    let v4 = any::<(u32, u32, (u16, u16))>();
    let v4 =
        v4.prop_map(|(from, to, ports)| (IpAddr::V4(from.into()), IpAddr::V4(to.into()), ports));
    let v6 = any::<(u128, u128, (u16, u16))>();
    let v6 =
        v6.prop_map(|(from, to, ports)| (IpAddr::V6(from.into()), IpAddr::V6(to.into()), ports));
    // Few bits, so that groups of zeros and mapped addresses are written as well.
    let few = (0_u32..1 << 20, any::<bool>(), any::<(u16, u16)>());
    let few = few.prop_map(|(bits, is_mapped, ports)| {
        let mapped = u128::from(bits) | if is_mapped { 0xffff << 32 } else { 0 };
        (
            IpAddr::V6(mapped.into()),
            IpAddr::V6((!mapped).into()),
            ports,
        )
    });
    prop_oneof![v4.prop_map(pair), v6.prop_map(pair), few.prop_map(pair)]
}

/// Bytes that look like a header, most of them wrong somewhere.
fn almost() -> impl Strategy<Value = Vec<u8>> {
    let text = "(PROXY )?(TCP4|TCP6|UNKNOWN|TCP)[ ]{0,2}([0-9a-f.:]{1,20} ?){0,3}[0-9]{0,6} [0-9]{0,6}\r?\n?";
    let block = (any::<(u8, u8)>(), 0_u8..4, 0_u8..4, any::<bool>());
    let block = (block, proptest::collection::vec(any::<u8>(), 0..600)).prop_map(
        |((odd, family, transport, is_odd), block)| {
            let (command, kind) = if is_odd {
                odd
            } else {
                (0x21, family << 4 | transport)
            };
            writer::v2_block(command, kind, &block)
        },
    );
    prop_oneof![
        text.prop_map(String::into_bytes),
        block,
        proptest::collection::vec(any::<u8>(), 0..64),
        (ends(), 0_usize..300, any::<(prop::sample::Index, u8)>()).prop_map(
            |((source, destination), filling, (at, byte))| {
                let mut bytes = writer::v2(source, destination, &[(4, &vec![0; filling])]);
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes
            }
        ),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read((source, destination) in ends(), kind: u8, filling in 0_usize..=478, behind: Vec<u8>) {
        let vectors: [(u8, &[u8]); 2] = [(kind, &vec![7; filling]), (4, b"")];
        for mut bytes in [
            writer::v1(source, destination),
            writer::v2(source, destination, &[]),
            writer::v2(source, destination, &vectors),
        ] {
            let consumed = bytes.len();
            bytes.extend(&behind);
            let expected = Parsed::Done { consumed, source: Some(source), destination: Some(destination) };
            prop_assert_eq!(parse(&bytes), expected);
        }
    }

    #[test]
    fn the_verdict_is_the_same_wherever_the_bytes_are_cut(mut bytes in almost(), behind: Vec<u8>) {
        bytes.extend(behind);
        let whole = parse(&bytes);
        for length in 0..bytes.len() {
            let part = parse(&bytes[..length]);
            // A part is undecided, or decided for good.
            prop_assert!(part == Parsed::NeedMore || part == whole, "{length}: {part:?}, {whole:?}");
        }
        match whole {
            Parsed::NeedMore => prop_assert!(bytes.len() < BYTES_MAX),
            Parsed::Done { consumed, .. } => {
                prop_assert!(consumed <= bytes.len().min(BYTES_MAX));
                prop_assert_eq!(parse(&bytes[..consumed]), whole);
                prop_assert_eq!(parse(&bytes[..consumed - 1]), Parsed::NeedMore);
            }
            Parsed::Invalid(_) => {}
        }
    }
}
