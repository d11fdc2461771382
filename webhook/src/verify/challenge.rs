//! The handshake part of the preset model.
//!
//! The shape is complete so that any preset can be read; this version does not answer
//! handshakes, so compiling a preset that has some is an error.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A responder for a provider's handshake. The first whose `when` matches answers, and nothing
/// is stored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeSpec {
    /// Which requests are this handshake.
    pub when: WhenSpec,
    /// What must hold for it to be answered.
    #[serde(default)]
    pub require: RequireSpec,
    /// Whether the signature is checked first.
    #[serde(default)]
    pub verify: ChallengeVerifySpec,
    /// The answer.
    pub respond: RespondSpec,
    /// A request to be made, before the answer.
    #[serde(default)]
    pub action: Option<ActionSpec>,
}

/// Whether a handshake is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeVerifySpec {
    /// Not signed.
    #[default]
    None,
    /// Signed as events are.
    Signature,
}

/// Conditions that make a request a handshake; all must hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhenSpec {
    /// Request method.
    pub method: String,
    /// Query parameters that are present.
    #[serde(default)]
    pub query_present: Vec<String>,
    /// Query parameters and their values.
    #[serde(default)]
    pub query_equals: BTreeMap<String, String>,
    /// JSON pointers into the body and the scalars there, as text.
    #[serde(default)]
    pub json_equals: BTreeMap<String, String>,
    /// Headers and their values.
    #[serde(default)]
    pub header_equals: BTreeMap<String, String>,
}

/// Conditions for answering a handshake; all must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequireSpec {
    /// Query parameters and the names of the preset parameters they must equal.
    #[serde(default)]
    pub query_equals_param: BTreeMap<String, String>,
    /// Query parameters and the expressions they must match.
    #[serde(default)]
    pub query_regex: BTreeMap<String, String>,
}

/// The answer to a handshake.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondSpec {
    /// Status.
    pub status: u16,
    /// Content type; `None` sends none.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Body: a text, or an object that is sent as compact JSON. Its texts are templates.
    #[serde(default)]
    pub body: Option<serde_json::Value>,
}

/// A request the gateway makes to complete a handshake.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionSpec {
    /// Template of the URL to be fetched.
    pub http_get: String,
    /// Scheme the URL must have.
    pub scheme: String,
    /// Hosts the URL may name.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Expression the host must match.
    #[serde(default)]
    pub host_regex: Option<String>,
}
