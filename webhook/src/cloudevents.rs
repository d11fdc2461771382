//! CloudEvents 1.0 over HTTP: which content mode a request is in, and what its attributes say.
//!
//! Pure. Used for the event API and for sources alike. The attributes are checked; the data is
//! not looked at, except that a structured event has to be JSON. Where an event is delivered as
//! it came is decided by whoever stores it; this module only says what it is.

mod attributes;
mod binary;
mod structured;
#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use self::attributes::Draft;
pub use self::binary::binary;
pub use self::structured::{BATCH_ITEMS_MAX, batch, structured};
use crate::event::HeaderList;

/// Header of the attribute that every event in binary mode has.
pub const SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");

/// What the media types of events begin with; those of batches go on with `-batch`.
const MEDIA_TYPE: &str = "application/cloudevents";
const MEDIA_TYPE_BATCH: &str = "application/cloudevents-batch";

/// Attributes of one event at most, extensions included.
pub const ATTRIBUTES_MAX: usize = 64;
/// Bytes of one attribute's value at most.
pub const ATTRIBUTE_BYTES_MAX: usize = 4096;
/// Longest idempotency key that is kept as text, bytes.
const KEY_BYTES_MAX: usize = 255;

/// How an event stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentMode {
    /// Attributes in `ce-*` headers, data in the body.
    Binary,
    /// One JSON object with attributes and data.
    Structured,
    /// A JSON array of such objects.
    Batch,
}

/// The attributes of an event that decide what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `id`, unique within its source; not empty.
    pub id: Box<str>,
    /// `source`, a URI reference; not empty.
    pub source: Box<str>,
    /// `type`; not empty.
    pub event_type: Box<str>,
}

/// A request that says it is a CloudEvent, and is none.
#[derive(Debug, thiserror::Error)]
pub enum CloudEventError {
    /// A format of events other than JSON.
    #[error("the event format `{media_type}` is not understood: use application/cloudevents+json")]
    UnknownFormat {
        /// The media type.
        media_type: String,
    },
    /// Neither an object nor JSON at all.
    #[error("a structured CloudEvent is one JSON object: {0}")]
    NotAnObject(#[source] serde_json::Error),
    /// Not an array of events.
    #[error("a CloudEvents batch is a JSON array of at most {BATCH_ITEMS_MAX} events: {0}")]
    NotABatch(#[source] serde_json::Error),
    /// A batch of nothing.
    #[error("the CloudEvents batch is empty")]
    NoEvents,
    /// A required attribute is not there.
    #[error("CloudEvents attribute `{0}` is missing")]
    Missing(&'static str),
    /// An attribute that has to say something is empty.
    #[error("CloudEvents attribute `{0}` is empty")]
    Empty(String),
    /// The same attribute twice.
    #[error("CloudEvents attribute `{0}` is given more than once")]
    Repeated(String),
    /// A name that no attribute may have.
    #[error("`{0}` is no CloudEvents attribute name: lower-case letters and digits, at most 64")]
    Name(String),
    /// A value of the wrong kind.
    #[error("CloudEvents attribute `{name}` must be {expected}")]
    Value {
        /// The attribute.
        name: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// A value beyond [`ATTRIBUTE_BYTES_MAX`].
    #[error(
        "CloudEvents attribute `{name}` has {bytes} bytes, at most {ATTRIBUTE_BYTES_MAX} are accepted"
    )]
    TooLong {
        /// The attribute.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// More attributes than [`ATTRIBUTES_MAX`].
    #[error("more than {ATTRIBUTES_MAX} CloudEvents attributes")]
    TooMany,
    /// Both ways to carry data.
    #[error("a CloudEvent has `data` or `data_base64`, not both")]
    TwoData,
}

impl CloudEventError {
    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownFormat { .. } => "unsupported_media_type",
            Self::NotAnObject(_) | Self::NotABatch(_) | Self::NoEvents => "malformed_cloudevent",
            _ => "invalid_cloudevent",
        }
    }
}

/// The content mode of a request; `None` when it is no CloudEvent.
///
/// # Errors
/// [`CloudEventError::UnknownFormat`]: events in a format other than JSON.
pub fn mode(headers: &HeaderMap) -> Result<Option<ContentMode>, CloudEventError> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let text = content_type.map_or("", |value| value.to_str().unwrap_or_default());
    let media_type = text.split(';').next().unwrap_or_default().trim();
    let has_prefix = |prefix: &str| {
        let head = media_type.as_bytes().get(..prefix.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    if !has_prefix(MEDIA_TYPE) {
        let is_binary = headers.keys().any(is_attribute);
        return Ok(is_binary.then_some(ContentMode::Binary));
    }
    let (mode, known) = if has_prefix(MEDIA_TYPE_BATCH) {
        (ContentMode::Batch, MEDIA_TYPE_BATCH)
    } else {
        (ContentMode::Structured, MEDIA_TYPE)
    };
    let format = media_type.get(known.len()..).unwrap_or_default();
    if format.is_empty() || format.eq_ignore_ascii_case("+json") {
        return Ok(Some(mode));
    }
    let media_type = media_type.chars().take(128).collect();
    Err(CloudEventError::UnknownFormat { media_type })
}

/// The content type with which stored headers of an event go out, when they are a CloudEvent's:
/// the one it came with, whatever its endpoint says. Without it the data would not be what its
/// attributes say it is.
#[must_use]
pub fn content_type(headers: &HeaderList) -> Option<&HeaderValue> {
    let (_, own) = headers
        .iter()
        .find(|(name, _)| *name == header::CONTENT_TYPE)?;
    let is_structured = own
        .as_bytes()
        .get(..MEDIA_TYPE.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()));
    let is_event = is_structured || headers.iter().any(|(name, _)| *name == SPECVERSION);
    is_event.then_some(own)
}

/// Whether a header carries an attribute in binary mode.
#[must_use]
pub fn is_attribute(name: &HeaderName) -> bool {
    name.as_str().starts_with("ce-")
}

impl Envelope {
    /// `source` and `id` together identify an event: this is the pair as one key of 1 to 255
    /// printable ASCII characters, a hash when the text is longer or holds anything else.
    ///
    /// The length of the source stands first: without it (`a`, `bc`) and (`ab`, `c`) would be one.
    #[must_use]
    pub fn idempotency_key(&self) -> Box<str> {
        use sha2::{Digest, Sha256};
        let text = format!("ce:{}:{}:{}", self.source.len(), self.source, self.id);
        let is_plain = text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if is_plain && text.len() <= KEY_BYTES_MAX && !text.ends_with(' ') {
            return text.into();
        }
        format!("ce:sha256:{}", hex::encode(Sha256::digest(text.as_bytes()))).into()
    }
}
