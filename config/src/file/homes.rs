//! The projects of a file, as what is of none names them.

use std::collections::HashMap;

use outrider_webhook::id::{ProjectId, Uid};

use super::parse::{Place, ReadProject};
use crate::input::closest;
use crate::problem::Problem;

/// The projects of the file, each with an id: its own, or one that stands for what the journal
/// will give.
pub(super) struct Homes<'r> {
    pub(super) ids: Vec<ProjectId>,
    known: HashMap<String, ProjectId>,
    names: Vec<&'r str>,
}

impl<'r> Homes<'r> {
    pub(super) fn of(projects: &'r [ReadProject]) -> Self {
        let mut homes = Self {
            ids: Vec::with_capacity(projects.len()),
            known: HashMap::new(),
            names: Vec::new(),
        };
        for (read, number) in projects.iter().zip(1_u128..) {
            let uid = read.project.uid;
            let id = ProjectId::new(uid.unwrap_or(Uid::from_bits(number)));
            homes.ids.push(id);
            homes.known.extend(uid.map(|uid| (uid.to_string(), id)));
            if let Some(name) = read.project.spec.name.as_deref() {
                // A name counts before a uid, as in all references of a file.
                homes.known.insert(name.to_owned(), id);
                homes.names.push(name);
            }
        }
        homes
    }

    /// Puts uids in the place of names. A uid need not be of this file: the API makes projects as
    /// well. What names no project is reported, and left out of the way of the other checks.
    pub(super) fn put_uids(
        &self,
        named: &mut Option<Vec<String>>,
        place: &Place,
        problems: &mut Vec<Problem>,
    ) {
        for (at, text) in named.iter_mut().flatten().enumerate() {
            let known = self.known.get(text.as_str()).copied();
            let id = known.or_else(|| text.parse().ok());
            if id.is_none() {
                let hint = did_you_mean(text, self.names.iter().copied());
                let message = format!(
                    "this file has no project with the name `{text}`, which is no uid either{hint}"
                );
                problems.push(place.problem(&format!("projects[{at}]"), message));
            }
            let nobody = ProjectId::new(Uid::from_bits(u128::MAX - at as u128));
            *text = id.unwrap_or(nobody).to_string();
        }
    }
}

/// What was meant, if anything is near.
pub(super) fn did_you_mean<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> String {
    closest(text, names)
        .map(|meant| format!("; did you mean `{meant}`?"))
        .unwrap_or_default()
}
