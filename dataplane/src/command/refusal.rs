//! Why a command is not carried out.

use outrider_xds::Outcome;

/// Why a command is not carried out. The texts are the contract's (section 3.8), where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("event delivery not found")]
    NotFound,
    #[error("event not found")]
    UnknownEvent,
    #[error("the event is a repeat of another one")]
    Repeat,
    #[error("the event has more deliveries now than the log takes at once")]
    TooLarge,
    #[error("event already sent")]
    AlreadySent,
    #[error("cannot resend event that did not fail previously")]
    NotEnded,
    #[error("cannot force resend an event that was not sent successfully")]
    NotDelivered,
    #[error("the event delivery has ended, there is nothing to cancel")]
    Ended,
    #[error("the endpoint is currently paused")]
    EndpointPaused,
    #[error("the endpoint is currently inactive")]
    EndpointInactive,
    #[error("the endpoint of this delivery was deleted")]
    EndpointDeleted,
    #[error("the endpoint has a URL template, and the event names no URL that it matches")]
    UnresolvedUrl,
    #[error("the payload of this event is gone: it was erased, or its retention is over")]
    PayloadGone,
    #[error("the event cannot be read just now, try again")]
    Unreadable,
    #[error("other commands take too long, try again")]
    Busy,
    #[error("the event log is not available")]
    LogUnavailable,
    #[error("an active batch retry already exists")]
    BatchActive,
    #[error("batch not found")]
    UnknownBatch,
    #[error("the batch is finished")]
    BatchFinished,
    #[error("the filter of the batch cannot be read")]
    BadFilter,
    #[error("this data plane does not do that yet")]
    NotSupported,
}

impl Refusal {
    /// Stable code: a closed set, which the control plane turns into a status.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::NotFound => "unknown_delivery",
            Self::UnknownEvent => "unknown_event",
            Self::Repeat => "repeat",
            Self::TooLarge => "too_large",
            Self::AlreadySent => "already_sent",
            Self::NotEnded => "not_ended",
            Self::NotDelivered => "not_delivered",
            Self::Ended => "ended",
            Self::EndpointPaused => "endpoint_paused",
            Self::EndpointInactive => "endpoint_inactive",
            Self::EndpointDeleted => "endpoint_deleted",
            Self::UnresolvedUrl => "unresolved_url_template",
            Self::PayloadGone => "payload_gone",
            Self::Unreadable => "index_unavailable",
            Self::Busy => "commands_busy",
            Self::LogUnavailable => "log_unavailable",
            Self::BatchActive => "batch_active",
            Self::UnknownBatch => "unknown_batch",
            Self::BatchFinished => "batch_finished",
            Self::BadFilter => "bad_filter",
            Self::NotSupported => "not_supported",
        }
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            code: refusal.code().to_owned(),
            message: refusal.to_string(),
        }
    }
}

impl From<outrider_store::IndexError> for Refusal {
    fn from(error: outrider_store::IndexError) -> Self {
        tracing::warn!(%error, code = error.code(), "a command could not look something up");
        Self::Unreadable
    }
}

impl From<outrider_store::LogClosed> for Refusal {
    fn from(_: outrider_store::LogClosed) -> Self {
        Self::LogUnavailable
    }
}

impl From<outrider_store::TogetherError> for Refusal {
    fn from(error: outrider_store::TogetherError) -> Self {
        tracing::error!(%error, "the effect of a command could not be recorded");
        Self::LogUnavailable
    }
}
