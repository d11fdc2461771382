//! What the owner of a project is to be told, as it travels.

use bytes::Bytes;
use outrider_config::Version;
use outrider_webhook::id::ProjectId;
use prost::Message;

use super::{WireError, bytes_of, cut, uid_of};
use crate::control::{News, TOLD_BYTES_MAX};

/// Characters of a kind and of a name that travel.
const KIND_CHARS_MAX: usize = 64;
const NAME_CHARS_MAX: usize = 256;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TellFields {
    #[prost(bytes = "vec", tag = "1")]
    project: Vec<u8>,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(bytes = "vec", tag = "4")]
    journal: Vec<u8>,
    #[prost(uint64, tag = "5")]
    revision: u64,
    #[prost(bytes = "bytes", tag = "6")]
    body: Bytes,
}

impl From<News> for TellFields {
    fn from(news: News) -> Self {
        Self {
            project: bytes_of(news.project.uid()),
            kind: cut(&news.kind, KIND_CHARS_MAX),
            name: cut(&news.name, NAME_CHARS_MAX),
            journal: bytes_of(news.version.journal),
            revision: news.version.revision,
            body: news.body,
        }
    }
}

impl TellFields {
    pub(super) fn read(&self) -> Result<News, WireError> {
        if self.body.len() > TOLD_BYTES_MAX {
            return Err(WireError::TooMany("body"));
        }
        Ok(News {
            project: ProjectId::new(uid_of("project", &self.project)?),
            kind: cut(&self.kind, KIND_CHARS_MAX),
            name: cut(&self.name, NAME_CHARS_MAX),
            version: Version {
                journal: uid_of("journal", &self.journal)?,
                revision: self.revision,
            },
            body: self.body.clone(),
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
        let mut fields = TellFields {
            project: vec![0; 16],
            journal: vec![0; 16],
            body: vec![b' '; TOLD_BYTES_MAX].into(),
            ..TellFields::default()
        };
        assert!(fields.read().is_ok());
        fields.body = vec![b' '; TOLD_BYTES_MAX + 1].into();
        assert_eq!(fields.read().unwrap_err().code(), "too_many");
        assert_eq!(TellFields::default().read().unwrap_err().code(), "bad_uid");
    }

    proptest! {
        #[test]
        fn it_survives_the_way(project: u128, journal: u128, revision: u64, kind in ".{0,64}", name in ".{0,99}", body: Vec<u8>) {
            let news = News {
                project: ProjectId::new(Uid::from_bits(project)),
                kind,
                name,
                version: Version { journal: Uid::from_bits(journal), revision },
                body: body.into(),
            };
            let bytes = TellFields::from(news.clone()).encode_to_vec();
            prop_assert_eq!(TellFields::decode(bytes.as_slice()).unwrap().read(), Ok(news));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            if let Ok(fields) = TellFields::decode(bytes.as_slice()) {
                let _ = fields.read();
            }
        }
    }
}
