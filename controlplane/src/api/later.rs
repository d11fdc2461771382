//! Routes of the contract that this version does not have (decision 0007): told apart from paths
//! that nobody knows.

use axum::Router;
use axum::routing::any;

use super::{Api, not_supported};

const PATHS: [&str; 3] = ["/portal-links", "/portal-links/{*rest}", "/onboard"];

pub(super) fn routes() -> Router<Api> {
    PATHS.into_iter().fold(Router::new(), |routes, path| {
        routes.route(path, any(not_supported))
    })
}
