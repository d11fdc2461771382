//! A request as a verifier reads it: JSON and form are taken apart when first asked for, once.

use std::cell::OnceCell;

use crate::event::RawEvent;

use super::form::Form;
use super::pointers::{Pointers, Values};

/// One request under the eyes of one verifier. What was read stays for its checks, its
/// handshakes and its event type.
pub struct Reading<'r> {
    pub(super) request: &'r RawEvent,
    pointers: &'r Pointers,
    json: OnceCell<Option<Values<'r>>>,
    form: OnceCell<Option<Form<'r>>>,
}

impl<'r> Reading<'r> {
    pub(super) fn new(request: &'r RawEvent, pointers: &'r Pointers) -> Self {
        Self {
            request,
            pointers,
            json: OnceCell::new(),
            form: OnceCell::new(),
        }
    }

    /// The same request with one of its JSON values in the place of the body's.
    pub(super) fn of_element<'e>(&self, pointers: &'e Pointers, json: &'e str) -> Reading<'e>
    where
        'r: 'e,
    {
        let element = Reading::new(self.request, pointers);
        element.json.get_or_init(|| pointers.find(json));
        element
    }

    /// The values of the preset's pointers; `None` when the body is not JSON in UTF-8.
    pub(super) fn json(&self) -> Option<&Values<'r>> {
        let find = || {
            self.pointers
                .find(std::str::from_utf8(&self.request.body).ok()?)
        };
        self.json.get_or_init(find).as_ref()
    }

    /// The fields of the form; `None` when the body is none.
    pub(super) fn form(&self) -> Option<&Form<'r>> {
        self.form.get_or_init(|| Form::of(self.request)).as_ref()
    }
}
