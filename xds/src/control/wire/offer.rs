//! Offers of endpoints and their answers as they travel.

use std::fmt;

use outrider_webhook::id::{EndpointId, ProjectId, SubscriptionId};
use outrider_webhook::secret::Secret;
use prost::{Message, Oneof};

use super::{
    CODE_CHARS_MAX, ControlSaid, FromNode, HeadFields, MESSAGE_CHARS_MAX, NodeSaid, RefusedFields,
    ToNode, WireError, bytes_of, cut, uid_of,
};
use crate::control::offer::{EndpointOffer, Offer, OfferAnswer};

/// Event types of one offer. With everything else they fit into a message.
const EVENT_TYPES_MAX: usize = 128;

/// The secret is in it, so it is not shown.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(crate) struct OfferFields {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(bytes = "vec", tag = "2")]
    project: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    endpoint: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    subscription: Vec<u8>,
    #[prost(string, tag = "5")]
    url: String,
    #[prost(string, tag = "6")]
    secret: String,
    #[prost(string, repeated, tag = "7")]
    event_types: Vec<String>,
}

impl fmt::Debug for OfferFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferFields")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OfferAnswerFields {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(oneof = "AnswerFields", tags = "2, 3, 4")]
    answer: Option<AnswerFields>,
}

#[derive(Clone, PartialEq, Oneof)]
enum AnswerFields {
    /// Its number says nothing here.
    #[prost(message, tag = "2")]
    Taken(HeadFields),
    #[prost(message, tag = "3")]
    Refused(RefusedFields),
    #[prost(message, tag = "4")]
    Later(RefusedFields),
}

/// An offer as it travels.
pub(crate) fn offer(number: u64, offer: &Offer) -> FromNode {
    let offer = match offer {
        Offer::Endpoint(offer) => offer,
        Offer::Disabled(disabled) => return super::disabled::disabled(number, disabled),
    };
    let fields = OfferFields {
        number,
        project: bytes_of(offer.project.uid()),
        endpoint: bytes_of(offer.endpoint.uid()),
        subscription: bytes_of(offer.subscription.uid()),
        url: offer.url.clone(),
        secret: offer.secret.expose().to_owned(),
        event_types: offer.event_types.clone(),
    };
    FromNode {
        said: Some(NodeSaid::Offer(fields)),
    }
}

/// The answer to an offer.
pub(crate) fn offer_answer(number: u64, answer: &OfferAnswer) -> ToNode {
    let refused = |code: &str, message: &str| RefusedFields {
        code: cut(code, CODE_CHARS_MAX),
        message: cut(message, MESSAGE_CHARS_MAX),
    };
    let answer = match answer {
        OfferAnswer::Taken(version) => AnswerFields::Taken(HeadFields {
            number,
            journal: bytes_of(version.journal),
            revision: version.revision,
        }),
        OfferAnswer::Refused { code, message } => AnswerFields::Refused(refused(code, message)),
        OfferAnswer::Later { code } => AnswerFields::Later(refused(code, "")),
    };
    let fields = OfferAnswerFields {
        number,
        answer: Some(answer),
    };
    ToNode {
        said: Some(ControlSaid::OfferAnswer(fields)),
    }
}

impl OfferFields {
    /// The offer. Its texts are for the control plane to judge.
    pub(crate) fn read(self) -> Result<EndpointOffer, WireError> {
        if self.event_types.len() > EVENT_TYPES_MAX {
            return Err(WireError::TooMany("event_types"));
        }
        Ok(EndpointOffer {
            project: ProjectId::new(uid_of("project", &self.project)?),
            endpoint: EndpointId::new(uid_of("endpoint", &self.endpoint)?),
            subscription: SubscriptionId::new(uid_of("subscription", &self.subscription)?),
            url: self.url,
            secret: Secret::new(self.secret),
            event_types: self.event_types,
        })
    }
}

impl OfferAnswerFields {
    /// The number of the offer, and the answer.
    pub(crate) fn read(self) -> Result<(u64, OfferAnswer), WireError> {
        let answer = match self.answer.ok_or(WireError::Unknown("answer"))? {
            AnswerFields::Taken(fields) => OfferAnswer::Taken(fields.read()?.1),
            AnswerFields::Refused(RefusedFields { code, message }) => OfferAnswer::Refused {
                code: cut(&code, CODE_CHARS_MAX),
                message: cut(&message, MESSAGE_CHARS_MAX),
            },
            AnswerFields::Later(RefusedFields { code, .. }) => OfferAnswer::Later {
                code: cut(&code, CODE_CHARS_MAX),
            },
        };
        Ok((self.number, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_config::Version;
    use outrider_webhook::id::Uid;
    use proptest::prelude::*;

    fn fields_of(message: FromNode) -> OfferFields {
        match message.said {
            Some(NodeSaid::Offer(fields)) => fields,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_offer_that_means_nothing_is_refused() {
        let error = OfferFields::default().read().unwrap_err();
        assert_eq!(error.code(), "bad_uid");
        let many = OfferFields {
            event_types: vec![String::new(); EVENT_TYPES_MAX + 1],
            ..OfferFields::default()
        };
        assert_eq!(many.read().unwrap_err().code(), "too_many");
        let error = OfferAnswerFields::default().read().unwrap_err();
        assert_eq!(error.code(), "unknown_kind");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let fields = OfferFields {
            secret: "hunter2".to_owned(),
            ..OfferFields::default()
        };
        assert!(!format!("{fields:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn offers_and_answers_survive_the_way(
            number: u64, ids: [u128; 3], url in ".{0,40}", secret in ".{0,40}",
            event_types in prop::collection::vec(".{0,10}", 0..4), revision: u64, which in 0..3,
        ) {
            let [project, endpoint, subscription] = ids.map(Uid::from_bits);
            let sent = EndpointOffer {
                project: ProjectId::new(project),
                endpoint: EndpointId::new(endpoint),
                subscription: SubscriptionId::new(subscription),
                url,
                secret: Secret::new(secret),
                event_types,
            };
            let bytes = offer(number, &Offer::Endpoint(sent.clone())).encode_to_vec();
            let fields = fields_of(FromNode::decode(bytes.as_slice()).unwrap());
            prop_assert_eq!(fields.number, number);
            let read = fields.read().unwrap();
            prop_assert_eq!(
                (read.project, read.endpoint, read.subscription, &read.url, read.secret.expose(), &read.event_types),
                (sent.project, sent.endpoint, sent.subscription, &sent.url, sent.secret.expose(), &sent.event_types)
            );
            let (code, message) = ("code".to_owned(), "why".to_owned());
            let answer = match which {
                0 => OfferAnswer::Taken(Version { journal: endpoint, revision }),
                1 => OfferAnswer::Refused { code, message },
                _ => OfferAnswer::Later { code },
            };
            let bytes = offer_answer(number, &answer).encode_to_vec();
            let Some(ControlSaid::OfferAnswer(fields)) = ToNode::decode(bytes.as_slice()).unwrap().said else {
                panic!("an answer is written");
            };
            prop_assert_eq!(fields.read(), Ok((number, answer)));
        }

        #[test]
        fn no_bytes_make_the_readers_panic(bytes: Vec<u8>) {
            if let Ok(fields) = OfferFields::decode(bytes.as_slice()) {
                let _ = fields.read();
            }
            if let Ok(fields) = OfferAnswerFields::decode(bytes.as_slice()) {
                let _ = fields.read();
            }
        }
    }
}
