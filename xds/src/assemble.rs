//! Puts the parts of a transaction together again: the client's buffer.
//!
//! Nothing is applied before the `last` part is in. A part that cannot be taken rejects its whole
//! transaction: what was buffered is dropped and later parts are refused until part 0 of another
//! one arrives. The buffer is bounded; a transaction beyond it is rejected like an undecodable one.

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use outrider_config::{Document, Transaction, Version};

use crate::resource::{self, ResourceError, TYPE_URL};
use crate::tag::{Tag, TagError};

/// What one transaction may hold while it is buffered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) resources_max: usize,
    /// Bytes of specifications.
    pub(crate) bytes_max: usize,
}

/// Why a response cannot be taken: the reason of a NACK.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RejectError {
    #[error("the response has type `{0}`, `{TYPE_URL}` is expected")]
    Type(String),
    #[error(transparent)]
    Tag(#[from] TagError),
    #[error("part {found} came where part {expected} was expected")]
    Order { expected: u32, found: u32 },
    #[error("part `{found}` does not continue `{before}`")]
    Mixed { before: Tag, found: Tag },
    #[error("a change to revision {found} came, but {held} is in force")]
    Base { found: Tag, held: String },
    #[error("this part belongs to a transaction that was rejected")]
    Rejected,
    #[error("the transaction has more than {max} {unit}")]
    TooLarge { max: usize, unit: &'static str },
    #[error(transparent)]
    Resource(#[from] ResourceError),
}

impl RejectError {
    /// Stable code for metric labels and API bodies: a closed set.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Type(_) => "response_type",
            Self::Tag(_) => "tag",
            Self::Order { .. } | Self::Mixed { .. } => "part_order",
            Self::Base { .. } => "base",
            Self::Rejected => "rejected_transaction",
            Self::TooLarge { .. } => "transaction_too_large",
            Self::Resource(error) => error.code(),
        }
    }
}

/// The client's buffer of one transaction.
#[derive(Debug)]
pub(crate) struct Assembler {
    limits: Limits,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Part 0 of a transaction is expected.
    Idle,
    Filling(Buffer),
    /// Parts are refused until a part 0.
    Rejected,
}

#[derive(Debug)]
struct Buffer {
    /// The tag of the newest part.
    tag: Tag,
    transaction: Transaction,
    bytes: usize,
}

impl Assembler {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Idle,
        }
    }

    /// Whether a transaction has begun and its end is awaited.
    pub(crate) const fn is_filling(&self) -> bool {
        matches!(self.state, State::Filling(_))
    }

    /// Takes a response; returns the transaction when this was its last part. `held` is the
    /// version in force.
    pub(crate) fn accept(
        &mut self,
        response: DeltaDiscoveryResponse,
        held: Option<Version>,
    ) -> Result<Option<Transaction>, RejectError> {
        // Whatever goes wrong below, the transaction is rejected.
        let state = std::mem::replace(&mut self.state, State::Rejected);
        if response.type_url != TYPE_URL {
            let found = response.type_url.chars().take(128).collect();
            return Err(RejectError::Type(found));
        }
        let tag: Tag = response.system_version_info.parse()?;
        let mut buffer = if tag.part == 0 {
            Buffer::begin(tag, held)?
        } else {
            match state {
                State::Filling(buffer) => buffer.follow(tag)?,
                State::Rejected => return Err(RejectError::Rejected),
                State::Idle => {
                    let (expected, found) = (0, tag.part);
                    return Err(RejectError::Order { expected, found });
                }
            }
        };
        buffer.fill(response, self.limits)?;
        if tag.is_last {
            self.state = State::Idle;
            Ok(Some(buffer.transaction))
        } else {
            self.state = State::Filling(buffer);
            Ok(None)
        }
    }
}

impl Buffer {
    fn begin(tag: Tag, held: Option<Version>) -> Result<Self, RejectError> {
        // A change only fits what it was computed against.
        let fits = tag.is_full
            || held.is_some_and(|held| {
                held.journal == tag.version.journal && held.revision <= tag.version.revision
            });
        if !fits {
            let held = held.map_or_else(
                || "nothing".to_owned(),
                |held| format!("{}/{}", held.journal, held.revision),
            );
            return Err(RejectError::Base { found: tag, held });
        }
        let transaction = Transaction {
            version: tag.version,
            is_full: tag.is_full,
            upserts: Vec::new(),
            removals: Vec::new(),
        };
        Ok(Self {
            tag,
            transaction,
            bytes: 0,
        })
    }

    fn follow(mut self, tag: Tag) -> Result<Self, RejectError> {
        let before = self.tag;
        let (expected, found) = (before.part.saturating_add(1), tag.part);
        if expected != found {
            return Err(RejectError::Order { expected, found });
        }
        let revision_fits = if tag.is_full && tag.is_last {
            tag.version.revision >= before.version.revision
        } else {
            tag.version.revision == before.version.revision
        };
        let continues = tag.is_full == before.is_full
            && tag.version.journal == before.version.journal
            && revision_fits;
        if !continues {
            return Err(RejectError::Mixed { before, found: tag });
        }
        self.tag = tag;
        self.transaction.version = tag.version;
        Ok(self)
    }

    fn fill(
        &mut self,
        response: DeltaDiscoveryResponse,
        limits: Limits,
    ) -> Result<(), RejectError> {
        let upserts = &mut self.transaction.upserts;
        let removals = &mut self.transaction.removals;
        let count = response.resources.len() + response.removed_resources.len();
        if upserts.len() + removals.len() + count > limits.resources_max {
            let (max, unit) = (limits.resources_max, "resources");
            return Err(RejectError::TooLarge { max, unit });
        }
        upserts.reserve(response.resources.len());
        for resource in response.resources {
            let document: Document = resource::decode(resource)?;
            self.bytes = self.bytes.saturating_add(document.spec.len());
            if self.bytes > limits.bytes_max {
                let (max, unit) = (limits.bytes_max, "bytes");
                return Err(RejectError::TooLarge { max, unit });
            }
            upserts.push(document);
        }
        for name in &response.removed_resources {
            removals.push(resource::parse_name(name)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Packer;
    use bytes::Bytes;
    use outrider_config::Kind;
    use outrider_webhook::id::{ProjectId, Uid};

    const LIMITS: Limits = Limits {
        resources_max: 10_000,
        bytes_max: 1 << 20,
    };

    fn version(revision: u64) -> Version {
        Version {
            journal: Uid::from_bits(7),
            revision,
        }
    }

    fn parts(
        revision: u64,
        is_full: bool,
        count: u128,
        spec: usize,
    ) -> Vec<DeltaDiscoveryResponse> {
        let mut packer = Packer::new(version(revision), is_full);
        let mut parts = Vec::new();
        for uid in 0..count {
            let document = Document {
                kind: Kind::Endpoint,
                uid: Uid::from_bits(uid),
                project: ProjectId::new(Uid::from_bits(1)),
                revision,
                spec: Bytes::from(vec![b' '; spec]),
            };
            parts.extend(packer.push(document).unwrap());
        }
        parts.push(packer.finish(version(revision)));
        parts
    }

    /// Feeds all parts; the code of the first refusal, or the transaction of the last.
    fn feed(
        assembler: &mut Assembler,
        parts: Vec<DeltaDiscoveryResponse>,
        held: Option<Version>,
    ) -> Result<Option<Transaction>, &'static str> {
        let mut complete = None;
        for part in parts {
            complete = assembler.accept(part, held).map_err(|error| error.code())?;
        }
        Ok(complete)
    }

    #[test]
    fn a_response_without_a_tag_or_of_another_type_is_refused() {
        let mut assembler = Assembler::new(LIMITS);
        let mut part = parts(1, true, 1, 2).remove(0);
        part.system_version_info = "42".into();
        assert_eq!(feed(&mut assembler, vec![part], None).unwrap_err(), "tag");
        let mut part = parts(1, true, 1, 2).remove(0);
        part.type_url = String::new();
        let code = feed(&mut assembler, vec![part], None).unwrap_err();
        assert_eq!(code, "response_type");
    }

    #[test]
    fn a_bad_part_rejects_its_transaction_until_the_next_one_begins() {
        let mut assembler = Assembler::new(LIMITS);
        let mut bad = parts(1, true, 5_000, 2);
        assert_eq!(bad.len(), 3);
        bad[1].resources[7].name = "nonsense".into();
        let mut parts_of_bad = bad.into_iter();
        assert!(assembler.accept(parts_of_bad.next().unwrap(), None).is_ok());
        assert!(assembler.is_filling());
        let second = assembler.accept(parts_of_bad.next().unwrap(), None);
        assert_eq!(second.unwrap_err().code(), "resource_name");
        let third = assembler.accept(parts_of_bad.next().unwrap(), None);
        assert_eq!(third.unwrap_err().code(), "rejected_transaction");
        assert!(!assembler.is_filling());

        let good = feed(&mut assembler, parts(1, true, 5_000, 2), None).unwrap();
        assert_eq!(good.unwrap().upserts.len(), 5_000);
    }

    #[test]
    fn a_missing_or_repeated_part_is_refused() {
        for gap in [vec![0, 2], vec![0, 1, 1], vec![1]] {
            let all = parts(1, true, 5_000, 2);
            let some = gap.iter().map(|index: &usize| all[*index].clone());
            let mut assembler = Assembler::new(LIMITS);
            let code = feed(&mut assembler, some.collect(), None).unwrap_err();
            assert_eq!(code, "part_order", "{gap:?}");
        }
    }

    #[test]
    fn parts_of_two_transactions_do_not_mix() {
        let (mut one, mut other) = (parts(3, false, 5_000, 2), parts(4, false, 5_000, 2));
        let mixed = vec![one.remove(0), other.remove(1)];
        let mut assembler = Assembler::new(LIMITS);
        let code = feed(&mut assembler, mixed, Some(version(2))).unwrap_err();
        assert_eq!(code, "part_order");
    }

    #[test]
    fn a_change_without_its_base_is_refused() {
        let other_journal = Version {
            journal: Uid::from_bits(8),
            revision: 3,
        };
        for held in [None, Some(other_journal), Some(version(5))] {
            let mut assembler = Assembler::new(LIMITS);
            let code = feed(&mut assembler, parts(4, false, 1, 2), held).unwrap_err();
            assert_eq!(code, "base", "{held:?}");
        }
        for held in [version(3), version(4)] {
            let mut assembler = Assembler::new(LIMITS);
            assert!(feed(&mut assembler, parts(4, false, 1, 2), Some(held)).is_ok());
        }
    }

    #[test]
    fn a_transaction_beyond_the_buffer_is_refused() {
        let code = |count, spec| {
            let mut assembler = Assembler::new(LIMITS);
            feed(&mut assembler, parts(1, true, count, spec), None).unwrap_err()
        };
        assert_eq!(code(10_001, 2), "transaction_too_large");
        assert_eq!(code(2, 600 << 10), "transaction_too_large");
    }

    #[test]
    fn the_last_part_of_a_full_transaction_names_the_exact_revision() {
        let mut all = parts(3, true, 3_000, 2);
        let last: Tag = all[1].system_version_info.parse().unwrap();
        let exact = Tag {
            version: version(9),
            ..last
        };
        all[1].system_version_info = exact.to_string();
        let mut assembler = Assembler::new(LIMITS);
        let transaction = feed(&mut assembler, all, None).unwrap().unwrap();
        assert_eq!(transaction.version, version(9));
    }

    #[test]
    fn removals_arrive_with_their_kind() {
        let mut packer = Packer::new(version(4), false);
        assert!(packer.remove(Kind::Source, Uid::from_bits(3)).is_none());
        let mut assembler = Assembler::new(LIMITS);
        let last = packer.finish(version(4));
        let transaction = assembler.accept(last, Some(version(3))).unwrap().unwrap();
        assert_eq!(transaction.removals, [(Kind::Source, Uid::from_bits(3))]);
        assert!(!transaction.is_full && transaction.upserts.is_empty());
    }
}
