//! The messages of `outrider.control.v1`, and what they mean.
//!
//! In the language of protocol buffers they read:
//!
//! ```text
//! package outrider.control.v1;
//! service Control { rpc Session(stream FromNode) returns (stream ToNode); }
//!
//! message FromNode { oneof said { Hello hello = 1; Outcome outcome = 2; HeadRequest head_request = 3; EndpointOffer offer = 8;
//!     DisabledEndpoint disabled = 9; } }
//! message Hello { uint32 number = 1; string id = 2; bytes instance = 3; }
//! message Outcome { bytes command = 1; oneof result { Done done = 2; Refused refused = 3; bytes answered = 4; } }
//! message Done {}
//! message Refused { string code = 1; string message = 2; }
//! message HeadRequest { uint64 number = 1; }
//! message EndpointOffer { uint64 number = 1; bytes project = 2; bytes endpoint = 3; bytes subscription = 4;
//!     string url = 5; string secret = 6; repeated string event_types = 7; }
//! message DisabledEndpoint { uint64 number = 1; bytes project = 2; bytes endpoint = 3; uint64 activation_epoch = 4;
//!     string reason = 5; }
//!
//! message ToNode { oneof said { Command command = 1; Head head = 2; OfferAnswer offer_answer = 8; } }
//! message Command { bytes id = 1; oneof action { Delivery resend = 2; Ask ask = 3; Delivery force_resend = 4;
//!     Delivery cancel = 5; Batch batch = 6; StopBatch stop_batch = 7; Event replay = 8; Tell tell = 9; Token try_token = 10;
//!     Ping ping = 11; } }
//! message Delivery { bytes project = 1; int64 event = 2; uint32 ordinal = 3; }
//! message Event { bytes project = 1; int64 event = 2; }
//! message Batch { bytes project = 1; uint32 kind = 2; bytes filter = 3; }
//! message StopBatch { bytes project = 1; bytes batch = 2; }
//! message Tell { bytes project = 1; string kind = 2; string name = 3; bytes journal = 4; uint64 revision = 5; bytes body = 6; }
//! message Token { bytes project = 1; string client = 2; }
//! message Ping { bytes project = 1; bytes endpoint = 2; }
//! message Ask { oneof question { Rejected rejected = 1; Alerts alerts = 2; Batches batches = 3; } }
//! message Rejected { bytes project = 1; bytes source = 2; }
//! message Alerts { bytes project = 1; }
//! message Batches { bytes project = 1; }
//! message Head { uint64 number = 1; bytes journal = 2; uint64 revision = 3; }
//! message OfferAnswer { uint64 number = 1; oneof answer { Head taken = 2; Refused refused = 3; Refused later = 4; } }
//! ```
//!
//! Uids travel as their 16 bytes, the most significant first. `HeadRequest` and its `Head` carry
//! the same number, which the data plane chose; so do an offer and its answer.

mod action;
mod disabled;
mod offer;
mod tell;
mod token;

pub(crate) use action::ActionFields;
use bytes::Bytes;
pub(crate) use disabled::DisabledFields;
pub(crate) use offer::{OfferAnswerFields, OfferFields, offer, offer_answer};
use outrider_config::Version;
use outrider_webhook::id::{NodeId, Uid};
use prost::{Message, Oneof};
use tonic::Status;

use super::ask::ANSWER_BYTES_MAX;
use super::{Action, Command, Outcome};
use crate::node::Claim;

/// The service's name.
pub(crate) const SERVICE: &str = "outrider.control.v1.Control";
/// The path of its only method.
pub(crate) const SESSION_PATH: &str = "/outrider.control.v1.Control/Session";
/// Largest message either side decodes, bytes. The largest there is carries an answer.
pub(crate) const CONTROL_BYTES_MAX: usize = ANSWER_BYTES_MAX + (64 << 10);
/// Characters of a refusal's code that travel.
const CODE_CHARS_MAX: usize = 64;
/// Characters of a refusal's message that travel.
const MESSAGE_CHARS_MAX: usize = 1_024;
/// Characters of a node's id that are kept.
const NODE_CHARS_MAX: usize = 256;

/// What the data plane says.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FromNode {
    #[prost(oneof = "NodeSaid", tags = "1, 2, 3, 8, 9")]
    pub(crate) said: Option<NodeSaid>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum NodeSaid {
    #[prost(message, tag = "1")]
    Hello(HelloFields),
    #[prost(message, tag = "2")]
    Outcome(OutcomeFields),
    #[prost(message, tag = "3")]
    HeadRequest(HeadRequestFields),
    #[prost(message, tag = "8")]
    Offer(OfferFields),
    #[prost(message, tag = "9")]
    Disabled(DisabledFields),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HelloFields {
    #[prost(uint32, tag = "1")]
    pub(crate) number: u32,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) instance: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OutcomeFields {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) command: Vec<u8>,
    #[prost(oneof = "ResultFields", tags = "2, 3, 4")]
    pub(crate) result: Option<ResultFields>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ResultFields {
    #[prost(message, tag = "2")]
    Done(DoneFields),
    #[prost(message, tag = "3")]
    Refused(RefusedFields),
    #[prost(bytes = "bytes", tag = "4")]
    Answered(Bytes),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DoneFields {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RefusedFields {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeadRequestFields {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
}

/// What the control plane says.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ToNode {
    #[prost(oneof = "ControlSaid", tags = "1, 2, 8")]
    pub(crate) said: Option<ControlSaid>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ControlSaid {
    #[prost(message, tag = "1")]
    Command(CommandFields),
    #[prost(message, tag = "2")]
    Head(HeadFields),
    #[prost(message, tag = "8")]
    OfferAnswer(OfferAnswerFields),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommandFields {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) id: Vec<u8>,
    #[prost(oneof = "ActionFields", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11")]
    pub(crate) action: Option<ActionFields>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeadFields {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(bytes = "vec", tag = "2")]
    journal: Vec<u8>,
    #[prost(uint64, tag = "3")]
    revision: u64,
}

/// A message that does not mean anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("`{field}` has {bytes} bytes, a uid has 16")]
    Uid { field: &'static str, bytes: usize },
    #[error("node number {0} is too large, {max} is the largest", max = NodeId::MAX)]
    Node(u32),
    #[error("`{0}` is empty, or of a kind this version does not know")]
    Unknown(&'static str),
    #[error("no delivery has the key {event}/{ordinal}")]
    Delivery { event: i64, ordinal: u32 },
    #[error("no event has the number {0}")]
    Event(i64),
    #[error("`{0}` has too many items")]
    TooMany(&'static str),
}

impl WireError {
    /// Stable code: a closed set. Travels as the code of a refusal.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Uid { .. } => "bad_uid",
            Self::Node(_) => "bad_node",
            Self::Unknown(_) => "unknown_kind",
            Self::Delivery { .. } => "bad_delivery",
            Self::Event(_) => "bad_event",
            Self::TooMany(_) => "too_many",
        }
    }
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// The first message of a session.
pub(crate) fn hello(claim: Claim, id: &str) -> FromNode {
    let hello = HelloFields {
        number: u32::from(claim.number.get()),
        id: cut(id, NODE_CHARS_MAX),
        instance: bytes_of(claim.instance),
    };
    FromNode {
        said: Some(NodeSaid::Hello(hello)),
    }
}

/// What became of a command, as it travels.
pub(crate) fn outcome(command: Uid, outcome: &Outcome) -> FromNode {
    let result = match outcome {
        Outcome::Done => ResultFields::Done(DoneFields {}),
        Outcome::Answered(answer) if answer.len() <= ANSWER_BYTES_MAX => {
            ResultFields::Answered(answer.clone())
        }
        Outcome::Answered(answer) => ResultFields::Refused(RefusedFields {
            code: "answer_too_long".to_owned(),
            message: format!("the answer has {} bytes", answer.len()),
        }),
        Outcome::Refused { code, message } => ResultFields::Refused(RefusedFields {
            code: cut(code, CODE_CHARS_MAX),
            message: cut(message, MESSAGE_CHARS_MAX),
        }),
    };
    let fields = OutcomeFields {
        command: bytes_of(command),
        result: Some(result),
    };
    FromNode {
        said: Some(NodeSaid::Outcome(fields)),
    }
}

/// The question for the journal's head.
pub(crate) fn head_request(number: u64) -> FromNode {
    FromNode {
        said: Some(NodeSaid::HeadRequest(HeadRequestFields { number })),
    }
}

/// A command as it travels.
pub(crate) fn command(command: Command) -> ToNode {
    let fields = CommandFields {
        id: bytes_of(command.id),
        action: Some(command.action.into()),
    };
    ToNode {
        said: Some(ControlSaid::Command(fields)),
    }
}

/// The answer to a question for the head.
pub(crate) fn head(number: u64, version: Version) -> ToNode {
    let fields = HeadFields {
        number,
        journal: bytes_of(version.journal),
        revision: version.revision,
    };
    ToNode {
        said: Some(ControlSaid::Head(fields)),
    }
}

impl HelloFields {
    /// Who opens the session, and the name for people.
    pub(crate) fn read(&self) -> Result<(Claim, String), WireError> {
        let number = u16::try_from(self.number).ok().and_then(NodeId::new);
        let claim = Claim {
            number: number.ok_or(WireError::Node(self.number))?,
            instance: uid_of("instance", &self.instance)?,
        };
        Ok((claim, cut(&self.id, NODE_CHARS_MAX)))
    }
}

impl OutcomeFields {
    /// Which command, and what became of it.
    pub(crate) fn read(self) -> Result<(Uid, Outcome), WireError> {
        let command = uid_of("command", &self.command)?;
        let outcome = match self.result.ok_or(WireError::Unknown("result"))? {
            ResultFields::Done(DoneFields {}) => Outcome::Done,
            ResultFields::Answered(answer) => Outcome::Answered(answer),
            ResultFields::Refused(RefusedFields { code, message }) => Outcome::Refused {
                code: cut(&code, CODE_CHARS_MAX),
                message: cut(&message, MESSAGE_CHARS_MAX),
            },
        };
        Ok((command, outcome))
    }
}

impl CommandFields {
    /// The command's id.
    pub(crate) fn read_id(&self) -> Result<Uid, WireError> {
        uid_of("id", &self.id)
    }

    /// What is to be done. Apart from the id, so that a command of a newer version is refused by
    /// its id and does not end the session.
    pub(crate) fn read_action(&self) -> Result<Action, WireError> {
        let action = self.action.as_ref();
        action.ok_or(WireError::Unknown("action"))?.read()
    }
}

impl HeadFields {
    /// The number of the question, and the answer.
    pub(crate) fn read(&self) -> Result<(u64, Version), WireError> {
        let version = Version {
            journal: uid_of("journal", &self.journal)?,
            revision: self.revision,
        };
        Ok((self.number, version))
    }
}

pub(super) fn bytes_of(uid: Uid) -> Vec<u8> {
    uid.bits().to_be_bytes().to_vec()
}

pub(super) fn uid_of(field: &'static str, bytes: &[u8]) -> Result<Uid, WireError> {
    match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) => Ok(Uid::from_bits(u128::from_be_bytes(bytes))),
        Err(_) => Err(WireError::Uid {
            field,
            bytes: bytes.len(),
        }),
    }
}

fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

#[cfg(test)]
mod tests;
