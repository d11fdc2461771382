//! What is wrong with a preset or with what a source adds to it.

use super::SECRETS_MAX;

/// Why a preset cannot be used. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The model has it, this version does not.
    #[error("`{field}`: {what} is not supported by this version")]
    Unsupported {
        /// Path of the field in the preset.
        field: String,
        /// What it asks for.
        what: String,
    },
    /// A name nobody knows.
    #[error("`{field}`: `{value}` is not known; use one of {known}")]
    Unknown {
        /// Path of the field in the preset.
        field: String,
        /// The name.
        value: String,
        /// The names this version knows.
        known: String,
    },
    /// A value that makes no sense.
    #[error("`{field}`: {reason}")]
    Invalid {
        /// Path of the field in the preset.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// A parameter without a default that the source did not give.
    #[error("`{field}` needs the parameter `{name}`")]
    MissingParam {
        /// Path of the field in the preset.
        field: String,
        /// Name of the parameter.
        name: String,
    },
    /// A parameter of the source that the preset does not use.
    #[error("`params.{name}`: the preset has no such parameter")]
    UnknownParam {
        /// Name of the parameter.
        name: String,
    },
    /// The preset verifies, but the source has no secret.
    #[error("`secrets`: at least one is needed")]
    NoSecret,
    /// A secret is the empty text.
    #[error("`secrets[{index}]` is empty")]
    EmptySecret {
        /// Its position.
        index: usize,
    },
    /// More than [`SECRETS_MAX`] secrets.
    #[error("`secrets`: {count} given, at most {SECRETS_MAX} are accepted")]
    TooManySecrets {
        /// How many there are.
        count: usize,
    },
    /// The provider signs the URL, and the source does not say what that is.
    #[error("`{field}` signs the URL: the source needs `public_url`")]
    PublicUrlMissing {
        /// Path of the field in the preset.
        field: String,
    },
    /// The public URL of the source cannot be used.
    #[error("`public_url` {reason}")]
    PublicUrl {
        /// What is wrong.
        reason: &'static str,
    },
}

impl CompileError {
    pub(in crate::verify) fn invalid(field: &str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    pub(in crate::verify) fn unsupported(field: &str, what: impl Into<String>) -> Self {
        Self::Unsupported {
            field: field.to_owned(),
            what: what.into(),
        }
    }
}
