//! Signatures computed and verified from their published descriptions, apart from the product.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::Sha256;

use super::wait::unix_s;

/// Age of a timestamp that official receivers accept, seconds.
const TOLERANCE_S: u64 = 300;

/// HMAC-SHA256 over the parts, one after the other.
fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// What GitHub puts in `X-Hub-Signature-256`.
pub(crate) fn github(secret: &str, body: &[u8]) -> String {
    format!(
        "sha256={}",
        hex::encode(hmac_sha256(secret.as_bytes(), &[body]))
    )
}

/// Convoy's simple signature: the bare MAC of the body.
pub(crate) fn convoy_simple(headers: &HeaderMap, body: &[u8], secret: &str) -> Result<(), String> {
    let found = single(headers, "x-convoy-signature")?;
    let expected = hex::encode(hmac_sha256(secret.as_bytes(), &[body]));
    if found == expected {
        Ok(())
    } else {
        Err(format!("signature is {found}, expected {expected}"))
    }
}

/// Convoy's advanced signature: `t=<unix>,v1=<mac>`, the MAC over `<unix>,<body>`.
pub(crate) fn convoy_advanced(
    headers: &HeaderMap,
    body: &[u8],
    secret: &str,
) -> Result<(), String> {
    let found = single(headers, "x-convoy-signature")?;
    let pairs: Vec<(&str, &str)> = found
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let time = pairs
        .iter()
        .find(|(name, _)| *name == "t")
        .ok_or("no timestamp")?
        .1;
    check_time(time)?;
    let expected = hex::encode(hmac_sha256(
        secret.as_bytes(),
        &[time.as_bytes(), b",", body],
    ));
    let is_signed = pairs
        .iter()
        .any(|(name, mac)| *name == "v1" && *mac == expected);
    if is_signed {
        Ok(())
    } else {
        Err(format!("no v1 in {found} equals {expected}"))
    }
}

/// Standard Webhooks v1: base64 MAC over `<id>.<unix>.<body>`, key base64 after `whsec_`.
pub(crate) fn standard_webhooks(
    headers: &HeaderMap,
    body: &[u8],
    secret: &str,
) -> Result<(), String> {
    let (found, signed) = standard_text(headers, body)?;
    let key = STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap())
        .unwrap();
    let expected = format!("v1,{}", STANDARD.encode(hmac_sha256(&key, &[&signed])));
    let is_signed = found.split(' ').any(|entry| entry == expected);
    if is_signed {
        Ok(())
    } else {
        Err(format!("no entry of {found} equals {expected}"))
    }
}

/// Standard Webhooks v1a: Ed25519 over the same text, verified with the `whpk_` key.
pub(crate) fn standard_webhooks_v1a(
    headers: &HeaderMap,
    body: &[u8],
    public: &str,
) -> Result<(), String> {
    let (found, signed) = standard_text(headers, body)?;
    let key = STANDARD.decode(public.strip_prefix("whpk_").unwrap());
    let key = UnparsedPublicKey::new(&ED25519, key.unwrap());
    let entries = found
        .split(' ')
        .filter_map(|entry| entry.strip_prefix("v1a,"));
    let is_signed = entries
        .filter_map(|entry| STANDARD.decode(entry).ok())
        .any(|signature| key.verify(&signed, &signature).is_ok());
    if is_signed {
        Ok(())
    } else {
        Err(format!("no entry of {found} verifies with {public}"))
    }
}

/// The signatures of Standard Webhooks, and the text that they are of.
fn standard_text<'a>(headers: &'a HeaderMap, body: &[u8]) -> Result<(&'a str, Vec<u8>), String> {
    let id = single(headers, "webhook-id")?;
    let time = single(headers, "webhook-timestamp")?;
    check_time(time)?;
    let found = single(headers, "webhook-signature")?;
    let signed = [id.as_bytes(), b".", time.as_bytes(), b".", body].concat();
    Ok((found, signed))
}

/// The one value of a header; two would let two readers disagree.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|error| error.to_string()),
        (None, _) => Err(format!("no {name}")),
        (Some(_), Some(_)) => Err(format!("several {name}")),
    }
}

fn check_time(text: &str) -> Result<(), String> {
    let signed: u64 = text
        .parse()
        .map_err(|_| format!("timestamp {text} is no number"))?;
    let skew = unix_s().abs_diff(signed);
    if skew <= TOLERANCE_S {
        Ok(())
    } else {
        Err(format!("timestamp is {skew} s off"))
    }
}

mod tests {
    use super::*;

    /// Worked values of the contract (sections 4 and 6): the harness itself must be right.
    #[test]
    fn the_harness_computes_the_published_examples() {
        let body = br#"{"action":"opened","number":7}"#;
        let published = "sha256=bb2edcbe2d7c0b180ff67236e69728ef78190e3fd406e9d05e81bf4d4c948b3b";
        assert_eq!(github("gh-secret", body), published);
        let body = br#"{"event":"charge.success","amount":1000,"currency":"NGN"}"#;
        let mut headers = HeaderMap::new();
        let published = "244449b7f48cbc2709060c9dcdc2b3aa47a78f540430579015c579fb12defbb4";
        headers.insert("x-convoy-signature", published.parse().unwrap());
        assert_eq!(
            convoy_simple(&headers, body, "convoy-webhook-secret"),
            Ok(())
        );
        assert!(convoy_simple(&headers, b"{}", "convoy-webhook-secret").is_err());
        let mac = hmac_sha256(b"convoy-webhook-secret", &[b"1700000000", b",", body]);
        assert_eq!(
            hex::encode(mac),
            "77b8b9269f25a199846a55a2bd25b3fba151c70fdae60bb1dcd87fbbc943c55c"
        );
    }
}
