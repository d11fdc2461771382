//! What is to be done, as it travels.

use bytes::Bytes;
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ORDINAL_MAX, ProjectId};
use prost::{Message, Oneof};

use super::tell::TellFields;
use super::token::TokenFields;
use super::{WireError, bytes_of, uid_of};
use crate::control::ask::AskFields;
use crate::control::{Action, Batch, BatchKind, FILTER_BYTES_MAX};

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ActionFields {
    #[prost(message, tag = "2")]
    Resend(DeliveryFields),
    #[prost(message, tag = "3")]
    Ask(AskFields),
    #[prost(message, tag = "4")]
    ForceResend(DeliveryFields),
    #[prost(message, tag = "5")]
    Cancel(DeliveryFields),
    #[prost(message, tag = "6")]
    Batch(BatchFields),
    #[prost(message, tag = "7")]
    StopBatch(StopBatchFields),
    #[prost(message, tag = "8")]
    Replay(EventFields),
    #[prost(message, tag = "9")]
    Tell(TellFields),
    #[prost(message, tag = "10")]
    TryToken(TokenFields),
    #[prost(message, tag = "11")]
    Ping(PingFields),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeliveryFields {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) project: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub(super) event: i64,
    #[prost(uint32, tag = "3")]
    pub(super) ordinal: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EventFields {
    #[prost(bytes = "vec", tag = "1")]
    project: Vec<u8>,
    #[prost(int64, tag = "2")]
    event: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PingFields {
    #[prost(bytes = "vec", tag = "1")]
    project: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    endpoint: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BatchFields {
    #[prost(bytes = "vec", tag = "1")]
    project: Vec<u8>,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(bytes = "bytes", tag = "3")]
    filter: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StopBatchFields {
    #[prost(bytes = "vec", tag = "1")]
    project: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    batch: Vec<u8>,
}

impl BatchKind {
    /// Its number on the wire; never changes.
    const fn number(self) -> u32 {
        match self {
            Self::Retry => 1,
            Self::Cancel => 2,
            Self::Replay => 3,
        }
    }

    fn from_number(number: u32) -> Result<Self, WireError> {
        let mut all = [Self::Retry, Self::Cancel, Self::Replay].into_iter();
        let known = all.find(|kind| kind.number() == number);
        known.ok_or(WireError::Unknown("kind"))
    }
}

impl From<Action> for ActionFields {
    fn from(action: Action) -> Self {
        match action {
            Action::Resend { project, delivery } => Self::Resend(of_delivery(project, delivery)),
            Action::ForceResend { project, delivery } => {
                Self::ForceResend(of_delivery(project, delivery))
            }
            Action::Cancel { project, delivery } => Self::Cancel(of_delivery(project, delivery)),
            Action::Replay { project, event } => Self::Replay(EventFields {
                project: bytes_of(project.uid()),
                event: event.raw(),
            }),
            Action::Batch(batch) => Self::Batch(BatchFields {
                project: bytes_of(batch.project.uid()),
                kind: batch.kind.number(),
                filter: batch.filter,
            }),
            Action::StopBatch { project, batch } => Self::StopBatch(StopBatchFields {
                project: bytes_of(project.uid()),
                batch: bytes_of(batch),
            }),
            Action::Tell(news) => Self::Tell(news.into()),
            Action::TryToken { project, client } => {
                Self::TryToken(TokenFields::of(project, &client))
            }
            Action::Ping { project, endpoint } => Self::Ping(PingFields {
                project: bytes_of(project.uid()),
                endpoint: bytes_of(endpoint.uid()),
            }),
            Action::Ask(question) => Self::Ask(question.into()),
        }
    }
}

impl ActionFields {
    pub(super) fn read(&self) -> Result<Action, WireError> {
        Ok(match self {
            Self::Resend(fields) => {
                let (project, delivery) = fields.read()?;
                Action::Resend { project, delivery }
            }
            Self::ForceResend(fields) => {
                let (project, delivery) = fields.read()?;
                Action::ForceResend { project, delivery }
            }
            Self::Cancel(fields) => {
                let (project, delivery) = fields.read()?;
                Action::Cancel { project, delivery }
            }
            Self::Replay(fields) => {
                let event = EventId::from_raw(fields.event);
                Action::Replay {
                    project: project_of(&fields.project)?,
                    event: event.ok_or(WireError::Event(fields.event))?,
                }
            }
            Self::Batch(fields) => Action::Batch(fields.read()?),
            Self::StopBatch(fields) => Action::StopBatch {
                project: project_of(&fields.project)?,
                batch: uid_of("batch", &fields.batch)?,
            },
            Self::Tell(fields) => Action::Tell(fields.read()?),
            Self::TryToken(fields) => fields.read()?,
            Self::Ping(fields) => Action::Ping {
                project: project_of(&fields.project)?,
                endpoint: EndpointId::new(uid_of("endpoint", &fields.endpoint)?),
            },
            Self::Ask(fields) => Action::Ask(fields.read()?),
        })
    }
}

impl BatchFields {
    fn read(&self) -> Result<Batch, WireError> {
        if self.filter.len() > FILTER_BYTES_MAX {
            return Err(WireError::TooMany("filter"));
        }
        Ok(Batch {
            project: project_of(&self.project)?,
            kind: BatchKind::from_number(self.kind)?,
            filter: self.filter.clone(),
        })
    }
}

impl DeliveryFields {
    fn read(&self) -> Result<(ProjectId, DeliveryKey), WireError> {
        let (raw, ordinal) = (self.event, self.ordinal);
        let event = EventId::from_raw(raw)
            .filter(|_| ordinal <= ORDINAL_MAX)
            .ok_or(WireError::Delivery {
                event: raw,
                ordinal,
            })?;
        Ok((project_of(&self.project)?, DeliveryKey { event, ordinal }))
    }
}

fn of_delivery(project: ProjectId, delivery: DeliveryKey) -> DeliveryFields {
    DeliveryFields {
        project: bytes_of(project.uid()),
        event: delivery.event.raw(),
        ordinal: delivery.ordinal,
    }
}

fn project_of(bytes: &[u8]) -> Result<ProjectId, WireError> {
    uid_of("project", bytes).map(ProjectId::new)
}
