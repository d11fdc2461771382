//! Our own resources on the wire: one document, one `Any` under one type URL.
//!
//! The messages are plain `prost` derives, so no protocol compiler is needed. In the language of
//! protocol buffers they read:
//!
//! ```text
//! package outrider.config.v1;
//! message Resource {
//!   oneof kind {
//!     Body project = 1;
//!     Body source = 2;
//!     Body endpoint = 3;
//!     Body subscription = 4;
//!     Body api_key = 5;
//!     Body event_type = 6;
//!     Body egress_pool = 7;
//!     Body egress_policy = 8;
//!   }
//! }
//! message Body { string uid = 1; string project = 2; uint64 revision = 3; bytes spec_json = 4; }
//! ```
//!
//! The specification stays the JSON that REST and files use, so there is no second schema. A
//! resource is named `<kind>/<uid>`, and its version is the revision that wrote it.

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::protobuf::Any;
use outrider_config::{Document, Kind};
use outrider_webhook::id::{Uid, UidError};
use prost::Message;

/// The type URL of every resource, and of the subscription.
pub const TYPE_URL: &str = "type.googleapis.com/outrider.config.v1.Resource";

/// The payload of the `Any`.
#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(oneof = "Body", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    body: Option<Body>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Body {
    #[prost(message, tag = "1")]
    Project(Fields),
    #[prost(message, tag = "2")]
    Source(Fields),
    #[prost(message, tag = "3")]
    Endpoint(Fields),
    #[prost(message, tag = "4")]
    Subscription(Fields),
    #[prost(message, tag = "5")]
    ApiKey(Fields),
    #[prost(message, tag = "6")]
    EventType(Fields),
    #[prost(message, tag = "7")]
    EgressPool(Fields),
    #[prost(message, tag = "8")]
    EgressPolicy(Fields),
}

#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(string, tag = "1")]
    uid: String,
    #[prost(string, tag = "2")]
    project: String,
    #[prost(uint64, tag = "3")]
    revision: u64,
    #[prost(bytes = "bytes", tag = "4")]
    spec_json: Bytes,
}

/// A resource that cannot be turned into a document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResourceError {
    #[error("resource `{name}` has type `{type_url}`, `{TYPE_URL}` is expected")]
    Type { name: String, type_url: String },
    #[error("resource `{0}` has no payload")]
    Empty(String),
    #[error("resource `{name}` is not a valid message")]
    Message {
        name: String,
        #[source]
        source: prost::DecodeError,
    },
    #[error("resource `{0}` is of a kind this version does not know")]
    Kind(String),
    #[error("resource `{name}`: `{field}` is no uid")]
    Uid {
        name: String,
        field: &'static str,
        #[source]
        source: UidError,
    },
    #[error("resource `{name}` holds `{inside}`")]
    Name { name: String, inside: String },
    #[error("`{0}` is not a resource name: <kind>/<uid> is expected")]
    BadName(String),
}

impl ResourceError {
    /// Stable code for metric labels: a closed set.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Type { .. } => "resource_type",
            Self::Empty(_) => "resource_empty",
            Self::Message { .. } => "resource_message",
            Self::Kind(_) => "resource_kind",
            Self::Uid { .. } => "resource_uid",
            Self::Name { .. } | Self::BadName(_) => "resource_name",
        }
    }
}

/// The name of a resource.
pub(crate) fn name_of(kind: Kind, uid: Uid) -> String {
    format!("{}/{uid}", kind.as_str())
}

/// What a resource name stands for.
pub(crate) fn parse_name(name: &str) -> Result<(Kind, Uid), ResourceError> {
    let bad = || ResourceError::BadName(shorten(name));
    let (kind, uid) = name.split_once('/').ok_or_else(bad)?;
    Ok((
        kind.parse().map_err(|_| bad())?,
        uid.parse().map_err(|_| bad())?,
    ))
}

/// A document as it travels.
pub(crate) fn encode(document: Document) -> discovery::Resource {
    let fields = Fields {
        uid: document.uid.to_string(),
        project: document.project.to_string(),
        revision: document.revision,
        spec_json: document.spec,
    };
    let body = match document.kind {
        Kind::Project => Body::Project(fields),
        Kind::EventType => Body::EventType(fields),
        Kind::EgressPool => Body::EgressPool(fields),
        Kind::EgressPolicy => Body::EgressPolicy(fields),
        Kind::Source => Body::Source(fields),
        Kind::Endpoint => Body::Endpoint(fields),
        Kind::Subscription => Body::Subscription(fields),
        Kind::ApiKey => Body::ApiKey(fields),
    };
    let payload = Payload { body: Some(body) };
    discovery::Resource {
        name: name_of(document.kind, document.uid),
        version: document.revision.to_string(),
        resource: Some(Any {
            type_url: TYPE_URL.to_owned(),
            value: payload.encode_to_vec(),
        }),
        ..discovery::Resource::default()
    }
}

/// The document of a resource. The specification shares the memory of the message.
pub(crate) fn decode(resource: discovery::Resource) -> Result<Document, ResourceError> {
    let name = resource.name;
    let Some(any) = resource.resource else {
        return Err(ResourceError::Empty(shorten(&name)));
    };
    if any.type_url != TYPE_URL {
        let type_url = shorten(&any.type_url);
        return Err(ResourceError::Type {
            name: shorten(&name),
            type_url,
        });
    }
    let payload =
        Payload::decode(Bytes::from(any.value)).map_err(|source| ResourceError::Message {
            name: shorten(&name),
            source,
        })?;
    let (kind, fields) = match payload.body {
        Some(Body::Project(fields)) => (Kind::Project, fields),
        Some(Body::Source(fields)) => (Kind::Source, fields),
        Some(Body::Endpoint(fields)) => (Kind::Endpoint, fields),
        Some(Body::Subscription(fields)) => (Kind::Subscription, fields),
        Some(Body::ApiKey(fields)) => (Kind::ApiKey, fields),
        Some(Body::EventType(fields)) => (Kind::EventType, fields),
        Some(Body::EgressPool(fields)) => (Kind::EgressPool, fields),
        Some(Body::EgressPolicy(fields)) => (Kind::EgressPolicy, fields),
        // Fields of a newer version are skipped by the decoder, so its kinds end here too.
        None => return Err(ResourceError::Kind(shorten(&name))),
    };
    let bad_uid = |field| {
        let name = shorten(&name);
        move |source| ResourceError::Uid {
            name,
            field,
            source,
        }
    };
    let document = Document {
        kind,
        uid: fields.uid.parse().map_err(bad_uid("uid"))?,
        project: fields.project.parse().map_err(bad_uid("project"))?,
        revision: fields.revision,
        spec: fields.spec_json,
    };
    let inside = name_of(kind, document.uid);
    if inside == name {
        Ok(document)
    } else {
        Err(ResourceError::Name {
            name: shorten(&name),
            inside,
        })
    }
}

/// Names come from the peer: what goes into an error text is cut.
fn shorten(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::ProjectId;
    use proptest::prelude::*;

    fn document(uid: u128) -> Document {
        Document {
            kind: Kind::Endpoint,
            uid: Uid::from_bits(uid),
            project: ProjectId::new(Uid::from_bits(1)),
            revision: 9,
            spec: Bytes::from_static(b"{}"),
        }
    }

    fn same(a: &Document, b: &Document) -> bool {
        a.kind == b.kind
            && a.uid == b.uid
            && a.project == b.project
            && a.revision == b.revision
            && a.spec == b.spec
    }

    #[test]
    fn a_resource_without_payload_or_of_another_type_is_refused() {
        let mut resource = encode(document(5));
        resource.resource = None;
        assert_eq!(decode(resource).unwrap_err().code(), "resource_empty");
        let mut resource = encode(document(5));
        resource.resource.as_mut().unwrap().type_url =
            "type.googleapis.com/envoy.config.cluster.v3.Cluster".into();
        assert_eq!(decode(resource).unwrap_err().code(), "resource_type");
    }

    #[test]
    fn a_resource_of_an_unknown_kind_is_refused() {
        let mut resource = encode(document(5));
        // Field 15, a message of no bytes: what a newer control plane could send.
        resource.resource.as_mut().unwrap().value = vec![0x7a, 0x00];
        assert_eq!(decode(resource).unwrap_err().code(), "resource_kind");
    }

    #[test]
    fn a_resource_whose_name_is_not_its_uid_is_refused() {
        let mut resource = encode(document(5));
        resource.name = name_of(Kind::Endpoint, Uid::from_bits(6));
        assert_eq!(decode(resource).unwrap_err().code(), "resource_name");
    }

    #[test]
    fn names_of_other_shapes_are_refused() {
        for name in [
            "",
            "/",
            "endpoint",
            "endpoint/",
            "Endpoint/00000000000000000000000005",
            "endpoint/5",
        ] {
            assert!(parse_name(name).is_err(), "{name}");
        }
        let uid = Uid::from_bits(5);
        for kind in Kind::ALL {
            assert_eq!(parse_name(&name_of(kind, uid)).unwrap(), (kind, uid));
        }
    }

    proptest! {
        #[test]
        fn decode_after_encode_is_the_same(
            uid: u128, project: u128, revision: u64, kind in 0..Kind::ALL.len(), spec: Vec<u8>,
        ) {
            let document = Document {
                kind: Kind::ALL[kind],
                uid: Uid::from_bits(uid),
                project: ProjectId::new(Uid::from_bits(project)),
                revision,
                spec: spec.into(),
            };
            let decoded = decode(encode(document.clone())).unwrap();
            prop_assert!(same(&decoded, &document));
        }

        #[test]
        fn no_payload_makes_the_decoder_panic(value: Vec<u8>) {
            let mut resource = encode(document(5));
            resource.resource.as_mut().unwrap().value = value;
            let _ = decode(resource);
        }
    }
}
