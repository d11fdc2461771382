use outrider_config::snapshot::{Document, Kind, Transaction};
use outrider_webhook::id::Uid;
use outrider_webhook::retry::Failure;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const REFUSED: Outcome = Outcome::Answered { status: 500 };

fn ids() -> (ProjectId, EndpointId) {
    (
        ProjectId::new(Uid::from_bits(1)),
        EndpointId::new(Uid::from_bits(2)),
    )
}

fn version(revision: u64) -> Version {
    Version {
        journal: Uid::from_bits(9),
        revision,
    }
}

/// A table at revision 5 with an endpoint of this status and epoch, or without one.
fn snapshot(endpoint: Option<(&str, u64)>, disables: bool) -> Snapshot {
    let (project, id) = ids();
    let document = |kind, uid, spec: serde_json::Value| Document {
        kind,
        uid,
        project,
        revision: 1,
        spec: spec.to_string().into(),
    };
    let shop =
        json!({"name": "shop", "type": "outgoing", "config": {"disable_endpoint": disables}});
    let mut upserts = vec![document(Kind::Project, project.uid(), shop)];
    if let Some((status, epoch)) = endpoint {
        let spec = json!({
            "name": "e", "url": "http://a.example/", "secret": "s", "status": status, "activation_epoch": epoch,
        });
        upserts.push(document(Kind::Endpoint, id.uid(), spec));
    }
    let (snapshot, refused) = Snapshot::empty().apply(&Transaction {
        version: version(5),
        is_full: true,
        upserts,
        removals: Vec::new(),
    });
    assert_eq!(refused, []);
    snapshot
}

fn disabled(epoch: u64, state: State) -> Disabled {
    Disabled {
        project: ids().0,
        epoch,
        reason: GONE.into(),
        state,
    }
}

#[test]
fn what_the_configuration_does_not_say_yet_holds_here() {
    let kept = [
        (None, State::Wanted),
        (Some(("active", 3)), State::Wanted),
        (Some(("paused", 3)), State::Wanted),
        (Some(("active", 3)), State::Refused),
        (Some(("inactive", 2)), State::Wanted), // an older configuration than decided it
        (Some(("active", 3)), State::Taken(version(6))),
    ];
    for (endpoint, state) in kept {
        let one = disabled(3, state);
        let is_settled = one.is_settled_by(ids().1, &snapshot(endpoint, false));
        assert!(!is_settled, "{endpoint:?} {state:?}");
    }
    let settled = [
        (Some(("inactive", 3)), State::Wanted),
        (Some(("active", 4)), State::Wanted),
        (Some(("active", 4)), State::Refused),
        (None, State::Taken(version(5))),
        (Some(("active", 3)), State::Taken(version(4))),
    ];
    for (endpoint, state) in settled {
        let one = disabled(3, state);
        let is_settled = one.is_settled_by(ids().1, &snapshot(endpoint, false));
        assert!(is_settled, "{endpoint:?} {state:?}");
    }
}

#[test]
fn only_gone_switches_off_what_the_project_leaves_on() {
    let all = [
        GiveUp::RetryLimitExceeded,
        GiveUp::AgeLimitExceeded,
        GiveUp::Gone,
        GiveUp::PayloadTooLarge,
        GiveUp::PermanentStatus,
        GiveUp::EgressDenied,
        GiveUp::Refused,
        GiveUp::OutcomeUnknown,
    ];
    for (disables, expected) in [
        (false, vec![(GiveUp::Gone, GONE)]),
        (
            true,
            vec![
                (GiveUp::RetryLimitExceeded, RETRIES_EXHAUSTED),
                (GiveUp::AgeLimitExceeded, RETRIES_EXHAUSTED),
                (GiveUp::Gone, GONE),
            ],
        ),
    ] {
        let snapshot = snapshot(None, disables);
        let project = snapshot.project(ids().0).unwrap().project();
        let found = all.iter().filter_map(|why| {
            let reason = cause(&Step::GiveUp(*why), (&REFUSED, None), project)?;
            Some((*why, reason))
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(cause(&Step::Success, (&REFUSED, None), project), None);
        let ours = Outcome::Failed(Failure::NoHealthySource);
        let aged = Step::GiveUp(GiveUp::AgeLimitExceeded);
        assert_eq!(cause(&aged, (&ours, None), project), None);
        for (reason, expected) in [
            ("policy_denied", None),
            ("policy_unreadable", None),
            ("address_denied", disables.then_some(RETRIES_EXHAUSTED)),
        ] {
            let denial = Denial::told(reason);
            let denied = Outcome::Failed(Failure::EgressDenied { literal: false });
            for why in [GiveUp::RetryLimitExceeded, GiveUp::AgeLimitExceeded] {
                let found = cause(&Step::GiveUp(why), (&denied, denial.as_ref()), project);
                assert_eq!(found, expected, "{reason}");
            }
        }
    }
}

proptest! {
    /// What a person switched on after the decision never stays off.
    #[test]
    fn a_newer_epoch_always_ends_it(epoch in 0_u64..50, newer in 1_u64..50, status in 0_usize..3) {
        let status = ["active", "paused", "inactive"][status];
        let snapshot = snapshot(Some((status, epoch + newer)), true);
        for state in [State::Wanted, State::Refused] {
            prop_assert!(disabled(epoch, state).is_settled_by(ids().1, &snapshot));
        }
    }
}
