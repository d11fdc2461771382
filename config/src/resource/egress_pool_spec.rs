//! What people write of a pool of source addresses, and how its settings are checked.

use std::net::IpAddr;
use std::sync::Arc;

use outrider_webhook::id::ProjectId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::check::{Checks, Range, Reason};
use super::egress_pool::{AddressState, PoolAddress, PoolMode, PoolSelection};
use super::field::{NOTE_BYTES_MAX, given};

/// What the route of the host is published as (RULINGS 31), so no pool has the name.
pub const HOST_ROUTE: &str = "dynamic";
/// The pool of whoever names none.
pub const DEFAULT_POOL: &str = "default";
/// Longest name, bytes: that of a label in the names of hosts.
const NAME_BYTES_MAX: usize = 63;
/// Most addresses of one pool.
const ADDRESSES_MAX: u64 = 256;
/// Most projects that one dedicated pool is for.
const PROJECTS_MAX: u64 = 1_000;
const CONNECTIONS: Range = Range {
    min: 1,
    max: 1_000_000,
    unit: "connections",
};

/// What people write of a pool of source addresses. It is the installation's, not a project's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressPoolSpec {
    /// Required, unique: 1 to 63 of `a-z`, `0-9` and `-`. Who names no pool gets `default`.
    pub name: Option<String>,
    /// `shared` (default): for all projects. `dedicated`: for those in `projects`.
    pub mode: Option<String>,
    /// `least_connections` (default), or `sticky`: an endpoint keeps its address.
    pub selection: Option<String>,
    /// 1 to 256; none of them in another pool.
    pub addresses: Option<Vec<PoolAddressSpec>>,
    /// The pool to use while no address of this one can be used; none by default.
    pub fallback: Option<String>,
    /// Connections that are open at once over all its addresses, 1 to 1,000,000; any number when
    /// absent.
    pub max_connections: Option<u64>,
    /// Shown to people only, at most 255 bytes.
    pub region: Option<String>,
    /// Uids of the projects that may use a dedicated pool; required there, absent elsewhere. In
    /// a file, their names too.
    pub projects: Option<Vec<String>>,
    /// When it was last changed, RFC 3339. Noted by the journal, for those who read the list.
    pub updated_at: Option<String>,
}

/// One address of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolAddressSpec {
    /// Required; IPv4 or IPv6.
    pub address: Option<String>,
    /// `active` (default), `warming`, `draining`, `down` or `retired`.
    pub state: Option<String>,
    /// Since when, or from when on, it is used, RFC 3339: published, changes nothing.
    pub effective_at: Option<String>,
    /// Since when, or from when on, it is not used any more, RFC 3339: published, changes nothing.
    /// Required of a retired one, which stays published 30 days longer.
    pub retired_at: Option<String>,
}

impl EgressPoolSpec {
    /// Notes when it was changed: now, unless it is the same as before.
    pub fn follow(&mut self, before: Option<&Self>, now_ms: i64) {
        self.updated_at = before.and_then(|before| before.updated_at.clone());
        if before.is_none_or(|before| self != before) {
            self.updated_at = rfc3339(now_ms);
        }
    }

    pub(super) fn updated_at_ms(&self, checks: &mut Checks) -> Option<i64> {
        let text = given(self.updated_at.as_deref())?;
        checks.take("updated_at", unix_ms(text))
    }

    pub(super) fn mode(&self, checks: &mut Checks) -> Option<PoolMode> {
        match given(self.mode.as_deref()) {
            None => Some(PoolMode::Shared),
            Some(word) => {
                let known = PoolMode::parse(word).ok_or(Reason::NotOneOf(PoolMode::WORDS));
                checks.take("mode", known)
            }
        }
    }

    pub(super) fn selection(&self, checks: &mut Checks) -> Option<PoolSelection> {
        match given(self.selection.as_deref()) {
            None => Some(PoolSelection::LeastConnections),
            Some(word) => {
                let known =
                    PoolSelection::parse(word).ok_or(Reason::NotOneOf(PoolSelection::WORDS));
                checks.take("selection", known)
            }
        }
    }

    pub(super) fn addresses(&self, checks: &mut Checks) -> Arc<[PoolAddress]> {
        let specs = self.addresses.as_deref().unwrap_or_default();
        if specs.is_empty() {
            checks.fail("addresses", Reason::Missing);
        }
        if specs.len() as u64 > ADDRESSES_MAX {
            checks.fail("addresses", many(ADDRESSES_MAX, "addresses"));
            return Arc::default();
        }
        let mut addresses: Vec<PoolAddress> = Vec::with_capacity(specs.len());
        for (at, spec) in specs.iter().enumerate() {
            let Some(address) = spec.compile(&format!("addresses[{at}]"), checks) else {
                continue;
            };
            if addresses.iter().any(|one| one.address == address.address) {
                let says = format!("{} stands in this pool already", address.address);
                checks.fail(format!("addresses[{at}].address"), Reason::Rule(says));
            }
            addresses.push(address);
        }
        addresses.into()
    }

    pub(super) fn max_connections(&self, checks: &mut Checks) -> Option<u32> {
        let count = self.max_connections.filter(|count| *count != 0)?;
        u32::try_from(checks.number("max_connections", Some(count), count, CONNECTIONS)).ok()
    }

    pub(super) fn region(&self, checks: &mut Checks) -> Option<Box<str>> {
        let region = given(self.region.as_deref())?;
        let fits = region.len() <= NOTE_BYTES_MAX && !region.contains(char::is_control);
        let shape = "1 to 255 bytes without control characters";
        checks.take(
            "region",
            fits.then(|| region.into()).ok_or(Reason::Shape(shape)),
        )
    }

    /// Sorted by their ids.
    pub(super) fn projects(&self, mode: Option<PoolMode>, checks: &mut Checks) -> Box<[ProjectId]> {
        let texts = self.projects.as_deref().unwrap_or_default();
        match mode {
            Some(PoolMode::Dedicated) if texts.is_empty() => {
                checks.fail("projects", Reason::Missing);
            }
            Some(PoolMode::Shared) if !texts.is_empty() => {
                let says = "a shared pool is for all projects: name none, or say `mode: dedicated`";
                checks.fail("projects", Reason::Rule(says.to_owned()));
            }
            _ => {}
        }
        if texts.len() as u64 > PROJECTS_MAX {
            checks.fail("projects", many(PROJECTS_MAX, "projects"));
            return Box::default();
        }
        let mut projects: Vec<ProjectId> = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let field = format!("projects[{at}]");
            let uid = text
                .parse()
                .map_err(|_| Reason::Shape("the uid of a project"));
            let Some(project) = checks.take(&field, uid) else {
                continue;
            };
            if projects.contains(&project) {
                checks.fail(field, Reason::Rule("is named already".to_owned()));
            }
            projects.push(project);
        }
        projects.sort_unstable();
        projects.into()
    }
}

impl PoolAddressSpec {
    fn compile(&self, place: &str, checks: &mut Checks) -> Option<PoolAddress> {
        let before = checks.len();
        let field = |name: &str| format!("{place}.{name}");
        let text = checks.require(&field("address"), given(self.address.as_deref()));
        let address = text.and_then(|text| checks.take(&field("address"), source_address(text)));
        let state = match given(self.state.as_deref()) {
            None => Some(AddressState::Active),
            Some(word) => {
                let known = AddressState::parse(word).ok_or(Reason::NotOneOf(AddressState::WORDS));
                checks.take(&field("state"), known)
            }
        };
        let mut time = |name: &str, text: Option<&str>| {
            let text = given(text)?;
            checks.take(&field(name), unix_ms(text))
        };
        let effective_at_ms = time("effective_at", self.effective_at.as_deref());
        let retired_at_ms = time("retired_at", self.retired_at.as_deref());
        if state == Some(AddressState::Retired) && given(self.retired_at.as_deref()).is_none() {
            let says =
                "is missing: a retired address says since when, and is published 30 days longer";
            checks.fail(field("retired_at"), Reason::Rule(says.to_owned()));
        }
        if let (Some(from), Some(until)) = (effective_at_ms, retired_at_ms)
            && until <= from
        {
            checks.fail(
                field("retired_at"),
                Reason::Rule("must be later than `effective_at`".to_owned()),
            );
        }
        let address = PoolAddress {
            address: address?,
            state: state?,
            effective_at_ms,
            retired_at_ms,
        };
        (checks.len() == before).then_some(address)
    }
}

/// The name of a pool, its own or one that refers to it. `None` for absent and empty texts.
pub(super) fn pool_name(checks: &mut Checks, field: &str, name: Option<&str>) -> Option<Arc<str>> {
    let name = given(name)?;
    let checked = match name {
        HOST_ROUTE => Err(Reason::Rule(
            "cannot be `dynamic`, which is what the route of the host is published as".to_owned(),
        )),
        name => label(name),
    };
    checks.take(field, checked)
}

/// A name that the operator gives to what is the installation's.
pub(super) fn label(name: &str) -> Result<Arc<str>, Reason> {
    let is_of_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_of_label) {
        true => Ok(name.into()),
        false => Err(Reason::Shape("1 to 63 of `a-z`, `0-9` and `-`")),
    }
}

/// Whether a text can be the name of a pool.
pub(crate) fn is_pool_name(text: &str) -> bool {
    pool_name(&mut Checks::default(), "name", Some(text)).is_some()
}

/// An address that connections may come from. Whether this host has it is for the data plane.
fn source_address(text: &str) -> Result<IpAddr, Reason> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| Reason::Shape("one IPv4 or IPv6 address, without port and prefix length"))?;
    let says = match address {
        _ if address.is_unspecified() => "is the unspecified address: name one that the host has",
        _ if address.is_multicast() => "is a multicast address: nothing is sent from one",
        IpAddr::V4(v4) if v4.is_broadcast() => "is the broadcast address: nothing is sent from it",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            "is an IPv4 address inside of an IPv6 address: write it as IPv4"
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            "is a link-local address, which leads nowhere without an interface"
        }
        _ => return Ok(address),
    };
    Err(Reason::Rule(says.to_owned()))
}

/// RFC 3339 to Unix milliseconds.
fn unix_ms(text: &str) -> Result<i64, Reason> {
    let shape = Reason::Shape("a time like 2026-01-31T12:00:00Z");
    let parsed = match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(at) if text.len() <= NOTE_BYTES_MAX => at,
        _ => return Err(shape),
    };
    let ms = i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1_000_000)).ok();
    // At the ends of the calendar an offset leads out of it, and no reply could show the time.
    match ms.filter(|ms| rfc3339(*ms).is_some()) {
        Some(ms) => Ok(ms),
        None => Err(shape),
    }
}

/// Unix milliseconds as RFC 3339; `None` outside of the calendar.
pub(crate) fn rfc3339(unix_ms: i64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).ok()?;
    at.format(&Rfc3339).ok()
}

const fn many(max: u64, unit: &'static str) -> Reason {
    Reason::OutOfRange { min: 1, max, unit }
}
