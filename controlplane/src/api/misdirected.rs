//! Events sent to the wrong port: the data plane takes them, this API only tells where that is
//! (RULINGS 34). Nobody has to prove anything for that, and the body is not read.

use axum::Router;
use axum::extract::{OriginalUri, State};
use axum::routing::post;

use super::error::ApiError;
use super::{Api, front};

const PATHS: [&str; 5] = [
    "/events",
    "/events/fanout",
    "/events/broadcast",
    "/events/dynamic",
    "/events/batch",
];

pub(super) fn routes() -> Router<Api> {
    PATHS.into_iter().fold(Router::new(), |routes, path| {
        routes.route(path, post(elsewhere))
    })
}

async fn elsewhere(State(api): State<Api>, OriginalUri(mut uri): OriginalUri) -> ApiError {
    front::collapse_slashes(&mut uri);
    // The query too: that of a CloudEvent says whom it is for.
    let path = uri.path_and_query().map_or("/", |whole| whole.as_str());
    ApiError::Misdirected(format!("{}{path}", api.public_url()))
}
