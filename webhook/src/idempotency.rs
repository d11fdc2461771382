//! Keys against repeats that are made of a request's own values.

use sha2::{Digest, Sha256};

use crate::id::SourceId;

/// Names what is hashed, so that no other hash of this gateway can be one of these.
const DOMAIN: &[u8] = b"outrider source key v1";

/// The key of a request to a source with these values: a SHA-256 in hexadecimal digits.
///
/// Convoy hashes the values one right after the other, so `("ab", "c")` and `("a", "bc")` are
/// one key to it and one of the two events is lost. Here every value goes in with its length,
/// and the source's id before them: the same values in two sources are two keys.
#[must_use]
pub fn key<'v>(source: SourceId, values: impl IntoIterator<Item = &'v [u8]>) -> Box<str> {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash.update(source.uid().bits().to_be_bytes());
    for value in values {
        hash.update((value.len() as u64).to_be_bytes());
        hash.update(value);
    }
    hex::encode(hash.finalize()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Uid;
    use proptest::prelude::*;

    fn of(source: u128, values: &[Vec<u8>]) -> Box<str> {
        let source = SourceId::new(Uid::from_bits(source));
        key(source, values.iter().map(Vec::as_slice))
    }

    proptest! {
        #[test]
        fn other_values_or_another_source_are_another_key(
            values: Vec<Vec<u8>>, others: Vec<Vec<u8>>, source: u128, another: u128,
        ) {
            prop_assert_eq!(of(source, &values), of(source, &values));
            prop_assert_eq!(of(source, &values) == of(source, &others), values == others);
            prop_assert_eq!(of(source, &values) == of(another, &values), source == another);
            prop_assert_eq!(of(source, &values).len(), 64);
        }

        #[test]
        fn a_value_that_is_cut_elsewhere_is_another_key(value: Vec<u8>, at: prop::sample::Index) {
            prop_assume!(!value.is_empty());
            let (first, second) = value.split_at(at.index(value.len()));
            let cut = of(1, &[first.to_vec(), second.to_vec()]);
            prop_assert_ne!(&cut, &of(1, std::slice::from_ref(&value)));
            if !first.is_empty() {
                prop_assert_ne!(cut, of(1, &[Vec::new(), value]));
            }
        }
    }
}
