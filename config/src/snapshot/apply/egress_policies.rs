//! Putting policies that close destinations in force. That no two have one name is for the journal
//! to say: what they close is the same.

use std::sync::Arc;

use outrider_webhook::id::{EgressPolicyId, ProjectId};

use super::super::{Document, Kind, Pending};
use super::{Refusal, Work, parse};
use crate::resource::EgressPolicy;

impl Work {
    pub(super) fn put_egress_policies(&mut self, candidates: Vec<Pending>) {
        for pending in candidates {
            let Pending::Document(document) = &pending else {
                continue;
            };
            match compiled(document) {
                Ok(policy) => {
                    let uid = policy.id().uid();
                    self.next.policies.set(Arc::new(policy));
                    self.settle(Kind::EgressPolicy, uid, ProjectId::new(uid));
                }
                Err(refusal) => self.hold(pending, refusal),
            }
        }
    }

    /// Makes ready what they close together, if anything of that is new.
    pub(super) fn close(&mut self) {
        if self.closes_anew {
            self.next.close();
        }
    }
}

fn compiled(document: &Document) -> Result<EgressPolicy, Refusal> {
    let uid = document.uid;
    if document.project.uid() != uid {
        return Err(Refusal::new("an egress policy belongs to no project"));
    }
    let id = EgressPolicyId::new(uid);
    EgressPolicy::compile(id, document.revision, &parse(document)?).map_err(Refusal::fields)
}
