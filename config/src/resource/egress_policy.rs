//! A policy that closes destinations: pushed with the configuration, and asked after the address
//! policy of the bootstrap, which alone can open anything (RULINGS 31).

use std::sync::Arc;

use outrider_webhook::address::{Closing, Closings, PolicyPlace};
use outrider_webhook::id::{EgressPolicyId, ProjectId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::check::{Checks, FieldError, Reason};
use super::egress_policy_spec::EgressPolicySpec;
use super::egress_pool_spec::label;
use super::field::given;
use super::meta_event::MetaEvents;

/// Most policies of an installation: each of them may be asked about each destination.
pub const EGRESS_POLICIES_MAX: usize = 100;

/// A checked policy that closes destinations.
#[derive(Debug)]
pub struct EgressPolicy {
    id: EgressPolicyId,
    revision: u64,
    name: Arc<str>,
    projects: Vec<ProjectId>,
    deny: Option<Vec<PolicyPlace>>,
    only: Option<Vec<PolicyPlace>>,
    ports: Option<Vec<u16>>,
}

impl EgressPolicy {
    /// Checks a specification.
    ///
    /// # Errors
    /// Every field that cannot be used.
    pub fn compile(
        id: EgressPolicyId,
        revision: u64,
        spec: &EgressPolicySpec,
    ) -> Result<Self, Vec<FieldError>> {
        let mut checks = Checks::default();
        let name = checks.require("name", given(spec.name.as_deref()));
        let name = name.and_then(|name| checks.take("name", label(name)));
        let projects = spec.projects(&mut checks);
        let deny = spec.deny(&mut checks);
        let only = spec.only(&mut checks);
        let ports = spec.ports(&mut checks);
        if spec.deny.is_none() && spec.only.is_none() && spec.ports.is_none() {
            let says = "a policy closes something: `deny`, `only` or `ports` is missing";
            checks.fail("", Reason::Rule(says.to_owned()));
        }
        let policy = name.map(|name| Self {
            id,
            revision,
            name,
            projects,
            deny,
            only,
            ports,
        });
        checks.finish(policy)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> EgressPolicyId {
        self.id
    }

    /// The revision that wrote it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Its name, 1 to 63 bytes, unique.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The projects that it is for, sorted; none when it is for all.
    #[must_use]
    pub fn projects(&self) -> &[ProjectId] {
        &self.projects
    }

    /// Adds what it closes.
    pub(crate) fn close(&self, closings: &mut Closings) {
        let deny = self.deny.as_deref().unwrap_or_default();
        let (only, ports) = (self.only.as_deref(), self.ports.as_deref());
        let closing = Closing::new(Arc::clone(&self.name), deny, only, ports);
        closings.add(self.revision, closing, &with_own(&self.projects));
    }

    /// Adds all that a policy may close of which this version cannot read what it says: everything
    /// of its projects, where at least those can be read.
    pub(crate) fn close_unread(document: &[u8], revision: u64, closings: &mut Closings) {
        let read: Unread = serde_json::from_slice(document).unwrap_or_default();
        let name = read.name.as_deref().map_or(Ok("?".into()), label);
        let closing = Closing::unreadable(name.unwrap_or_else(|_| "?".into()));
        let projects = read.projects.unwrap_or_default();
        let projects: Result<Vec<ProjectId>, _> =
            projects.iter().map(|text| text.parse()).collect();
        closings.add(revision, closing, &with_own(&projects.unwrap_or_default()));
    }

    pub(crate) fn dump(&self) -> Value {
        let texts = |places: &Option<Vec<PolicyPlace>>| {
            let places = places.as_ref()?;
            Some(places.iter().map(text).collect::<Vec<_>>())
        };
        json!({
            "uid": self.id.to_string(),
            "revision": self.revision,
            "name": &*self.name,
            "projects": self.projects.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "deny": texts(&self.deny),
            "only": texts(&self.only),
            "ports": self.ports,
        })
    }
}

/// What of a document is looked at when it cannot be put in force.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Unread {
    name: Option<String>,
    projects: Option<Vec<String>>,
}

/// What projects tell of themselves is sent under ids of its own, and goes nowhere else than they
/// may.
fn with_own(projects: &[ProjectId]) -> Vec<ProjectId> {
    let both = |id: &ProjectId| [*id, MetaEvents::project_of(*id)];
    projects.iter().flat_map(both).collect()
}

fn text(place: &PolicyPlace) -> String {
    match place {
        PolicyPlace::Range(range) => range.to_string(),
        PolicyPlace::Name(name) => name.to_string(),
    }
}

#[cfg(test)]
mod tests;
