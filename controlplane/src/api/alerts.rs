//! `P/alerts`: what is wrong with the sources of a project, as each data plane sees it. Not in the
//! contract.

use axum::Router;
use axum::routing::get;
use outrider_xds::Question;

use super::call::ProjectCall;
use super::error::Answer;
use super::reply::Reply;
use super::{Api, ask};

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/alerts", get(list))
}

async fn list(call: ProjectCall) -> Answer {
    let question = Question::Alerts {
        project: call.project,
    };
    let said = ask::everybody(&call.api, question, "alerts").await;
    Ok(Reply::ok("Alerts fetched successfully", said))
}
