//! Where a delivery may go: a strict parser of destinations and the verdict over addresses. And
//! where an event may come from (`list`).
//!
//! Pure: names are resolved by the caller, who brings all answers here before it connects
//! (`egress` section 7). The same functions judge an endpoint when it is saved, a delivery when
//! it is sent, and a CONNECT of the forward proxy. Rules in `policy`, ranges in `ranges`, what comes
//! with the configuration and closes more in `closing`.

use std::sync::Arc;

mod closing;
mod host;
mod list;
mod policy;
mod ranges;
#[cfg(test)]
mod tests;
mod url;

pub use self::closing::{Closing, Closings, Guard, PolicyPlace};
pub use self::host::Host;
pub use self::list::{AddressRules, AddressSet, client_behind};
pub use self::policy::{InternalRule, InternalTarget, Policy, ProjectRef, SelfAddress};
pub(crate) use self::url::encode_tail;
pub use self::url::{Authority, Scheme, TargetUrl};

/// Why a destination is refused: a closed list with stable codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not an absolute URL without odd characters.
    #[error("not an absolute http(s) URL: control characters, spaces and backslashes are refused")]
    InvalidUrl,
    /// Neither http nor https.
    #[error("only http and https are delivered to")]
    SchemeNotAllowed,
    /// Credentials in the URL.
    #[error("credentials do not belong into the URL")]
    UserinfoNotAllowed,
    /// Not a host name or address.
    #[error("the host is not a valid name or address")]
    InvalidHost,
    /// An address in a spelling that parsers read differently.
    #[error("the host is an address in an ambiguous spelling: write four decimal numbers")]
    NoncanonicalIp,
    /// Not a port number.
    #[error("the port must be 1 to 65535")]
    InvalidPort,
    /// Not `host:port`.
    #[error("`host:port` is expected")]
    InvalidAuthority,
    /// A port of other services.
    #[error("port {0} is not delivered to (setting `egress.ports`)")]
    PortNotAllowed(u16),
    /// A name of the inside.
    #[error("`{0}` is a name of internal networks (setting `egress.internal` with `name_suffix`)")]
    NameDenied(Box<str>),
    /// An address of the inside.
    #[error("{0} is an internal or reserved address{hint}", hint = ranges::hint(*.0))]
    AddressDenied(std::net::IpAddr),
    /// An address of the gateway itself.
    #[error("{0} is an address of the gateway itself")]
    SelfAddress(std::net::IpAddr),
    /// The name has no address.
    #[error("the name has no address")]
    DnsNoAddress,
    /// A port that a policy of the configuration does not name.
    #[error("port {port} is closed by the egress policy `{policy}`")]
    PolicyPort {
        /// Its name.
        policy: Arc<str>,
        /// The port.
        port: u16,
    },
    /// A name or an address that one closes.
    #[error("{what} is closed by the egress policy `{policy}`")]
    PolicyDenied {
        /// Its name.
        policy: Arc<str>,
        /// The name or address.
        what: Box<str>,
    },
    /// A name or an address that one does not list, and it closes what it does not list.
    #[error("{what} is not among what the egress policy `{policy}` lists")]
    PolicyNotListed {
        /// Its name.
        policy: Arc<str>,
        /// The name or address.
        what: Box<str>,
    },
    /// One that is there and cannot be read by this version.
    #[error(
        "the egress policy `{0}` cannot be read by this version, which lets nothing through that it may close"
    )]
    PolicyUnreadable(Arc<str>),
}

/// The code of [`Denied::PolicyUnreadable`].
pub const UNREADABLE: &str = "policy_unreadable";

/// The codes of [`Denied`].
const CODES: [&str; 16] = [
    "invalid_url",
    "scheme_not_allowed",
    "userinfo_not_allowed",
    "invalid_host",
    "noncanonical_ip",
    "invalid_port",
    "invalid_authority",
    "port_not_allowed",
    "name_denied",
    "address_denied",
    "self_address",
    "dns_no_address",
    "policy_port",
    "policy_denied",
    "policy_not_listed",
    UNREADABLE,
];

impl Denied {
    /// Stable code for records, labels and API bodies.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidUrl => "invalid_url",
            Self::SchemeNotAllowed => "scheme_not_allowed",
            Self::UserinfoNotAllowed => "userinfo_not_allowed",
            Self::InvalidHost => "invalid_host",
            Self::NoncanonicalIp => "noncanonical_ip",
            Self::InvalidPort => "invalid_port",
            Self::InvalidAuthority => "invalid_authority",
            Self::PortNotAllowed(_) => "port_not_allowed",
            Self::NameDenied(_) => "name_denied",
            Self::AddressDenied(_) => "address_denied",
            Self::SelfAddress(_) => "self_address",
            Self::DnsNoAddress => "dns_no_address",
            Self::PolicyPort { .. } => "policy_port",
            Self::PolicyDenied { .. } => "policy_denied",
            Self::PolicyNotListed { .. } => "policy_not_listed",
            Self::PolicyUnreadable(_) => UNREADABLE,
        }
    }

    /// The policy of the configuration that refused it, if one did: that one may change at any time.
    #[must_use]
    pub const fn policy(&self) -> Option<&Arc<str>> {
        match self {
            Self::PolicyPort { policy, .. }
            | Self::PolicyDenied { policy, .. }
            | Self::PolicyNotListed { policy, .. }
            | Self::PolicyUnreadable(policy) => Some(policy),
            _ => None,
        }
    }
}

/// What is kept of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Its code.
    pub reason: &'static str,
    /// The policy of the configuration that refused, if one did and it is known here.
    pub policy: Option<Arc<str>>,
}

impl From<&Denied> for Denial {
    fn from(denied: &Denied) -> Self {
        Self {
            reason: denied.code(),
            policy: denied.policy().cloned(),
        }
    }
}

impl Denial {
    /// That which another process tells by its code; `None` for one that is not known here.
    #[must_use]
    pub fn told(code: &str) -> Option<Self> {
        let reason = CODES.into_iter().find(|known| *known == code)?;
        Some(Self {
            reason,
            policy: None,
        })
    }

    /// Whether a policy of the configuration refused it, named or not: that may change at any time,
    /// and says nothing of the receiver.
    #[must_use]
    pub fn is_by_policy(&self) -> bool {
        self.policy.is_some() || self.reason.starts_with("policy_")
    }

    /// Whether there is a policy that cannot be read where it was asked: a fault of our own.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.reason == UNREADABLE
    }
}
