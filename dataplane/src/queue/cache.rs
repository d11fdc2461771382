//! Payloads kept in memory between accept and delivery, within a budget of bytes.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use outrider_store::StoredEvent;
use outrider_webhook::event::Target;
use outrider_webhook::id::ProjectId;

use super::Entry;

/// Bytes of an event beyond its body, headers and targets: the structs around them, roughly.
const OVERHEAD_BYTES: usize = 512;
/// Bytes of a header beyond its name and value.
const HEADER_OVERHEAD_BYTES: usize = 96;
/// With so many projects those are dropped that have nothing in memory.
const SWEEP_MIN: usize = 1_024;

/// Counts the bytes of events held for delivery. Beyond the budget events are not held; their
/// deliveries read them back from the log. A project has at most as much as is free, so that
/// there is always room for another one: alone it gets half, two get a third each.
#[derive(Debug)]
pub struct PayloadCache {
    used: AtomicUsize,
    projects: Mutex<Projects>,
    bytes_max: usize,
}

/// Bytes by project.
#[derive(Debug)]
struct Projects {
    used: HashMap<ProjectId, Arc<AtomicUsize>>,
    sweep_at: usize,
}

impl Projects {
    fn of(&mut self, project: ProjectId) -> Arc<AtomicUsize> {
        if self.used.len() >= self.sweep_at {
            self.used.retain(|_, used| Arc::strong_count(used) > 1);
            self.sweep_at = SWEEP_MIN.max(self.used.len() * 2);
        }
        Arc::clone(self.used.entry(project).or_default())
    }
}

impl PayloadCache {
    /// A cache of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        let projects = Projects {
            used: HashMap::new(),
            sweep_at: SWEEP_MIN,
        };
        Arc::new(Self {
            used: AtomicUsize::new(0),
            projects: Mutex::new(projects),
            bytes_max,
        })
    }

    /// Holds an event while any clone of the answer lives; `None` when the budget is used up, or
    /// its project has its share of it.
    #[must_use]
    pub fn hold(cache: &Arc<Self>, event: &Arc<StoredEvent>) -> Option<Arc<CachedEvent>> {
        let bytes = size(event);
        let projects = cache.projects.lock();
        let mut projects = projects.unwrap_or_else(PoisonError::into_inner); // counts alone
        let project = projects.of(event.facts.project);
        let (used, own) = (cache.used(), project.load(Ordering::Relaxed));
        if own + bytes > cache.bytes_max.saturating_sub(used) {
            return None;
        }
        cache.used.fetch_add(bytes, Ordering::Relaxed);
        project.fetch_add(bytes, Ordering::Relaxed);
        Some(Arc::new(CachedEvent {
            event: Arc::clone(event),
            bytes,
            cache: Arc::clone(cache),
            project,
        }))
    }

    /// Bytes held now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// Bytes that an event takes in memory, about.
fn size(event: &StoredEvent) -> usize {
    let headers = event.facts.headers.iter();
    let header_bytes: usize = headers
        .map(|(name, value)| HEADER_OVERHEAD_BYTES + name.as_str().len() + value.len())
        .sum();
    // Its deliveries wait unpacked as long as it is here.
    let each_bytes = size_of::<Target>() + size_of::<Entry>();
    let target_bytes = event.targets.len() * each_bytes;
    OVERHEAD_BYTES + event.facts.body.len() + header_bytes + target_bytes
}

/// An event in memory; gives its bytes back to the budget when dropped.
#[derive(Debug)]
pub struct CachedEvent {
    event: Arc<StoredEvent>,
    bytes: usize,
    cache: Arc<PayloadCache>,
    /// Bytes of its project.
    project: Arc<AtomicUsize>,
}

impl Deref for CachedEvent {
    type Target = Arc<StoredEvent>;
    fn deref(&self) -> &Arc<StoredEvent> {
        &self.event
    }
}

impl Drop for CachedEvent {
    fn drop(&mut self) {
        self.cache.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.project.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::stored;
    use super::*;

    fn held(cache: &Arc<PayloadCache>, project: u128, targets: usize) -> Vec<Arc<CachedEvent>> {
        let event = Arc::new(stored(project, 1, targets));
        std::iter::from_fn(|| PayloadCache::hold(cache, &event)).collect()
    }

    #[test]
    fn a_project_leaves_as_much_as_it_takes_and_gives_it_back() {
        let each = size(&stored(1, 1, 0));
        let cache = PayloadCache::new(each * 120);
        let one = held(&cache, 1, 0);
        assert_eq!(one.len(), 60);
        let two = held(&cache, 2, 0);
        assert_eq!((two.len(), held(&cache, 3, 0).len()), (30, 15));
        assert_eq!(held(&cache, 1, 0).len(), 0);
        drop(one);
        assert_eq!(cache.used(), each * 30);
        assert_eq!(held(&cache, 1, 0).len(), 45);
        drop(two);
        assert_eq!(cache.used(), 0);
    }

    #[test]
    fn what_an_event_is_for_takes_memory_too() {
        let cache = PayloadCache::new(1 << 20);
        assert!(held(&cache, 1, 1_000).len() < 10 && held(&cache, 1, 0).len() > 100);
    }

    #[test]
    fn projects_without_events_in_memory_are_forgotten() {
        let cache = PayloadCache::new(1 << 30);
        let kept = PayloadCache::hold(&cache, &Arc::new(stored(1, 1, 0)));
        for project in 2..5_000 {
            drop(PayloadCache::hold(&cache, &Arc::new(stored(project, 1, 0))));
        }
        let projects = cache.projects.lock().unwrap();
        assert!(projects.used.len() <= SWEEP_MIN && kept.is_some());
        assert!(
            projects
                .used
                .contains_key(&ProjectId::new(outrider_webhook::id::Uid::from_bits(1)))
        );
    }
}
