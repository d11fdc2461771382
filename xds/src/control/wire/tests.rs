//! The messages: what means nothing is refused, and what is sent is read.

use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ORDINAL_MAX, ProjectId};
use proptest::prelude::*;

use super::action::DeliveryFields;
use super::*;
use crate::control::{Action, Batch, BatchKind, FILTER_BYTES_MAX};

fn fields_of(message: ToNode) -> CommandFields {
    match message.said {
        Some(ControlSaid::Command(fields)) => fields,
        other => panic!("{other:?}"),
    }
}

fn resend(raw: i64, ordinal: u32) -> CommandFields {
    let fields = DeliveryFields {
        project: vec![0; 16],
        event: raw,
        ordinal,
    };
    CommandFields {
        id: vec![1; 16],
        action: Some(ActionFields::Resend(fields)),
    }
}

#[test]
fn a_node_number_beyond_the_largest_is_refused() {
    for number in [1_024, 65_536, u32::MAX] {
        let fields = HelloFields {
            number,
            id: String::new(),
            instance: vec![0; 16],
        };
        assert_eq!(fields.read(), Err(WireError::Node(number)));
    }
}

#[test]
fn a_command_that_means_nothing_is_refused() {
    let error = |fields: CommandFields| fields.read_action().unwrap_err().code();
    assert_eq!(error(resend(-1, 0)), "bad_delivery");
    assert_eq!(error(resend(1, ORDINAL_MAX + 1)), "bad_delivery");
    assert_eq!(error(CommandFields::default()), "unknown_kind");
    assert!(CommandFields::default().read_id().is_err());
    assert!(resend(1, ORDINAL_MAX).read_action().is_ok());
}

#[test]
fn an_outcome_without_a_result_or_an_id_is_refused() {
    let mut fields = OutcomeFields {
        command: vec![0; 16],
        result: None,
    };
    let error = fields.clone().read().unwrap_err();
    assert_eq!(error, WireError::Unknown("result"));
    fields.command.pop();
    assert_eq!(fields.read().unwrap_err().code(), "bad_uid");
}

#[test]
fn a_long_refusal_is_cut() {
    let long = Outcome::Refused {
        code: "c".repeat(5_000),
        message: "ä".repeat(50_000),
    };
    let message = outcome(Uid::from_bits(1), &long);
    assert!(message.encoded_len() < CONTROL_BYTES_MAX);
    let Some(NodeSaid::Outcome(fields)) = message.said else {
        panic!("an outcome is written");
    };
    let (_, Outcome::Refused { code, message }) = fields.read().unwrap() else {
        panic!("a refusal is read");
    };
    assert_eq!((code.len(), message.chars().count()), (64, 1_024));
}

#[test]
fn an_answer_that_is_too_long_is_refused_and_a_shorter_one_travels() {
    let longest = Outcome::Answered(vec![b' '; ANSWER_BYTES_MAX].into());
    let message = outcome(Uid::from_bits(1), &longest);
    assert!(message.encoded_len() < CONTROL_BYTES_MAX);
    let Some(NodeSaid::Outcome(fields)) = message.said else {
        panic!("an outcome is written");
    };
    assert_eq!(fields.read().unwrap().1, longest);
    let longer = Outcome::Answered(vec![b' '; ANSWER_BYTES_MAX + 1].into());
    let message = outcome(Uid::from_bits(1), &longer);
    let Some(NodeSaid::Outcome(fields)) = message.said else {
        panic!("an outcome is written");
    };
    let (_, Outcome::Refused { code, .. }) = fields.read().unwrap() else {
        panic!("a refusal is read");
    };
    assert_eq!(code, "answer_too_long");
}

fn actions() -> impl Strategy<Value = Action> {
    let filter = proptest::collection::vec(any::<u8>(), 0..100);
    let (raw, ordinal) = (0..=i64::MAX, 0..=ORDINAL_MAX);
    (
        any::<u128>(),
        any::<u128>(),
        raw,
        ordinal,
        filter,
        0..9_usize,
    )
        .prop_map(|(project, batch, raw, ordinal, filter, which)| {
            let event = EventId::from_raw(raw).unwrap();
            let (project, filter) = (ProjectId::new(Uid::from_bits(project)), filter.into());
            let delivery = DeliveryKey { event, ordinal };
            let kinds = [BatchKind::Retry, BatchKind::Cancel, BatchKind::Replay];
            match which {
                0 => Action::Resend { project, delivery },
                1 => Action::ForceResend { project, delivery },
                2 => Action::Cancel { project, delivery },
                3 => Action::Replay { project, event },
                4 => Action::StopBatch {
                    project,
                    batch: Uid::from_bits(batch),
                },
                8 => Action::Ping {
                    project,
                    endpoint: EndpointId::new(Uid::from_bits(batch)),
                },
                kind => Action::Batch(Batch {
                    project,
                    kind: kinds[kind - 5],
                    filter,
                }),
            }
        })
}

#[test]
fn a_batch_of_another_kind_or_with_an_endless_filter_is_refused() {
    let batch = |kind, bytes: usize| Batch {
        project: ProjectId::new(Uid::from_bits(1)),
        kind,
        filter: vec![b' '; bytes].into(),
    };
    let longest = Action::Batch(batch(BatchKind::Retry, FILTER_BYTES_MAX));
    assert_eq!(ActionFields::from(longest.clone()).read(), Ok(longest));
    let longer = Action::Batch(batch(BatchKind::Retry, FILTER_BYTES_MAX + 1));
    let error = ActionFields::from(longer).read().unwrap_err();
    assert_eq!(error.code(), "too_many");
    let unknown = ActionFields::Batch(action::BatchFields::default());
    assert!(unknown.read().is_err());
}

proptest! {
    #[test]
    fn a_command_survives_the_way(id: u128, action in actions()) {
        let id = Uid::from_bits(id);
        let bytes = command(Command { id, action: action.clone() }).encode_to_vec();
        let fields = fields_of(ToNode::decode(bytes.as_slice()).unwrap());
        prop_assert_eq!(fields.read_id(), Ok(id));
        prop_assert_eq!(fields.read_action(), Ok(action));
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes: Vec<u8>) {
        if let Ok(ToNode { said: Some(ControlSaid::Command(fields)) }) = ToNode::decode(bytes.as_slice()) {
            let _ = (fields.read_id(), fields.read_action());
        }
        if let Ok(FromNode { said: Some(NodeSaid::Outcome(fields)) }) = FromNode::decode(bytes.as_slice()) {
            let _ = fields.read();
        }
    }
}
