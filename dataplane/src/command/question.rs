//! Questions of the control plane: what this data plane has seen, as JSON. Answered at once from
//! memory, bounded, and without a turn: nothing changes.

use std::sync::Arc;

use outrider_store::Clock;
use outrider_webhook::id::{ProjectId, SourceId};
use outrider_xds::{ANSWER_BYTES_MAX, Outcome, Question};
use serde_json::Value;

use crate::alerts::Alerts;
use crate::disabled::Disabling;
use crate::ingest::rejected::Rejected;
use crate::notices::Notices;
use crate::queue::Queue;
use crate::table::RoutingTable;

/// Room for what stands around a list.
const AROUND_BYTES: usize = 1024;

/// What answers questions.
pub(crate) struct Questions {
    pub(crate) table: RoutingTable,
    pub(crate) queue: Queue,
    pub(crate) rejected: Rejected,
    pub(crate) alerts: Alerts,
    pub(crate) disabling: Disabling,
    pub(crate) notices: Notices,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Questions {
    pub(crate) fn answer(&self, question: Question) -> Outcome {
        match question {
            Question::Rejected { project, source } => self.rejected(project, source),
            Question::Lane { project, endpoint } => self.lane(project, endpoint),
            // Answered by who has them.
            Question::Batches { .. } => refused("unknown_kind", "batches are asked elsewhere"),
            Question::Alerts { project } => answered(&self.alerts.shown(Some(project))),
        }
    }

    fn rejected(&self, project: ProjectId, source: SourceId) -> Outcome {
        let table = self.table.load();
        let is_known = table
            .project(project)
            .is_some_and(|table| table.source(source).is_some());
        if !is_known {
            return refused("unknown_source", "this data plane does not have the source");
        }
        let bytes_max = ANSWER_BYTES_MAX - AROUND_BYTES;
        answered(&self.rejected.shown(source, bytes_max))
    }
}

pub(super) fn answered(value: &Value) -> Outcome {
    Outcome::Answered(value.to_string().into())
}

pub(super) fn refused(code: &str, message: &str) -> Outcome {
    Outcome::Refused {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}
