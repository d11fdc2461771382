//! What the writer is asked to do, and whom it tells.

use std::sync::Arc;
use std::thread::ThreadId;

use outrider_webhook::id::{DeliveryKey, EventId};
use tokio::sync::oneshot;

use crate::codec::{Draft, IdemKey};
use crate::dir::FileError;
use crate::error::{CloseError, FatalError};
use crate::event::StoredEvent;
use crate::queue::Cost;
use crate::writer::Reply;

/// What waits in the queue.
#[derive(Debug)]
pub(crate) enum Op {
    Accept(AcceptOp),
    Record(RecordOp),
    Close(oneshot::Sender<Result<(), CloseError>>),
}

/// An event to be accepted.
#[derive(Debug)]
pub(crate) struct AcceptOp {
    pub(crate) cost: Cost,
    pub(crate) draft: Draft,
    /// Its TARGETS records.
    pub(crate) more: Vec<Draft>,
    /// Nobody else has it yet, so id and place can still be filled in.
    pub(crate) event: Arc<StoredEvent>,
    pub(crate) key: Option<IdemKey>,
    /// The event with this key, when it is older than the writer remembers.
    pub(crate) older: Option<EventId>,
    /// Keys of events up to this one were looked up elsewhere.
    pub(crate) looked_through: EventId,
    /// Whether it is refused when it is new.
    pub(crate) is_repeat_only: bool,
    pub(crate) reply: Reply,
    /// Where the answer is waited for.
    pub(crate) asker: ThreadId,
}

/// Something that happened.
#[derive(Debug)]
pub(crate) struct RecordOp {
    pub(crate) cost: Cost,
    pub(crate) what: Recorded,
    /// What goes into the same group: all of it is durable, or nothing.
    pub(crate) with: Vec<Recorded>,
    /// Told after the sync.
    pub(crate) synced: Option<oneshot::Sender<()>>,
}

/// A record that is not an event, encoded.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) draft: Draft,
    /// Id of the event it is about; 0 when there is none.
    pub(crate) id: i64,
    pub(crate) effect: Option<Effect>,
}

/// What a record means for a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    /// It is open, with its event in this segment.
    Open(DeliveryKey, u32),
    /// It has its final state.
    Close(DeliveryKey),
}

/// Why a record has no place.
pub(super) enum Stop {
    /// The disk is full.
    NoSpace,
    Fatal(FatalError),
}

impl From<FileError> for Stop {
    fn from(error: FileError) -> Self {
        Self::Fatal(error.into())
    }
}
