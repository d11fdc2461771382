//! Who may publish: the bearer key, and the project it opens.

use std::sync::Arc;

use http::StatusCode;
use outrider_config::snapshot::{ApiKey, ProjectTable, Snapshot};
use outrider_webhook::address::Closings;
use outrider_webhook::event::{EventFacts, Proof, VerifiedEvent};
use outrider_webhook::id::ProjectId;
use outrider_webhook::verify::ApiKeyDigest;
use pingora::protocols::http::ServerSession;

use crate::ingest::Intake;
use crate::ingest::bearer;
use crate::ingest::guard::Visit;
use crate::ingest::reply::Reply;
use crate::table::Missing;

/// What the head of the request says.
pub(super) struct Caller {
    presented: ApiKeyDigest,
    /// The project in the path, when that is an id at all.
    named: Option<ProjectId>,
    now_s: i64,
}

/// A caller that may publish in a project, in one snapshot.
pub(super) struct Admitted {
    snapshot: Arc<Snapshot>,
    table: Arc<ProjectTable>,
    key: Arc<ApiKey>,
    proof: Proof,
}

impl Caller {
    pub(super) fn of(intake: &Intake, http: &ServerSession, project: &str) -> Result<Self, Reply> {
        Ok(Self {
            presented: bearer::presented(http)?,
            named: project.parse().ok(),
            now_s: intake.clock.now_ms() / 1000,
        })
    }

    /// Whether the caller may publish. A key that is not there may be a moment late (RULINGS 14).
    pub(super) async fn admit(&self, intake: &Intake) -> Result<Admitted, Reply> {
        let known = intake.table.load();
        let refused = match self.admitted(Arc::clone(&known)) {
            Ok(admitted) => return Ok(admitted),
            Err(refused) => refused,
        };
        // A key that is known is refused for what it is, and not because it is late.
        if known.api_key(&self.presented).is_some() {
            return Err(refused);
        }
        let missing = Missing::Key(&self.presented);
        let later = intake.table.catch_up(&known, missing).await;
        self.admitted(later.ok_or(refused)?)
    }

    /// The same caller in a newer snapshot, if one comes by any of what is missing. One snapshot
    /// decides: what was found in the one before does not count.
    pub(super) async fn admit_later(
        &self,
        intake: &Intake,
        before: Admitted,
        missing: &[Missing<'_>],
    ) -> Result<Admitted, Reply> {
        for missing in missing {
            if let Some(later) = intake.table.catch_up(&before.snapshot, *missing).await {
                return self.admitted(later);
            }
        }
        Ok(before)
    }

    /// The same caller in the newest snapshot.
    pub(super) fn admit_again(&self, intake: &Intake) -> Result<Admitted, Reply> {
        self.admitted(intake.table.load())
    }

    fn admitted(&self, snapshot: Arc<Snapshot>) -> Result<Admitted, Reply> {
        let (key, proof) = bearer::live(&snapshot, &self.presented, self.now_s)
            .and_then(|key| Some((Arc::clone(key), key.digest().prove(&self.presented)?)))
            .ok_or_else(bearer::unknown_key)?;
        let project = key.project();
        // The key decides; a path that names another project does not exist for it (RULINGS 23).
        let table = snapshot.project(project).map(Arc::clone);
        match table {
            Some(table) if self.named == Some(project) => Ok(Admitted {
                snapshot,
                table,
                key,
                proof,
            }),
            _ => Err(unknown_project()),
        }
    }
}

impl Admitted {
    pub(super) fn table(&self) -> &ProjectTable {
        &self.table
    }

    /// What may not be called, by the configuration.
    pub(super) fn closings(&self) -> &Closings {
        self.snapshot.closings()
    }

    pub(super) fn revision(&self) -> u64 {
        let version = self.snapshot.version();
        version.map_or(0, |version| version.revision)
    }

    /// Whether the caller may publish from where he is, and as often as he does.
    pub(super) fn guarded(&self, intake: &Intake, visit: &mut Visit<'_>) -> Result<(), Reply> {
        let project = self.table.project();
        intake.guard.admit_with_key(visit, &self.key, project)
    }

    /// How many more events than one the caller may publish in this request, of those it has.
    pub(super) fn take_more(&self, intake: &Intake, events: usize) -> usize {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let granted = intake
            .guard
            .take_more(&self.key, self.table.project(), events);
        usize::try_from(granted).unwrap_or(usize::MAX)
    }

    /// The caller vouches for every event of his request.
    pub(super) fn verified(&self, facts: EventFacts) -> VerifiedEvent {
        VerifiedEvent::new(self.proof.clone(), facts)
    }
}

fn unknown_project() -> Reply {
    Reply::refuse(
        StatusCode::NOT_FOUND,
        "unknown_project",
        "project not found",
    )
}
