//! Policies that only close: they come with the configuration, beside the policy of the bootstrap
//! (RULINGS 31), and are asked after it has admitted a destination. None of them can open anything.
//!
//! Compiled when they are put in force: a check allocates nothing and looks at those alone that
//! are for the project.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::ranges::{self, Embedded};
use super::{AddressSet, Denied, Host, Policy, ProjectRef, TargetUrl};
use crate::id::ProjectId;

#[cfg(test)]
mod tests;

/// Longest text of a name, bytes: one of 253 bytes in its A-labels is shorter in any other form
/// that somebody writes.
const NAME_TEXT_BYTES_MAX: usize = 1_024;

/// What a policy names: addresses, or a name with all below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PolicyPlace {
    /// `192.0.2.0/24`, or one address.
    Range(IpNet),
    /// `example.com` or `.example.com`, which mean the same: lower case, A-labels.
    Name(Box<str>),
}

impl PolicyPlace {
    /// Reads a place; `None` for what is neither addresses nor a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let range = text.parse::<IpNet>().map(|net| net.trunc());
        if let Ok(range) = range.or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            return Some(Self::Range(range));
        }
        if text.len() > NAME_TEXT_BYTES_MAX {
            return None;
        }
        match Host::parse(text.strip_prefix('.').unwrap_or(text)) {
            Ok(Host::Name(name)) => Some(Self::Name(name)),
            Ok(Host::Ip(_)) | Err(_) => None,
        }
    }
}

/// Places made ready: addresses by halving, names by their labels.
#[derive(Debug, Clone, Default)]
struct Places {
    addresses: AddressSet,
    names: HashSet<Box<str>>,
}

impl Places {
    fn new(places: &[PolicyPlace]) -> Self {
        let range = |place: &PolicyPlace| match place {
            PolicyPlace::Range(range) => Some(*range),
            PolicyPlace::Name(_) => None,
        };
        let name = |place: &PolicyPlace| match place {
            PolicyPlace::Range(_) => None,
            PolicyPlace::Name(name) => Some(name.clone()),
        };
        Self {
            addresses: places.iter().filter_map(range).collect(),
            names: places.iter().filter_map(name).collect(),
        }
    }

    /// Whether the name, or one that it is below, is named.
    fn has_name(&self, name: &str) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let mut rest = Some(name);
        while let Some(suffix) = rest {
            if self.names.contains(suffix) {
                return true;
            }
            rest = suffix.split_once('.').map(|(_, below)| below);
        }
        false
    }
}

/// One policy.
#[derive(Debug, Clone)]
pub struct Closing {
    name: Arc<str>,
    rules: Rules,
}

#[derive(Debug, Clone)]
enum Rules {
    Known {
        deny: Places,
        only: Option<Places>,
        /// Sorted.
        ports: Option<Box<[u16]>>,
    },
    /// What it says cannot be read, so it closes everything.
    Unreadable,
}

impl Closing {
    /// A policy of this name. Nothing that `deny` names may be called, with `only` nothing that it
    /// does not name, with `ports` no other one.
    #[must_use]
    pub fn new(
        name: Arc<str>,
        deny: &[PolicyPlace],
        only: Option<&[PolicyPlace]>,
        ports: Option<&[u16]>,
    ) -> Self {
        let ports = ports.map(|ports| {
            let mut ports = ports.to_vec();
            ports.sort_unstable();
            ports.into_boxed_slice()
        });
        let rules = Rules::Known {
            deny: Places::new(deny),
            only: only.map(Places::new),
            ports,
        };
        Self { name, rules }
    }

    /// One that is there, and of which this version cannot tell what it closes: everything is.
    #[must_use]
    pub const fn unreadable(name: Arc<str>) -> Self {
        let rules = Rules::Unreadable;
        Self { name, rules }
    }

    /// What the target itself says: port, name, literal address.
    fn check_place(&self, host: &Host, port: u16) -> Result<(), Denied> {
        let Rules::Known { deny, only, ports } = &self.rules else {
            return Err(Denied::PolicyUnreadable(Arc::clone(&self.name)));
        };
        if let Some(ports) = ports
            && ports.binary_search(&port).is_err()
        {
            let policy = Arc::clone(&self.name);
            return Err(Denied::PolicyPort { policy, port });
        }
        let name = match host {
            Host::Name(name) => name,
            Host::Ip(ip) => return self.check_answers(host, &[*ip]),
        };
        if deny.has_name(name) {
            return Err(self.closed(name));
        }
        match only {
            // Whatever its addresses are, they cannot be listed.
            Some(only) if only.addresses.is_empty() && !only.has_name(name) => {
                Err(self.not_listed(name))
            }
            _ => Ok(()),
        }
    }

    /// All answers for the host; one bad answer refuses all.
    fn check_answers(&self, host: &Host, answers: &[IpAddr]) -> Result<(), Denied> {
        let Rules::Known { deny, only, .. } = &self.rules else {
            return Err(Denied::PolicyUnreadable(Arc::clone(&self.name)));
        };
        // What an address leads to is closed as if it had been named itself.
        let leads_to = |ip: IpAddr| {
            deny.addresses.contains(ip)
                || matches!(ranges::embedded(ip, 128), Embedded::V4(inner) if deny.addresses.contains(inner))
        };
        if let Some(ip) = answers.iter().find(|ip| leads_to(**ip)) {
            return Err(self.closed(ip));
        }
        let Some(only) = only else { return Ok(()) };
        if matches!(host, Host::Name(name) if only.has_name(name)) {
            return Ok(());
        }
        match answers.iter().find(|ip| !only.addresses.contains(**ip)) {
            Some(ip) => Err(self.not_listed(ip)),
            None => Ok(()),
        }
    }

    fn closed(&self, what: impl ToString) -> Denied {
        Denied::PolicyDenied {
            policy: Arc::clone(&self.name),
            what: what.to_string().into(),
        }
    }

    fn not_listed(&self, what: impl ToString) -> Denied {
        Denied::PolicyNotListed {
            policy: Arc::clone(&self.name),
            what: what.to_string().into(),
        }
    }
}

/// All policies in force. Each that is for a project must admit what it calls.
#[derive(Debug, Clone, Default)]
pub struct Closings {
    revision: u64,
    for_all: Vec<Arc<Closing>>,
    by_project: HashMap<ProjectId, Vec<Arc<Closing>>>,
}

impl Closings {
    /// Adds a policy that the revision wrote: for these projects, or for all when there are none.
    pub fn add(&mut self, revision: u64, closing: Closing, projects: &[ProjectId]) {
        self.revision = self.revision.max(revision);
        let closing = Arc::new(closing);
        if projects.is_empty() {
            self.for_all.push(closing);
            return;
        }
        for project in projects {
            let own = self.by_project.entry(*project).or_default();
            own.push(Arc::clone(&closing));
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.for_all.is_empty() && self.by_project.is_empty()
    }

    /// The newest revision that wrote one of them; 0 without any.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Judges what the target itself says: port, name, literal address.
    ///
    /// # Errors
    /// The first policy that does not admit it.
    pub fn check_place(&self, project: ProjectId, host: &Host, port: u16) -> Result<(), Denied> {
        let mut own = self.of(project);
        own.try_for_each(|closing| closing.check_place(host, port))
    }

    /// Judges every answer for a host that passed [`Closings::check_place`].
    ///
    /// # Errors
    /// The first policy that does not admit one of them.
    pub fn check_answers(
        &self,
        project: ProjectId,
        host: &Host,
        answers: &[IpAddr],
    ) -> Result<(), Denied> {
        let mut own = self.of(project);
        own.try_for_each(|closing| closing.check_answers(host, answers))
    }

    fn of(&self, project: ProjectId) -> impl Iterator<Item = &Arc<Closing>> {
        let own = self.by_project.get(&project).into_iter().flatten();
        self.for_all.iter().chain(own)
    }
}

/// The whole address policy: that of the bootstrap, and after it what closes more. Whoever asks
/// whether something may be called asks here: where an endpoint is saved, in a delivery, in the
/// forward proxy, and for what the gateway fetches itself.
#[derive(Debug, Clone, Copy)]
pub struct Guard<'a> {
    /// Of the bootstrap.
    pub policy: &'a Policy,
    /// Of the configuration.
    pub closings: &'a Closings,
}

impl Guard<'_> {
    /// Judges what the URL itself says: port, name, literal address.
    ///
    /// # Errors
    /// The reason it is refused.
    pub fn check_target(&self, project: &ProjectRef<'_>, target: &TargetUrl) -> Result<(), Denied> {
        self.check_place(project, target.host(), target.port())
    }

    /// As [`Guard::check_target`], by host and port.
    ///
    /// # Errors
    /// The reason it is refused.
    pub fn check_place(
        &self,
        project: &ProjectRef<'_>,
        host: &Host,
        port: u16,
    ) -> Result<(), Denied> {
        self.policy.check_place(project, host, port)?;
        self.closings.check_place(project.id, host, port)
    }

    /// Judges every answer for a host that passed [`Guard::check_place`]; one bad answer refuses
    /// all. Gives the addresses that may be connected to at this port, IPv4 in IPv6 clothes
    /// undressed.
    ///
    /// # Errors
    /// The reason it is refused.
    pub fn check_answers(
        &self,
        project: &ProjectRef<'_>,
        (host, port): (&Host, u16),
        answers: &[IpAddr],
    ) -> Result<Vec<IpAddr>, Denied> {
        let addresses = self.policy.check_answers(project, port, answers)?;
        self.closings.check_answers(project.id, host, &addresses)?;
        Ok(addresses)
    }
}
