//! Where a delivery goes under the configuration in force, or why it does not go now.

use outrider_config::snapshot::{Endpoint, EndpointStatus, Kind, ProjectTable, Snapshot};
use outrider_webhook::undelivered::Reason;

use super::{Deliverer, Obstacle};
use crate::made::Found;
use crate::queue::Entry;

impl Deliverer {
    /// The project and the endpoint of a delivery; `made` is what is known of an endpoint that is
    /// no configuration yet.
    pub(super) fn place<'s>(
        &self,
        snapshot: &'s Snapshot,
        entry: &Entry,
        made: Option<&'s Found>,
    ) -> Result<(&'s ProjectTable, &'s Endpoint), Obstacle> {
        if self.is_behind(snapshot, entry) {
            return Err(Obstacle::Hold("config_behind"));
        }
        let missing = |what| self.missing(snapshot, entry, what);
        let table = snapshot
            .project_of_delivery(entry.project)
            .ok_or_else(|| missing(Reason::ProjectDeleted))?;
        let endpoint = match (
            snapshot.endpoint_of_delivery(table, entry.target.endpoint),
            made,
        ) {
            (Some(endpoint), _) | (None, Some(Found::Made(endpoint))) => endpoint,
            (None, Some(Found::Refused(reason))) => return Err(Obstacle::Fail(*reason)),
            (None, None) => return Err(missing(Reason::EndpointDeleted)),
        };
        if self.disabling.is_off(endpoint) {
            return Err(Obstacle::Discard(Reason::EndpointInactive));
        }
        match endpoint.status() {
            EndpointStatus::Active => {}
            EndpointStatus::Paused => return Err(Obstacle::Hold("endpoint_paused")),
            EndpointStatus::Inactive => return Err(Obstacle::Discard(Reason::EndpointInactive)),
        }
        Ok((table, endpoint))
    }

    /// Whether the delivery was decided by a newer configuration than this one, as after a start
    /// from disk. Nothing of an older one is good enough for it: not the URL, not the secret, not
    /// whether the endpoint is active.
    fn is_behind(&self, snapshot: &Snapshot, entry: &Entry) -> bool {
        let revision = snapshot.version().map_or(0, |version| version.revision);
        revision < entry.revision && entry.accepted_ms >= self.table.journal_since_ms()
    }

    /// What it means that project or endpoint of a delivery are not in the snapshot, which is not
    /// behind. Deleted is only what a configuration of the same journal does not know.
    fn missing(&self, snapshot: &Snapshot, entry: &Entry, what: Reason) -> Obstacle {
        let is_held = snapshot.is_held(Kind::Endpoint, entry.target.endpoint.uid())
            || snapshot.is_held(Kind::Project, entry.project.uid());
        if is_held {
            Obstacle::Hold("config_quarantined")
        } else if entry.accepted_ms < self.table.journal_since_ms() {
            Obstacle::Hold("config_journal_changed")
        } else {
            Obstacle::Discard(what)
        }
    }
}
