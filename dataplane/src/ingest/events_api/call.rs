//! Which publishing call a request is: by its path, a header of Convoy's, and its content type.

use http::{HeaderName, StatusCode, header};
use outrider_webhook::cloudevents::{self, ContentMode};
use pingora::protocols::http::ServerSession;

use super::refused::Refused;
use crate::ingest::reply::Reply;

/// Selects the kind of an event on the shortest path, as it does on a broker's messages
/// (contract section 9).
const MESSAGE_TYPE: HeaderName = HeaderName::from_static("x-convoy-message-type");

/// Whom an event is for, by the way it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ingest) enum Kind {
    /// One endpoint.
    Single,
    /// All endpoints of an owner.
    Fanout,
    /// All endpoints of the project.
    Broadcast,
    /// An endpoint that is named by its URL.
    Dynamic,
}

/// A publishing call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ingest) enum Call {
    /// One event; several when it is a batch of CloudEvents.
    One(Kind),
    /// Events of several kinds.
    Batch,
}

/// How the body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One event as the contract has it.
    Plain(Kind),
    /// A list of those.
    PlainBatch,
    /// A CloudEvent, or a list of them.
    CloudEvent(Kind, ContentMode),
}

impl Kind {
    /// The word for it in a batch item and in the header.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Fanout => "fanout",
            Self::Broadcast => "broadcast",
            Self::Dynamic => "dynamic",
        }
    }

    /// The kind of a word.
    pub(super) fn parse(word: &str) -> Option<Self> {
        let all = [Self::Single, Self::Fanout, Self::Broadcast, Self::Dynamic];
        all.into_iter().find(|kind| kind.word() == word)
    }

    /// The contract's text for an event that was taken.
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Single => "Event queued successfully",
            Self::Fanout => "Endpoint fanout event queued successfully",
            Self::Broadcast => "Broadcast event created successfully",
            Self::Dynamic => "Dynamic event created successfully",
        }
    }
}

impl Form {
    /// How the body of a request is to be read.
    pub(super) fn of(http: &ServerSession, call: Call) -> Result<Self, Reply> {
        let headers = &http.req_header().headers;
        let mode = cloudevents::mode(headers).map_err(Refused::from)?;
        if mode.is_none_or(|mode| mode == ContentMode::Binary && call == Call::Batch) {
            check_content_type(http)?;
        }
        match (call, mode) {
            (Call::Batch, Some(ContentMode::Structured | ContentMode::Batch)) => Err(not_here(
                "a batch of CloudEvents goes to /events, /events/fanout or /events/broadcast",
            )),
            (Call::Batch, _) => Ok(Self::PlainBatch),
            (Call::One(Kind::Dynamic), Some(_)) => Err(not_here(
                "a dynamic event cannot be a CloudEvent: send it as application/json",
            )),
            (Call::One(kind), mode) => {
                let kind = selected(http, kind)?;
                Ok(mode.map_or(Self::Plain(kind), |mode| Self::CloudEvent(kind, mode)))
            }
        }
    }

    /// Whether the body holds many events.
    pub(super) const fn is_batch(self) -> bool {
        matches!(
            self,
            Self::PlainBatch | Self::CloudEvent(_, ContentMode::Batch)
        )
    }
}

/// The kind that the header asks for. It selects on `/events`; a path that says more is right.
fn selected(http: &ServerSession, of_path: Kind) -> Result<Kind, Reply> {
    let Some(value) = http.get_header(&MESSAGE_TYPE) else {
        return Ok(of_path);
    };
    let word = value.to_str().ok().map(str::to_ascii_lowercase);
    // A dynamic event has a path of its own only.
    let asked = word
        .and_then(|word| Kind::parse(&word))
        .filter(|kind| *kind != Kind::Dynamic);
    let message = match asked {
        Some(kind) if of_path == Kind::Single || kind == of_path => return Ok(kind),
        Some(_) => format!(
            "`{MESSAGE_TYPE}` contradicts the path, which is for {} events",
            of_path.word()
        ),
        None => format!("`{MESSAGE_TYPE}` must be one of: single, fanout, broadcast"),
    };
    Err(Refused::invalid(message).into())
}

fn not_here(message: &str) -> Reply {
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Reply::refuse(status, "unsupported_media_type", message).last()
}

/// Anything but JSON is a 415 with an empty body; none at all is taken for JSON (contract 2.1).
fn check_content_type(http: &ServerSession) -> Result<(), Reply> {
    let is_json = match http.get_header(header::CONTENT_TYPE) {
        None => true,
        Some(value) => {
            let value = value.as_bytes();
            value.is_empty()
                || value
                    .get(..16)
                    .is_some_and(|head| head.eq_ignore_ascii_case(b"application/json"))
        }
    };
    if is_json {
        return Ok(());
    }
    Err(Reply {
        code: Some("unsupported_media_type"),
        ..Reply::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    }
    .last())
}
