//! When an alert is raised and when it is cleared. Pure: what was seen and the time come in.
//!
//! A rate that was too high has to fall to four fifths before its alert is cleared, so that one
//! that moves around its threshold is one alert and not hundreds.

use std::collections::VecDeque;

use outrider_config::snapshot::Thresholds;

/// What rates are counted over.
const MINUTE_MS: i64 = 60_000;

/// What is wrong with a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// No event for too long.
    Silent,
    /// Too many events.
    Spike,
    /// Too many refused requests.
    Rejected,
    /// No handshake for too long.
    Handshake,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Silent, Self::Spike, Self::Rejected, Self::Handshake];

    /// As it is shown, logged and counted.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Spike => "spike",
            Self::Rejected => "rejected",
            Self::Handshake => "handshake",
        }
    }
}

/// What was seen of a source up to now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) last_accepted_ms: Option<i64>,
    pub(super) last_handshake_ms: Option<i64>,
}

/// What is found of one kind: how much there is, and how much would be too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finding {
    /// Seconds, or requests in the last minute.
    pub(super) value: u64,
    pub(super) threshold: u64,
}

impl Finding {
    fn is_too_much(self) -> bool {
        self.value >= self.threshold
    }

    /// Whether it has come down far enough. For a time that is any fall: it starts over at 0.
    fn is_over(self) -> bool {
        self.value.saturating_mul(5) < self.threshold.saturating_mul(4)
    }
}

/// A change of one alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) is_raised: bool,
    pub(super) finding: Finding,
}

/// One source under watch.
#[derive(Debug)]
pub(super) struct Watch {
    /// What was not seen before this is not missed before its time.
    since_ms: i64,
    /// Counts at some moments of the last minute, oldest first, and the last one before it.
    counts: VecDeque<(i64, u64, u64)>,
    raised: [bool; Kind::ALL.len()],
}

impl Watch {
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            since_ms: now_ms,
            counts: VecDeque::new(),
            raised: [false; Kind::ALL.len()],
        }
    }

    /// Judges what was seen up to now; called about every second.
    pub(super) fn judge(&mut self, now_ms: i64, seen: Seen, limits: &Thresholds) -> Vec<Change> {
        self.count(now_ms, seen);
        let mut changes = Vec::new();
        for (kind, raised) in Kind::ALL.into_iter().zip(self.raised) {
            let found = self.find(kind, now_ms, seen, limits);
            let is_raised = match found {
                Some(finding) if raised => !finding.is_over(),
                Some(finding) => finding.is_too_much(),
                None => false,
            };
            if is_raised != raised {
                changes.push(Change {
                    kind,
                    is_raised,
                    finding: found.unwrap_or(Finding {
                        value: 0,
                        threshold: 0,
                    }),
                });
            }
        }
        for change in &changes {
            if let Some(raised) = self.raised.get_mut(change.kind as usize) {
                *raised = change.is_raised;
            }
        }
        changes
    }

    /// Keeps the counts of a minute. A clock that was set back starts the minute over.
    fn count(&mut self, now_ms: i64, seen: Seen) {
        if self
            .counts
            .back()
            .is_some_and(|(at_ms, ..)| *at_ms > now_ms)
        {
            self.counts.clear();
            self.since_ms = self.since_ms.min(now_ms);
        }
        if self.counts.is_empty() {
            // What was counted before the watch began is nobody's rate.
            self.counts
                .push_back((now_ms, seen.accepted, seen.rejected));
            return;
        }
        self.counts
            .push_back((now_ms, seen.accepted, seen.rejected));
        let begin_ms = now_ms - MINUTE_MS;
        while self
            .counts
            .get(1)
            .is_some_and(|(at_ms, ..)| *at_ms <= begin_ms)
        {
            self.counts.pop_front();
        }
    }

    /// `None` when it is not watched.
    fn find(&self, kind: Kind, now_ms: i64, seen: Seen, limits: &Thresholds) -> Option<Finding> {
        let (value, threshold) = match kind {
            Kind::Silent => {
                let since = self.seconds_since(seen.last_accepted_ms, now_ms);
                (since, limits.silent_after_s?)
            }
            Kind::Handshake => {
                let since = self.seconds_since(seen.last_handshake_ms, now_ms);
                (since, limits.handshake_after_s?)
            }
            Kind::Spike => (
                self.rate(|(_, accepted, _)| accepted),
                limits.spike_per_min?,
            ),
            Kind::Rejected => {
                let rate = self.rate(|(_, _, rejected)| rejected);
                (rate, limits.rejected_per_min?)
            }
        };
        Some(Finding { value, threshold })
    }

    fn seconds_since(&self, last_ms: Option<i64>, now_ms: i64) -> u64 {
        let last_ms = last_ms.map_or(self.since_ms, |last_ms| last_ms.max(self.since_ms));
        u64::try_from(now_ms.saturating_sub(last_ms) / 1000).unwrap_or(0)
    }

    fn rate(&self, of: impl Fn((i64, u64, u64)) -> u64) -> u64 {
        match (self.counts.front(), self.counts.back()) {
            (Some(first), Some(last)) => of(*last).saturating_sub(of(*first)),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
