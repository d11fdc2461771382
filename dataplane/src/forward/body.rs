//! How much of what comes belongs to a body.

use outrider_webhook::http1::{AnswerFraming, ChunkError, ChunkGuard, Framing};

/// What is still to come of a body.
#[derive(Debug)]
pub(super) enum Left {
    Nothing,
    Bytes(u64),
    Chunks(ChunkGuard),
    /// All until the connection ends.
    UntilClose,
}

impl From<Framing> for Left {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Nothing,
            Framing::Length(bytes) => Self::Bytes(bytes),
            Framing::Chunked => Self::Chunks(ChunkGuard::default()),
        }
    }
}

impl From<AnswerFraming> for Left {
    fn from(framing: AnswerFraming) -> Self {
        match framing {
            AnswerFraming::Empty => Self::Nothing,
            AnswerFraming::Length(bytes) => Self::Bytes(bytes),
            AnswerFraming::Chunked => Self::Chunks(ChunkGuard::default()),
            AnswerFraming::UntilClose => Self::UntilClose,
        }
    }
}

impl Left {
    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::Nothing | Self::Bytes(0) => true,
            Self::Bytes(_) | Self::UntilClose => false,
            Self::Chunks(guard) => guard.is_done(),
        }
    }

    /// How many of the next bytes are of this body. Chunks are passed on as they come, so they are
    /// checked to have one reading.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, ChunkError> {
        match self {
            Self::Nothing => Ok(0),
            Self::Bytes(left) => {
                let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let taken = here.min(*left);
                *left -= taken;
                Ok(usize::try_from(taken).unwrap_or(bytes.len()))
            }
            Self::Chunks(guard) => guard.consume(bytes),
            Self::UntilClose => Ok(bytes.len()),
        }
    }
}
