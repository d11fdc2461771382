//! Changes of a subscription's filters, out of what clients send.

use outrider_config::resource::{FieldError, FilterRowSpec, SubscriptionSpec};
use outrider_webhook::event_type::Pattern;
use outrider_webhook::id::Uid;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::body::JsonBody;
use super::super::endpoints::keep;
use super::super::error::ApiError;
use super::super::ignored::Ignored;
use super::super::time::rfc3339;
use super::super::write::Writing;
use super::missing;
use super::rows::{self, Row};
use crate::Stored;

/// A filter as it was sent.
pub(super) struct Given {
    pub(super) spec: FilterRowSpec,
}

/// Convoy's way to say that a filter is disabled is a null, which is nothing in documents.
fn mark(row: &mut Value) {
    let Value::Object(fields) = row else { return };
    let is_disabled = match fields.get("enabled_at") {
        None => return,
        Some(Value::Null) => true,
        Some(_) => false,
    };
    fields.entry("is_disabled").or_insert(is_disabled.into());
}

/// One filter in a body.
pub(super) fn read_one(mut body: JsonBody) -> Result<(Given, Ignored), ApiError> {
    mark(&mut body.json);
    let (spec, ignored) = body.read()?;
    Ok((Given { spec }, ignored))
}

/// A list of filters in a body.
pub(super) fn read_many(mut body: JsonBody) -> Result<(Vec<Given>, Ignored), ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Many {
        filters: Vec<FilterRowSpec>,
    }
    body.json
        .as_array_mut()
        .into_iter()
        .flatten()
        .for_each(mark);
    let json = json!({"filters": body.json.take()});
    let (many, ignored) = body.with(json).read::<Many>()?;
    if many.filters.is_empty() {
        return Err(ApiError::Parameter("at least one filter must be given"));
    }
    let given = many.filters.into_iter().map(|spec| Given { spec });
    Ok((given.collect(), ignored))
}

/// Adds filters for event types that have none; gives their ids.
pub(super) fn create(
    writing: &Writing<'_>,
    one: &Stored,
    spec: &mut SubscriptionSpec,
    given: Vec<Given>,
) -> Result<Vec<Uid>, ApiError> {
    let mut made = Vec::with_capacity(given.len());
    for Given { spec: mut row } in given {
        let event_type = row.event_type.clone().unwrap_or_default();
        if event_type.is_empty() {
            return Err(ApiError::Parameter("`event_type`: is missing"));
        }
        let all = rows::all(one.uid(), spec);
        if all.iter().any(|other| other.event_type == event_type) {
            return Err(taken());
        }
        refuse_unknown(writing, &event_type)?;
        let uid = writing.new_uid();
        row.uid = Some(uid.to_string());
        enable(writing, &mut row);
        store(spec, row);
        made.push(uid);
    }
    Ok(made)
}

/// Changes filters; what is not given of one stays.
pub(super) fn update(
    writing: &Writing<'_>,
    one: &Stored,
    spec: &mut SubscriptionSpec,
    given: Vec<(Uid, Given)>,
) -> Result<Vec<Uid>, ApiError> {
    let mut touched = Vec::with_capacity(given.len());
    for (uid, Given { spec: mut row }) in given {
        let all = rows::all(one.uid(), spec);
        let old = all.iter().find(|row| row.uid == uid).ok_or_else(missing)?;
        let event_type = row.event_type.take().filter(|text| !text.is_empty());
        let event_type = event_type.unwrap_or_else(|| old.event_type.clone());
        if event_type != old.event_type {
            if all.iter().any(|other| other.event_type == event_type) {
                return Err(taken());
            }
            refuse_unknown(writing, &event_type)?;
            forget(spec, old);
        }
        let before = old.spec.clone();
        row.uid = Some(uid.to_string());
        row.event_type = Some(event_type);
        keep(&mut row.enabled_at, before.enabled_at);
        keep(&mut row.is_disabled, before.is_disabled);
        keep(&mut row.headers, before.headers);
        keep(&mut row.body, before.body);
        keep(&mut row.query, before.query);
        keep(&mut row.path, before.path);
        enable(writing, &mut row);
        store(spec, row);
        touched.push(uid);
    }
    Ok(touched)
}

/// Takes a filter away, and its event type from what the subscription wants.
pub(super) fn remove(one: &Stored, spec: &mut SubscriptionSpec, uid: Uid) -> Result<(), ApiError> {
    let all = rows::all(one.uid(), spec);
    let old = all.iter().find(|row| row.uid == uid).ok_or_else(missing)?;
    if all.len() == 1 {
        return Err(ApiError::State(
            "a subscription keeps at least one filter: disable it, or delete the subscription",
        ));
    }
    forget(spec, old);
    Ok(())
}

/// A filter is disabled, or enabled since some time.
fn enable(writing: &Writing<'_>, row: &mut FilterRowSpec) {
    if row.is_disabled == Some(true) {
        row.enabled_at = None;
    } else {
        row.is_disabled = None;
        row.enabled_at
            .get_or_insert_with(|| rfc3339(writing.now_ms()));
    }
}

/// Puts a filter in the place of the one for its event type, and lists the type.
fn store(spec: &mut SubscriptionSpec, row: FilterRowSpec) {
    let config = spec.filter_config.get_or_insert_default();
    let types = config.event_types.get_or_insert_default();
    if types.is_empty() && spec.filters.as_ref().is_none_or(Vec::is_empty) {
        types.push("*".to_owned()); // what no types at all were
    }
    if let Some(event_type) = row.event_type.as_ref().filter(|own| !types.contains(own)) {
        types.push(event_type.clone());
    }
    let stored = spec.filters.get_or_insert_default();
    match stored
        .iter_mut()
        .find(|other| other.event_type == row.event_type)
    {
        Some(old) => *old = row,
        None => stored.push(row),
    }
}

fn forget(spec: &mut SubscriptionSpec, row: &Row) {
    if let Some(config) = &mut spec.filter_config
        && let Some(types) = &mut config.event_types
    {
        types.retain(|own| *own != row.event_type);
    }
    if let Some(stored) = &mut spec.filters {
        stored.retain(|other| other.event_type.as_deref() != Some(row.event_type.as_str()));
    }
}

/// A name must be in the catalogue; a pattern with stars stands for whatever is there.
fn refuse_unknown(writing: &Writing<'_>, event_type: &str) -> Result<(), ApiError> {
    let is_name = matches!(Pattern::parse(event_type), Ok(Pattern::Exact(_)));
    match is_name && !writing.table()?.has_event_type(event_type) {
        true => Err(ApiError::NotFound("event type does not exist".to_owned())),
        false => Ok(()),
    }
}

fn taken() -> ApiError {
    ApiError::Exists("filter with this event type already exists".to_owned())
}

/// Fields of filters as the client named them: `body.a.$foo`, and of several `[1].body.a.$foo`.
pub(super) fn as_sent(
    error: ApiError,
    spec: &SubscriptionSpec,
    subscription: Uid,
    touched: &[Uid],
) -> ApiError {
    let ApiError::Fields(errors) = error else {
        return error;
    };
    let rename = |error: FieldError| {
        let place = error
            .field
            .strip_prefix("filters[")
            .and_then(|rest| rest.split_once("]."));
        let Some((index, field)) = place else {
            return error;
        };
        let index: Option<usize> = index.parse().ok();
        let row = index.and_then(|index| spec.filters.as_ref()?.get(index));
        let event_type = row.and_then(|row| row.event_type.as_deref());
        let all = rows::all(subscription, spec);
        let uid = all
            .iter()
            .find(|row| Some(row.event_type.as_str()) == event_type);
        let at = uid.and_then(|row| touched.iter().position(|uid| *uid == row.uid));
        let field = match (at, touched) {
            (Some(_), [_]) => field.to_owned(),
            (Some(at), _) => format!("[{at}].{field}"),
            (None, _) => return error,
        };
        FieldError { field, ..error }
    };
    ApiError::Fields(errors.into_iter().map(rename).collect())
}
