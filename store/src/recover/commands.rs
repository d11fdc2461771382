//! What commands left to do, as far as the log knows: batches with their newest state, and
//! deliveries that were cancelled and have not ended yet.

use std::collections::BTreeMap;

use bytes::Bytes;
use outrider_webhook::id::DeliveryKey;

use crate::codec::{Entry, Malformed, PayloadCheck, RawRecord};
use crate::event::Position;
use crate::record::CommandRecord;

/// Batches remembered. Beyond it the oldest finished ones are forgotten; nobody has so many
/// unfinished ones.
const BATCHES_MAX: usize = 256;

/// Folds commands in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Commands {
    batches: BTreeMap<u128, (Position, CommandRecord)>,
}

impl Commands {
    /// A command; the deliveries that it cancels.
    pub(super) fn command(
        &mut self,
        record: &RawRecord<'_>,
        position: Position,
    ) -> Result<Vec<DeliveryKey>, Malformed> {
        let entry = Entry::decode(record, PayloadCheck::Zeroed, position, &Bytes::new())?;
        let Entry::Command(mut command) = entry else {
            return Ok(Vec::new());
        };
        if &*command.verb == CommandRecord::CANCEL {
            return Ok(CommandRecord::keys_of(record.payload()));
        }
        if command.is_batch() {
            command.body = Bytes::copy_from_slice(record.payload());
            self.batches.insert(command.id, (position, command));
            self.forget();
        }
        Ok(Vec::new())
    }

    fn forget(&mut self) {
        if self.batches.len() <= BATCHES_MAX {
            return;
        }
        let finished = self.batches.iter().filter(|(_, (_, batch))| batch.is_done);
        let oldest = finished.min_by_key(|(_, (position, _))| *position);
        if let Some(oldest) = oldest.map(|(id, _)| *id) {
            self.batches.remove(&oldest);
        }
    }

    /// The newest record of each batch, in the order of the log.
    pub(super) fn take(&mut self) -> Vec<CommandRecord> {
        let mut left: Vec<_> = std::mem::take(&mut self.batches).into_values().collect();
        left.sort_unstable_by_key(|(position, _)| *position);
        left.into_iter().map(|(_, batch)| batch).collect()
    }
}
