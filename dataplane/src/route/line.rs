//! Which line of an ordered subscription an event belongs to.

use outrider_config::resource::{OrderKey, line};
use outrider_config::snapshot::Subscription;
use outrider_webhook::event::VerifiedEvent;
use serde_json::Value;

/// The number of the line, or `None`: the subscription has no order, or the event has no value to
/// order it by. A value in the body is a text, a number or a truth value; the text `1` and the
/// number 1 are different.
pub(super) fn of(subscription: &Subscription, event: &VerifiedEvent) -> Option<u64> {
    let order = subscription.order()?;
    let id = subscription.id().uid().bits();
    match order.key() {
        OrderKey::Endpoint => Some(line(id, b"")),
        OrderKey::Header(name) => {
            let mut headers = event.facts().headers.iter();
            let (_, value) = headers.find(|(own, _)| own == name)?;
            Some(line(id, value.as_bytes()))
        }
        OrderKey::Pointer(pointer) => match event.view()?.pointer(pointer)? {
            Value::Null | Value::Array(_) | Value::Object(_) => None,
            scalar => Some(line(id, scalar.to_string().as_bytes())),
        },
    }
}
