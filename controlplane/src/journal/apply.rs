//! Making what a resource file says so: the difference to what is stored, as one revision.

mod policies;

use std::collections::HashMap;

use bytes::Bytes;

use outrider_config::file::{File, Naming, PlanError, Planned};
use outrider_config::resource::{
    EGRESS_POLICIES_MAX, EgressPoolSpec, EndpointSpec, from_document, mask_of, to_document,
};
use outrider_config::{Document, Kind, Quarantined};
use outrider_webhook::id::{ProjectId, Uid};

use super::{Author, ChangeError, Edit, Journal, JournalError, Origin, Revision, Stored, View};
use crate::random;

/// The file was not put in force, and nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The file cannot be planned: a bug.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A resource of this name exists and did not come from a file.
    #[error("{kind} `{name}` exists and was not made by a resource file: remove one of the two")]
    Foreign {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The uid belongs to something else.
    #[error("{kind} `{name}`: uid {uid} belongs to another resource")]
    UidTaken {
        /// What it is in the file.
        kind: Kind,
        /// Its name in the file.
        name: String,
        /// The uid.
        uid: Uid,
    },
    /// Together with what is stored, resources could not be put in force.
    #[error("{}", ChangeError::Refused(.0.clone()))]
    Refused(Vec<Quarantined>),
    /// A policy is for a project that there is not, so that it would close nothing.
    #[error(
        "egress policy `{policy}`: `projects` names {project}, and there is no project with that uid, in the file or in the journal"
    )]
    UnknownProject {
        /// Its name.
        policy: String,
        /// What it names.
        project: String,
    },
    /// With what the API made there are more policies than there may be.
    #[error(
        "an installation has at most {EGRESS_POLICIES_MAX} egress policies, with those that the API made: there would be {count}"
    )]
    TooManyPolicies {
        /// How many there would be.
        count: usize,
    },
    /// The process is stopping.
    #[error("the process is stopping")]
    Cancelled,
}

impl ApplyError {
    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Journal(error) => error.code(),
            Self::Plan(_) => "plan",
            Self::Foreign { .. } => "foreign_resource",
            Self::UidTaken { .. } => "uid_taken",
            Self::Refused(_) => "refused",
            Self::UnknownProject { .. } => "unknown_project",
            Self::TooManyPolicies { .. } => "too_many_policies",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<ChangeError> for ApplyError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Journal(error) => Self::Journal(error),
            ChangeError::Refused(refused) => Self::Refused(refused),
            ChangeError::FromFile { kind, name } => Self::Foreign { kind, name },
        }
    }
}

impl Journal {
    /// Makes what the file says so, as one revision. Answers its number, or `None` when
    /// everything is so already.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing has changed then.
    pub fn apply_file(
        &self,
        file: &File,
        now_ms: i64,
        actor: &str,
    ) -> Result<Option<Revision>, ApplyError> {
        let by = Author {
            actor,
            origin: Origin::File,
            now_ms,
        };
        let changed = self.change(&by, |view| -> Result<_, ApplyError> {
            let stored: HashMap<Uid, Stored> = view
                .made_by_files()?
                .into_iter()
                .map(|one| (one.uid(), one))
                .collect();
            let planned = plan(file, &stored, now_ms)?;
            policies::check(view, &stored, &planned)?;
            Ok((edits(view, stored, planned, &by)?, ()))
        })?;
        Ok(changed.revision)
    }
}

/// Gives resources of the file the ids and masks they had.
struct Names<'s> {
    by_name: HashMap<(Kind, Option<ProjectId>, &'s str), Uid>,
    stored: &'s HashMap<Uid, Stored>,
    now_ms: i64,
}

impl Naming for Names<'_> {
    fn uid(&mut self, kind: Kind, project: Option<ProjectId>, name: &str) -> Uid {
        self.by_name
            .get(&(kind, project, name))
            .copied()
            .unwrap_or_else(|| random::uid(self.now_ms))
    }

    fn mask(&mut self, source: Uid) -> String {
        let stored = self.stored.get(&source);
        stored
            .and_then(|stored| mask_of(&stored.document.spec))
            .unwrap_or_else(random::mask)
    }
}

fn plan(
    file: &File,
    stored: &HashMap<Uid, Stored>,
    now_ms: i64,
) -> Result<Vec<Planned>, PlanError> {
    let by_name = stored.values().map(|one| {
        let Document {
            kind, uid, project, ..
        } = one.document;
        let is_own = is_its_own(kind);
        let project = (!is_own).then_some(project);
        ((kind, project, one.name.as_str()), uid)
    });
    file.plan(&mut Names {
        by_name: by_name.collect(),
        stored,
        now_ms,
    })
}

/// What is different. What an earlier file named and this one does not is removed.
fn edits(
    view: &View<'_>,
    mut stored: HashMap<Uid, Stored>,
    planned: Vec<Planned>,
    by: &Author<'_>,
) -> Result<Vec<Edit>, ApplyError> {
    let mut edits = Vec::new();
    for one in planned {
        match stored.remove(&one.uid) {
            Some(before)
                if (before.document.kind, before.document.project) == (one.kind, one.project) =>
            {
                let spec = carried_on(one.kind, one.spec, (Some(&before), by))?;
                let after = before.changed(spec, by)?;
                edits.push(Edit::update(before, after));
            }
            Some(_) => return Err(taken(one)),
            None => {
                refuse_existing(view, &one)?;
                edits.extend(made_way(view, &one)?.map(Edit::delete));
                let spec = carried_on(one.kind, one.spec, (None, by))?;
                let after = Stored::new(one.kind, one.uid, one.project, spec, by)?;
                edits.push(Edit::create(after));
            }
        }
    }
    edits.extend(stored.into_values().map(Edit::delete));
    Ok(edits)
}

/// What a file does not say and a new version still has to know: how often an endpoint was
/// switched on, and when a pool was changed.
fn carried_on(
    kind: Kind,
    spec: Bytes,
    (before, by): (Option<&Stored>, &Author<'_>),
) -> Result<Bytes, JournalError> {
    let corrupt = |error: &dyn std::fmt::Display| JournalError::Corrupt(error.to_string());
    let written = match (kind, before) {
        (Kind::Endpoint, Some(before)) if before.document.spec != spec => {
            let mut after: EndpointSpec = from_document(&spec).map_err(|error| corrupt(&error))?;
            after.follow(&before.spec()?);
            to_document(&after)
        }
        (Kind::EgressPool, before) => {
            let mut after: EgressPoolSpec =
                from_document(&spec).map_err(|error| corrupt(&error))?;
            let before = before.map(Stored::spec).transpose()?;
            after.follow(before.as_ref(), by.now_ms);
            to_document(&after)
        }
        _ => return Ok(spec),
    };
    written.map_err(|error| corrupt(&error))
}

/// An event type that the API made and that the file now has: whoever may call the API must not
/// be able to stop a start with the file, and nothing refers to an event type but by its name.
fn made_way(view: &View<'_>, one: &Planned) -> Result<Option<Stored>, JournalError> {
    if one.kind != Kind::EventType {
        return Ok(None);
    }
    let other = view.named(one.kind, one.project, &one.name)?;
    Ok(other.filter(|other| other.origin == Origin::Api))
}

/// Whether such resources belong to themselves.
fn is_its_own(kind: Kind) -> bool {
    matches!(kind, Kind::Project | Kind::EgressPool | Kind::EgressPolicy)
}

fn taken(one: Planned) -> ApplyError {
    ApplyError::UidTaken {
        kind: one.kind,
        name: one.name,
        uid: one.uid,
    }
}

/// What did not come from a file is not taken over: neither by its uid nor, if it is its own home,
/// by its name, which only one may have.
fn refuse_existing(view: &View<'_>, one: &Planned) -> Result<(), ApplyError> {
    let foreign = || ApplyError::Foreign {
        kind: one.kind,
        name: one.name.clone(),
    };
    if let Some(other) = view.by_uid(one.uid)? {
        return Err(
            if (other.document.kind, other.document.project) == (one.kind, one.project) {
                foreign()
            } else {
                ApplyError::UidTaken {
                    kind: one.kind,
                    name: one.name.clone(),
                    uid: one.uid,
                }
            },
        );
    }
    if !is_its_own(one.kind) {
        return Ok(());
    }
    match view.named(one.kind, one.project, &one.name)? {
        Some(other) if other.origin != Origin::File => Err(foreign()),
        _ => Ok(()),
    }
}
