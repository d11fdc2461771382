//! What an attempt met, in the words that operators know from Envoy's access logs.

use std::fmt;

use super::{Failure, GiveUp, Outcome, Step};

/// One flag: a closed list. Those after [`ResponseFlag::AuthUnavailable`] are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResponseFlag {
    /// `UF`: no connection to the receiver came up, TLS included.
    ConnectionFailure,
    /// `UC`: the receiver ended the connection before its answer was complete.
    ConnectionTermination,
    /// `UT`: no complete answer in time.
    Timeout,
    /// `DF`: the name could not be resolved.
    DnsFailure,
    /// `UPE`: what came was not HTTP.
    ProtocolError,
    /// `DT`: the next attempt would be over the age of the event that the policy allows.
    MaximumDuration,
    /// `URX`: the last attempt that the policy allows has failed.
    RetryLimit,
    /// `UAEX`: there is no token for the endpoint's authentication.
    AuthUnavailable,
    /// `SS`: the address policy forbids it.
    Forbidden,
    /// `EP`: a fault of our own way out, not charged to the endpoint.
    OwnEgress,
    /// `RA`: the receiver asked to be left alone for a time.
    RetryAfter,
    /// `GO`: 410.
    Gone,
}

impl ResponseFlag {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 12] = [
        Self::ConnectionFailure,
        Self::ConnectionTermination,
        Self::Timeout,
        Self::DnsFailure,
        Self::ProtocolError,
        Self::MaximumDuration,
        Self::RetryLimit,
        Self::AuthUnavailable,
        Self::Forbidden,
        Self::OwnEgress,
        Self::RetryAfter,
        Self::Gone,
    ];

    /// Its short code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ConnectionFailure => "UF",
            Self::ConnectionTermination => "UC",
            Self::Timeout => "UT",
            Self::DnsFailure => "DF",
            Self::ProtocolError => "UPE",
            Self::MaximumDuration => "DT",
            Self::RetryLimit => "URX",
            Self::AuthUnavailable => "UAEX",
            Self::Forbidden => "SS",
            Self::OwnEgress => "EP",
            Self::RetryAfter => "RA",
            Self::Gone => "GO",
        }
    }

    /// Its bit in the log; never changes.
    const fn bit(self) -> u32 {
        match self {
            Self::ConnectionFailure => 1 << 8,
            Self::ConnectionTermination => 1 << 9,
            Self::Timeout => 1 << 10,
            Self::DnsFailure => 1 << 11,
            Self::ProtocolError => 1 << 12,
            Self::MaximumDuration => 1 << 13,
            Self::RetryLimit => 1 << 14,
            Self::Forbidden => 1 << 15,
            Self::OwnEgress => 1 << 16,
            Self::RetryAfter => 1 << 17,
            Self::Gone => 1 << 18,
            Self::AuthUnavailable => 1 << 19,
        }
    }
}

/// The flags of one attempt. Written with commas between them, and as `-` when there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ResponseFlags(u32);

impl ResponseFlags {
    /// Those of an attempt. `was_sent`: the request was handed to a connection; `is_held`: the
    /// endpoint is left alone because its receiver asked for it.
    #[must_use]
    pub fn of(outcome: &Outcome, was_sent: bool, step: &Step, is_held: bool) -> Self {
        let own = match *outcome {
            Outcome::Answered { status } => (status == 410).then_some(ResponseFlag::Gone),
            Outcome::Failed(failure) => Some(of_failure(failure, was_sent)),
        };
        let end = match step {
            Step::GiveUp(GiveUp::RetryLimitExceeded) => Some(ResponseFlag::RetryLimit),
            Step::GiveUp(GiveUp::AgeLimitExceeded) => Some(ResponseFlag::MaximumDuration),
            Step::GiveUp(_) | Step::RetryAfter(_) | Step::Success => None,
        };
        let held = is_held.then_some(ResponseFlag::RetryAfter);
        let all = [own, end, held].into_iter().flatten();
        Self(all.fold(0, |bits, flag| bits | flag.bit()))
    }

    /// As the log keeps them, in bits 8 to 29.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Out of the bits of a record; others than ours are left out.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self(
            ResponseFlag::ALL
                .iter()
                .fold(0, |kept, flag| kept | (bits & flag.bit())),
        )
    }

    /// Whether a flag is set.
    #[must_use]
    pub const fn has(self, flag: ResponseFlag) -> bool {
        self.0 & flag.bit() != 0
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("-");
        }
        let mut set = ResponseFlag::ALL.iter().filter(|flag| self.has(**flag));
        if let Some(first) = set.next() {
            f.write_str(first.code())?;
        }
        set.try_for_each(|flag| write!(f, ",{}", flag.code()))
    }
}

const fn of_failure(failure: Failure, was_sent: bool) -> ResponseFlag {
    match failure {
        Failure::DnsFailure => ResponseFlag::DnsFailure,
        Failure::ConnectReset if was_sent => ResponseFlag::ConnectionTermination,
        Failure::ConnectRefused
        | Failure::ConnectReset
        | Failure::ConnectUnreachable
        | Failure::ConnectTimeout
        | Failure::TlsFailure => ResponseFlag::ConnectionFailure,
        Failure::ProtocolError => ResponseFlag::ProtocolError,
        Failure::ResponseTimeout => ResponseFlag::Timeout,
        Failure::EgressDenied { .. } => ResponseFlag::Forbidden,
        Failure::AuthUnavailable => ResponseFlag::AuthUnavailable,
        Failure::NoHealthySource
        | Failure::ProxyLost
        | Failure::PortExhausted
        | Failure::Internal => ResponseFlag::OwnEgress,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    const AGAIN: Step = Step::RetryAfter(Duration::from_secs(1));

    fn flags(outcome: Outcome, was_sent: bool, step: Step, is_held: bool) -> String {
        ResponseFlags::of(&outcome, was_sent, &step, is_held).to_string()
    }

    #[test]
    fn every_outcome_has_the_flag_that_operators_expect() {
        let failed = Outcome::Failed;
        let denied = failed(Failure::EgressDenied { literal: false });
        let status = |status| Outcome::Answered { status };
        let limit = Step::GiveUp(GiveUp::RetryLimitExceeded);
        for (found, expected) in [
            (flags(status(200), true, Step::Success, false), "-"),
            (flags(status(500), true, AGAIN, false), "-"),
            (flags(status(500), true, limit, false), "URX"),
            (flags(status(503), true, AGAIN, true), "RA"),
            (
                flags(
                    status(429),
                    true,
                    Step::GiveUp(GiveUp::AgeLimitExceeded),
                    true,
                ),
                "DT,RA",
            ),
            (
                flags(status(410), true, Step::GiveUp(GiveUp::Gone), false),
                "GO",
            ),
            (
                flags(failed(Failure::ConnectRefused), false, limit, false),
                "UF,URX",
            ),
            (
                flags(failed(Failure::ConnectReset), false, AGAIN, false),
                "UF",
            ),
            (
                flags(failed(Failure::ConnectReset), true, AGAIN, false),
                "UC",
            ),
            (flags(failed(Failure::TlsFailure), true, AGAIN, false), "UF"),
            (
                flags(failed(Failure::ResponseTimeout), true, AGAIN, false),
                "UT",
            ),
            (
                flags(failed(Failure::DnsFailure), false, AGAIN, false),
                "DF",
            ),
            (
                flags(failed(Failure::ProtocolError), true, AGAIN, false),
                "UPE",
            ),
            (flags(denied, false, AGAIN, false), "SS"),
            (
                flags(failed(Failure::AuthUnavailable), false, limit, false),
                "URX,UAEX",
            ),
            (flags(failed(Failure::Internal), false, AGAIN, false), "EP"),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn no_two_flags_share_a_bit_or_a_code_and_none_is_the_logs_own() {
        let bits: HashSet<u32> = ResponseFlag::ALL.map(ResponseFlag::bit).into();
        let codes: HashSet<&str> = ResponseFlag::ALL.map(ResponseFlag::code).into();
        assert_eq!((bits.len(), codes.len()), (12, 12));
        // Bits 0 to 7 and from 30 on belong to the log.
        assert!(bits.iter().all(|bit| (1 << 8..1 << 30).contains(bit)));
    }

    proptest! {
        #[test]
        fn what_is_written_to_a_record_is_read_from_it(bits: u32, other: u32) {
            let flags = ResponseFlags::from_bits(bits);
            prop_assert_eq!(ResponseFlags::from_bits(flags.bits()), flags);
            let others = other & !ResponseFlags::from_bits(u32::MAX).bits();
            prop_assert_eq!(ResponseFlags::from_bits(flags.bits() | others), flags);
            let written = flags.to_string();
            for flag in ResponseFlag::ALL {
                prop_assert_eq!(written.split(',').any(|code| code == flag.code()), flags.has(flag));
            }
        }
    }
}
