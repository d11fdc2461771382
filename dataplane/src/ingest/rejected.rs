//! The newest requests that each source refused, for whoever asks why a provider does not get
//! through. In memory only, and bounded in count and bytes: an attacker writes them too.
//!
//! A sample never holds a credential: who reads it could send in the provider's name. Signatures
//! are shown, since they are what a person compares, and open nothing by themselves.

mod sample;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outrider_webhook::id::SourceId;
use serde_json::Value;

pub(crate) use self::sample::Sample;
pub(super) use self::sample::{Masks, Refused};

/// Samples kept of one source.
const SAMPLES_PER_SOURCE: usize = 20;
/// Samples kept of all sources.
const SAMPLES_MAX: usize = 10_000;
/// Bytes of all samples, about.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The samples. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Rejected {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    sources: HashMap<SourceId, VecDeque<(u64, Arc<Sample>)>>,
    /// All samples, oldest first; those that their source let go of are passed over.
    order: VecDeque<(u64, SourceId)>,
    last: u64,
    samples: usize,
    bytes: usize,
}

impl Rejected {
    /// Keeps a sample, and lets go of the oldest ones beyond the bounds.
    pub(super) fn keep(&self, source: SourceId, sample: Sample) {
        self.lock().keep(source, sample);
    }

    /// The samples of a source, newest first.
    pub(crate) fn of(&self, source: SourceId) -> Vec<Arc<Sample>> {
        let kept = self.lock();
        let samples = kept.sources.get(&source).into_iter().flatten().rev();
        samples.map(|(_, sample)| Arc::clone(sample)).collect()
    }

    /// The samples of a source as JSON, newest first; as many as `bytes_max` bytes hold, and how
    /// many were left out.
    pub(crate) fn shown(&self, source: SourceId, bytes_max: usize) -> Value {
        let all = self.of(source);
        let (mut shown, mut bytes) = (Vec::new(), 0);
        for sample in &all {
            let value = sample.to_json();
            bytes += value.to_string().len() + 1;
            if bytes > bytes_max {
                break;
            }
            shown.push(value);
        }
        let left_out = all.len() - shown.len();
        serde_json::json!({"rejected": shown, "left_out": left_out})
    }

    /// A poisoned lock guards what is still whole: samples come and go one at a time.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, source: SourceId, sample: Sample) {
        self.last += 1;
        self.samples += 1;
        self.bytes += sample.bytes();
        self.order.push_back((self.last, source));
        let samples = self.sources.entry(source).or_default();
        samples.push_back((self.last, Arc::new(sample)));
        if samples.len() > SAMPLES_PER_SOURCE
            && let Some((_, oldest)) = samples.remove(least_telling(samples))
        {
            self.samples -= 1;
            self.bytes -= oldest.bytes();
        }
        while self.samples > SAMPLES_MAX || self.bytes > BYTES_MAX {
            if self.drop_oldest().is_none() {
                return;
            }
        }
        // One source that is flooded leaves nothing but places of samples that are gone.
        if self.order.len() > 2 * SAMPLES_MAX {
            let sources = &self.sources;
            self.order
                .retain(|(number, source)| place(sources, *source, *number).is_some());
        }
    }

    /// `None` when there is no sample.
    fn drop_oldest(&mut self) -> Option<()> {
        loop {
            let (number, source) = self.order.pop_front()?;
            let Some(at) = place(&self.sources, source, number) else {
                continue; // its source has let go of it
            };
            let samples = self.sources.get_mut(&source)?;
            let (_, oldest) = samples.remove(at)?;
            self.samples -= 1;
            self.bytes -= oldest.bytes();
            if samples.is_empty() {
                self.sources.remove(&source);
            }
            return Some(());
        }
    }
}

/// Where the sample with this number is among those of its source.
fn place(
    sources: &HashMap<SourceId, VecDeque<(u64, Arc<Sample>)>>,
    source: SourceId,
    number: u64,
) -> Option<usize> {
    let samples = sources.get(&source)?;
    samples
        .binary_search_by_key(&number, |(number, _)| *number)
        .ok()
}

/// The oldest sample of the reason that has most: who is kept out by a rate limit a thousand
/// times a second must not hide the one request whose signature went wrong.
fn least_telling(samples: &VecDeque<(u64, Arc<Sample>)>) -> usize {
    let alike = |sample: &Sample| {
        let same = samples
            .iter()
            .filter(|(_, one)| one.reason() == sample.reason());
        same.count()
    };
    let most = samples.iter().map(|(_, sample)| alike(sample)).max();
    let of_most = |(_, sample): &(u64, Arc<Sample>)| Some(alike(sample)) == most;
    samples.iter().position(of_most).unwrap_or(0)
}

#[cfg(test)]
mod tests;
