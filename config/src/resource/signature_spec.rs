//! What people write of how deliveries are signed, and how it is checked.

use http::HeaderName;
use outrider_webhook::sign::{self, HeaderRule, MessageError, MessageSignature, SignatureHeader};
use serde::{Deserialize, Serialize};

use super::check::{Checks, Range, Reason};
use super::field::{NOTE_BYTES_MAX, at_most, given};
use super::project_spec::own_header;

const HEADER_DEFAULT: &str = "x-convoy-signature";
/// Every version signs with every live secret on every attempt.
const VERSIONS_MAX: usize = 8;

/// How long a message signature is good for.
const EXPIRES_S: Range = Range {
    min: 1,
    max: 24 * 3600,
    unit: "seconds",
};
const EXPIRES_DEFAULT_S: u64 = 300;
/// Each is filled in on every attempt.
const HEADERS_MAX: usize = 8;

/// How deliveries are signed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignatureSpec {
    /// Header of Convoy's signature; default `X-Convoy-Signature`.
    pub header: Option<String>,
    /// Hashes and encodings, in order; default one, SHA256 in hex.
    pub versions: Option<Vec<SignatureVersionSpec>>,
    /// `convoy` (default), `standard_webhooks`, `both`, or `custom`: `headers` alone.
    pub format: Option<String>,
    /// `as_sent` (default): the bytes that are sent; `compact_json`: as Convoy (RULINGS 20).
    pub input: Option<String>,
    /// Of which type secrets are that are made up: `shared` (default), or `ed25519`, where only
    /// Standard Webhooks are sent.
    pub secret_type: Option<String>,
    /// Headers as other systems write them, at most 8.
    pub headers: Option<Vec<SignatureHeaderSpec>>,
    /// HTTP message signatures (RFC 9421), beside the rest.
    pub message_signature: Option<MessageSignatureSpec>,
}

/// How requests are signed as HTTP messages (RFC 9421).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessageSignatureSpec {
    /// Whether they are; default true.
    pub is_enabled: Option<bool>,
    /// What is covered, in order; default `@method`, `@target-uri`, `content-digest`,
    /// `content-type`, `webhook-id`. The digest of the body always is.
    pub components: Option<Vec<String>>,
    /// Seconds from an attempt to the end of its signature; 1 to 86400, default 300.
    pub expires_in_s: Option<u64>,
    /// What tells these signatures from others; at most 64 bytes.
    pub tag: Option<String>,
}

/// A signature header as another system writes it. Templates have at most 1024 bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignatureHeaderSpec {
    /// Required.
    pub name: Option<String>,
    /// Required: a template with `{signature}` (by the newest secret), `{signatures}` (of each
    /// live secret, newest first), `{timestamp}` (Unix seconds), `{id}` (`webhook-id`).
    pub value: Option<String>,
    /// What each of `{signatures}` looks like; default `{signature}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// What stands between them, at most 16 bytes; default a comma.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// What is signed: a template with `{body}`, and `{timestamp}`, `{id}`, `{url}`; default `{body}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// `SHA1`, `SHA256` (default) or `SHA512`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// `hex` (default) or `base64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// How a secret becomes a key: `utf8` (default), its text, or `whsec`, what its base64 says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// One version of Convoy's signature.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignatureVersionSpec {
    /// Convoy's id of the version: kept, changes nothing.
    pub uid: Option<String>,
    /// `SHA256` or `SHA512`.
    pub hash: Option<String>,
    /// `hex` or `base64`.
    pub encoding: Option<String>,
    /// When it was made: kept, changes nothing.
    pub created_at: Option<String>,
}

impl SignatureSpec {
    pub(super) fn compile(&self, checks: &mut Checks) -> Option<sign::Scheme> {
        let header = given(self.header.as_deref()).unwrap_or(HEADER_DEFAULT);
        let header = checks.take("config.signature.header", own_header(header));
        let versions = self.versions(checks);
        let headers = self.headers(checks);
        let message = self.message(checks);
        let format = word(
            checks,
            "config.signature.format",
            self.format.as_deref(),
            (sign::Format::of_word, sign::Format::WORDS),
        );
        let input = word(
            checks,
            "config.signature.input",
            self.input.as_deref(),
            (sign::Input::of_word, sign::Input::WORDS),
        );
        let secret_type = word(
            checks,
            "config.signature.secret_type",
            self.secret_type.as_deref(),
            (sign::SecretType::of_word, sign::SecretType::WORDS),
        );
        let settings = sign::Settings {
            header: header?,
            versions: versions?,
            format: format?.unwrap_or_default(),
            input: input?.unwrap_or_default(),
            secret_type: secret_type?.unwrap_or_default(),
            headers: headers?,
            message: message?,
        };
        let scheme = sign::Scheme::try_from(settings).map_err(Reason::refused);
        checks.take("config.signature", scheme)
    }

    fn message(&self, checks: &mut Checks) -> Option<Option<MessageSignature>> {
        match &self.message_signature {
            Some(spec) => spec.compile(checks),
            None => Some(None),
        }
    }

    fn headers(&self, checks: &mut Checks) -> Option<Vec<SignatureHeader>> {
        let specs = self.headers.as_deref().unwrap_or_default();
        if specs.len() > HEADERS_MAX {
            let reason = Reason::OutOfRange {
                min: 0,
                max: HEADERS_MAX as u64,
                unit: "headers",
            };
            checks.fail("config.signature.headers", reason);
            return None;
        }
        let compiled = specs.iter().enumerate();
        let compiled: Vec<_> = compiled
            .filter_map(|(index, spec)| spec.compile(index, checks))
            .collect();
        (compiled.len() == specs.len()).then_some(compiled)
    }

    fn versions(&self, checks: &mut Checks) -> Option<Vec<sign::Version>> {
        let specs = self.versions.as_deref().unwrap_or_default();
        if specs.is_empty() {
            return Some(vec![sign::Version {
                hash: sign::Hash::Sha256,
                encoding: sign::Encoding::Hex,
            }]);
        }
        if specs.len() > VERSIONS_MAX {
            let reason = Reason::OutOfRange {
                min: 0,
                max: VERSIONS_MAX as u64,
                unit: "versions",
            };
            checks.fail("config.signature.versions", reason);
            return None;
        }
        let mut versions = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let field = |name| format!("config.signature.versions[{index}].{name}");
            for (name, text) in [("uid", &spec.uid), ("created_at", &spec.created_at)] {
                at_most(checks, &field(name), text.as_deref(), NOTE_BYTES_MAX);
            }
            let hash = checks.require(&field("hash"), given(spec.hash.as_deref()));
            let hash = hash.and_then(|text| {
                checks.take(
                    &field("hash"),
                    text.parse()
                        .map_err(|_| Reason::NotOneOf(&["SHA256", "SHA512"])),
                )
            });
            let encoding = checks.require(&field("encoding"), given(spec.encoding.as_deref()));
            let encoding = encoding.and_then(|text| {
                checks.take(
                    &field("encoding"),
                    text.parse()
                        .map_err(|_| Reason::NotOneOf(&["hex", "base64"])),
                )
            });
            if let (Some(hash), Some(encoding)) = (hash, encoding) {
                versions.push(sign::Version { hash, encoding });
            }
        }
        (versions.len() == specs.len()).then_some(versions)
    }
}

impl MessageSignatureSpec {
    /// `None` when it cannot be used; nothing inside when it is switched off.
    fn compile(&self, checks: &mut Checks) -> Option<Option<MessageSignature>> {
        let field = |name: &str| format!("config.signature.message_signature.{name}");
        let seconds = checks.number(
            &field("expires_in_s"),
            self.expires_in_s,
            EXPIRES_DEFAULT_S,
            EXPIRES_S,
        );
        let seconds = u32::try_from(seconds.clamp(EXPIRES_S.min, EXPIRES_S.max)).ok()?;
        let components = self.components.iter().flatten().map(String::as_str);
        let components: Vec<&str> = components.collect();
        let tag = given(self.tag.as_deref());
        let compiled = MessageSignature::compile(&components, Some(seconds), tag);
        let place = match &compiled {
            Err(MessageError::Tag) => "tag",
            _ => "components",
        };
        let compiled = checks.take(&field(place), compiled.map_err(Reason::refused))?;
        Some(self.is_enabled.unwrap_or(true).then_some(compiled))
    }
}

impl SignatureHeaderSpec {
    fn compile(&self, index: usize, checks: &mut Checks) -> Option<SignatureHeader> {
        let field = |name| format!("config.signature.headers[{index}].{name}");
        let name = checks.require(&field("name"), given(self.name.as_deref()));
        let name: Option<HeaderName> =
            name.and_then(|name| checks.take(&field("name"), own_header(name)));
        let value = checks.require(&field("value"), given(self.value.as_deref()));
        let hash = word(
            checks,
            &field("hash"),
            self.hash.as_deref(),
            (sign::Hash::of_header, sign::Hash::WORDS_OF_HEADERS),
        );
        let encoding = word(
            checks,
            &field("encoding"),
            self.encoding.as_deref(),
            (|text| text.parse().ok(), sign::Encoding::WORDS),
        );
        let key = word(
            checks,
            &field("key"),
            self.key.as_deref(),
            (sign::KeyForm::of_word, sign::KeyForm::WORDS),
        );
        let compiled = SignatureHeader::compile(HeaderRule {
            name: name?,
            value: value?,
            entry: given(self.entry.as_deref()),
            separator: given(self.separator.as_deref()),
            signed: given(self.signed.as_deref()),
            hash: hash?,
            encoding: encoding?,
            key: key?,
        });
        compiled
            .map_err(|error| checks.fail(field(error.field), Reason::refused(error)))
            .ok()
    }
}

/// How a word is read, and those that are known.
type Words<T> = (fn(&str) -> Option<T>, &'static [&'static str]);

/// A word that may be absent; `None` when it is not one of those that are known.
fn word<T>(
    checks: &mut Checks,
    field: &str,
    text: Option<&str>,
    (read, known): Words<T>,
) -> Option<Option<T>> {
    match given(text) {
        None => Some(None),
        Some(text) => {
            let read = read(text).ok_or(Reason::NotOneOf(known));
            checks.take(field, read).map(Some)
        }
    }
}
