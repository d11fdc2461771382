//! Who asks, and for which project: proven by a password or a certificate, never by an address.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use outrider_config::snapshot::{MetaEvents, Snapshot};
use outrider_webhook::address::ProjectRef;
use outrider_webhook::id::{EndpointId, ProjectId, Uid};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::egress::Leave;

/// SHA-256 of a password. The passwords are long and random, so one round is enough.
pub type PasswordDigest = [u8; 32];

/// Somebody who may use the proxy.
#[derive(Debug, Clone)]
pub struct Identity {
    /// For logs, and the user of those with one project.
    pub name: Arc<str>,
    /// At most two, so that one can be changed while the other is in use.
    pub passwords: Vec<PasswordDigest>,
    /// A DNS name or URI of its certificate.
    pub certificate: Option<String>,
    /// Whom it may act for.
    pub projects: Reach,
}

/// For which projects an identity may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// For all that there are.
    All,
    /// For these.
    Some(Vec<ProjectId>),
}

impl Reach {
    fn covers(&self, project: ProjectId) -> bool {
        match self {
            Self::All => true,
            Self::Some(projects) => projects.contains(&project),
        }
    }

    fn only(&self) -> Option<ProjectId> {
        match self {
            Self::Some(projects) => match projects.as_slice() {
                [one] => Some(*one),
                _ => None,
            },
            Self::All => None,
        }
    }
}

/// All who may use the proxy; nobody in particular when it listens on loopback without any.
#[derive(Debug, Clone, Default)]
pub struct Identities(pub Vec<Identity>);

/// Whose connection it is, before a tenant is named.
#[derive(Debug, Clone)]
pub(super) enum Caller<'i> {
    /// There are no identities: whoever reaches loopback.
    Anybody,
    Known(&'i Identity),
}

/// Why nobody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Nothing was shown.
    Nothing,
    /// What was shown is wrong.
    Wrong,
}

/// What `Proxy-Authorization` says.
pub(super) enum Shown {
    /// It is not there.
    Nothing,
    /// It is not `Basic` with a user and a password.
    Garbled,
    Basic(Basic),
}

impl Shown {
    pub(super) fn read(value: Option<&[u8]>) -> Self {
        match value.map(Basic::parse) {
            None => Self::Nothing,
            Some(None) => Self::Garbled,
            Some(Some(basic)) => Self::Basic(basic),
        }
    }

    pub(super) fn user(&self) -> Option<&str> {
        match self {
            Self::Basic(basic) => Some(&basic.user),
            Self::Nothing | Self::Garbled => None,
        }
    }
}

/// A user and a password.
pub(super) struct Basic {
    user: String,
    digest: PasswordDigest,
}

impl Basic {
    fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (scheme, encoded) = text.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let plain = BASE64_STANDARD.decode(encoded.trim()).ok()?;
        let plain = String::from_utf8(plain).ok()?;
        let (user, password) = plain.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            digest: Sha256::digest(password.as_bytes()).into(),
        })
    }
}

impl Identities {
    /// Who it is. All passwords are compared, in a time that tells nothing.
    pub(super) fn find(&self, shown: &Shown, names: &[String]) -> Result<Caller<'_>, Unknown> {
        if self.0.is_empty() {
            return Ok(Caller::Anybody);
        }
        let of_certificate = self.0.iter().find(|identity| {
            let name = identity.certificate.as_ref();
            name.is_some_and(|name| names.contains(name))
        });
        if let Some(identity) = of_certificate {
            return Ok(Caller::Known(identity));
        }
        match shown {
            Shown::Nothing => Err(Unknown::Nothing),
            Shown::Garbled => Err(Unknown::Wrong),
            Shown::Basic(basic) => {
                let mut found = None;
                for identity in &self.0 {
                    if bool::from(identity.has(&basic.digest)) {
                        found = Some(identity);
                    }
                }
                found.map(Caller::Known).ok_or(Unknown::Wrong)
            }
        }
    }
}

impl Identity {
    fn has(&self, digest: &PasswordDigest) -> Choice {
        let passwords = self.passwords.iter();
        passwords.fold(Choice::from(0), |found, own| found | own.ct_eq(digest))
    }
}

/// For whom a connection is, and from where it leaves.
#[derive(Debug)]
pub(super) struct Tenant {
    /// Nobody's is all zeros.
    pub(super) project: ProjectId,
    name: String,
    /// The endpoint that is meant, where one is named.
    pub(super) endpoint: Option<EndpointId>,
    pub(super) leave: Leave,
}

/// Whom a client names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Named<'a> {
    /// `x-outrider-tenant`, which comes before the user: a project by its uid, or `project.pool`.
    pub(super) header: Option<&'a str>,
    /// The user of its credentials.
    pub(super) user: Option<&'a str>,
    /// `x-outrider-endpoint`: an endpoint of the project by its uid, which may have another pool.
    pub(super) endpoint: Option<&'a str>,
}

impl Tenant {
    pub(super) fn project(&self) -> ProjectRef<'_> {
        ProjectRef {
            id: self.project,
            name: &self.name,
        }
    }
}

impl Caller<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Anybody => "-",
            Self::Known(identity) => &identity.name,
        }
    }

    /// The project that is meant, and the pool it leaves from.
    ///
    /// # Errors
    /// The reason of the denial.
    pub(super) fn tenant(
        &self,
        named: Named<'_>,
        snapshot: &Snapshot,
    ) -> Result<Tenant, &'static str> {
        let own_name = |user: &&str| user.is_empty() || *user == self.name();
        let text = named
            .header
            .or_else(|| named.user.filter(|user| !own_name(user)));
        let (project, pool) = match (text, self) {
            (Some(text), _) => {
                let (project, pool) = match text.split_once('.') {
                    Some((project, pool)) => (project, Some(pool)),
                    None => (text, None),
                };
                let uid: Uid = project.parse().map_err(|_| UNKNOWN)?;
                (ProjectId::new(uid), pool)
            }
            (None, Self::Anybody) => return Ok(Tenant::nobody(snapshot)),
            (None, Self::Known(identity)) => {
                (identity.projects.only().ok_or("tenant_required")?, None)
            }
        };
        // Meta events of a project are its own, and leave as it does.
        let table = snapshot.project_of_delivery(project).ok_or(UNKNOWN);
        let home = match &table {
            Ok(table) if table.project().is_own() => MetaEvents::home_of(project),
            _ => project,
        };
        if matches!(self, Self::Known(identity) if !identity.projects.covers(home)) {
            return Err("tenant_not_allowed");
        }
        let table = table?;
        let endpoint = match named.endpoint {
            None => None,
            Some(uid) => {
                let uid: Uid = uid.parse().map_err(|_| UNKNOWN_ENDPOINT)?;
                let found = snapshot.endpoint_of_delivery(table, EndpointId::new(uid));
                Some(&**found.ok_or(UNKNOWN_ENDPOINT)?)
            }
        };
        let leave = match pool {
            None => Leave::of(snapshot, table, endpoint),
            Some(pool) => {
                let named = Leave::named(snapshot, table, (pool, endpoint));
                named.map_err(|_| "unknown_pool")?
            }
        };
        Ok(Tenant {
            project,
            name: table.project().name().to_owned(),
            endpoint: endpoint.map(|endpoint| endpoint.id()),
            leave,
        })
    }
}

const UNKNOWN_ENDPOINT: &str = "unknown_endpoint";
const UNKNOWN: &str = "unknown_tenant";

impl Tenant {
    fn nobody(snapshot: &Snapshot) -> Self {
        Self {
            project: ProjectId::new(Uid::from_bits(0)),
            name: String::new(),
            endpoint: None,
            leave: Leave::of_nobody(snapshot),
        }
    }
}
