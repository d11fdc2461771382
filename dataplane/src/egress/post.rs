//! A form by POST, for what the gateway asks for itself: tokens. The same policy, names, limits and
//! TLS as of a delivery.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use outrider_webhook::address::{ProjectRef, TargetUrl};

use super::{Ask, Egress, Exchange, Terms, get};

/// What is posted.
pub struct Form<'a> {
    /// Where to.
    pub url: &'a TargetUrl,
    /// Value of `Authorization`.
    pub authorization: Option<HeaderValue>,
    /// `application/x-www-form-urlencoded`.
    pub body: Bytes,
}

impl Egress {
    /// Posts a form for a project; as [`Egress::send`]. Redirects are not followed.
    pub async fn post(&self, project: &ProjectRef<'_>, form: Form<'_>, terms: Terms) -> Exchange {
        self.run(project, Ask::Post(form), terms).await
    }
}

impl Form<'_> {
    /// The headers of such a request, whose answer is to be JSON.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = get::headers();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form = "application/x-www-form-urlencoded";
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(form));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers
    }
}
