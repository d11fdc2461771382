//! Who may have a mask or a key, when several resources change at once.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use outrider_webhook::id::Uid;

/// A resource that wants a key which only one may have.
pub(super) struct Claim<K> {
    pub(super) uid: Uid,
    pub(super) key: K,
}

/// Which claims lose. A claimant that wins gives up the key it has now; one that loses keeps it,
/// which may make others lose, so this repeats until nothing changes.
pub(super) fn losers<K: Eq + Hash>(
    claims: &[Claim<K>],
    holder: impl Fn(&K) -> Option<Uid>,
) -> HashSet<Uid> {
    let mut losers = HashSet::new();
    loop {
        let is_in = |uid: &Uid, losers: &HashSet<Uid>| !losers.contains(uid);
        let moving: HashSet<Uid> = claims
            .iter()
            .map(|claim| claim.uid)
            .filter(|uid| is_in(uid, &losers))
            .collect();
        let (mut taken, mut lost) = (HashMap::new(), Vec::new());
        for claim in claims.iter().filter(|claim| moving.contains(&claim.uid)) {
            let is_held = holder(&claim.key)
                .is_some_and(|other| other != claim.uid && !moving.contains(&other));
            if is_held || *taken.entry(&claim.key).or_insert(claim.uid) != claim.uid {
                lost.push(claim.uid);
            }
        }
        if lost.is_empty() {
            return losers;
        }
        losers.extend(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losers_of(claims: &[(u128, &'static str)], held: &[(u128, &'static str)]) -> Vec<u128> {
        let claims: Vec<_> = claims
            .iter()
            .map(|(uid, key)| Claim {
                uid: Uid::from_bits(*uid),
                key: *key,
            })
            .collect();
        let holder = |key: &&str| {
            held.iter()
                .find(|(_, held)| held == key)
                .map(|(uid, _)| Uid::from_bits(*uid))
        };
        let mut losers: Vec<_> = losers(&claims, holder).into_iter().map(Uid::bits).collect();
        losers.sort_unstable();
        losers
    }

    #[test]
    fn a_key_that_somebody_keeps_is_not_given_away() {
        assert_eq!(losers_of(&[(2, "a")], &[(1, "a")]), [2]);
        assert_eq!(losers_of(&[(2, "a"), (3, "a")], &[]), [3]);
        // 1 wants what 9 keeps, so 1 keeps `a`, so 2 cannot have it.
        assert_eq!(
            losers_of(&[(1, "b"), (2, "a")], &[(1, "a"), (9, "b")]),
            [1, 2]
        );
    }

    #[test]
    fn keys_can_be_passed_on_and_swapped() {
        assert!(losers_of(&[(2, "a"), (1, "b")], &[(1, "a")]).is_empty());
        assert!(losers_of(&[(1, "b"), (2, "a")], &[(1, "a"), (2, "b")]).is_empty());
        assert!(losers_of(&[(1, "a")], &[(1, "a")]).is_empty());
    }
}
