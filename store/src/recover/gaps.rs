//! Deliveries with an order key that did not arrive, until a later one of their line did: that
//! one told the receiver.

use std::collections::HashMap;

use outrider_webhook::event::Target;
use outrider_webhook::id::{DeliveryKey, EndpointId};

use super::Pending;

/// Gaps of a line that are told of one by one.
const GAPS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Gaps(HashMap<(EndpointId, u64), Vec<(DeliveryKey, Target)>>);

impl Gaps {
    /// A delivery has ended.
    pub(super) fn ended(&mut self, ended: &Pending, is_delivered: bool) {
        let Some(order_key) = ended.target.order_key else {
            return;
        };
        let line = (ended.target.endpoint, order_key);
        if is_delivered && !ended.is_parked {
            self.0.remove(&line);
            return;
        }
        if is_delivered {
            self.arrived(ended.key);
            return;
        }
        let gaps = self.0.entry(line).or_default();
        gaps.retain(|(key, _)| *key != ended.key);
        if gaps.len() == GAPS_MAX {
            gaps.remove(0);
        }
        gaps.push((ended.key, ended.target.clone()));
    }

    /// A delivery that had ended without success has arrived after all.
    pub(super) fn arrived(&mut self, key: DeliveryKey) {
        self.0.retain(|_, gaps| {
            gaps.retain(|(missing, _)| *missing != key);
            !gaps.is_empty()
        });
    }

    pub(super) fn take(&mut self) -> Vec<(DeliveryKey, Target)> {
        let mut all: Vec<_> = std::mem::take(&mut self.0)
            .into_values()
            .flatten()
            .collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}
