//! What the configuration says of where a delivery leaves from.

use std::sync::Arc;

use outrider_config::Snapshot;
use outrider_config::snapshot::{EgressPool, Endpoint, PoolChoice, ProjectTable};

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
            PoolChoice::Named(pool) => Self::Pool {
                fallback: snapshot.fallback_of(table, &pool).cloned(),
                pool,
                caller: Caller {
                    project: table.project().id().uid(),
                    endpoint: endpoint.map(|endpoint| endpoint.id().uid()),
                },
            },
        }
    }
}
