//! Who a data plane is, and what it tells about itself in the metadata of its requests.
//!
//! The metadata is a structure under the key `outrider`:
//!
//! ```text
//! outrider:
//!   number: "3"               the number in the ids of its events, and which installation of a
//!   instance: "01JD..."       data plane has it: sent with its first request
//!   journal: "01JD..."        where the client stands: sent with its first request
//!   revision: "41"            a text, since numbers of a Struct are floats
//!   interest: "*"             what the table holds
//!   quarantined_total: "1"    sent with each ACK that ends a transaction
//!   quarantined: [{kind: "endpoint", uid: "01JD...", reason: "..."}]
//! ```
//!
//! Metadata of other clients is no error: what is missing or misshapen counts as not sent.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::value::Kind as ValueKind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};
use outrider_config::{Quarantined, Version};
use outrider_webhook::id::{NodeId, Uid};

/// The interest of a client that wants everything. There is no other yet; a client that names
/// another one gets a full sync.
pub const INTEREST_ALL: &str = "*";

/// Quarantined resources reported one by one; beyond it only their number travels.
pub(crate) const QUARANTINED_MAX: usize = 1_000;
/// Characters of a quarantine reason that travel.
const REASON_CHARS_MAX: usize = 512;
const KEY: &str = "outrider";

/// A data plane, as it names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Unique within the installation and stable over restarts.
    pub id: String,
    /// The group of data planes it belongs to; empty when there is none.
    pub cluster: String,
    /// The number it uses; a client that is no data plane of ours has none.
    pub claim: Option<Claim>,
}

/// A data plane's claim to its number: no two may use one, or the ids of their events collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The number in the ids of its events.
    pub number: NodeId,
    /// Of the data directory: a restart on it is the same data plane again.
    pub instance: Uid,
}

impl Claim {
    /// Whether both cannot be there at once.
    pub(crate) fn conflicts(self, other: Self) -> bool {
        self.number == other.number && self.instance != other.instance
    }
}

/// Another data plane has the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("node number {} is in use by another data plane: give each its own `store.node`", .0.get())]
pub(crate) struct Taken(pub(crate) NodeId);

/// Which resources a data plane refused, as it reported.
#[derive(Debug, Clone, Default)]
pub(crate) struct QuarantineReport {
    /// At most [`QUARANTINED_MAX`] of them.
    pub(crate) listed: Vec<Quarantined>,
    /// How many there are.
    pub(crate) total: u64,
}

/// What the metadata of a request said.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    /// Where the client stands; `None` when it did not say, or asked for another interest.
    pub(crate) position: Option<Version>,
    /// `None` when the request said nothing about it.
    pub(crate) quarantine: Option<QuarantineReport>,
}

/// The node of a first request: where the client stands, if anywhere.
pub(crate) fn introduction(node: &Node, position: Option<Version>) -> core::Node {
    let mut fields = HashMap::new();
    if let Some(Claim { number, instance }) = node.claim {
        fields.insert("number".to_owned(), text(number.get().to_string()));
        fields.insert("instance".to_owned(), text(instance.to_string()));
    }
    if let Some(Version { journal, revision }) = position {
        fields.insert("journal".to_owned(), text(journal.to_string()));
        fields.insert("revision".to_owned(), text(revision.to_string()));
        fields.insert("interest".to_owned(), text(INTEREST_ALL));
    }
    message(node, fields)
}

/// The node of an ACK that ends a transaction: what is in quarantine now.
pub(crate) fn report(node: &Node, quarantined: &[Quarantined]) -> core::Node {
    let entries = quarantined.iter().take(QUARANTINED_MAX).map(|entry| {
        let reason: String = entry.reason.chars().take(REASON_CHARS_MAX).collect();
        structure(HashMap::from([
            ("kind".to_owned(), text(entry.kind.as_str())),
            ("uid".to_owned(), text(entry.uid.to_string())),
            ("reason".to_owned(), text(reason)),
        ]))
    });
    let list = ListValue {
        values: entries.collect(),
    };
    let fields = HashMap::from([
        ("quarantined".to_owned(), value(ValueKind::ListValue(list))),
        (
            "quarantined_total".to_owned(),
            text(quarantined.len().to_string()),
        ),
    ]);
    message(node, fields)
}

/// Who the node is: its names, cut to a length that fits a log line, and its claim.
pub(crate) fn identity(node: &core::Node) -> Node {
    let cut = |text: &str| text.chars().take(256).collect();
    Node {
        id: cut(&node.id),
        cluster: cut(&node.cluster),
        claim: ours(node).and_then(read_claim),
    }
}

/// Reads the metadata of a request.
pub(crate) fn read(node: &core::Node) -> Metadata {
    match ours(node) {
        Some(ours) => Metadata {
            position: read_position(ours),
            quarantine: read_quarantine(ours),
        },
        None => Metadata::default(),
    }
}

fn ours(node: &core::Node) -> Option<&Struct> {
    match &node.metadata.as_ref()?.fields.get(KEY)?.kind {
        Some(ValueKind::StructValue(ours)) => Some(ours),
        _ => None,
    }
}

fn read_claim(ours: &Struct) -> Option<Claim> {
    let number = read_text(ours, "number")?.parse().ok();
    Some(Claim {
        number: number.and_then(NodeId::new)?,
        instance: read_text(ours, "instance")?.parse().ok()?,
    })
}

fn read_position(ours: &Struct) -> Option<Version> {
    if read_text(ours, "interest")? != INTEREST_ALL {
        return None;
    }
    Some(Version {
        journal: read_text(ours, "journal")?.parse().ok()?,
        revision: read_text(ours, "revision")?.parse().ok()?,
    })
}

fn read_quarantine(ours: &Struct) -> Option<QuarantineReport> {
    let Some(ValueKind::ListValue(list)) = &ours.fields.get("quarantined")?.kind else {
        return None;
    };
    let listed: Vec<Quarantined> = list
        .values
        .iter()
        .take(QUARANTINED_MAX)
        .filter_map(read_entry)
        .collect();
    let counted: u64 = read_text(ours, "quarantined_total")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let total = counted.max(u64::try_from(listed.len()).unwrap_or(u64::MAX));
    Some(QuarantineReport { listed, total })
}

fn read_entry(value: &Value) -> Option<Quarantined> {
    let Some(ValueKind::StructValue(entry)) = &value.kind else {
        return None;
    };
    Some(Quarantined {
        kind: read_text(entry, "kind")?.parse().ok()?,
        uid: read_text(entry, "uid")?.parse().ok()?,
        reason: read_text(entry, "reason")?
            .chars()
            .take(REASON_CHARS_MAX)
            .collect(),
    })
}

fn read_text<'a>(fields: &'a Struct, key: &str) -> Option<&'a str> {
    match &fields.fields.get(key)?.kind {
        Some(ValueKind::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn message(node: &Node, fields: HashMap<String, Value>) -> core::Node {
    core::Node {
        id: node.id.clone(),
        cluster: node.cluster.clone(),
        user_agent_name: "outrider".to_owned(),
        metadata: Some(Struct {
            fields: HashMap::from([(KEY.to_owned(), structure(fields))]),
        }),
        ..core::Node::default()
    }
}

fn text(text: impl Into<String>) -> Value {
    value(ValueKind::StringValue(text.into()))
}

fn structure(fields: HashMap<String, Value>) -> Value {
    value(ValueKind::StructValue(Struct { fields }))
}

fn value(kind: ValueKind) -> Value {
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_config::Kind;

    fn node() -> Node {
        Node {
            id: "dp-1".into(),
            cluster: "eu".into(),
            claim: Some(Claim {
                number: NodeId::new(3).unwrap(),
                instance: Uid::from_bits(9),
            }),
        }
    }

    fn version() -> Version {
        Version {
            journal: Uid::from_bits(77),
            revision: u64::MAX,
        }
    }

    #[test]
    fn metadata_of_another_client_counts_as_not_sent() {
        let foreign = core::Node {
            id: "envoy".into(),
            ..core::Node::default()
        };
        let metadata = read(&foreign);
        assert!(metadata.position.is_none() && metadata.quarantine.is_none());
        assert_eq!(identity(&foreign).claim, None);

        let mut odd = introduction(&node(), Some(version()));
        let fields = &mut odd.metadata.as_mut().unwrap().fields;
        fields.insert(KEY.into(), text("not a structure"));
        assert!(read(&odd).position.is_none());
    }

    #[test]
    fn a_position_of_another_interest_is_no_position() {
        let mut other = introduction(&node(), Some(version()));
        let ours = other.metadata.as_mut().unwrap().fields.get_mut(KEY);
        let Some(ValueKind::StructValue(ours)) = &mut ours.unwrap().kind else {
            panic!("a structure is written");
        };
        ours.fields.insert("interest".into(), text("project/1"));
        assert!(read(&other).position.is_none());
    }

    #[test]
    fn the_position_survives_the_way() {
        let metadata = read(&introduction(&node(), Some(version())));
        assert_eq!(metadata.position, Some(version()));
        assert!(metadata.quarantine.is_none());
        assert_eq!(identity(&introduction(&node(), None)), node());
        assert!(read(&introduction(&node(), None)).position.is_none());
    }

    #[test]
    fn the_quarantine_report_is_bounded_and_counts_all() {
        let entry = |uid| Quarantined {
            kind: Kind::Source,
            uid: Uid::from_bits(uid),
            reason: "r".repeat(10_000),
        };
        let all: Vec<_> = (0..1_500).map(entry).collect();
        let report = read(&report(&node(), &all)).quarantine.unwrap();
        assert_eq!(report.listed.len(), QUARANTINED_MAX);
        assert_eq!(report.total, 1_500);
        assert_eq!(report.listed[3].uid, Uid::from_bits(3));
        assert_eq!(report.listed[3].reason.len(), REASON_CHARS_MAX);
    }

    #[test]
    fn an_empty_quarantine_is_reported_as_empty() {
        let report = read(&report(&node(), &[])).quarantine.unwrap();
        assert!(report.listed.is_empty());
        assert_eq!(report.total, 0);
    }
}
