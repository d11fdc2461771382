//! Switching endpoints off and on again: what the versions of an endpoint say about it.
//!
//! A data plane that switches an endpoint off by itself (RULINGS 16) knows by the count of
//! activations whether a person has switched it on again since.

use super::check::{Checks, Reason};
use super::endpoint_spec::EndpointSpec;
use super::field::given;

/// SQLite and JSON clients have signed numbers.
const EPOCH_MAX: u64 = i64::MAX as u64;
/// Longest reason that is kept, bytes.
const REASON_BYTES_MAX: usize = 255;

impl EndpointSpec {
    /// Whether it says that the endpoint is switched off.
    #[must_use]
    pub fn is_inactive(&self) -> bool {
        match given(self.status.as_deref()) {
            Some(status) => status == "inactive",
            None => self.is_disabled == Some(true),
        }
    }

    /// Carries the count of activations on from the version before, and counts this one if it
    /// switches the endpoint on. Never makes the count smaller.
    pub fn follow(&mut self, before: &Self) {
        let was = before.activation_epoch.unwrap_or(0);
        let is_activation = before.is_inactive() && !self.is_inactive();
        let least = was.saturating_add(u64::from(is_activation));
        let epoch = self.activation_epoch.unwrap_or(0).max(least);
        self.activation_epoch = (epoch != 0).then_some(epoch);
        if !self.is_inactive() {
            self.disabled_reason = None;
        } else if before.is_inactive() && self.disabled_reason.is_none() {
            self.disabled_reason.clone_from(&before.disabled_reason);
        }
    }

    /// A person wants it to receive, whatever was decided about it before.
    pub fn activate(&mut self) {
        let epoch = self.activation_epoch.unwrap_or(0);
        self.activation_epoch = Some(epoch.saturating_add(1).min(EPOCH_MAX));
        self.status = Some("active".to_owned());
        self.is_disabled = None;
        self.disabled_reason = None;
    }

    pub(super) fn epoch(&self, checks: &mut Checks) -> u64 {
        let epoch = self.activation_epoch.unwrap_or(0);
        if epoch > EPOCH_MAX {
            let reason = Reason::OutOfRange {
                min: 0,
                max: EPOCH_MAX,
                unit: "activations",
            };
            checks.fail("activation_epoch", reason);
        }
        let reason = given(self.disabled_reason.as_deref());
        if reason.is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
            checks.fail("disabled_reason", Reason::Shape("at most 255 bytes"));
        }
        epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec(status: &str, epoch: u64) -> EndpointSpec {
        EndpointSpec {
            status: Some(status.to_owned()),
            activation_epoch: (epoch != 0).then_some(epoch),
            disabled_reason: (status == "inactive").then(|| "gone".to_owned()),
            ..EndpointSpec::default()
        }
    }

    fn after(before: &EndpointSpec, mut next: EndpointSpec) -> (Option<u64>, Option<String>) {
        next.follow(before);
        (next.activation_epoch, next.disabled_reason)
    }

    #[test]
    fn only_the_way_back_from_inactive_counts() {
        let gone = Some("gone".to_owned());
        for (was, is, epoch, reason) in [
            ("active", "active", None, None),
            ("active", "paused", None, None),
            ("paused", "active", None, None),
            ("active", "inactive", None, gone.clone()),
            ("inactive", "inactive", None, gone),
            ("inactive", "active", Some(1), None),
        ] {
            let found = after(&spec(was, 0), spec(is, 0));
            assert_eq!(found, (epoch, reason), "{was} to {is}");
        }
        let old_way = EndpointSpec {
            is_disabled: Some(true),
            ..EndpointSpec::default()
        };
        assert_eq!(after(&old_way, spec("active", 0)).0, Some(1));
    }

    #[test]
    fn an_epoch_that_nothing_can_follow_is_refused() {
        let mut checks = Checks::default();
        spec("active", u64::MAX).epoch(&mut checks);
        let errors = checks.finish(None::<()>).unwrap_err();
        assert_eq!(errors[0].field, "activation_epoch");
    }

    proptest! {
        #[test]
        fn the_count_never_falls_and_an_activation_is_always_newer(
            was in 0_u64..100, is in 0_u64..100, statuses in prop::array::uniform2(prop::sample::select(vec!["active", "paused", "inactive"])),
        ) {
            let (before, mut next) = (spec(statuses[0], was), spec(statuses[1], is));
            next.follow(&before);
            let epoch = next.activation_epoch.unwrap_or(0);
            prop_assert!(epoch >= was.max(is));
            if statuses[0] == "inactive" && statuses[1] != "inactive" {
                prop_assert!(epoch > was);
            }
            next.activate();
            prop_assert!(next.activation_epoch > Some(epoch));
        }
    }
}
