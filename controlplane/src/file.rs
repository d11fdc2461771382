//! A resource file as one revision: what is new, what changed, what is gone.

use std::collections::{BTreeSet, HashMap};

use outrider_config::Kind;
use outrider_config::file::{File, Naming, PlanError, Planned};
use outrider_webhook::id::{ProjectId, Uid};

use crate::ids;
use crate::journal::{Change, JournalError, Stored};

/// A resource file that cannot become a revision.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The file's parts do not fit.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A uid in the file belongs to something else.
    #[error("uid {uid} of {kind} `{name}` belongs to another resource already")]
    Taken {
        /// The uid.
        uid: Uid,
        /// What the file wants it for.
        kind: Kind,
        /// Its name in the file.
        name: String,
    },
}

/// What must change so that the journal holds what the file wants. Resources that came from an
/// earlier file and are not in this one go; what the API made stays, unless its project goes.
pub(crate) fn changes(file: &File, state: Vec<Stored>, now_ms: i64) -> Result<Vec<Change>, LoadError> {
    let mut names = Names { state: &state, now_ms, by_name: by_name(&state) };
    let planned = file.plan(&mut names)?;
    let mut current: HashMap<Uid, &Stored> = state.iter().map(|stored| (stored.uid, stored)).collect();
    let mut changes = Vec::new();
    for wanted in planned {
        match current.remove(&wanted.uid) {
            Some(stored) if stored.kind != wanted.kind || stored.project != wanted.project => {
                return Err(LoadError::Taken { uid: wanted.uid, kind: wanted.kind, name: wanted.name });
            }
            Some(stored) if is_same(stored, &wanted) => {}
            before => changes.push(put(wanted, before.map(|stored| stored.document.clone()))),
        }
    }
    changes.extend(removals(current.into_values()));
    Ok(changes)
}

fn put(wanted: Planned, before: Option<Vec<u8>>) -> Change {
    let stored = Stored {
        kind: wanted.kind,
        uid: wanted.uid,
        project: wanted.project,
        name: wanted.name,
        owner: wanted.owner,
        is_from_file: true,
        document: wanted.spec.to_vec(),
    };
    Change::Put { stored, before }
}

fn is_same(stored: &Stored, wanted: &Planned) -> bool {
    stored.is_from_file && stored.name == wanted.name && stored.owner == wanted.owner && stored.document == wanted.spec
}

/// What is left over of the state: gone if it came from a file, or if its project goes.
fn removals<'a>(left: impl Iterator<Item = &'a Stored>) -> Vec<Change> {
    let left: Vec<&Stored> = left.collect();
    let is_gone_project = |stored: &&&Stored| stored.kind == Kind::Project && stored.is_from_file;
    let projects: BTreeSet<ProjectId> = left.iter().filter(is_gone_project).map(|stored| stored.project).collect();
    let mut gone: Vec<&Stored> =
        left.into_iter().filter(|stored| stored.is_from_file || projects.contains(&stored.project)).collect();
    // What refers to others goes before them.
    gone.sort_by_key(|stored| (std::cmp::Reverse(stored.kind), stored.uid));
    gone.into_iter().map(|stored| Change::Remove { stored: stored.clone() }).collect()
}

fn by_name(state: &[Stored]) -> HashMap<(Kind, Option<ProjectId>, &str), Uid> {
    let key = |stored: &Stored| (stored.kind != Kind::Project).then_some(stored.project);
    state.iter().map(|stored| ((stored.kind, key(stored), stored.name.as_str()), stored.uid)).collect()
}

/// Ids and masks of what is known; new ones for what is not.
struct Names<'a> {
    state: &'a [Stored],
    now_ms: i64,
    by_name: HashMap<(Kind, Option<ProjectId>, &'a str), Uid>,
}

impl Naming for Names<'_> {
    fn uid(&mut self, kind: Kind, project: Option<ProjectId>, name: &str) -> Uid {
        self.by_name.get(&(kind, project, name)).copied().unwrap_or_else(|| ids::new_uid(self.now_ms))
    }

    fn mask(&mut self, source: Uid) -> String {
        let known = self.state.iter().find(|stored| stored.uid == source).and_then(|stored| {
            let document: serde_json::Value = serde_json::from_slice(&stored.document).ok()?;
            document.get("mask_id")?.as_str().map(str::to_owned)
        });
        known.unwrap_or_else(ids::new_mask)
    }
}
