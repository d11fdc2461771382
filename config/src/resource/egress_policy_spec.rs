//! What people write of a policy that closes destinations, and how its settings are checked.

use outrider_webhook::address::PolicyPlace;
use outrider_webhook::id::ProjectId;
use serde::{Deserialize, Serialize};

use super::check::{Checks, Reason};

/// Most entries of one list.
pub(super) const ENTRIES_MAX: usize = 1_000;

/// What people write of a policy that closes destinations. It is the installation's, not a
/// project's, and can only close: what it does not close is for the bootstrap to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressPolicySpec {
    /// Required, unique: 1 to 63 of `a-z`, `0-9` and `-`.
    pub name: Option<String>,
    /// Uids of the projects that it is for, up to 1,000; all when absent. In a file, their names
    /// too.
    pub projects: Option<Vec<String>>,
    /// What may not be called, up to 1,000: ranges like `192.0.2.0/24`, and names like
    /// `example.com`, which stand for all below them as well.
    pub deny: Option<Vec<String>>,
    /// The same kinds: nothing else may be called. A name is enough whatever its addresses are;
    /// without one all addresses must be in the ranges.
    pub only: Option<Vec<String>>,
    /// The only ports that may be called, up to 1,000, each 1 to 65535.
    pub ports: Option<Vec<u64>>,
}

impl EgressPolicySpec {
    /// Sorted; none for all.
    pub(super) fn projects(&self, checks: &mut Checks) -> Vec<ProjectId> {
        let parse = |text: &String| {
            text.parse()
                .map_err(|_| Reason::Shape("the uid of a project"))
        };
        let projects = entries(
            checks,
            ("projects", "projects"),
            self.projects.as_deref(),
            parse,
        );
        let mut projects = projects.unwrap_or_default();
        projects.sort_unstable();
        projects.dedup();
        projects
    }

    pub(super) fn deny(&self, checks: &mut Checks) -> Option<Vec<PolicyPlace>> {
        entries(checks, ("deny", "entries"), self.deny.as_deref(), |text| {
            place(text)
        })
    }

    pub(super) fn only(&self, checks: &mut Checks) -> Option<Vec<PolicyPlace>> {
        entries(checks, ("only", "entries"), self.only.as_deref(), |text| {
            place(text)
        })
    }

    pub(super) fn ports(&self, checks: &mut Checks) -> Option<Vec<u16>> {
        let port = |number: &u64| match u16::try_from(*number) {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(Reason::OutOfRange {
                min: 1,
                max: 65_535,
                unit: "as a port",
            }),
        };
        entries(checks, ("ports", "ports"), self.ports.as_deref(), port)
    }
}

fn place(text: &str) -> Result<PolicyPlace, Reason> {
    let shape = "a range of addresses, like 192.0.2.0/24 or 2001:db8::/32, or a name, like example.com, \
                 which stands for all below it";
    PolicyPlace::parse(text).ok_or(Reason::Shape(shape))
}

/// The entries of a list; `None` when it is absent. One that is there and empty is refused: of a
/// list of what may be called it could be meant both ways.
fn entries<E, T>(
    checks: &mut Checks,
    (field, unit): (&'static str, &'static str),
    list: Option<&[E]>,
    read: impl Fn(&E) -> Result<T, Reason>,
) -> Option<Vec<T>> {
    let list = list?;
    if list.is_empty() {
        let says = "is empty: leave it out, or name something";
        checks.fail(field, Reason::Rule(says.to_owned()));
    }
    if list.len() > ENTRIES_MAX {
        let max = ENTRIES_MAX as u64;
        checks.fail(field, Reason::OutOfRange { min: 1, max, unit });
        return None;
    }
    let entry = |(at, one): (usize, &E)| checks.take(&format!("{field}[{at}]"), read(one));
    Some(list.iter().enumerate().filter_map(entry).collect())
}
