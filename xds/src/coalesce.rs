//! Joins the transactions of one catch-up read, as whole revisions only.
//!
//! A data plane that was away for a thousand revisions need not swap a thousand times: several
//! revisions become one transaction whose end state is the same. It grows until
//! [`RESPONSE_RESOURCES_MAX`] resources, so what is held back stays small.

use std::collections::HashMap;

use outrider_config::{Document, Kind, Transaction, Version};
use outrider_webhook::id::Uid;

use crate::pack::{RESPONSE_BYTES_MAX, RESPONSE_RESOURCES_MAX};

/// The revisions that wait to be sent together.
#[derive(Debug, Default)]
pub(crate) struct Coalescer {
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    version: Version,
    is_full: bool,
    /// Position in `upserts` or, for a removal, `None`.
    places: HashMap<(Kind, Uid), Option<usize>>,
    /// In order of first appearance; a hole where a later revision removed the resource.
    upserts: Vec<Option<Document>>,
    bytes: usize,
}

impl Coalescer {
    /// Adds the next revision; returns those before it when they must go first.
    pub(crate) fn add(&mut self, transaction: Transaction) -> Option<Transaction> {
        let bytes = bytes_of(&transaction);
        let count = transaction.upserts.len() + transaction.removals.len();
        let before = match &self.pending {
            // A full transaction replaces everything before it.
            Some(_) if transaction.is_full => {
                self.pending = None;
                None
            }
            Some(pending) if !pending.has_room(count, bytes) => self.flush(),
            _ => None,
        };
        let pending = self.pending.get_or_insert_with(|| Pending {
            version: transaction.version,
            is_full: transaction.is_full,
            places: HashMap::with_capacity(count),
            upserts: Vec::with_capacity(transaction.upserts.len()),
            bytes: 0,
        });
        pending.merge(transaction, bytes);
        before
    }

    /// Gives out what waits.
    pub(crate) fn flush(&mut self) -> Option<Transaction> {
        let pending = self.pending.take()?;
        let mut removals: Vec<(Kind, Uid)> = pending
            .places
            .iter()
            .filter_map(|(key, place)| place.is_none().then_some(*key))
            .collect();
        // A map has no order; the same revisions shall give the same bytes.
        removals.sort_by_key(|(kind, uid)| (kind.as_str(), *uid));
        Some(Transaction {
            version: pending.version,
            is_full: pending.is_full,
            upserts: pending.upserts.into_iter().flatten().collect(),
            removals,
        })
    }
}

impl Pending {
    fn has_room(&self, count: usize, bytes: usize) -> bool {
        self.places.len() + count <= RESPONSE_RESOURCES_MAX
            && self.bytes + bytes <= RESPONSE_BYTES_MAX
    }

    fn merge(&mut self, transaction: Transaction, bytes: usize) {
        self.version = transaction.version;
        self.bytes += bytes;
        for (kind, uid) in transaction.removals {
            if let Some(Some(place)) = self.places.insert((kind, uid), None)
                && let Some(slot) = self.upserts.get_mut(place)
            {
                *slot = None;
            }
        }
        for document in transaction.upserts {
            let key = (document.kind, document.uid);
            let place = match self.places.get(&key) {
                Some(Some(place)) => *place,
                _ => {
                    self.upserts.push(None);
                    self.upserts.len() - 1
                }
            };
            self.places.insert(key, Some(place));
            if let Some(slot) = self.upserts.get_mut(place) {
                *slot = Some(document);
            }
        }
    }
}

fn bytes_of(transaction: &Transaction) -> usize {
    transaction
        .upserts
        .iter()
        .map(|document| document.spec.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::ProjectId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn version(revision: u64) -> Version {
        Version {
            journal: Uid::from_bits(7),
            revision,
        }
    }

    fn upsert(uid: u128, revision: u64) -> Document {
        Document {
            kind: Kind::Endpoint,
            uid: Uid::from_bits(uid),
            project: ProjectId::new(Uid::from_bits(1)),
            revision,
            spec: revision.to_string().into(),
        }
    }

    fn revision(revision: u64, upserts: &[u128], removals: &[u128]) -> Transaction {
        Transaction {
            version: version(revision),
            is_full: false,
            upserts: upserts.iter().map(|uid| upsert(*uid, revision)).collect(),
            removals: removals
                .iter()
                .map(|uid| (Kind::Endpoint, Uid::from_bits(*uid)))
                .collect(),
        }
    }

    /// The simplest table: what each uid was last set to.
    fn apply(table: &mut BTreeMap<Uid, u64>, transaction: &Transaction) {
        for (_, uid) in &transaction.removals {
            table.remove(uid);
        }
        for document in &transaction.upserts {
            table.insert(document.uid, document.revision);
        }
    }

    #[test]
    fn nothing_waits_in_an_empty_one() {
        assert!(Coalescer::default().flush().is_none());
    }

    #[test]
    fn a_revision_too_large_to_join_goes_alone_and_whole() {
        let mut coalescer = Coalescer::default();
        let large: Vec<u128> = (0..5_000).collect();
        assert!(coalescer.add(revision(1, &[1], &[])).is_none());
        let before = coalescer.add(revision(2, &large, &[])).unwrap();
        assert_eq!(before.version, version(1));
        let before = coalescer.add(revision(3, &[1], &[])).unwrap();
        assert_eq!((before.version, before.upserts.len()), (version(2), 5_000));
        assert_eq!(coalescer.flush().unwrap().version, version(3));
    }

    #[test]
    fn a_full_transaction_replaces_what_waits() {
        let mut coalescer = Coalescer::default();
        assert!(coalescer.add(revision(1, &[1, 2], &[])).is_none());
        let full = Transaction {
            is_full: true,
            ..revision(2, &[3], &[])
        };
        assert!(coalescer.add(full).is_none());
        let joined = coalescer.flush().unwrap();
        assert!(joined.is_full && joined.upserts.len() == 1);
    }

    proptest! {
        #[test]
        fn joined_revisions_end_in_the_same_table(
            edits in prop::collection::vec(prop::collection::btree_map(0_u128..12, any::<bool>(), 0..6), 0..40),
        ) {
            let (mut single, mut joined) = (BTreeMap::new(), BTreeMap::new());
            let mut coalescer = Coalescer::default();
            for (index, edit) in edits.iter().enumerate() {
                let uids = |wanted: bool| -> Vec<u128> {
                    edit.iter().filter(|(_, is)| **is == wanted).map(|(uid, _)| *uid).collect()
                };
                let number = u64::try_from(index).unwrap() + 1;
                let transaction = revision(number, &uids(true), &uids(false));
                apply(&mut single, &transaction);
                if let Some(before) = coalescer.add(transaction) {
                    apply(&mut joined, &before);
                }
            }
            if let Some(rest) = coalescer.flush() {
                prop_assert_eq!(rest.version.revision, u64::try_from(edits.len()).unwrap());
                apply(&mut joined, &rest);
            }
            prop_assert_eq!(single, joined);
        }
    }
}
