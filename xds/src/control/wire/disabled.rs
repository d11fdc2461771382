//! That a data plane switched an endpoint off, as it travels. It is answered as an offer is.

use outrider_webhook::id::{EndpointId, ProjectId};
use prost::Message;

use super::{CODE_CHARS_MAX, FromNode, NodeSaid, WireError, bytes_of, cut, uid_of};
use crate::control::offer::DisabledEndpoint;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DisabledFields {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(bytes = "vec", tag = "2")]
    project: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    endpoint: Vec<u8>,
    #[prost(uint64, tag = "4")]
    activation_epoch: u64,
    #[prost(string, tag = "5")]
    reason: String,
}

pub(super) fn disabled(number: u64, disabled: &DisabledEndpoint) -> FromNode {
    let fields = DisabledFields {
        number,
        project: bytes_of(disabled.project.uid()),
        endpoint: bytes_of(disabled.endpoint.uid()),
        activation_epoch: disabled.activation_epoch,
        reason: cut(&disabled.reason, CODE_CHARS_MAX),
    };
    FromNode {
        said: Some(NodeSaid::Disabled(fields)),
    }
}

impl DisabledFields {
    /// What was switched off.
    pub(crate) fn read(self) -> Result<DisabledEndpoint, WireError> {
        Ok(DisabledEndpoint {
            project: ProjectId::new(uid_of("project", &self.project)?),
            endpoint: EndpointId::new(uid_of("endpoint", &self.endpoint)?),
            activation_epoch: self.activation_epoch,
            reason: cut(&self.reason, CODE_CHARS_MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::Uid;
    use proptest::prelude::*;

    #[test]
    fn what_names_no_endpoint_is_refused() {
        let error = DisabledFields::default().read().unwrap_err();
        assert_eq!(error.code(), "bad_uid");
    }

    proptest! {
        #[test]
        fn it_survives_the_way(number: u64, ids: [u128; 2], activation_epoch: u64, reason in ".{0,64}") {
            let sent = DisabledEndpoint {
                project: ProjectId::new(Uid::from_bits(ids[0])),
                endpoint: EndpointId::new(Uid::from_bits(ids[1])),
                activation_epoch,
                reason,
            };
            let bytes = disabled(number, &sent).encode_to_vec();
            let Some(NodeSaid::Disabled(fields)) = FromNode::decode(bytes.as_slice()).unwrap().said else {
                panic!("it is written");
            };
            prop_assert_eq!(fields.number, number);
            prop_assert_eq!(fields.read(), Ok(sent));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            if let Ok(fields) = DisabledFields::decode(bytes.as_slice()) {
                let _ = fields.read();
            }
        }
    }
}
