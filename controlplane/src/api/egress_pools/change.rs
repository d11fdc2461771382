//! Changing a pool: only what is given changes.

use outrider_config::resource::EgressPoolSpec;

use super::super::endpoints::keep;

/// The pool with what is given of it. Addresses and projects are given as a whole; an empty
/// fallback and region, and a `max_connections` of 0, take them away.
pub(super) fn merged(old: EgressPoolSpec, mut given: EgressPoolSpec) -> EgressPoolSpec {
    let becomes_shared = given.mode.as_deref() == Some("shared");
    if !becomes_shared {
        keep(&mut given.projects, old.projects); // a shared one is for all
    }
    keep(&mut given.name, old.name);
    keep(&mut given.mode, old.mode);
    keep(&mut given.selection, old.selection);
    keep(&mut given.addresses, old.addresses);
    keep(&mut given.fallback, old.fallback);
    keep(&mut given.max_connections, old.max_connections);
    keep(&mut given.region, old.region);
    given
}
