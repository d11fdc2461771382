//! What the configuration says of where a delivery leaves from.

use std::net::IpAddr;
use std::sync::Arc;

use outrider_config::Snapshot;
use outrider_config::snapshot::{
    EgressPool, Endpoint, MetaEvents, NoPool, PoolChoice, ProjectTable,
};
use outrider_webhook::id::Uid;

use super::choice::Caller;

/// Where a request leaves from.
#[derive(Debug, Clone, Default)]
pub enum Leave {
    /// Wherever the host's route puts it.
    #[default]
    HostRoute,
    /// An address of this pool.
    Pool {
        /// The pool.
        pool: Arc<EgressPool>,
        /// The one to use while no address of it is up.
        fallback: Option<Arc<EgressPool>>,
        /// Who leaves.
        caller: Caller,
        /// Nothing but this address of the pool, whatever its state, on a connection of its own:
        /// to try it out.
        only: Option<IpAddr>,
    },
    /// From nowhere for now: the pool it is meant to leave from is not known here.
    Missing(Arc<str>),
}

impl Leave {
    /// What a snapshot says of an endpoint, or of a project's other requests.
    #[must_use]
    pub fn of(snapshot: &Snapshot, table: &ProjectTable, endpoint: Option<&Endpoint>) -> Self {
        match snapshot.pool_of(table, endpoint) {
            PoolChoice::HostRoute => Self::HostRoute,
            PoolChoice::Missing(name) => Self::Missing(name),
            PoolChoice::Named(pool) => Self::from_pool(snapshot, table, (pool, endpoint)),
        }
    }

    /// From the pool of this name, whatever the configuration says of the project and endpoint.
    ///
    /// # Errors
    /// [`NoPool`]: there is none, or it is not for this project.
    pub(crate) fn named(
        snapshot: &Snapshot,
        table: &ProjectTable,
        (name, endpoint): (&str, Option<&Endpoint>),
    ) -> Result<Self, NoPool> {
        let name: Arc<str> = name.into();
        let project = table.project();
        let home = match project.is_own() {
            true => MetaEvents::home_of(project.id()),
            false => project.id(),
        };
        snapshot.check_pool_use(home, &name)?;
        let pool = snapshot.egress_pool(&name).cloned();
        Ok(match pool {
            Some(pool) => Self::from_pool(snapshot, table, (pool, endpoint)),
            None => Self::Missing(name),
        })
    }

    /// For who belongs to no project.
    pub(crate) fn of_nobody(snapshot: &Snapshot) -> Self {
        match snapshot.pool_of_nobody() {
            PoolChoice::HostRoute => Self::HostRoute,
            PoolChoice::Missing(name) => Self::Missing(name),
            PoolChoice::Named(pool) => Self::Pool {
                pool,
                fallback: None,
                caller: Caller {
                    project: Uid::from_bits(0),
                    endpoint: None,
                },
                only: None,
            },
        }
    }

    /// The pool that is meant; `None` for the host's route.
    pub(crate) fn pool(&self) -> Option<&Arc<str>> {
        match self {
            Self::HostRoute => None,
            Self::Pool { pool, .. } => Some(pool.name()),
            Self::Missing(name) => Some(name),
        }
    }

    /// The endpoint that leaves, where it is known.
    pub(crate) fn endpoint(&self) -> Option<Uid> {
        match self {
            Self::Pool { caller, .. } => caller.endpoint,
            Self::HostRoute | Self::Missing(_) => None,
        }
    }

    fn from_pool(
        snapshot: &Snapshot,
        table: &ProjectTable,
        (pool, endpoint): (Arc<EgressPool>, Option<&Endpoint>),
    ) -> Self {
        Self::Pool {
            fallback: snapshot.fallback_of(table, &pool).cloned(),
            pool,
            caller: Caller {
                project: table.project().id().uid(),
                endpoint: endpoint.map(|endpoint| endpoint.id().uid()),
            },
            only: None,
        }
    }
}
