//! What clients are told when the proxy does not do as they ask (`egress` section 3): never to be
//! taken for an answer of the destination.

use http::StatusCode;
use outrider_webhook::retry::Failure;

use crate::egress::Unopened;

/// Why the proxy refuses or fails: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not a request to a proxy.
    BadRequest,
    /// Too much of a head.
    HeadTooLarge,
    /// The address policy, or who asks may not: the reason.
    Denied(&'static str),
    /// No identity.
    AuthRequired,
    /// Too much at once, or too often.
    Limit,
    /// The process ends.
    Draining,
    /// The way to the destination.
    Failed(Failure),
}

impl From<Unopened> for Refusal {
    fn from(why: Unopened) -> Self {
        match why {
            Unopened::Denied(denial) => Self::Denied(denial.reason),
            Unopened::Certificate => Self::Denied("unknown_certificate"),
            Unopened::Limit => Self::Limit,
            Unopened::Failed(failure) => Self::Failed(failure),
        }
    }
}

impl Refusal {
    /// The status, as the contract has it.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::AuthRequired => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Self::Limit => StatusCode::TOO_MANY_REQUESTS,
            Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(failure) => match failure {
                Failure::ConnectTimeout | Failure::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
                failure if failure.is_infrastructure() => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_GATEWAY,
            },
        }
    }

    /// Value of `x-outrider-egress-error`, without the reason of a denial.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::BadRequest | Self::HeadTooLarge => "bad_request",
            Self::Denied(_) => "denied",
            Self::AuthRequired => "auth_required",
            Self::Limit => "limit",
            Self::Draining => "draining",
            Self::Failed(failure) => failure.code(),
        }
    }

    /// The type of error in `Proxy-Status` (RFC 9209 section 2.3).
    fn proxy_status(self) -> &'static str {
        match self {
            Self::BadRequest | Self::HeadTooLarge => "http_request_error",
            Self::Denied("address_denied" | "self_address") => "destination_ip_prohibited",
            Self::Denied(_) | Self::AuthRequired => "http_request_denied",
            Self::Limit => "connection_limit_reached",
            Self::Draining => "proxy_internal_response",
            Self::Failed(failure) => match failure {
                Failure::DnsFailure => "dns_error",
                Failure::ConnectRefused => "connection_refused",
                Failure::ConnectReset => "connection_terminated",
                Failure::ConnectUnreachable => "destination_ip_unroutable",
                Failure::ConnectTimeout => "connection_timeout",
                Failure::TlsFailure => "tls_protocol_error",
                Failure::ProtocolError => "http_protocol_error",
                Failure::ResponseTimeout => "http_response_timeout",
                _ => "proxy_internal_error",
            },
        }
    }

    /// The reply, with `words` for people as its body. `policy` is the one of the configuration that
    /// denies.
    pub(super) fn reply(self, words: &str, policy: Option<&str>, closes: bool) -> Vec<u8> {
        let status = self.status();
        let reason = status.canonical_reason().unwrap_or("Error");
        let (code, kind) = (self.code(), self.proxy_status());
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16());
        let detail = match self {
            Self::Denied(reason) => format!("{code}:{reason}"),
            _ => code.to_owned(),
        };
        head.push_str(&format!("x-outrider-egress-error: {detail}\r\n"));
        if let Some(policy) = policy {
            head.push_str(&format!("x-outrider-egress-policy: {policy}\r\n"));
        }
        head.push_str(&format!("proxy-status: outrider; error={kind}\r\n"));
        if self == Self::AuthRequired {
            head.push_str("proxy-authenticate: Basic realm=\"outrider\", charset=\"UTF-8\"\r\n");
        }
        if self == Self::Limit {
            head.push_str("retry-after: 1\r\n");
        }
        if closes {
            head.push_str("connection: close\r\n");
        }
        head.push_str("content-type: text/plain; charset=utf-8\r\n");
        let length = words.len() + 1;
        head.push_str(&format!("content-length: {length}\r\n\r\n{words}\n"));
        head.into_bytes()
    }
}
