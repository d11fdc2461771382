//! Putting pools of source addresses in force. A name and an address have one pool.

use std::net::IpAddr;
use std::sync::Arc;

use outrider_webhook::id::{EgressPoolId, ProjectId, Uid};

use super::super::claims::{Claim, losers};
use super::super::{Document, Kind, Pending};
use super::{Refusal, Work, parse};
use crate::resource::EgressPool;

/// What only one pool may have.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Name(Arc<str>),
    Address(IpAddr),
}

impl Work {
    pub(super) fn put_egress_pools(&mut self, candidates: Vec<Pending>) {
        let mut pools = Vec::with_capacity(candidates.len());
        for pending in candidates {
            let Pending::Document(document) = &pending else {
                continue;
            };
            match compiled(document) {
                Ok(pool) => pools.push((pending, Arc::new(pool))),
                Err(refusal) => self.hold(pending, refusal),
            }
        }
        let claims: Vec<_> = pools.iter().flat_map(|(_, pool)| claims(pool)).collect();
        let losers = losers(&claims, |key| self.pool_with(key));
        let is_loser = |pool: &EgressPool| losers.contains(&pool.id().uid());
        let (lost, won): (Vec<_>, Vec<_>) = pools.into_iter().partition(|(_, pool)| is_loser(pool));
        // All old ones go before the first new one comes: names and addresses may be passed on.
        for (_, pool) in &won {
            self.next.pools.remove(pool.id());
        }
        for (_, pool) in won {
            let uid = pool.id().uid();
            self.next.pools.set(pool);
            self.settle(Kind::EgressPool, uid, ProjectId::new(uid));
        }
        for (pending, pool) in lost {
            let refusal = match self.next.pools.conflict(&pool) {
                Some(error) => Refusal::new(error),
                None => Refusal::new("another egress pool wants its name or one of its addresses"),
            };
            let refusal = Refusal {
                is_claim: true,
                ..refusal
            };
            self.hold(pending, refusal);
        }
    }

    fn pool_with(&self, key: &Key) -> Option<Uid> {
        let pools = &self.next.pools;
        let holder = match key {
            Key::Name(name) => pools.get(name),
            Key::Address(address) => pools.with_address(*address),
        };
        holder.map(|pool| pool.id().uid())
    }
}

fn compiled(document: &Document) -> Result<EgressPool, Refusal> {
    let uid = document.uid;
    if document.project.uid() != uid {
        return Err(Refusal::new("an egress pool belongs to no project"));
    }
    EgressPool::compile(EgressPoolId::new(uid), document.revision, &parse(document)?)
        .map_err(Refusal::fields)
}

fn claims(pool: &EgressPool) -> impl Iterator<Item = Claim<Key>> {
    let uid = pool.id().uid();
    let addresses = pool.addresses().iter();
    let addresses = addresses.map(|one| Key::Address(one.address));
    let keys = std::iter::once(Key::Name(Arc::clone(pool.name()))).chain(addresses);
    keys.map(move |key| Claim { uid, key })
}
