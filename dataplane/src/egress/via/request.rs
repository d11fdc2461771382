//! What the proxy is asked: for a tunnel, or to send a whole request on; and whose answer that is.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::Full;
use outrider_webhook::retry::Failure;

use super::refusal::refused_by;
use super::{
    CERTIFICATE, DEST_IP, ENDPOINT, ERROR, POLICY, PULSE, Proxy, SOURCE_IP, TENANT, TIMEOUT,
    TIMING, TLS, Through,
};
use crate::egress::draft::Draft;
use crate::egress::fault::Fault;

/// Most that an attempt may take, seconds: no tunnel is cut before (RULINGS section E).
const ATTEMPT_MAX_S: u64 = 120;

impl Through {
    /// A request as the proxy gets it, which sends it on.
    pub(in crate::egress) fn forward(
        &self,
        request: &mut Request<Full<Bytes>>,
    ) -> Result<(), Fault> {
        let refuse = |what| Fault::new(Failure::Internal, format!("request not possible: {what}"));
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", PathAndQuery::as_str);
        let uri = Uri::builder()
            .scheme("https")
            .authority(&*self.authority)
            .path_and_query(path);
        let uri = uri.build().map_err(|_| refuse("no URL for the proxy"))?;
        let text =
            |text: &str| HeaderValue::from_str(text).map_err(|_| refuse("a name is no header"));
        let certificate = self.certificate.as_deref().unwrap_or_default();
        let own = [
            (TLS, HeaderValue::from_static("1")),
            (CERTIFICATE, text(certificate)?),
            (TENANT, text(&self.tenant)?),
            (TIMEOUT, HeaderValue::from(ATTEMPT_MAX_S)),
        ];
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        // What an event brought must not be taken for ours; here as in all other forms it ends.
        let foreign: Vec<HeaderName> = headers
            .keys()
            .filter(|name| {
                name.as_str().starts_with("x-outrider-") || **name == PROXY_AUTHORIZATION
            })
            .cloned()
            .collect();
        for name in foreign {
            headers.remove(name);
        }
        for (name, value) in own {
            headers.insert(name, value);
        }
        if let Some(endpoint) = self.endpoint {
            let endpoint = text(&endpoint.to_string())?;
            request.headers_mut().insert(ENDPOINT, endpoint);
        }
        if let Some(authorization) = &self.proxy.settings.authorization {
            let authorization = authorization.clone();
            request
                .headers_mut()
                .insert(PROXY_AUTHORIZATION, authorization);
        }
        Ok(())
    }

    /// An answer that came through the proxy, or is its own.
    pub(in crate::egress) fn answered(&self, status: u16, draft: &mut Draft) -> Result<(), Fault> {
        let headers = draft.headers();
        if let Some(error) = headers.remove(ERROR) {
            let policy = headers.remove(POLICY);
            headers.clear();
            let policy = policy.as_ref().and_then(|value| value.to_str().ok());
            let error = error.to_str().unwrap_or_default();
            return Err(refused_by(status, error, policy));
        }
        let mut take = |name| {
            let value = headers.remove(name)?;
            value.to_str().ok()?.parse::<IpAddr>().ok()
        };
        let (local, remote) = (take(SOURCE_IP), take(DEST_IP));
        headers.remove(TIMING);
        match (local, remote) {
            (Some(local), Some(remote)) => {
                let (local, remote) = (
                    SocketAddr::new(local, 0), // its port is the proxy's secret
                    SocketAddr::new(remote, self.port),
                );
                draft.on(local, remote);
                Ok(())
            }
            // Something has the request.
            _ => Err(Fault::new(
                Failure::ProxyLost,
                "egress proxy: it does not say which addresses it uses: it is not ours",
            )),
        }
    }

    /// The request for a tunnel.
    pub(super) fn request(&self) -> Vec<u8> {
        let authority = &self.authority;
        let mut head = format!(
            "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nx-outrider-tenant: {}\r\n\
             x-outrider-timeout: {ATTEMPT_MAX_S}\r\n",
            self.tenant
        )
        .into_bytes();
        if let Some(endpoint) = self.endpoint {
            head.extend_from_slice(format!("x-outrider-endpoint: {endpoint}\r\n").as_bytes());
        }
        if let Some(traceparent) = &self.traceparent {
            head.extend_from_slice(b"traceparent: ");
            head.extend_from_slice(traceparent.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        self.proxy.authorize(&mut head);
        head.extend_from_slice(b"\r\n");
        head
    }
}

impl Proxy {
    /// The request for a connection that tells whether it lives.
    pub(super) fn pulse_request(&self) -> Vec<u8> {
        let mut head =
            format!("OPTIONS * HTTP/1.1\r\nHost: outrider\r\n{PULSE}: 1\r\n").into_bytes();
        self.authorize(&mut head);
        head.extend_from_slice(b"\r\n");
        head
    }

    fn authorize(&self, head: &mut Vec<u8>) {
        if let Some(authorization) = &self.settings.authorization {
            head.extend_from_slice(b"Proxy-Authorization: ");
            head.extend_from_slice(authorization.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::super::ProxySettings;
    use super::*;

    #[test]
    fn what_an_event_brought_is_not_taken_for_what_we_say() {
        let settings = ProxySettings {
            host: "127.0.0.1".to_owned(),
            port: 3128,
            tls: None,
            authorization: Some(HeaderValue::from_static("Basic b3Vycw==")),
        };
        let through = Through {
            proxy: Proxy::new(settings, TaskTracker::new(), CancellationToken::new()),
            authority: "bank.example.com:443".into(),
            port: 443,
            tenant: "01JQ0000000000000000000001".into(),
            endpoint: None,
            certificate: Some("bank".into()),
            traceparent: None,
            pools: Vec::new(),
        };
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = Uri::from_static("/hook?a=b");
        let headers = request.headers_mut();
        headers.insert("x-mine", HeaderValue::from_static("1"));
        for name in [
            TENANT,
            ENDPOINT,
            TLS,
            CERTIFICATE,
            TIMEOUT,
            PROXY_AUTHORIZATION,
        ] {
            headers.insert(name, HeaderValue::from_static("theirs"));
        }
        through.forward(&mut request).unwrap();
        let headers = request.headers();
        assert!(
            !headers.values().any(|value| value == "theirs"),
            "{headers:?}"
        );
        assert_eq!(headers.get_all(CERTIFICATE).iter().count(), 1);
        assert_eq!([&headers[CERTIFICATE], &headers[TLS]], ["bank", "1"]);
        assert_eq!(headers["x-mine"], "1");
        assert_eq!(request.uri(), "https://bank.example.com:443/hook?a=b");
    }
}
