//! A client of a token endpoint that is to be tried out, as it travels.

use std::fmt;

use outrider_webhook::id::ProjectId;
use outrider_webhook::secret::Secret;
use prost::Message;

use super::{WireError, bytes_of, uid_of};
use crate::control::{Action, CLIENT_BYTES_MAX};

/// The secret is in it, so it is not shown.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(crate) struct TokenFields {
    #[prost(bytes = "vec", tag = "1")]
    project: Vec<u8>,
    #[prost(string, tag = "2")]
    client: String,
}

impl fmt::Debug for TokenFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFields").finish_non_exhaustive()
    }
}

impl TokenFields {
    pub(super) fn of(project: ProjectId, client: &Secret) -> Self {
        Self {
            project: bytes_of(project.uid()),
            client: client.expose().to_owned(),
        }
    }

    pub(super) fn read(&self) -> Result<Action, WireError> {
        if self.client.len() > CLIENT_BYTES_MAX {
            return Err(WireError::TooMany("client"));
        }
        Ok(Action::TryToken {
            project: ProjectId::new(uid_of("project", &self.project)?),
            client: Secret::new(self.client.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::Uid;
    use proptest::prelude::*;

    #[test]
    fn what_is_too_long_or_of_nobody_is_refused() {
        let mut fields = TokenFields {
            project: vec![0; 16],
            client: " ".repeat(CLIENT_BYTES_MAX),
        };
        assert!(fields.read().is_ok());
        fields.client.push(' ');
        assert_eq!(fields.read().unwrap_err().code(), "too_many");
        assert_eq!(TokenFields::default().read().unwrap_err().code(), "bad_uid");
    }

    proptest! {
        #[test]
        fn it_survives_the_way_and_is_never_printed(project: u128, client in "[a-z]{10,99}") {
            let (project, secret) = (ProjectId::new(Uid::from_bits(project)), Secret::new(client.clone()));
            let bytes = TokenFields::of(project, &secret).encode_to_vec();
            let read = TokenFields::decode(bytes.as_slice()).unwrap().read().unwrap();
            let printed = format!("{read:?}");
            prop_assert!(!printed.contains(&client));
            prop_assert_eq!(read, Action::TryToken { project, client: secret });
        }
    }
}
