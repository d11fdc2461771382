//! Payloads kept in memory between accept and delivery, within a budget of bytes.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrider_store::StoredEvent;

/// Bytes of an event beyond its body and headers: the structs around them, roughly.
const OVERHEAD_BYTES: usize = 512;
/// Bytes of a header beyond its name and value.
const HEADER_OVERHEAD_BYTES: usize = 96;

/// Counts the bytes of events held for delivery. Beyond the budget events are not held;
/// their deliveries read them back from the log.
#[derive(Debug)]
pub struct PayloadCache {
    used: AtomicUsize,
    bytes_max: usize,
}

impl PayloadCache {
    /// A cache of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            bytes_max,
        })
    }

    /// Holds an event while any clone of the answer lives; `None` when the budget is used up.
    #[must_use]
    pub fn hold(cache: &Arc<Self>, event: &Arc<StoredEvent>) -> Option<Arc<CachedEvent>> {
        let headers = event.facts.headers.iter();
        let header_bytes: usize = headers
            .map(|(name, value)| HEADER_OVERHEAD_BYTES + name.as_str().len() + value.len())
            .sum();
        let bytes = OVERHEAD_BYTES + event.facts.body.len() + header_bytes;
        let before = cache.used.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > cache.bytes_max {
            cache.used.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        Some(Arc::new(CachedEvent {
            event: Arc::clone(event),
            bytes,
            cache: Arc::clone(cache),
        }))
    }

    /// Bytes held now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// An event in memory; gives its bytes back to the budget when dropped.
#[derive(Debug)]
pub struct CachedEvent {
    event: Arc<StoredEvent>,
    bytes: usize,
    cache: Arc<PayloadCache>,
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
    }
}
