//! The handshake part of the preset model: what a provider asks, and what it is answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A responder for a provider's handshake. The first whose `when` matches answers, and nothing
/// is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionSpec>,
    /// Status when it is not answered, 400 to 499; `None` is that of the preset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject_status: Option<u16>,
}

/// Whether a handshake is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeVerifySpec {
    /// Not signed.
    #[default]
    None,
    /// Signed as events are.
    Signature,
}

/// Conditions that make a request a handshake; all must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhenSpec {
    /// Request method.
    pub method: String,
    /// Query parameters that are present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_present: Vec<String>,
    /// Query parameters and their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query_equals: BTreeMap<String, String>,
    /// JSON pointers into the body and the scalars there, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json_equals: BTreeMap<String, String>,
    /// JSON pointers into the body and the arrays there, which are empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub json_empty: Vec<String>,
    /// Fields of a form body that are present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub form_present: Vec<String>,
    /// Headers and their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub header_equals: BTreeMap<String, String>,
    /// Headers that are present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_present: Vec<String>,
    /// Headers that are absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_absent: Vec<String>,
}

/// Conditions for answering a handshake; all must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequireSpec {
    /// Query parameters and the names of the preset parameters they must equal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query_equals_param: BTreeMap<String, String>,
    /// Query parameters and the expressions they must match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query_regex: BTreeMap<String, String>,
    /// Headers and the names of the list parameters that must have their value; `*` in a list
    /// stands for every value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub header_in_param: BTreeMap<String, String>,
}

/// The answer to a handshake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondSpec {
    /// Status.
    pub status: u16,
    /// Content type; `None` sends none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Further headers; their values are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Body: a text, sent as `text/plain`, or an object, sent as compact JSON. Their texts are
    /// templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Value>,
}

/// A request the gateway makes to complete a handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionSpec {
    /// Template of the URL to be fetched.
    pub http_get: String,
    /// Scheme the URL must have.
    pub scheme: String,
    /// Hosts the URL may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Expression the host must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_regex: Option<String>,
}
