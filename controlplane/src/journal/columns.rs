//! The columns beside a document: what lists are filtered by, taken out of the document in one
//! place, so that they never say something else.

use outrider_config::Kind;
use serde::Deserialize;

use super::JournalError;

/// What a row says of its document.
pub(super) struct Columns {
    pub(super) name: String,
    /// The name in lower case, for searches.
    pub(super) folded: String,
    /// Of an endpoint.
    pub(super) owner: Option<String>,
    /// Of a subscription.
    pub(super) endpoint: Option<String>,
    /// Of a subscription.
    pub(super) source: Option<String>,
    /// Of a source.
    pub(super) source_type: Option<String>,
    /// Of a source.
    pub(super) provider: Option<String>,
}

/// The fields of all kinds of which there are columns.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    name: String,
    owner_id: Option<String>,
    endpoint_id: Option<String>,
    source_id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    provider: Option<String>,
}

impl Columns {
    pub(super) fn of(kind: Kind, spec: &[u8]) -> Result<Self, JournalError> {
        // The error of serde could quote the document.
        let fields: Fields = serde_json::from_slice(spec)
            .map_err(|_| JournalError::Corrupt(format!("the document of a {kind}")))?;
        let of = |wanted: Kind, value: Option<String>| {
            value.filter(|value| kind == wanted && !value.is_empty())
        };
        let source_type = fields.kind.or(Some("http".to_owned()));
        Ok(Self {
            folded: fold(&fields.name),
            name: fields.name,
            owner: of(Kind::Endpoint, fields.owner_id),
            endpoint: of(Kind::Subscription, fields.endpoint_id),
            source: of(Kind::Subscription, fields.source_id),
            source_type: of(Kind::Source, source_type),
            provider: of(Kind::Source, fields.provider),
        })
    }
}

/// A name as searches compare it.
pub(super) fn fold(name: &str) -> String {
    name.to_lowercase()
}
