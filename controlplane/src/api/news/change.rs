//! What there is to tell of one change.

use outrider_config::resource::EndpointSpec;
use outrider_config::snapshot::MetaKind;
use outrider_config::{Kind, Version};
use outrider_webhook::id::Uid;
use outrider_xds::{News, TOLD_BYTES_MAX};
use serde_json::{Value, json};

use super::super::Api;
use super::super::endpoints;
use super::super::error::ApiError;
use super::super::projects;
use super::egress;
use crate::{Author, Change, Op, Origin, Stored, View};

/// Fields of an endpoint that may hold credentials.
const CREDENTIALS: [&str; 4] = [
    "authentication",
    "mtls_client_cert",
    "slack_webhook_url",
    "teams_webhook_url",
];

/// Nothing, when the project does not want to know.
pub(super) fn news(
    api: &Api,
    view: &View<'_>,
    change: &Change,
    journal: Uid,
) -> Result<Vec<News>, ApiError> {
    if change.kind == Kind::EgressPool {
        return Ok(egress::news(view, change, journal)); // of no project, and told to many
    }
    let table = view.snapshot().project(change.project);
    let Some(meta) = table.and_then(|table| table.project().meta()) else {
        return Ok(Vec::new());
    };
    let mut news = Vec::new();
    for kind in kinds(view, change)? {
        if !meta.wants(kind) {
            continue;
        }
        let body = json!({"event_type": kind.as_str(), "data": resource(api, view, change)?});
        let body = body.to_string();
        if body.len() > TOLD_BYTES_MAX {
            tracing::error!(uid = %change.uid, kind = kind.as_str(), "a meta event is too long, and lost");
            continue;
        }
        news.push(News {
            project: change.project,
            kind: kind.as_str().to_owned(),
            name: format!("{journal}/{}/{}", change.revision, change.uid),
            version: Version {
                journal,
                revision: change.revision,
            },
            body: body.into(),
        });
    }
    Ok(news)
}

fn kinds(view: &View<'_>, change: &Change) -> Result<Vec<MetaKind>, ApiError> {
    Ok(match (change.kind, change.op) {
        (Kind::Project, Op::Update) => vec![MetaKind::ProjectUpdated],
        (Kind::Endpoint, Op::Create) => vec![MetaKind::EndpointCreated],
        (Kind::Endpoint, Op::Delete) => vec![MetaKind::EndpointDeleted],
        (Kind::Endpoint, Op::Update) => {
            let is_off = |spec: &Option<Vec<u8>>| -> Result<bool, ApiError> {
                let stored = stored(view, change, spec.clone())?;
                let spec: Option<EndpointSpec> = stored.map(|one| one.spec()).transpose()?;
                Ok(spec.is_some_and(|spec| spec.is_inactive()))
            };
            let mut kinds = vec![MetaKind::EndpointUpdated];
            match (is_off(&change.before)?, is_off(&change.after)?) {
                (false, true) => kinds.push(MetaKind::EndpointDisabled),
                (true, false) => kinds.push(MetaKind::EndpointEnabled),
                _ => {}
            }
            kinds
        }
        _ => Vec::new(),
    })
}

/// The resource as replies show it, without secrets: as it was then, or before it was removed.
fn resource(api: &Api, view: &View<'_>, change: &Change) -> Result<Value, ApiError> {
    let spec = change.after.as_ref().or(change.before.as_ref()).cloned();
    let Some(one) = stored(view, change, spec)? else {
        return Ok(Value::Null);
    };
    if change.kind == Kind::Project {
        let mut shown = projects::shape::reply(api, view, &one)?;
        shown["config"]["meta_event"]["secret"] = "".into();
        return Ok(shown);
    }
    let mut shown = endpoints::metadata(&one, endpoints::is_incoming(view, &one))?;
    if let Value::Object(fields) = &mut shown {
        for field in CREDENTIALS {
            fields.remove(field);
        }
    }
    Ok(shown)
}

fn stored(
    view: &View<'_>,
    change: &Change,
    spec: Option<Vec<u8>>,
) -> Result<Option<Stored>, ApiError> {
    let Some(spec) = spec else {
        return Ok(None);
    };
    let by = Author {
        actor: &change.actor,
        origin: Origin::Api,
        now_ms: change.at_ms,
    };
    let mut one = Stored::new(change.kind, change.uid, change.project, spec.into(), &by)?;
    if let Some(now) = view.get(change.kind, change.project, change.uid)? {
        one.created_ms = now.created_ms;
    }
    Ok(Some(one))
}
