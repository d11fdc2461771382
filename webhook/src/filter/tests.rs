//! The tables of the contract, the limits, and the compiled filter against a naive one.

mod limits;
mod naive;
mod table;

use serde_json::Value;

use super::*;

/// A filter of the body alone.
fn of_body(filter: &Value) -> Result<Filter, Vec<CompileError>> {
    Filter::compile([(Scope::Body, filter)])
}

fn ask(filter: &Filter, payload: &Value, mode: Mode) -> Verdict {
    let views = Views::given([(Scope::Body, payload.clone())]);
    filter.evaluate(&views, mode, &mut Budget::for_event())
}
