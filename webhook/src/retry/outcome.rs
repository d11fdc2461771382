//! How one attempt ended.

use crate::address::Denial;

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered, whatever it said.
    Answered {
        /// HTTP status.
        status: u16,
    },
    /// There was no answer.
    Failed(Failure),
}

/// The class of an attempt that was no success, for records and API bodies: a closed list.
#[must_use]
pub fn error_class(status: Option<u16>, failure: Option<&str>) -> &'static str {
    match (status, failure) {
        (_, Some(text)) => Failure::ALL
            .iter()
            .map(|failure| failure.code())
            .find(|known| Some(*known) == text.split(':').next())
            .unwrap_or(Failure::Internal.code()), // written by another version
        (Some(429), None) => "http_429",
        (Some(200..=299), None) => "http_2xx",
        (Some(300..=399), None) => "http_3xx",
        (Some(400..=499), None) => "http_4xx",
        (Some(_), None) => "http_5xx",
        (None, None) => Failure::Internal.code(),
    }
}

/// What a record says of an attempt without an answer: the code of the failure, and of a refusal by
/// the address policy its reason and the policy of the configuration behind it,
/// `egress_denied:policy_denied:strict`.
#[must_use]
pub fn error_of(failure: Failure, denial: Option<&Denial>) -> Box<str> {
    let code = failure.code();
    match denial {
        None => code.into(),
        Some(Denial { reason, policy }) => match policy {
            None => format!("{code}:{reason}").into(),
            Some(policy) => format!("{code}:{reason}:{policy}").into(),
        },
    }
}

/// The reason of a refusal and the policy of the configuration, out of what [`error_of`] made.
#[must_use]
pub fn denial_of(error: &str) -> Option<(&str, Option<&str>)> {
    let (_, denial) = error.split_once(':')?;
    Some(match denial.split_once(':') {
        Some((reason, policy)) => (reason, Some(policy)),
        None => (denial, None),
    })
}

/// Why there was no answer: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The name has no address, or could not be asked for.
    DnsFailure,
    /// Nobody listens there.
    ConnectRefused,
    /// The connection broke.
    ConnectReset,
    /// No way there.
    ConnectUnreachable,
    /// No connection in time.
    ConnectTimeout,
    /// No agreement on TLS, or a certificate that does not hold.
    TlsFailure,
    /// What came was not HTTP.
    ProtocolError,
    /// No complete answer in time.
    ResponseTimeout,
    /// The address policy forbids it.
    EgressDenied {
        /// The URL itself names a forbidden place; else a name led there, which may change.
        literal: bool,
    },
    /// There is no token for its authentication, so nothing was sent (RULINGS 25).
    AuthUnavailable,
    /// None of our own source addresses is usable.
    NoHealthySource,
    /// The egress proxy was lost before the answer was here: the receiver may have the request.
    ProxyLost,
    /// Our own ports are used up.
    PortExhausted,
    /// A fault of our own.
    Internal,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::DnsFailure,
        Self::ConnectRefused,
        Self::ConnectReset,
        Self::ConnectUnreachable,
        Self::ConnectTimeout,
        Self::TlsFailure,
        Self::ProtocolError,
        Self::ResponseTimeout,
        Self::EgressDenied { literal: false },
        Self::AuthUnavailable,
        Self::NoHealthySource,
        Self::ProxyLost,
        Self::PortExhausted,
        Self::Internal,
    ];

    /// Stable code for records, labels and API bodies.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::DnsFailure => "dns_failure",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectReset => "connect_reset",
            Self::ConnectUnreachable => "connect_unreachable",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsFailure => "tls_failure",
            Self::ProtocolError => "protocol_error",
            Self::ResponseTimeout => "response_timeout",
            Self::EgressDenied { .. } => "egress_denied",
            Self::AuthUnavailable => "auth_unavailable",
            Self::NoHealthySource => "no_healthy_source",
            Self::ProxyLost => "proxy_lost",
            Self::PortExhausted => "port_exhausted",
            Self::Internal => "internal",
        }
    }

    /// Faults of our own egress: never charged to the endpoint (RULINGS 25).
    #[must_use]
    pub const fn is_infrastructure(self) -> bool {
        matches!(
            self,
            Self::NoHealthySource | Self::ProxyLost | Self::PortExhausted | Self::Internal
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_no_success_has_a_class() {
        for failure in Failure::ALL {
            assert_eq!(error_class(None, Some(failure.code())), failure.code());
        }
        assert_eq!(error_class(None, Some("of a later version")), "internal");
        let denied = Failure::EgressDenied { literal: false };
        let denial = |code: &str, policy: Option<&str>| {
            let told = Denial::told(code).unwrap();
            let policy = policy.map(Into::into);
            Denial { policy, ..told }
        };
        for (denial, expected) in [
            (None, None),
            (
                Some(denial("name_denied", None)),
                Some(("name_denied", None)),
            ),
            (
                Some(denial("policy_port", Some("web"))),
                Some(("policy_port", Some("web"))),
            ),
        ] {
            let error = error_of(denied, denial.as_ref());
            assert_eq!(error_class(None, Some(&error)), "egress_denied", "{error}");
            assert_eq!(denial_of(&error), expected, "{error}");
        }
        assert_eq!(Denial::told("of a later version"), None);
        for (status, expected) in [
            (204, "http_2xx"),
            (302, "http_3xx"),
            (429, "http_429"),
            (404, "http_4xx"),
            (500, "http_5xx"),
            (999, "http_5xx"),
        ] {
            assert_eq!(error_class(Some(status), None), expected);
        }
    }
}
