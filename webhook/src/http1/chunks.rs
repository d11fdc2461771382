//! The chunks of a body, checked while they pass. Reads nothing out of them: the parser behind
//! does that, and this makes sure that it can be read in one way only.

use super::{is_control, is_token};

/// Digits of a chunk's size: 2^60 bytes are no body.
const SIZE_DIGITS_MAX: u8 = 15;
/// Bytes of the extensions of one chunk. Nobody is known to send any.
const EXTENSION_BYTES_MAX: usize = 256;
/// Bytes of all trailer lines, which are dropped.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Why the chunks are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not a size in hexadecimal digits, ended by CR LF.
    #[error("a chunk size is malformed")]
    Size,
    /// Extensions that are too long, or with control characters.
    #[error("a chunk extension is malformed or longer than {EXTENSION_BYTES_MAX} bytes")]
    Extension,
    /// Data that does not end where its size says.
    #[error("a chunk does not end in CR LF")]
    End,
    /// Lines after the last chunk that are no header lines, or too many of them.
    #[error("the trailer is malformed or longer than {TRAILER_BYTES_MAX} bytes")]
    Trailer,
}

/// Where in the chunks we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the digits.
    Size {
        digits: u8,
    },
    /// In the extensions; so many bytes of them.
    Extension(usize),
    /// After the CR behind the size.
    SizeEnd,
    Data,
    /// Before the CR, and before the LF, behind the data.
    DataCr,
    DataLf,
    /// At the start of a line behind the last chunk.
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// After the CR of the empty line.
    EndLf,
    Done,
}

impl At {
    /// Whether all chunks, the last one included, are over.
    const fn is_behind_chunks(self) -> bool {
        matches!(
            self,
            Self::TrailerLine
                | Self::TrailerName
                | Self::TrailerValue
                | Self::TrailerLf
                | Self::EndLf
                | Self::Done
        )
    }
}

/// What some bytes are of a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumed {
    /// So many belong to it.
    pub bytes: usize,
    /// So many of them come before the trailer and the empty line behind that: whoever drops the
    /// trailer goes on with an empty line of its own when the body is done.
    pub chunks: usize,
}

/// Checks the framing of a chunked body.
#[derive(Debug)]
pub struct ChunkGuard {
    at: At,
    /// Of the chunk at hand.
    bytes_left: u64,
    trailer_bytes: usize,
}

impl Default for ChunkGuard {
    fn default() -> Self {
        Self {
            at: At::Size { digits: 0 },
            bytes_left: 0,
            trailer_bytes: 0,
        }
    }
}

impl ChunkGuard {
    /// Goes on with the next bytes. What comes behind the end of the body is not looked at.
    ///
    /// # Errors
    /// [`ChunkError`] at the first byte that is wrong; after that nothing more may be asked.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<(), ChunkError> {
        self.consume(bytes).map(drop)
    }

    /// As [`ChunkGuard::advance`]; how many of the bytes belong to the body: all, unless it ends
    /// among them.
    ///
    /// # Errors
    /// As [`ChunkGuard::advance`].
    pub fn consume(&mut self, all: &[u8]) -> Result<Consumed, ChunkError> {
        let mut bytes = all;
        let mut chunks = (!self.at.is_behind_chunks()).then_some(all.len());
        while self.at != At::Done {
            if self.at == At::Data {
                let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let passed = self.bytes_left.min(here);
                self.bytes_left -= passed;
                let passed = usize::try_from(passed).unwrap_or(usize::MAX);
                bytes = bytes.get(passed..).unwrap_or_default();
                if self.bytes_left > 0 {
                    break;
                }
                self.at = At::DataCr;
            }
            let Some((byte, rest)) = bytes.split_first() else {
                break;
            };
            bytes = rest;
            let was_behind = self.at.is_behind_chunks();
            self.at = self.step(*byte)?;
            if !was_behind && self.at.is_behind_chunks() {
                chunks = Some(all.len() - bytes.len());
            }
        }
        Ok(Consumed {
            bytes: all.len() - bytes.len(),
            chunks: chunks.unwrap_or(0),
        })
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    fn step(&mut self, byte: u8) -> Result<At, ChunkError> {
        match (self.at, byte) {
            (At::Size { digits }, _) => self.size(digits, byte),
            (At::Extension(_), b'\r') => Ok(At::SizeEnd),
            (At::Extension(bytes), _) if bytes < EXTENSION_BYTES_MAX && !is_control(byte) => {
                Ok(At::Extension(bytes + 1))
            }
            (At::Extension(_), _) => Err(ChunkError::Extension),
            (At::SizeEnd, b'\n') if self.bytes_left == 0 => Ok(At::TrailerLine),
            (At::SizeEnd, b'\n') => Ok(At::Data),
            (At::SizeEnd, _) => Err(ChunkError::Size),
            (At::DataCr, b'\r') => Ok(At::DataLf),
            (At::DataLf, b'\n') => Ok(At::Size { digits: 0 }),
            (At::Data | At::DataCr | At::DataLf, _) => Err(ChunkError::End),
            (At::TrailerLine, b'\r') => Ok(At::EndLf),
            (At::EndLf, b'\n') | (At::Done, _) => Ok(At::Done),
            _ => self.trailer(byte),
        }
    }

    fn size(&mut self, digits: u8, byte: u8) -> Result<At, ChunkError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if digits > 0 => return Ok(At::SizeEnd),
            b';' if digits > 0 => return Ok(At::Extension(0)),
            _ => return Err(ChunkError::Size),
        };
        if digits >= SIZE_DIGITS_MAX {
            return Err(ChunkError::Size);
        }
        // What was left of the chunk before is nothing, so this starts at 0.
        self.bytes_left = self.bytes_left * 16 + u64::from(digit);
        Ok(At::Size { digits: digits + 1 })
    }

    fn trailer(&mut self, byte: u8) -> Result<At, ChunkError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(ChunkError::Trailer);
        }
        match (self.at, byte) {
            (At::TrailerLine | At::TrailerName, _) if is_token(byte) => Ok(At::TrailerName),
            (At::TrailerName, b':') => Ok(At::TrailerValue),
            (At::TrailerValue, b'\r') => Ok(At::TrailerLf),
            (At::TrailerValue, _) if !is_control(byte) => Ok(At::TrailerValue),
            (At::TrailerLf, b'\n') => Ok(At::TrailerLine),
            _ => Err(ChunkError::Trailer),
        }
    }
}
