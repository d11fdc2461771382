//! Deliveries with an order key, one after the other: of each line one is on its way, the others
//! wait here until it is over or parked.
//!
//! Order is the order of the log (RULINGS 26). What did not arrive is a gap, which the next ones
//! of the line are told of, so that a receiver never takes it for nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};

use outrider_store::{Gap as Found, Position};
use outrider_webhook::event::Target;
use outrider_webhook::id::{DeliveryKey, EndpointId};

use super::Entry;
use super::backlog::Backlog;
use super::packed::Routes;

/// Gaps of a line that are named one by one.
const GAPS_MAX: usize = 16;
/// Lines without open deliveries whose gaps are kept for the delivery that comes next.
const QUIET_MAX: usize = 65_536;

/// One line: an endpoint, and the number of the subscription and the value.
pub(super) type Line = (EndpointId, u64);

/// What is missing in a line before a delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    /// The deliveries, oldest first; at most 16.
    pub known: Vec<Missing>,
    /// How many more there are.
    pub more: u32,
}

/// A delivery that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// Which one.
    pub key: DeliveryKey,
    /// Where its event is.
    pub position: Position,
    /// Whether it is not the first of its event to its endpoint; `None` until somebody has looked.
    pub is_repeat: Option<bool>,
}

impl Gaps {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.more == 0
    }
}

/// All lines with something open, or with a gap.
#[derive(Debug, Default)]
pub(super) struct Chains {
    lines: HashMap<Line, Chain>,
    /// Deliveries that wait for another one.
    waiting: usize,
    /// What those have in common.
    routes: Routes,
    /// Lines that are kept for their gaps alone, longest first. One may be open again.
    quiet: BTreeMap<u64, Line>,
    counter: u64,
    forgotten: u64,
}

#[derive(Debug, Default)]
struct Chain {
    /// Whether one is on its way: in its lane, scheduled or leased.
    has_head: bool,
    waiting: Option<Backlog>,
    gaps: VecDeque<Gap>,
    gaps_more: u32,
    /// Its place among the quiet ones.
    quiet: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Gap {
    missing: Missing,
    /// It is parked: it may still arrive. Else it has ended.
    is_open: bool,
}

/// The line of a delivery, if it keeps to one.
fn line_of(entry: &Entry) -> Option<Line> {
    line(&entry.target).filter(|_| !entry.is_out_of_order)
}

fn line(target: &Target) -> Option<Line> {
    Some((target.endpoint, target.order_key?))
}

impl Chains {
    /// A delivery comes into the queue. `None`: it waits for the one before it.
    pub(super) fn enter(&mut self, entry: Entry) -> Option<Entry> {
        let Some(line) = line_of(&entry) else {
            return Some(entry);
        };
        let chain = self.lines.entry(line).or_default();
        if chain.has_head {
            self.waiting += 1;
            let mut entry = entry;
            entry.event = None; // memory is for those who go soon
            let backlog = chain
                .waiting
                .get_or_insert_with(|| Backlog::of_line(line.1));
            backlog.push(entry, &mut self.routes);
            return None;
        }
        chain.has_head = true;
        Some(entry)
    }

    /// A delivery has ended; the next one of its line goes on.
    pub(super) fn end(&mut self, entry: &Entry, is_delivered: bool) -> Option<Entry> {
        let line = line(&entry.target)?;
        let chain = self.lines.get_mut(&line)?;
        if entry.is_out_of_order {
            chain.settle(entry.key, is_delivered);
            self.close(line);
            return None;
        }
        if is_delivered {
            // Its receiver was told.
            chain.gaps.retain(|gap| gap.is_open);
            chain.gaps_more = 0;
        } else {
            chain.add_gap(Gap::of(entry.key, entry.position, false));
        }
        self.advance(line)
    }

    /// A delivery is taken out of its line, to be tried again apart from it.
    pub(super) fn park(&mut self, entry: &Entry) -> Option<Entry> {
        let line = line(&entry.target)?;
        let gap = Gap::of(entry.key, entry.position, true);
        self.lines.get_mut(&line)?.add_gap(gap);
        self.advance(line)
    }

    /// A delivery was parked before the start and `is_open`, or it ended without success and no
    /// later one of its line arrived.
    pub(super) fn restore_gap(&mut self, found: &Found, is_open: bool) {
        if let Some(line) = line(&found.target) {
            let chain = self.lines.entry(line).or_default();
            chain.add_gap(Gap::of(found.key, found.position, is_open));
            if chain.is_quiet() {
                self.keep_quiet(line);
            }
        }
    }

    /// What is missing before a delivery.
    pub(super) fn gaps(&self, entry: &Entry) -> Gaps {
        let chain = line_of(entry).and_then(|line| self.lines.get(&line));
        let Some(chain) = chain.filter(|chain| !chain.gaps.is_empty()) else {
            return Gaps::default();
        };
        let gaps = chain.gaps.iter().map(|gap| gap.missing);
        let mut known: Vec<_> = gaps.filter(|missing| missing.key < entry.key).collect();
        known.sort_unstable();
        let more = chain.gaps_more;
        Gaps { known, more }
    }

    /// Somebody has looked whether a missing delivery is its event's first to its endpoint.
    pub(super) fn learn(&mut self, target: &Target, key: DeliveryKey, is_repeat: bool) {
        let chain = line(target).and_then(|line| self.lines.get_mut(&line));
        let gaps = chain.into_iter().flat_map(|chain| &mut chain.gaps);
        for gap in gaps.filter(|gap| gap.missing.key == key) {
            gap.missing.is_repeat = Some(is_repeat);
        }
    }

    /// Deliveries that wait for another one.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Lines whose gaps were forgotten because there were too many of them, since the start.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn advance(&mut self, line: Line) -> Option<Entry> {
        let chain = self.lines.get_mut(&line)?;
        let waiting = chain.waiting.as_mut();
        let next = waiting.and_then(|waiting| waiting.pop(&mut self.routes));
        chain.waiting = chain.waiting.take().filter(|backlog| !backlog.is_empty());
        chain.has_head = next.is_some();
        if next.is_some() {
            self.waiting -= 1;
        } else {
            self.close(line);
        }
        next
    }

    /// Drops a line of which nothing is open and nothing missing.
    fn close(&mut self, line: Line) {
        let Some(chain) = self.lines.get(&line) else {
            return;
        };
        if !chain.is_quiet() {
            return;
        }
        if chain.gaps.is_empty() && chain.gaps_more == 0 {
            self.remove(line);
        } else {
            self.keep_quiet(line);
        }
    }

    fn remove(&mut self, line: Line) {
        let chain = self.lines.remove(&line);
        if let Some(at) = chain.and_then(|chain| chain.quiet) {
            self.quiet.remove(&at);
        }
    }

    fn keep_quiet(&mut self, line: Line) {
        let Some(chain) = self.lines.get_mut(&line) else {
            return;
        };
        if chain.quiet.is_some() {
            return;
        }
        self.counter += 1;
        chain.quiet = Some(self.counter);
        self.quiet.insert(self.counter, line);
        if self.quiet.len() <= QUIET_MAX {
            return;
        }
        let Some((_, oldest)) = self.quiet.pop_first() else {
            return;
        };
        match self.lines.get_mut(&oldest) {
            Some(chain) if chain.is_quiet() => {
                self.lines.remove(&oldest);
                self.forgotten += 1;
            }
            Some(chain) => chain.quiet = None,
            None => {}
        }
    }
}

impl Gap {
    fn of(key: DeliveryKey, position: Position, is_open: bool) -> Self {
        let is_repeat = (key.ordinal == 0).then_some(false); // there is none before it
        Self {
            missing: Missing {
                key,
                position,
                is_repeat,
            },
            is_open,
        }
    }
}

impl Chain {
    /// Whether nothing of it is on its way any more.
    fn is_quiet(&self) -> bool {
        !self.has_head && self.waiting.is_none() && !self.gaps.iter().any(|gap| gap.is_open)
    }

    fn add_gap(&mut self, gap: Gap) {
        self.gaps
            .retain(|known| known.missing.key != gap.missing.key);
        self.gaps.push_back(gap);
        if self.gaps.len() > GAPS_MAX {
            // One that may still arrive has to be found again; one that has ended need not be.
            let at = self.gaps.iter().position(|gap| !gap.is_open).unwrap_or(0);
            self.gaps.remove(at);
            self.gaps_more = self.gaps_more.saturating_add(1);
        }
    }

    /// One that was apart from its line has ended.
    fn settle(&mut self, key: DeliveryKey, is_delivered: bool) {
        if is_delivered {
            self.gaps.retain(|gap| gap.missing.key != key);
        } else {
            for gap in self.gaps.iter_mut().filter(|gap| gap.missing.key == key) {
                gap.is_open = false;
            }
        }
    }
}
