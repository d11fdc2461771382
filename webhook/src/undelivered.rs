//! Why a delivery ended without success: one closed list for the log, labels, filters and people.
//!
//! The codes never change: logs are full of them. What does not end a delivery (a pause, a
//! missing secret, a retry) is none of them.

use serde::{Deserialize, Serialize};

/// Makes the list once, so that none of its forms can lack one.
macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $code:literal,)+) => {
        /// Why a delivery ended without success.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])+ #[serde(rename = $code)] $name,)+
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Stable code for records, labels and API bodies.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }
        }
    };
}

reasons! {
    /// All attempts are used up.
    RetryLimitExceeded = "retry_limit_exceeded",
    /// The next attempt would come later after the event than the policy allows.
    AgeLimitExceeded = "age_limit_exceeded",
    /// 410: the receiver is gone for good.
    Gone = "gone",
    /// 413: the body will not shrink.
    PayloadTooLarge = "payload_too_large",
    /// A status that the endpoint's settings call permanent.
    PermanentStatus = "permanent_status",
    /// The URL names a place that must not be reached.
    EgressDenied = "egress_denied",
    /// At most once: the receiver has it, and answered that it failed.
    Refused = "refused",
    /// At most once: the receiver may have it, and nobody knows what became of it.
    OutcomeUnknown = "outcome_unknown",
    /// A fault of our own, in each of several attempts.
    Internal = "internal",
    /// The event could not be read back: its record is damaged.
    PayloadLost = "payload_lost",
    /// The event was erased, or its retention is over.
    PayloadGone = "payload_gone",
    /// The endpoint takes forms, and the data are none.
    DataNotAForm = "data_not_a_form",
    /// There was no token where the endpoint needs one.
    AuthUnavailable = "auth_unavailable",
    /// An endpoint that an event named by its URL will not be configured.
    EndpointRefused = "endpoint_refused",
    /// Such an endpoint cannot be read back.
    EndpointUnreadable = "endpoint_unreadable",
    /// The endpoint has a URL template, and the event no URL that matches it.
    UnresolvedUrlTemplate = "unresolved_url_template",
    /// The project was deleted.
    ProjectDeleted = "project_deleted",
    /// The endpoint was deleted.
    EndpointDeleted = "endpoint_deleted",
    /// The endpoint is switched off.
    EndpointInactive = "endpoint_inactive",
    /// Somebody cancelled it.
    Cancelled = "cancelled",
    /// No signature is set.
    NoScheme = "no_scheme",
    /// The hash of a signature is none of ours.
    UnsupportedHash = "unsupported_hash",
    /// The encoding of a signature is none of ours.
    UnsupportedEncoding = "unsupported_encoding",
    /// The compacted form was to be signed, and the payload is not JSON.
    PayloadNotJson = "payload_not_json",
    /// The id would make the signed text ambiguous.
    BadMessageId = "bad_message_id",
    /// A key that cannot sign.
    BadKey = "bad_key",
    /// A key whose uid is no `keyid` of a message signature.
    BadKeyId = "bad_key_id",
    /// The same header was to be written twice.
    RepeatedHeader = "repeated_header",
    /// A signature needs a shared secret, and there are private keys only.
    NoSharedSecret = "no_shared_secret",
    /// A header cannot carry its value.
    BadHeader = "bad_header",
    /// A setting would overwrite a header that has another meaning.
    ReservedHeader = "reserved_header",
    /// The query of the event cannot be appended to the URL.
    BadQuery = "bad_query",
}

impl Reason {
    /// The reason with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|reason| reason.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_no_reason_is_none() {
        for text in ["", "Gone", "gone ", "retry", "endpoint_paused", "resend"] {
            assert_eq!(Reason::from_code(text), None, "{text}");
            let read: Result<Reason, _> = serde_json::from_value(text.into());
            assert!(read.is_err(), "{text}");
        }
    }

    #[test]
    fn each_has_a_code_of_its_own_which_is_also_how_it_is_written() {
        let codes: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL.iter().copied() {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.code());
            let read: Reason = serde_json::from_value(reason.code().into()).unwrap();
            assert_eq!(read, reason);
        }
    }
}
