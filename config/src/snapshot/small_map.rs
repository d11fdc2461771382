//! A persistent map for what is mostly one entry and sometimes thousands.
//!
//! A tree node of `imbl` takes some 400 bytes however little it holds; with a map per endpoint
//! that alone would be half of an endpoint's memory budget. So few entries are a shared slice.

use std::sync::Arc;

/// Up to here an insert copies the slice; beyond it a tree is better.
const FEW_MAX: usize = 16;

#[derive(Clone)]
pub(super) enum SmallMap<K, V> {
    /// Sorted by key.
    Few(Arc<[(K, V)]>),
    Many(imbl::OrdMap<K, V>),
}

impl<K: Ord + Clone, V: Clone> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self::Few(Arc::from([]))
    }
}

impl<K: Ord + Clone, V: Clone> SmallMap<K, V> {
    /// In the order of the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let (few, many) = match self {
            Self::Few(few) => (&few[..], None),
            Self::Many(many) => (&[][..], Some(many)),
        };
        few.iter()
            .map(|(key, value)| (key, value))
            .chain(many.into_iter().flat_map(imbl::OrdMap::iter))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::Few(few) => {
                let at = few.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
                few.get(at).map(|(_, value)| value)
            }
            Self::Many(many) => many.get(key),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        match self {
            Self::Many(many) => {
                many.insert(key, value);
            }
            Self::Few(few) => match few.binary_search_by(|(other, _)| other.cmp(&key)) {
                Ok(at) => {
                    let mut entries = few.to_vec();
                    if let Some(entry) = entries.get_mut(at) {
                        entry.1 = value;
                    }
                    *few = entries.into();
                }
                Err(at) if few.len() < FEW_MAX => {
                    let mut entries = Vec::with_capacity(few.len() + 1);
                    entries.extend_from_slice(few);
                    entries.insert(at, (key, value));
                    *few = entries.into();
                }
                Err(_) => {
                    let mut many: imbl::OrdMap<K, V> = few.iter().cloned().collect();
                    many.insert(key, value);
                    *self = Self::Many(many);
                }
            },
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        match self {
            Self::Many(many) => {
                many.remove(key);
            }
            Self::Few(few) => {
                *few = few
                    .iter()
                    .filter(|(other, _)| other != key)
                    .cloned()
                    .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_what_an_ordinary_map_holds(edits in prop::collection::vec((any::<bool>(), 0_u8..40, any::<u8>()), 0..200)) {
            let (mut small, mut plain) = (SmallMap::default(), std::collections::BTreeMap::new());
            for (is_insert, key, value) in edits {
                if is_insert {
                    small.insert(key, value);
                    plain.insert(key, value);
                } else {
                    small.remove(&key);
                    plain.remove(&key);
                }
                prop_assert_eq!(small.is_empty(), plain.is_empty());
                prop_assert_eq!(small.len(), plain.len());
                prop_assert_eq!(small.get(&key), plain.get(&key));
                prop_assert!(small.iter().eq(plain.iter()));
            }
        }
    }
}
