use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const PLENTY: usize = 32 << 20;
/// `{"type":"invoice.paid"}` as `brotli -q 5` writes it: this tree has the decoder only.
const BROTLI: &str = "0b0b807b2274797065223a22696e766f6963652e70616964227d03";

fn coded_as(names: &[&'static str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in names {
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    headers
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut coder = GzEncoder::new(Vec::new(), Compression::default());
    coder.write_all(text).unwrap();
    coder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut coder = ZlibEncoder::new(Vec::new(), Compression::default());
    coder.write_all(text).unwrap();
    coder.finish().unwrap()
}

fn raw_deflate(text: &[u8]) -> Vec<u8> {
    let mut coder = DeflateEncoder::new(Vec::new(), Compression::default());
    coder.write_all(text).unwrap();
    coder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ::zstd::bulk::compress(text, 3).unwrap()
}

/// Each coding with a body in it.
fn all(text: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    [
        ("gzip", gzip(text)),
        ("deflate", zlib(text)),
        ("deflate", raw_deflate(text)),
        ("zstd", zstd(text)),
    ]
}

#[test]
fn unknown_codings_are_refused() {
    for name in ["compress", "aes128gcm", "gzip;q=1", "gzip, lz4", "\"gzip\""] {
        let error = body(&coded_as(&[name]), b"x", PLENTY).unwrap_err();
        assert_eq!(error, DecodeError::UnknownCoding, "{name}");
        assert_eq!(error.code(), "unsupported_coding");
    }
}

#[test]
fn more_than_two_codings_are_refused_over_all_header_lines() {
    for names in [&["gzip, gzip, br"][..], &["gzip", "gzip", "zstd"]] {
        let error = body(&coded_as(names), b"x", PLENTY).unwrap_err();
        assert_eq!(error, DecodeError::TooManyCodings(3));
    }
}

#[test]
fn a_bomb_is_refused_by_its_ratio_and_a_long_body_by_its_length() {
    let zeros = vec![0; 8 << 20];
    for (name, bomb) in all(&zeros) {
        let error = body(&coded_as(&[name]), &bomb, PLENTY).unwrap_err();
        let bytes_max = (bomb.len() * RATIO_MAX).max(RATIO_FREE_BYTES);
        assert_eq!(error, DecodeError::TooLarge { bytes_max }, "{name}");
    }
    for (name, coded) in all(b"0123456789") {
        let headers = coded_as(&[name]);
        let error = body(&headers, &coded, 9).unwrap_err();
        assert_eq!(error, DecodeError::TooLarge { bytes_max: 9 }, "{name}");
        assert!(body(&headers, &coded, 10).is_ok());
    }
}

#[test]
fn a_bomb_in_a_bomb_has_the_bound_of_one() {
    let bomb = gzip(&gzip(&vec![0; 256 << 20]));
    let error = body(&coded_as(&["gzip, gzip"]), &bomb, PLENTY).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
}

#[test]
fn a_short_body_of_one_letter_is_no_bomb() {
    let letters = vec![b'a'; RATIO_FREE_BYTES];
    for (name, coded) in all(&letters) {
        assert!(coded.len() * RATIO_MAX < letters.len() + 64 * 1024);
        assert_eq!(*body(&coded_as(&[name]), &coded, PLENTY).unwrap(), letters);
    }
}

#[test]
fn brotli_is_read_and_what_is_cut_of_it_is_not() {
    let coded = hex::decode(BROTLI).unwrap();
    let headers = coded_as(&["br"]);
    let text = body(&headers, &coded, PLENTY).unwrap();
    assert_eq!(*text, *br#"{"type":"invoice.paid"}"#);
    for end in 1..coded.len() {
        assert!(body(&headers, &coded[..end], PLENTY).is_err(), "{end}");
    }
    assert_eq!(
        body(&headers, &coded, 22),
        Err(DecodeError::TooLarge { bytes_max: 22 })
    );
}

#[test]
fn a_zstd_frame_that_wants_a_huge_window_is_refused() {
    let mut coder = ::zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    coder.window_log(27).unwrap();
    coder.write_all(b"x").unwrap();
    let coded = coder.finish().unwrap();
    assert_eq!(
        body(&coded_as(&["zstd"]), &coded, PLENTY),
        Err(DecodeError::Malformed)
    );
}

#[test]
fn no_coding_and_identity_are_the_same_bytes() {
    for headers in [HeaderMap::new(), coded_as(&["identity"]), coded_as(&[""])] {
        let same = body(&headers, b"as it came", 0).unwrap();
        assert!(matches!(same, Cow::Borrowed(b"as it came")));
    }
}

#[test]
fn no_bytes_are_none_in_every_coding() {
    for name in ["gzip", "deflate", "br", "zstd"] {
        assert_eq!(*body(&coded_as(&[name]), b"", PLENTY).unwrap(), *b"");
    }
}

#[test]
fn codings_come_off_in_the_opposite_order() {
    let coded = zstd(&gzip(b"twice"));
    for names in [&["gzip, zstd"][..], &["GZIP", "identity, Zstd"]] {
        assert_eq!(*body(&coded_as(names), &coded, PLENTY).unwrap(), *b"twice");
    }
    assert!(body(&coded_as(&["zstd, gzip"]), &coded, PLENTY).is_err());
}

proptest! {
    #[test]
    fn what_was_coded_is_read_and_what_is_cut_or_longer_is_not(text: Vec<u8>, cut: prop::sample::Index) {
        for (name, mut coded) in all(&text) {
            let headers = coded_as(&[name]);
            prop_assert_eq!(&*body(&headers, &coded, PLENTY).unwrap(), &text);
            let part = &coded[..1 + cut.index(coded.len() - 1)];
            prop_assert!(body(&headers, part, PLENTY).is_err(), "{} cut", name);
            coded.extend_from_slice(b"more");
            prop_assert!(body(&headers, &coded, PLENTY).is_err(), "{} longer", name);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic_or_go_beyond_its_bound(bytes: Vec<u8>, bytes_max in 0..4096_usize) {
        for name in ["gzip", "deflate", "br", "zstd"] {
            if let Ok(decoded) = body(&coded_as(&[name]), &bytes, bytes_max) {
                prop_assert!(decoded.len() <= bytes_max);
            }
        }
    }
}
