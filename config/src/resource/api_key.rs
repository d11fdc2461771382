//! An API key: lets a backend service publish events. Kept and sent as a digest only.

use outrider_webhook::id::{ApiKeyId, ProjectId};
use outrider_webhook::rate::Rate;
use outrider_webhook::secret::Secret;
use outrider_webhook::verify::ApiKeyDigest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Checks, FieldError, Reason};
use super::endpoint_spec::unix_s;
use super::field::{self, given};
use super::project::Project;
use super::protection::{RateSpec, dump_rate};

/// A key is looked up by a plain digest, so it has to be long and random.
const TOKEN_CHARACTERS_MIN: usize = 32;
const TOKEN_CHARACTERS_MAX: usize = 512;

/// What people write of an API key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKeySpec {
    /// Required.
    pub name: Option<String>,
    /// The token, 32 to 512 printable characters. Files only: it is turned into its digest at
    /// once by [`ApiKeySpec::seal`] and never written anywhere.
    #[serde(skip_serializing)]
    pub key: Option<Secret>,
    /// SHA-256 of the token in hex, instead of the token.
    pub key_sha256: Option<String>,
    /// When it stops working, RFC 3339; never when absent.
    pub expires_at: Option<String>,
    /// How many requests with events it is good for.
    pub rate_limit: Option<RateSpec>,
}

impl ApiKeySpec {
    /// Replaces the token by its digest.
    ///
    /// # Errors
    /// When the token is too short, too long or not printable, or a digest is given as well.
    pub fn seal(&mut self) -> Result<(), FieldError> {
        let refuse = |reason| {
            Err(FieldError {
                field: "key".to_owned(),
                reason,
            })
        };
        let Some(key) = self.key.take() else {
            return Ok(());
        };
        if self.key_sha256.is_some() {
            return refuse(Reason::Conflict("key_sha256"));
        }
        let token = key.expose();
        let fits = (TOKEN_CHARACTERS_MIN..=TOKEN_CHARACTERS_MAX).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            return refuse(Reason::Shape(
                "32 to 512 printable ASCII characters without blanks",
            ));
        }
        self.key_sha256 = Some(ApiKeyDigest::of(token).to_hex());
        Ok(())
    }
}

/// A checked API key.
#[derive(Debug)]
pub struct ApiKey {
    id: ApiKeyId,
    project: ProjectId,
    revision: u64,
    name: Box<str>,
    digest: ApiKeyDigest,
    expires_at_s: Option<i64>,
    rate: Option<Rate>,
}

impl ApiKey {
    /// Checks a sealed specification for its project.
    ///
    /// # Errors
    /// Every field that cannot be used.
    pub fn compile(
        id: ApiKeyId,
        revision: u64,
        project: &Project,
        spec: &ApiKeySpec,
    ) -> Result<Self, Vec<FieldError>> {
        let mut checks = Checks::default();
        let name = field::name(&mut checks, spec.name.as_deref());
        if spec.key.is_some() {
            checks.fail(
                "key",
                Reason::Rule("a token is never kept, give `key_sha256`".to_owned()),
            );
        }
        let digest = checks.require("key_sha256", given(spec.key_sha256.as_deref()));
        let digest = digest.and_then(|hex| {
            checks.take(
                "key_sha256",
                ApiKeyDigest::from_hex(hex).map_err(Reason::refused),
            )
        });
        let expires_at_s = given(spec.expires_at.as_deref())
            .and_then(|text| checks.take("expires_at", unix_s(text)));
        let rate = spec.rate_limit.as_ref();
        let rate = rate.and_then(|rate| rate.compile(&mut checks, "rate_limit"));
        let key = (|| {
            Some(Self {
                id,
                project: project.id(),
                revision,
                name: name?,
                digest: digest?,
                expires_at_s,
                rate,
            })
        })();
        checks.finish(key)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ApiKeyId {
        self.id
    }

    /// The project it opens.
    #[must_use]
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// The revision that wrote it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Its name, 1 to 255 bytes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digest of the token.
    #[must_use]
    pub fn digest(&self) -> &ApiKeyDigest {
        &self.digest
    }

    /// When it stops working, Unix seconds; it works while the clock is before that.
    #[must_use]
    pub fn expires_at_s(&self) -> Option<i64> {
        self.expires_at_s
    }

    /// How often it may be used; `None` is as often as one likes.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }

    pub(crate) fn dump(&self) -> Value {
        json!({
            "uid": self.id.to_string(),
            "revision": self.revision,
            "name": self.name,
            "key": "***",
            "expires_at_s": self.expires_at_s,
            "rate_limit": self.rate.map(dump_rate),
        })
    }
}
