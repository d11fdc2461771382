//! Endpoints that events made and that the configuration has not taken over yet, as far as the
//! log knows: it forgets nothing that was acknowledged, so the control plane can be asked again.

use std::collections::HashMap;

use outrider_webhook::event::Audience;
use outrider_webhook::id::{EndpointId, ProjectId, Uid};

use crate::codec::{AcceptHead, Entry, Malformed, PayloadCheck, RawRecord};
use crate::event::Position;
use crate::record::CommandRecord;

/// An endpoint that an event made, and nobody has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// Its project.
    pub project: ProjectId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Where the newest event is that made it.
    pub position: Position,
}

/// Folds events and settlements in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Made(HashMap<EndpointId, Unsettled>);

impl Made {
    /// An event that was accepted.
    pub(super) fn accepted(&mut self, head: &AcceptHead<'_>, position: Position) {
        if let Audience::Dynamic(dynamic) = &head.audience
            && dynamic.made.is_some()
        {
            let unsettled = Unsettled {
                project: head.project,
                endpoint: dynamic.endpoint,
                position,
            };
            self.0.insert(dynamic.endpoint, unsettled);
        }
    }

    /// A command: perhaps the one that says that an endpoint is settled.
    pub(super) fn command(
        &mut self,
        record: &RawRecord<'_>,
        position: Position,
    ) -> Result<(), Malformed> {
        let whole = bytes::Bytes::new();
        // Its payload may be erased or not: nothing of it is needed.
        let entry = Entry::decode(record, PayloadCheck::Zeroed, position, &whole)?;
        if let Entry::Command(command) = entry
            && &*command.verb == CommandRecord::ENDPOINT_SETTLED
        {
            let endpoint = EndpointId::new(Uid::from_bits(command.id));
            self.0.remove(&endpoint);
        }
        Ok(())
    }

    /// What is left at the end of the log, in its order.
    pub(super) fn take(&mut self) -> Vec<Unsettled> {
        let mut left: Vec<_> = std::mem::take(&mut self.0).into_values().collect();
        left.sort_unstable_by_key(|one| one.position);
        left
    }
}
