//! The canonical text of a notification of SNS: names and values, a line each.

use hmac::digest::Update;

use crate::verify::VerifyError;
use crate::verify::compile::CompileError;
use crate::verify::pointers::{Pointers, Slot};
use crate::verify::reading::Reading;
use crate::verify::source::{Found, json};

/// Names in the order of the text, and in which messages they stand.
const NAMES: [(&str, In); 8] = [
    ("Message", In::All),
    ("MessageId", In::All),
    ("Subject", In::NotificationIfPresent),
    ("SubscribeURL", In::Confirmation),
    ("Timestamp", In::All),
    ("Token", In::Confirmation),
    ("TopicArn", In::All),
    ("Type", In::All),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum In {
    All,
    NotificationIfPresent,
    Confirmation,
}

pub(super) struct Sns {
    kind: Slot,
    lines: Vec<(&'static str, In, Slot)>,
}

impl Sns {
    pub(super) fn compile(field: &str, pointers: &mut Pointers) -> Result<Self, CompileError> {
        let mut lines = Vec::with_capacity(NAMES.len());
        for (name, place) in NAMES {
            let slot = pointers.slot(field, &format!("/{name}"))?;
            lines.push((name, place, slot));
        }
        let kind = pointers.slot(field, "/Type")?;
        Ok(Self { kind, lines })
    }

    pub(super) fn feed(
        &self,
        reading: &Reading<'_>,
        sink: &mut impl Update,
    ) -> Result<(), VerifyError> {
        let Found::Once(kind) = json(reading, self.kind) else {
            return Err(VerifyError::MalformedBody);
        };
        let is_confirmation = match &*kind {
            b"Notification" => false,
            b"SubscriptionConfirmation" | b"UnsubscribeConfirmation" => true,
            _ => return Err(VerifyError::MalformedBody),
        };
        for (name, place, slot) in &self.lines {
            let is_here = match place {
                In::All => true,
                In::NotificationIfPresent => !is_confirmation,
                In::Confirmation => is_confirmation,
            };
            if !is_here {
                continue;
            }
            match json(reading, *slot) {
                Found::Once(value) => {
                    for piece in [name.as_bytes(), b"\n", &value, b"\n"] {
                        sink.update(piece);
                    }
                }
                Found::Missing if *place == In::NotificationIfPresent => {}
                _ => return Err(VerifyError::MalformedBody),
            }
        }
        Ok(())
    }
}
