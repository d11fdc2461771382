//! What commands left to do, as far as the log knows: batches with their newest state, and
//! deliveries that were cancelled and have not ended yet.

use std::collections::BTreeMap;

use bytes::Bytes;
use outrider_webhook::event::Replay;
use outrider_webhook::id::{DeliveryKey, EventId};

use crate::codec::{Entry, Malformed, PayloadCheck, RawRecord};
use crate::event::Position;
use crate::record::CommandRecord;

/// Batches remembered. Beyond it the oldest finished ones are forgotten; nobody has so many
/// unfinished ones.
const BATCHES_MAX: usize = 256;

/// A batch, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its newest record.
    pub record: CommandRecord,
    /// Events that it replayed since then.
    pub replayed: Vec<EventId>,
}

/// Folds commands in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Commands {
    batches: BTreeMap<u128, (Position, Batch)>,
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
            let batch = Batch {
                record: command,
                replayed: Vec::new(),
            };
            self.batches.insert(batch.record.id, (position, batch));
            self.forget();
        }
        Ok(Vec::new())
    }

    /// An event that was accepted by order of a command.
    pub(super) fn replayed(&mut self, replay: &Replay) {
        if let Some((_, batch)) = self.batches.get_mut(&replay.command.bits()) {
            batch.replayed.push(replay.of);
        }
    }

    fn forget(&mut self) {
        if self.batches.len() <= BATCHES_MAX {
            return;
        }
        let finished = self
            .batches
            .iter()
            .filter(|(_, (_, batch))| batch.record.is_done);
        let oldest = finished.min_by_key(|(_, (position, _))| *position);
        if let Some(oldest) = oldest.map(|(id, _)| *id) {
            self.batches.remove(&oldest);
        }
    }

    /// The batches, in the order of their newest records.
    pub(super) fn take(&mut self) -> Vec<Batch> {
        let mut left: Vec<_> = std::mem::take(&mut self.batches).into_values().collect();
        left.sort_unstable_by_key(|(position, _)| *position);
        left.into_iter().map(|(_, batch)| batch).collect()
    }
}
