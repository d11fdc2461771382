//! Signatures computed and verified from their published descriptions, apart from the product.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

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

/// What a message signature of RFC 9421 says of itself, and what it is of.
pub(crate) struct MessageSignature {
    /// Id of its key.
    pub(crate) key_id: String,
    /// `hmac-sha256` or `ed25519`.
    pub(crate) algorithm: String,
    /// Names of what it covers.
    pub(crate) covered: Vec<String>,
    base: String,
    signature: Vec<u8>,
}

impl MessageSignature {
    /// Whether it was made with this key: the bytes of a secret, or of a public key.
    pub(crate) fn is_by(&self, key: &[u8]) -> bool {
        let base = self.base.as_bytes();
        match &*self.algorithm {
            "hmac-sha256" => hmac_sha256(key, &[base]) == self.signature,
            _ => UnparsedPublicKey::new(&ED25519, key)
                .verify(base, &self.signature)
                .is_ok(),
        }
    }
}

/// The message signatures of a POST to `url`, read as a receiver reads them, once the digest was
/// found to be that of the body.
pub(crate) fn message_signatures(
    headers: &HeaderMap,
    body: &[u8],
    url: &str,
) -> Result<Vec<MessageSignature>, String> {
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)));
    if single(headers, "content-digest")? != digest {
        return Err("the digest is not that of the body".to_owned());
    }
    let inputs = single(headers, "signature-input")?.split(", ");
    let signatures = single(headers, "signature")?.split(", ");
    let read = |(input, signature): (&str, &str)| {
        let (label, params) = input.split_once('=').ok_or("no label")?;
        let (other, signature) = signature.split_once('=').ok_or("no label")?;
        if label != other {
            return Err(format!("{label} and {other} are not in one order"));
        }
        let (list, rest) = params.split_once(')').ok_or("no list")?;
        let list = list.strip_prefix('(').ok_or("no list")?;
        let covered: Vec<String> = list
            .split(' ')
            .map(|name| name.trim_matches('"').to_owned())
            .collect();
        let param = |name: &str| {
            let found = rest.split(';').find_map(|param| param.strip_prefix(name));
            found.map(|value| value.trim_matches('"').to_owned())
        };
        check_time(&param("created=").ok_or("no time")?)?;
        let mut base = String::new();
        for name in &covered {
            let value = match name.as_str() {
                "@method" => "POST",
                "@target-uri" => url,
                name => single(headers, name)?,
            };
            base.push_str(&format!("\"{name}\": {value}\n"));
        }
        base.push_str(&format!("\"@signature-params\": {params}"));
        let signature = STANDARD.decode(signature.trim_matches(':'));
        Ok(MessageSignature {
            key_id: param("keyid=").ok_or("no keyid")?,
            algorithm: param("alg=").ok_or("no alg")?,
            covered,
            base,
            signature: signature.map_err(|error| error.to_string())?,
        })
    };
    inputs.zip(signatures).map(read).collect()
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
