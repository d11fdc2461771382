//! A plain GET, for what the gateway asks for itself: certificates of providers, confirmations of
//! subscriptions. The same policy, names, limits and TLS as of a delivery.

use std::sync::Arc;

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use outrider_webhook::address::{ProjectRef, TargetUrl};
use rustls::RootCertStore;

use super::{Ask, Egress, Exchange, Terms};

impl Egress {
    /// Fetches a URL for a project; as [`Egress::send`]. Redirects are not followed.
    pub async fn get(&self, project: &ProjectRef<'_>, url: &TargetUrl, terms: Terms) -> Exchange {
        self.run(project, Ask::Get(url), terms).await
    }

    /// The roots that TLS to destinations trusts.
    #[must_use]
    pub fn roots(&self) -> Arc<RootCertStore> {
        self.inner.dialler.roots()
    }
}

/// The headers of such a request.
pub(super) fn headers() -> HeaderMap {
    let agent = HeaderValue::from_static(concat!("Outrider/", env!("CARGO_PKG_VERSION")));
    HeaderMap::from_iter([
        (USER_AGENT, agent),
        (ACCEPT, HeaderValue::from_static("*/*")),
    ])
}
