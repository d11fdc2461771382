//! The REST API: Convoy's routes and shapes over the journal (contract sections 2 and 3).
//!
//! A handler decodes, calls one function, encodes. What all routes share is here and in few files
//! beside it: `call` (who asks for what), `body`, `reply` and `error`, `page` and `list`, `version`
//! and `write`. One file per resource has its routes. Nothing here knows of data planes but
//! whether they have a revision in force.

mod api_keys;
mod body;
mod call;
mod deliveries;
mod endpoints;
mod error;
mod events;
mod front;
mod ignored;
mod later;
mod linger;
mod list;
mod misdirected;
pub mod page;
mod projects;
mod query;
mod reads;
mod reply;
mod serve;
mod sources;
mod subscriptions;
mod time;
mod version;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::middleware::from_fn;
use axum::routing::get;
use outrider_store::{Clock, Index};
use outrider_xds::{Commands, Server};
use tower::ServiceExt;

use crate::{AdminKey, ControlPlane};
use error::{Answer, ApiError};
use reply::Reply;

pub use serve::serve;

/// Where a project and all in it are found.
const PROJECT_PATH: &str = "/api/v1/projects/{project}";

/// What the API works with. Clones are the same one.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    control: ControlPlane,
    server: Server,
    clock: Arc<dyn Clock>,
    admin_key: AdminKey,
    public_url: String,
    /// What happened to events; not in a control plane on its own (RULINGS 38).
    index: Option<Index>,
}

impl Api {
    /// An API of this control plane. `server` says how far the data planes are; `public_url` is
    /// where events are taken, without a slash at its end.
    #[must_use]
    pub fn new(
        control: ControlPlane,
        server: Server,
        clock: Arc<dyn Clock>,
        admin_key: AdminKey,
        public_url: String,
    ) -> Self {
        let public_url = public_url.trim_end_matches('/').to_owned();
        Self {
            inner: Arc::new(Inner {
                control,
                server,
                clock,
                admin_key,
                public_url,
                index: None,
            }),
        }
    }

    /// The same, which also reads back what happened to events.
    #[must_use]
    pub fn reading(self, index: Index) -> Self {
        let Inner {
            control,
            server,
            clock,
            admin_key,
            public_url,
            ..
        } = &*self.inner;
        Self {
            inner: Arc::new(Inner {
                control: control.clone(),
                server: server.clone(),
                clock: Arc::clone(clock),
                admin_key: *admin_key,
                public_url: public_url.clone(),
                index: Some(index),
            }),
        }
    }

    fn commands(&self) -> Commands {
        self.inner.server.commands()
    }

    fn control(&self) -> &ControlPlane {
        &self.inner.control
    }

    fn public_url(&self) -> &str {
        &self.inner.public_url
    }

    fn now_ms(&self) -> i64 {
        self.inner.clock.now_ms()
    }
}

/// All routes of the API.
pub fn router(api: Api) -> Router {
    // Whatever lies in a project has its routes here; reads of events and deliveries belong here
    // too. What posts events does not: see `misdirected`.
    let in_project = Router::new()
        .merge(projects::routes_of_one())
        .merge(endpoints::routes())
        .merge(sources::routes())
        .merge(subscriptions::routes())
        .merge(api_keys::routes())
        .merge(events::routes())
        .merge(deliveries::routes())
        .merge(misdirected::routes())
        .merge(later::routes());
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .merge(projects::routes_of_all())
        .nest(PROJECT_PATH, in_project)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(front::front))
        .with_state(api);
    // The path is mended before anything is routed by it.
    let mended = routes.map_request(|mut request: Request<Body>| {
        front::collapse_slashes(request.uri_mut());
        request
    });
    Router::new().fallback_service(mended)
}

async fn healthz() -> Reply {
    Reply::ok("OK", serde_json::Value::Null)
}

async fn unknown_path() -> ApiError {
    ApiError::UnknownPath
}

async fn wrong_method() -> ApiError {
    ApiError::WrongMethod
}

/// Convoy has the route; this version does not do what it does (decision 0007).
async fn not_supported(_: call::ProjectCall) -> Answer {
    Err(ApiError::NotSupported)
}
