//! Trying filters out, with the very code that deliveries are decided by.

use outrider_config::Kind;
use outrider_config::resource::{FieldError, Reason, Subscription, SubscriptionSpec};
use outrider_webhook::filter::{Budget, Filter, Mode, Scope, Verdict, Views};
use outrider_webhook::id::SubscriptionId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::body::JsonBody;
use super::super::call::ProjectCall;
use super::super::error::{Answer, ApiError};
use super::super::reply::Reply;
use super::is_match;
use crate::{Stored, View};

/// An event that is only described, or conditions on one.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Scopes {
    /// Convoy says the one here and the other there: both are taken.
    #[serde(alias = "headers")]
    header: Option<Value>,
    body: Option<Value>,
    query: Option<Value>,
    path: Option<Value>,
    /// Clients send it along.
    #[serde(rename = "is_flattened")]
    _is_flattened: Option<Value>,
}

impl Scopes {
    fn scope(&self, scope: Scope) -> Option<&Value> {
        match scope {
            Scope::Headers => self.header.as_ref(),
            Scope::Query => self.query.as_ref(),
            Scope::Path => self.path.as_ref(),
            Scope::Body => self.body.as_ref(),
        }
    }

    fn given(&self) -> impl Iterator<Item = (Scope, &Value)> {
        let given = |scope| Some((scope, self.scope(scope)?));
        Scope::ALL.into_iter().filter_map(given)
    }

    /// As filters see it; a path may be its text.
    fn views(&self) -> Views<'static> {
        let owned = |(scope, value): (Scope, &Value)| match (scope, value) {
            (Scope::Path, Value::String(path)) => (scope, json!({"path": path})),
            (scope, value) => (scope, value.clone()),
        };
        Views::given(self.given().map(owned))
    }
}

/// `POST P/subscriptions/test_filter`. A scope without a schema matches; a schema without a
/// request does not (contract 3.3).
pub(super) async fn scopes(call: ProjectCall, body: JsonBody) -> Answer {
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Trial {
        request: Scopes,
        schema: Scopes,
    }
    let (trial, ignored) = body.read::<Trial>()?;
    let filter = Filter::compile(trial.schema.given()).map_err(|errors| {
        let errors = errors.into_iter().map(|error| FieldError {
            field: format!("schema.{}", error.path),
            reason: Reason::Refused(Box::new(error.problem)),
        });
        ApiError::Fields(errors.collect())
    })?;
    let has_request = |(scope, _): (Scope, &Value)| trial.request.scope(scope).is_some();
    let matches = trial.schema.given().all(has_request)
        && ask(&filter, &trial.request.views(), mode(&call)?)?;
    Ok(Reply::ok("Filter tested successfully", matches.into()).ignoring(ignored))
}

/// `POST F/test/{eventType}`: whether the filter for this type takes such an event.
pub(super) async fn event_type(call: ProjectCall, body: JsonBody) -> Answer {
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Trial {
        payload: Option<Value>,
        request: Option<Scopes>,
    }
    let (trial, ignored) = body.read::<Trial>()?;
    let mut request = trial.request.unwrap_or_default();
    request.body = request.body.or(trial.payload);
    let event_type = call.event_type().unwrap_or_default().to_owned();
    let project = call.project;
    let ask = move |view: &View<'_>, one: Stored| {
        let spec: SubscriptionSpec = one.spec()?;
        let table = view
            .snapshot()
            .project(project)
            .ok_or(ApiError::ProjectHeld)?;
        let id = SubscriptionId::new(one.uid());
        let subscription = Subscription::compile(id, 0, table.project(), &spec)?;
        match subscription.filter(&event_type) {
            Some(filter) => {
                let mode = subscription.filter_mode(table.project());
                ask(filter, &request.views(), mode)
            }
            None => Ok(false),
        }
    };
    let matches = call.show(Kind::Subscription, ask).await?;
    Ok(Reply::ok("Filter tested successfully", is_match(matches)).ignoring(ignored))
}

/// What is no match on delivery is an error here: whoever asks can mend the filter.
fn ask(filter: &Filter, views: &Views<'_>, mode: Mode) -> Result<bool, ApiError> {
    match filter.evaluate(views, mode, &mut Budget::for_event()) {
        Verdict::Match => Ok(true),
        Verdict::Refused { .. } => Ok(false),
        Verdict::Failed { fault, .. } => Err(fault.into()),
    }
}

fn mode(call: &ProjectCall) -> Result<Mode, ApiError> {
    let snapshot = call.api.control().journal().snapshot();
    let table = snapshot
        .project(call.project)
        .ok_or(ApiError::ProjectHeld)?;
    Ok(table.project().filter_mode())
}
