//! How one attempt ended.

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
    /// None of our own source addresses is usable.
    NoHealthySource,
    /// Our own ports are used up.
    PortExhausted,
    /// A fault of our own.
    Internal,
}

impl Failure {
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
            Self::NoHealthySource => "no_healthy_source",
            Self::PortExhausted => "port_exhausted",
            Self::Internal => "internal",
        }
    }

    /// Faults of our own egress: never charged to the endpoint (RULINGS 25).
    #[must_use]
    pub const fn is_infrastructure(self) -> bool {
        matches!(
            self,
            Self::NoHealthySource | Self::PortExhausted | Self::Internal
        )
    }
}
