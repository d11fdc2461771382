//! Event types out of an OpenAPI document (contract 3.7).

use outrider_config::Kind;
use outrider_config::openapi;
use outrider_config::resource::{EventType, EventTypeSpec, FieldError, Reason};
use outrider_webhook::id::{EventTypeId, Uid};
use serde::Deserialize;
use serde_json::Value;

use super::super::body::JsonBody;
use super::super::call::ProjectCall;
use super::super::endpoints::keep;
use super::super::error::{Answer, ApiError};
use super::super::reply::Reply;
use super::super::write::Writing;
use super::{refuse_too_many, shape};
use crate::{Edit, Stopping, Stored};

/// Webhooks of one document whose schemas are said to be unusable.
const ERRORS_MAX: usize = 20;

/// The body of the call.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Import {
    /// The document, JSON or YAML.
    spec: Option<String>,
}

/// Makes the webhooks of a document types, or changes those that are there: all of them, or none.
pub(super) async fn import(call: ProjectCall, body: JsonBody) -> Answer {
    let (import, ignored) = body.read::<Import>()?;
    let text = import.spec.filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| bad(Reason::Missing))?;
    // A megabyte of text takes a while, and nobody else's change should wait for it.
    let read = tokio::task::spawn_blocking(move || openapi::event_types(&text));
    let specs = read.await.map_err(|_| Stopping)?;
    let specs = specs.map_err(|error| bad(Reason::Rule(error.to_string())))?;
    let done = call.change(move |writing| put(writing, specs)).await?;
    Ok(
        Reply::ok("Event types imported successfully", done.value.into())
            .in_force(done.in_force)
            .ignoring(ignored),
    )
}

fn put(
    writing: &Writing<'_>,
    specs: Vec<EventTypeSpec>,
) -> Result<(Vec<Edit>, Vec<Value>), ApiError> {
    let (mut edits, mut shown, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let mut new = 0;
    for spec in specs {
        let name = spec.name.clone().unwrap_or_default();
        let before = writing
            .view
            .named(Kind::EventType, writing.project, &name)?;
        let (uid, spec) = match &before {
            Some(known) => {
                writing.editable(Kind::EventType, known.uid())?;
                (known.uid(), over(known.spec()?, spec))
            }
            None => (super::uid_for(writing, &name), spec),
        };
        errors.extend(faults(writing, uid, &name, &spec)?);
        let edit = match before {
            Some(before) => {
                let after: Stored = writing.changed(&before, &spec)?;
                Edit::update(before, after)
            }
            None => {
                new += 1;
                Edit::create(writing.made(Kind::EventType, uid, &spec)?)
            }
        };
        edits.push(edit);
        shown.push(shape::reply(uid, spec));
    }
    if !errors.is_empty() {
        errors.truncate(ERRORS_MAX);
        return Err(ApiError::Fields(errors));
    }
    refuse_too_many(writing, new)?;
    Ok((edits, shown))
}

/// What a document says over what was there. That a type is deprecated is not the document's.
fn over(old: EventTypeSpec, mut new: EventTypeSpec) -> EventTypeSpec {
    keep(&mut new.category, old.category);
    keep(&mut new.description, old.description);
    keep(&mut new.json_schema, old.json_schema);
    new.deprecated_at = old.deprecated_at;
    new
}

/// What is wrong with a webhook, said of the one field that the client sent.
fn faults(
    writing: &Writing<'_>,
    uid: Uid,
    name: &str,
    spec: &EventTypeSpec,
) -> Result<Vec<FieldError>, ApiError> {
    let compiled = EventType::compile(EventTypeId::new(uid), 0, writing.rules()?, spec);
    let shown: String = name.chars().take(64).collect();
    let said = |error: FieldError| FieldError {
        field: "spec".to_owned(),
        reason: Reason::Rule(format!("`{shown}`: {error}")),
    };
    Ok(compiled
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(said)
        .collect())
}

fn bad(reason: Reason) -> ApiError {
    ApiError::Fields(vec![FieldError {
        field: "spec".to_owned(),
        reason,
    }])
}
