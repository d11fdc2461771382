//! `P/batches`: what was asked for all that a filter finds, and how far it has come. Batches of
//! Convoy's routes are among them. Not in the contract.

use axum::Router;
use axum::routing::{get, put};
use bytes::Bytes;
use outrider_webhook::id::{NodeId, Uid};
use outrider_xds::{Action, Batch, BatchKind, Command, Outcome, Question, SendError};
use serde::Serialize;
use serde_json::Value;

use super::call::ProjectCall;
use super::error::{Answer, ApiError};
use super::reply::Reply;
use super::{Api, ask};
use crate::random;

/// How long a command may take, until the client is told that nobody knows yet.
const COMMAND_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/batches", get(list))
        .route("/batches/{id}", get(show))
        .route("/batches/{id}/cancel", put(stop))
}

async fn list(call: ProjectCall) -> Answer {
    let said = all(&call).await;
    Ok(Reply::ok("Batches fetched successfully", said))
}

async fn show(call: ProjectCall) -> Answer {
    let id = id(&call)?;
    let batch = find(&call, id).await?;
    Ok(Reply::ok("Batch fetched successfully", batch))
}

async fn stop(call: ProjectCall) -> Answer {
    let id = id(&call)?;
    let action = Action::StopBatch {
        project: call.project,
        batch: id,
    };
    to_all(&call, random::uid(call.api.now_ms()), action).await?;
    let batch = find(&call, id).await?;
    Ok(Reply::ok("Batch cancelled successfully", batch))
}

/// Begins a batch on every data plane; its id.
pub(super) async fn begin(
    call: &ProjectCall,
    kind: BatchKind,
    filter: &impl Serialize,
) -> Result<Uid, ApiError> {
    let batch = Batch {
        project: call.project,
        kind,
        filter: Bytes::from(serde_json::to_vec(filter)?),
    };
    let id = random::uid(call.api.now_ms());
    to_all(call, id, Action::Batch(batch)).await?;
    Ok(id)
}

/// A batch as the data plane shows it that has it.
pub(super) async fn find(call: &ProjectCall, id: Uid) -> Result<Value, ApiError> {
    let mut said = all(call).await;
    let content = said.get_mut("content").and_then(Value::as_array_mut);
    let mut batches = content.into_iter().flatten();
    let uid = id.to_string();
    let found = batches.find(|batch| batch.get("uid").and_then(Value::as_str) == Some(&uid));
    found.map(Value::take).ok_or_else(not_found)
}

async fn all(call: &ProjectCall) -> Value {
    let question = Question::Batches {
        project: call.project,
    };
    ask::everybody(&call.api, question, "batches").await
}

fn id(call: &ProjectCall) -> Result<Uid, ApiError> {
    let id = call.id().and_then(|text| text.parse().ok());
    id.ok_or_else(not_found)
}

fn not_found() -> ApiError {
    ApiError::not_found("batch")
}

/// Sends the same command to all data planes: done when one of them has done it.
async fn to_all(call: &ProjectCall, id: Uid, action: Action) -> Result<(), ApiError> {
    let nodes = call.api.commands().connected();
    if nodes.is_empty() {
        return Err(SendError::NotConnected.into());
    }
    let (mut is_done, mut refused) = (false, None);
    for node in nodes {
        match send(&call.api, node, id, action.clone()).await {
            Ok(()) => is_done = true,
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if !is_done => Err(error),
        _ => Ok(()),
    }
}

/// Sends a command to a data plane and waits until it is done.
pub(super) async fn send(api: &Api, node: NodeId, id: Uid, action: Action) -> Result<(), ApiError> {
    let commands = api.commands();
    let command = Command { id, action };
    match commands.send(node, command, COMMAND_LIMIT).await? {
        Outcome::Refused { code, message } => Err(ApiError::Command { code, message }),
        Outcome::Done | Outcome::Answered(_) => Ok(()),
    }
}
