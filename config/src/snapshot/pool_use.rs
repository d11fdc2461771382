//! Which pools of source addresses the endpoints of a project name, and how many each.

use std::sync::Arc;

use crate::resource::Endpoint;

/// Counts of names: a pool's users are found without a look at a million endpoints.
#[derive(Clone, Default)]
pub(super) struct PoolUse {
    by_name: imbl::OrdMap<Arc<str>, usize>,
}

impl PoolUse {
    pub(super) fn replace(&mut self, old: Option<&Endpoint>, new: Option<&Endpoint>) {
        let [old, new] = [old, new].map(|one| one.and_then(Endpoint::egress_pool));
        if old == new {
            return;
        }
        if let Some(name) = old {
            let is_last = self.by_name.get_mut(name).is_some_and(|count| {
                *count = count.saturating_sub(1);
                *count == 0
            });
            if is_last {
                self.by_name.remove(name);
            }
        }
        if let Some(name) = new {
            *self.by_name.entry(Arc::clone(name)).or_default() += 1;
        }
    }

    /// Whether any endpoint names this pool.
    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The pools that endpoints name, in the order of their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }
}
