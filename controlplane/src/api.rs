//! The REST API: Convoy's routes and shapes over the journal (contract sections 2 and 3).
//!
//! A handler decodes, calls one function, encodes. What all routes share is here and in few files
//! beside it: `call` (who asks for what), `body`, `reply` and `error`, `page` and `list`, `version`
//! and `write`. One file per resource has its routes. Nothing here knows of data planes but
//! whether they have a revision in force.

mod alerts;
mod api_keys;
mod ask;
mod batches;
mod body;
mod call;
mod dataplanes;
mod deliveries;
mod disabling;
mod egress_policies;
mod egress_pools;
mod endpoints;
mod error;
mod event_types;
mod events;
mod explain;
mod filters;
mod front;
mod ignored;
mod later;
mod linger;
mod list;
mod meta_events;
mod misdirected;
mod news;
mod of_instance;
mod offers;
pub mod page;
mod patience;
mod projects;
mod query;
mod reads;
mod reply;
mod serve;
mod shares;
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
use outrider_webhook::address::Policy;
use outrider_xds::{Commands, Server};
use tower::ServiceExt;

use crate::{AdminKey, ControlPlane};
use error::{Answer, ApiError};
use reply::Reply;
use shares::Shares;

pub use news::Herald;
pub use offers::OfferDesk;
pub use serve::serve;

/// Where a project and all in it are found.
const PROJECT_PATH: &str = "/api/v1/projects/{project}";

/// What an API is made of.
pub struct Settings {
    /// The stored configuration.
    pub control: ControlPlane,
    /// Says how far the data planes are.
    pub server: Server,
    /// For all times that are stored or compared.
    pub clock: Arc<dyn Clock>,
    /// The key that opens everything.
    pub admin_key: AdminKey,
    /// Where events are taken.
    pub public_url: String,
    /// Where endpoints may be; the one that deliveries are judged by (RULINGS 31).
    pub egress: Policy,
    /// What happened to events; not in a control plane on its own (RULINGS 38).
    pub index: Option<Index>,
}

/// What the API works with. Clones are the same one.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    shares: Shares,
}

impl Api {
    /// An API of these settings.
    #[must_use]
    pub fn new(mut settings: Settings) -> Self {
        let without_slash = settings.public_url.trim_end_matches('/').len();
        settings.public_url.truncate(without_slash);
        let inner = Inner {
            settings,
            shares: Shares::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    fn commands(&self) -> Commands {
        self.server().commands()
    }

    fn control(&self) -> &ControlPlane {
        &self.inner.settings.control
    }

    fn server(&self) -> &Server {
        &self.inner.settings.server
    }

    fn admin_key(&self) -> &AdminKey {
        &self.inner.settings.admin_key
    }

    fn public_url(&self) -> &str {
        &self.inner.settings.public_url
    }

    fn egress(&self) -> &Policy {
        &self.inner.settings.egress
    }

    fn shares(&self) -> &Shares {
        &self.inner.shares
    }

    fn now_ms(&self) -> i64 {
        self.inner.settings.clock.now_ms()
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
        .merge(alerts::routes())
        .merge(subscriptions::routes())
        .merge(filters::routes())
        .merge(event_types::routes())
        .merge(api_keys::routes())
        .merge(events::routes())
        .merge(explain::routes())
        .merge(deliveries::routes())
        .merge(batches::routes())
        .merge(meta_events::routes())
        .merge(misdirected::routes())
        .merge(later::routes());
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .merge(projects::routes_of_all())
        .merge(dataplanes::routes())
        .merge(egress_policies::routes())
        .merge(egress_pools::routes())
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
