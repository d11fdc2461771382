//! What people write of a source.

use std::collections::BTreeMap;

use outrider_webhook::secret::Secret;
use serde::{Deserialize, Serialize};

use super::check::Checks;
use super::field::refuse_unsupported;
use super::spec::{Unsupported, expose, expose_all, from_document};

/// What people write of a source. Its verification is said in one of three ways: `provider`
/// with `verifier.hmac.secret`, `verifier`, or the native `preset` with `secrets` and `params`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSpec {
    /// Required.
    pub name: Option<String>,
    /// `http`, which is also the default.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Last part of its URL, 1 to 64 letters, digits, `-` and `_`; made up when absent in a file.
    pub mask_id: Option<String>,
    /// `github`, `shopify` or `twitter`.
    pub provider: Option<String>,
    /// Convoy's verifier.
    pub verifier: Option<VerifierSpec>,
    /// Native: name of a preset.
    pub preset: Option<String>,
    /// Native: the secrets of the preset, each of which may have signed.
    #[serde(serialize_with = "expose_all")]
    pub secrets: Option<Vec<Secret>>,
    /// Native: parameters of the preset.
    pub params: Option<BTreeMap<String, String>>,
    /// Native: the URL (scheme to path) that the provider signed, where it signs the URL.
    pub public_url: Option<String>,
    /// Native: headers that are neither stored nor forwarded.
    pub deny_headers: Option<Vec<String>>,
    /// Where the event type stands: `request.header.X-Event`.
    pub event_type_location: Option<String>,
    /// What senders are answered.
    pub custom_response: Option<CustomResponseSpec>,
    /// Whether it refuses everything.
    pub is_disabled: Option<bool>,
    /// Convoy's: kept, changes nothing, all headers are forwarded but those of `deny_headers`.
    pub forward_headers: Option<Vec<String>>,
    pub_sub: Unsupported,
    idempotency_keys: Unsupported,
    body_function: Unsupported,
    header_function: Unsupported,
}

/// The mask in the document of a source.
#[must_use]
pub fn mask_of(document: &[u8]) -> Option<String> {
    from_document::<SourceSpec>(document).ok()?.mask_id
}

impl SourceSpec {
    pub(super) fn refuse_unsupported(&self, checks: &mut Checks) {
        refuse_unsupported!(
            checks,
            self,
            "",
            [pub_sub, idempotency_keys, body_function, header_function,]
        );
    }
}

/// Convoy's verifier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VerifierSpec {
    /// `noop`, `hmac`, `basic_auth` or `api_key`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// For `hmac`, and the secret of a provider.
    pub hmac: Option<HmacSpec>,
    /// For `basic_auth`.
    pub basic_auth: Option<BasicAuthSpec>,
    /// For `api_key`.
    pub api_key: Option<ApiKeyVerifierSpec>,
}

/// HMAC of the body in a header.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HmacSpec {
    /// The header.
    pub header: Option<String>,
    /// `SHA256` or `SHA512`; native also `SHA1` and `SHA384`.
    pub hash: Option<String>,
    /// `hex` or `base64`.
    pub encoding: Option<String>,
    /// The shared secret.
    #[serde(serialize_with = "expose")]
    pub secret: Option<Secret>,
    /// Native: a fixed text before the signature, `sha256=` for example.
    pub prefix: Option<String>,
}

/// HTTP Basic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuthSpec {
    /// The user.
    pub username: Option<String>,
    /// The password.
    #[serde(serialize_with = "expose")]
    pub password: Option<Secret>,
}

/// A static token in a header.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKeyVerifierSpec {
    /// The header; the second word of `Authorization` when empty.
    pub header_name: Option<String>,
    /// The token.
    #[serde(serialize_with = "expose")]
    pub header_value: Option<Secret>,
}

/// What senders are answered instead of our own words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CustomResponseSpec {
    /// Body, at most 50 KiB.
    pub body: Option<String>,
    /// Its content type; `text/plain; charset=utf-8` when absent.
    pub content_type: Option<String>,
}
