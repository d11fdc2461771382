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

    /// What the next bytes are of this body. Chunks are passed on as they come, so they are checked
    /// to have one reading; trailers go no further, as they could be taken for fields.
    pub(super) fn take<'b>(&mut self, bytes: &'b [u8]) -> Result<Part<'b>, ChunkError> {
        let taken = match self {
            Self::Nothing => 0,
            Self::Bytes(left) => {
                let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let taken = here.min(*left);
                *left -= taken;
                usize::try_from(taken).unwrap_or(bytes.len())
            }
            Self::Chunks(guard) if guard.is_done() => 0,
            Self::Chunks(guard) => {
                let consumed = guard.consume(bytes)?;
                return Ok(Part {
                    taken: consumed.bytes,
                    passed: bytes.get(..consumed.chunks).unwrap_or_default(),
                    end: if guard.is_done() { b"\r\n" } else { b"" },
                });
            }
            Self::UntilClose => bytes.len(),
        };
        Ok(Part {
            taken,
            passed: bytes.get(..taken).unwrap_or_default(),
            end: b"",
        })
    }
}

/// A part of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'b> {
    /// How many bytes it has.
    pub(super) taken: usize,
    /// Those of them that are passed on.
    pub(super) passed: &'b [u8],
    /// What goes on behind them.
    pub(super) end: &'static [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_go_no_further_however_they_are_cut() {
        let (body, behind) = (
            "3;x=y\r\nabc\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n",
            "GET / HTTP/1.1",
        );
        let bytes = format!("{body}{behind}").into_bytes();
        for cut in 0..=bytes.len() {
            let mut left = Left::Chunks(ChunkGuard::default());
            let (mut passed, mut taken) = (Vec::new(), 0);
            for part in [&bytes[..cut], &bytes[cut..], b"more"] {
                let part = left.take(part).unwrap();
                passed.extend([part.passed, part.end].concat());
                taken += part.taken;
            }
            assert!(left.is_nothing());
            assert_eq!(taken, body.len(), "{cut}");
            assert_eq!(passed, b"3;x=y\r\nabc\r\n0\r\n\r\n", "{cut}");
        }
    }
}
