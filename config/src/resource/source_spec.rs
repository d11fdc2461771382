//! What people write of a source.

use std::collections::BTreeMap;

use outrider_webhook::secret::Secret;
use outrider_webhook::verify::ParamSpec;
use serde::{Deserialize, Serialize};

use super::alerts::AlertsSpec;
use super::check::Checks;
use super::client_certificate::ClientCertificateSpec;
use super::field::{NOTE_BYTES_MAX, URL_BYTES_MAX, at_most, refuse_unsupported};
use super::preset_choice::PresetChoice;
use super::protection::{ProtectionSpec, RateSpec};
use super::spec::{Unsupported, expose, expose_all, from_document};

/// Longest secret, bytes: a public key in PEM may stand there.
const SECRET_BYTES_MAX: usize = 8 * 1024;

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
    /// Native: name of a preset, or a preset of its own.
    pub preset: Option<PresetChoice>,
    /// Native: the secrets of the preset, each of which may have signed.
    #[serde(serialize_with = "expose_all")]
    pub secrets: Option<Vec<Secret>>,
    /// Native: parameters of the preset.
    pub params: Option<BTreeMap<String, ParamSpec>>,
    /// Native: the URL (scheme to path) that the provider signed, where it signs the URL.
    pub public_url: Option<String>,
    /// Native: headers that are neither stored nor forwarded.
    pub deny_headers: Option<Vec<String>>,
    /// Where the event type stands: `request.header.X-Event`, `request.query.type` or
    /// `request.body.data.type`; with every way to verify.
    pub event_type_location: Option<String>,
    /// What senders are answered.
    pub custom_response: Option<CustomResponseSpec>,
    /// Native: ranges of addresses that may send; all when there are none.
    pub allow_cidrs: Option<Vec<String>>,
    /// Native: ranges of addresses that may not send, whatever is allowed.
    pub deny_cidrs: Option<Vec<String>>,
    /// Native: how many requests are taken.
    pub rate_limit: Option<RateSpec>,
    /// Native: what a client's certificate has to be, where the public listener speaks TLS.
    pub client_certificate: Option<ClientCertificateSpec>,
    /// Whether it refuses everything.
    pub is_disabled: Option<bool>,
    /// Convoy's: at most 64 names; kept, changes nothing, all headers are forwarded but those of `deny_headers`.
    pub forward_headers: Option<Vec<String>>,
    /// What makes two requests the same event: at most 16 of `request.header.X-Id`,
    /// `request.query.id`, `request.body.data.id`. A request without one of the values is refused.
    pub idempotency_keys: Option<Vec<String>>,
    /// Native: for how long that is remembered, seconds, 1 to 2592000; as its project when absent.
    pub idempotency_window_s: Option<u64>,
    /// Native: `provider` takes the preset's own place of a delivery id instead of `idempotency_keys`.
    pub deduplicate: Option<String>,
    /// Native: `raw` (default) or `cloudevents` (default of the preset of that name).
    pub event_format: Option<String>,
    /// Native: when it is worth a person's attention.
    pub alerts: Option<AlertsSpec>,
    pub_sub: Unsupported,
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
        refuse_unsupported!(checks, self, "", [pub_sub, body_function, header_function]);
    }

    pub(super) fn protection(&self) -> ProtectionSpec<'_> {
        ProtectionSpec {
            names: ["allow_cidrs", "deny_cidrs", "rate_limit"],
            allow: self.allow_cidrs.as_deref(),
            deny: self.deny_cidrs.as_deref(),
            rate: self.rate_limit.as_ref(),
        }
    }

    pub(super) fn refuse_long_texts(&self, checks: &mut Checks) {
        let response = self.custom_response.as_ref();
        let content_type = response.and_then(|response| response.content_type.as_deref());
        for (field, text, bytes_max) in [
            ("public_url", self.public_url.as_deref(), URL_BYTES_MAX),
            (
                "event_type_location",
                self.event_type_location.as_deref(),
                NOTE_BYTES_MAX,
            ),
            ("custom_response.content_type", content_type, NOTE_BYTES_MAX),
        ] {
            at_most(checks, field, text, bytes_max);
        }
        for (index, secret) in self.secrets.iter().flatten().enumerate() {
            let field = format!("secrets[{index}]");
            at_most_secret(checks, &field, Some(secret));
        }
        for (name, value) in self.params.iter().flatten() {
            let shown: String = name.chars().take(64).collect();
            let field = format!("params.{shown}");
            let texts = match value {
                ParamSpec::Text(text) => std::slice::from_ref(text),
                ParamSpec::List(texts) => texts,
            };
            for text in texts {
                at_most(checks, &field, Some(text), URL_BYTES_MAX);
            }
        }
        if let Some(preset) = &self.preset {
            preset.refuse_long(checks);
        }
        if let Some(verifier) = &self.verifier {
            verifier.refuse_long_texts(checks);
        }
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

impl VerifierSpec {
    fn refuse_long_texts(&self, checks: &mut Checks) {
        if let Some(hmac) = &self.hmac {
            let (prefix, secret) = (hmac.prefix.as_deref(), hmac.secret.as_ref());
            at_most(checks, "verifier.hmac.prefix", prefix, NOTE_BYTES_MAX);
            at_most_secret(checks, "verifier.hmac.secret", secret);
        }
        if let Some(auth) = &self.basic_auth {
            let (user, password) = (auth.username.as_deref(), auth.password.as_ref());
            at_most(checks, "verifier.basic_auth.username", user, NOTE_BYTES_MAX);
            at_most_secret(checks, "verifier.basic_auth.password", password);
        }
        if let Some(key) = &self.api_key {
            let value = key.header_value.as_ref();
            at_most_secret(checks, "verifier.api_key.header_value", value);
        }
    }
}

fn at_most_secret(checks: &mut Checks, field: &str, secret: Option<&Secret>) {
    at_most(checks, field, secret.map(Secret::expose), SECRET_BYTES_MAX);
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
