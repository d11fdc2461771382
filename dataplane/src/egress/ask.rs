//! What is asked of a destination, the request that this becomes, and on which terms it is sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use outrider_webhook::address::TargetUrl;
use outrider_webhook::client_tls::ClientTls;
use outrider_webhook::retry::Failure;
use outrider_webhook::sign::SignedRequest;

use super::fault::Fault;
use super::get;
use super::post::Form;
use super::source::Leave;
use super::told::traceparent;

/// On which terms a request is sent.
#[derive(Debug, Clone)]
pub struct Terms {
    /// For all of it, from the name to the last byte of the answer.
    pub timeout: Duration,
    /// Bytes of the answer's body that are kept.
    pub excerpt_max: usize,
    /// Until there is a connection, instead of the limits of the process.
    pub connect_timeout: Option<Duration>,
    /// TLS settings instead of those of the process.
    pub tls: Option<Arc<ClientTls>>,
    /// The certificate by which the receiver knows us, where it is known by its name.
    pub certificate: Option<Arc<str>>,
    /// Where it leaves from.
    pub leave: Leave,
}

impl Terms {
    /// With the settings of the process, by the host's route.
    #[must_use]
    pub const fn new(timeout: Duration, excerpt_max: usize) -> Self {
        Self {
            timeout,
            excerpt_max,
            connect_timeout: None,
            tls: None,
            certificate: None,
            leave: Leave::HostRoute,
        }
    }

    /// The same from there.
    #[must_use]
    pub fn leaving(self, leave: Leave) -> Self {
        Self { leave, ..self }
    }
}

/// What is asked of a destination.
pub(super) enum Ask<'a> {
    /// A delivery.
    Signed(SignedRequest),
    /// A document, for ourselves.
    Get(&'a TargetUrl),
    /// A form, for ourselves.
    Post(Form<'a>),
}

impl Ask<'_> {
    pub(super) fn target(&self) -> &TargetUrl {
        match self {
            Self::Signed(request) => request.target(),
            Self::Get(url) => url,
            Self::Post(form) => form.url,
        }
    }

    /// Of the trace that it belongs to; one that is not as the standard has it is none.
    pub(super) fn traceparent(&self) -> Option<&HeaderValue> {
        match self {
            Self::Signed(request) => traceparent(request.headers()),
            Self::Get(_) | Self::Post(_) => None,
        }
    }

    /// The request as it goes over the wire; what was signed is not touched.
    pub(super) fn into_request(self) -> Result<Request<Full<Bytes>>, Fault> {
        let refuse =
            |what: &str| Fault::new(Failure::Internal, format!("request not possible: {what}"));
        let host = HeaderValue::from_str(self.target().authority())
            .map_err(|_| refuse("the authority is no header value"))?;
        let (method, path, mut headers, body) = match self {
            Self::Signed(signed) => {
                let parts = signed.into_parts();
                (
                    Method::POST,
                    parts.path_and_query,
                    parts.headers,
                    parts.body,
                )
            }
            Self::Get(url) => {
                let path = url.path_and_query().clone();
                (Method::GET, path, get::headers(), Bytes::new())
            }
            Self::Post(form) => {
                let path = form.url.path_and_query().clone();
                (Method::POST, path, form.headers(), form.body)
            }
        };
        headers.insert(HOST, host);
        if method == Method::POST {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from(path);
        *request.headers_mut() = headers;
        Ok(request)
    }
}
