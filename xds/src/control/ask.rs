//! Questions of the control plane about what one data plane keeps in memory: a kind of command
//! that has no effect, and whose outcome is an answer.
//!
//! The answers are JSON between the two planes: what is in them is for people to read, and a
//! newer data plane may say more than an older control plane knows of.

use outrider_webhook::id::{EndpointId, ProjectId, SourceId};
use prost::{Message, Oneof};

use super::wire::{WireError, bytes_of, uid_of};

/// Longest answer, bytes. Who answers leaves the oldest out.
pub const ANSWER_BYTES_MAX: usize = 192 << 10;

/// What is asked of one data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The newest requests that a source refused.
    Rejected {
        /// The project the source must belong to.
        project: ProjectId,
        /// The source.
        source: SourceId,
    },
    /// The batches of a project: those that are not finished, and the latest that are.
    Batches {
        /// The project.
        project: ProjectId,
    },
    /// How an endpoint is doing: what stands in the way of its deliveries.
    Lane {
        /// The project the endpoint must belong to.
        project: ProjectId,
        /// The endpoint.
        endpoint: EndpointId,
    },
    /// The alerts that are raised for sources of a project.
    Alerts {
        /// The project.
        project: ProjectId,
    },
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AskFields {
    #[prost(oneof = "QuestionFields", tags = "1, 2, 3, 4")]
    question: Option<QuestionFields>,
}

#[derive(Clone, PartialEq, Oneof)]
enum QuestionFields {
    #[prost(message, tag = "1")]
    Rejected(RejectedFields),
    #[prost(message, tag = "2")]
    Alerts(AlertsFields),
    #[prost(message, tag = "3")]
    Batches(BatchesFields),
    #[prost(message, tag = "4")]
    Lane(LaneFields),
}

#[derive(Clone, PartialEq, Message)]
struct RejectedFields {
    #[prost(bytes = "vec", tag = "1")]
    project: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    source: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct LaneFields {
    #[prost(bytes = "vec", tag = "1")]
    project: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    endpoint: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct AlertsFields {
    #[prost(bytes = "vec", tag = "1")]
    project: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct BatchesFields {
    #[prost(bytes = "vec", tag = "1")]
    project: Vec<u8>,
}

impl From<Question> for AskFields {
    fn from(question: Question) -> Self {
        let question = match question {
            Question::Rejected { project, source } => QuestionFields::Rejected(RejectedFields {
                project: bytes_of(project.uid()),
                source: bytes_of(source.uid()),
            }),
            Question::Lane { project, endpoint } => QuestionFields::Lane(LaneFields {
                project: bytes_of(project.uid()),
                endpoint: bytes_of(endpoint.uid()),
            }),
            Question::Alerts { project } => QuestionFields::Alerts(AlertsFields {
                project: bytes_of(project.uid()),
            }),
            Question::Batches { project } => QuestionFields::Batches(BatchesFields {
                project: bytes_of(project.uid()),
            }),
        };
        Self {
            question: Some(question),
        }
    }
}

impl AskFields {
    pub(super) fn read(&self) -> Result<Question, WireError> {
        let project = |bytes| uid_of("project", bytes).map(ProjectId::new);
        Ok(match &self.question {
            Some(QuestionFields::Rejected(fields)) => Question::Rejected {
                project: project(&fields.project)?,
                source: SourceId::new(uid_of("source", &fields.source)?),
            },
            Some(QuestionFields::Lane(fields)) => Question::Lane {
                project: project(&fields.project)?,
                endpoint: EndpointId::new(uid_of("endpoint", &fields.endpoint)?),
            },
            Some(QuestionFields::Alerts(fields)) => Question::Alerts {
                project: project(&fields.project)?,
            },
            Some(QuestionFields::Batches(fields)) => Question::Batches {
                project: project(&fields.project)?,
            },
            None => return Err(WireError::Unknown("question")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::Uid;
    use proptest::prelude::*;

    #[test]
    fn a_question_of_a_newer_version_is_refused() {
        let error = AskFields::default().read().unwrap_err();
        assert_eq!(error.code(), "unknown_kind");
    }

    proptest! {
        #[test]
        fn a_question_survives_the_way(project: u128, source: u128) {
            let project = ProjectId::new(Uid::from_bits(project));
            let endpoint = EndpointId::new(Uid::from_bits(source));
            let source = SourceId::new(Uid::from_bits(source));
            for question in [
                Question::Rejected { project, source },
                Question::Alerts { project },
                Question::Lane { project, endpoint },
                Question::Batches { project },
            ] {
                let bytes = AskFields::from(question).encode_to_vec();
                let fields = AskFields::decode(bytes.as_slice()).unwrap();
                prop_assert_eq!(fields.read(), Ok(question));
            }
        }
    }
}
