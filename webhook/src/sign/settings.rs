//! The signature settings of a project, checked against each other once.

use http::HeaderName;

use super::message::{self, MessageSignature};
use super::{
    CONVOY_HEADER, Encoding, Format, Hash, Input, KeyForm, Mode, SecretType, SignError,
    SignatureHeader, SigningKey, Version, request,
};

/// Longest id of a key, bytes.
const KEY_ID_BYTES_MAX: usize = 255;

/// The signature settings of a project, before they are checked against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of Convoy's header.
    pub header: HeaderName,
    /// Versions of Convoy's signature in order; the first is `v1`.
    pub versions: Vec<Version>,
    /// Which families are sent.
    pub format: Format,
    /// What goes through Convoy's MAC.
    pub input: Input,
    /// Of which type secrets are that are made up.
    pub secret_type: SecretType,
    /// Headers of the project's own making, beside the families.
    pub headers: Vec<SignatureHeader>,
    /// How requests are signed as HTTP messages (RFC 9421), if they are.
    pub message: Option<MessageSignature>,
}

impl Default for Settings {
    /// Convoy's default: `X-Convoy-Signature`, one version, SHA256 in hex.
    fn default() -> Self {
        Self {
            header: CONVOY_HEADER,
            versions: vec![Version {
                hash: Hash::Sha256,
                encoding: Encoding::Hex,
            }],
            format: Format::Convoy,
            input: Input::AsSent,
            secret_type: SecretType::Shared,
            headers: Vec::new(),
            message: None,
        }
    }
}

/// Signature settings with which something is signed, and nothing overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scheme(Settings);

impl TryFrom<Settings> for Scheme {
    type Error = SignError;

    /// Checks the settings against each other.
    ///
    /// [`SignError::NoScheme`] when nothing would be signed, [`SignError::ReservedHeader`] for a
    /// header that has a meaning of its own, [`SignError::RepeatedHeader`],
    /// [`SignError::NoSharedSecret`] when secrets that are made up could not sign.
    fn try_from(settings: Settings) -> Result<Self, SignError> {
        let has_convoy = settings.format.has_convoy();
        let has_own = settings.headers.iter().any(|own| own.signed().is_some());
        if (settings.versions.is_empty() && has_convoy)
            || (settings.format == Format::Custom && !has_own && settings.message.is_none())
        {
            return Err(SignError::NoScheme);
        }
        let is_reserved = |name: &HeaderName| {
            request::is_reserved(name) || (settings.message.is_some() && is_of_messages(name))
        };
        if is_reserved(&settings.header) {
            return Err(SignError::ReservedHeader(settings.header));
        }
        let mut taken: Vec<&HeaderName> =
            has_convoy.then_some(&settings.header).into_iter().collect();
        for name in settings.headers.iter().map(SignatureHeader::name) {
            if is_reserved(name) {
                return Err(SignError::ReservedHeader(name.clone()));
            }
            if taken.contains(&name) {
                return Err(SignError::RepeatedHeader(name.clone()));
            }
            taken.push(name);
        }
        let scheme = Self(settings);
        if scheme.secret_type() == SecretType::Ed25519 && scheme.needs_shared_secret() {
            return Err(SignError::NoSharedSecret);
        }
        Ok(scheme)
    }
}

impl Scheme {
    /// Whether a header may carry something else, an idempotency key or a credential: it must not
    /// be one that we write.
    ///
    /// # Errors
    /// [`SignError::ReservedHeader`].
    pub fn check_free(&self, name: &HeaderName) -> Result<(), SignError> {
        let is_convoys = self.format().has_convoy() && name == self.header();
        let is_own = self.headers().iter().any(|own| own.name() == name);
        let is_messages = self.message().is_some() && is_of_messages(name);
        if request::is_reserved(name) || is_convoys || is_own || is_messages {
            return Err(SignError::ReservedHeader(name.clone()));
        }
        Ok(())
    }

    /// Whether an endpoint can sign with these keys.
    ///
    /// # Errors
    /// [`SignError::BadKey`], [`SignError::BadKeyId`] or [`SignError::NoSharedSecret`].
    pub fn check_keys(&self, keys: &[SigningKey]) -> Result<(), SignError> {
        if self.needs_standard_keys() {
            keys.iter().try_for_each(SigningKey::check_standard)?;
        }
        let has_id = |key: &SigningKey| {
            (1..=KEY_ID_BYTES_MAX).contains(&key.id().len()) && message::is_plain(key.id())
        };
        if self.message().is_some() && !keys.iter().all(has_id) {
            return Err(SignError::BadKeyId);
        }
        let is_private = |key: &SigningKey| key.secret_type() == SecretType::Ed25519;
        let lasts = |key: &SigningKey| !is_private(key) && key.expires_at_s().is_none();
        // Beside a private key that takes its place a shared secret would end, and every
        // delivery be held from then on.
        if self.needs_shared_secret() && keys.iter().any(is_private) && !keys.iter().any(lasts) {
            return Err(SignError::NoSharedSecret);
        }
        Ok(())
    }

    /// Whether every shared secret has to be a Standard Webhooks key.
    #[must_use]
    pub fn needs_standard_keys(&self) -> bool {
        let is_whsec = |own: &SignatureHeader| own.key_form() == Some(KeyForm::Whsec);
        self.format().has_standard()
            || self.message().is_some()
            || self.headers().iter().any(is_whsec)
    }

    /// Whether private keys alone are not enough.
    #[must_use]
    pub fn needs_shared_secret(&self) -> bool {
        self.format().has_convoy() || self.headers().iter().any(|own| own.signed().is_some())
    }

    /// Whether something is signed with the newest secret alone, so that a receiver which only
    /// has an older one refuses it whatever time that one has left.
    #[must_use]
    pub fn is_by_newest_only(&self, mode: Mode) -> bool {
        (self.format().has_convoy() && mode == Mode::Simple)
            || self
                .headers()
                .iter()
                .any(SignatureHeader::is_by_newest_only)
    }

    /// Whether this writes a header that `old` leaves to others.
    #[must_use]
    pub fn takes_more_than(&self, old: &Self) -> bool {
        let own = self.headers().iter().map(SignatureHeader::name);
        let mut names = own.chain(self.format().has_convoy().then_some(self.header()));
        let has_messages = self.message().is_some() && old.message().is_none();
        has_messages || names.any(|name| old.check_free(name).is_ok())
    }

    /// Whether keys that could sign for `old` may be unable to sign for this.
    #[must_use]
    pub fn demands_more_than(&self, old: &Self) -> bool {
        let demands = |scheme: &Self| {
            [
                scheme.needs_standard_keys(),
                scheme.needs_shared_secret(),
                scheme.message().is_some(),
            ]
        };
        let mut both = demands(self).into_iter().zip(demands(old));
        both.any(|(does, did)| does && !did)
    }

    /// Of which type secrets are that are made up.
    #[must_use]
    pub const fn secret_type(&self) -> SecretType {
        self.0.secret_type
    }

    /// Name of Convoy's header.
    #[must_use]
    pub const fn header(&self) -> &HeaderName {
        &self.0.header
    }

    /// Versions of Convoy's signature in order; the first is `v1`.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.0.versions
    }

    /// Which families are sent.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.0.format
    }

    /// What goes through Convoy's MAC.
    #[must_use]
    pub const fn input(&self) -> Input {
        self.0.input
    }

    /// How requests are signed as HTTP messages, if they are.
    #[must_use]
    pub const fn message(&self) -> Option<&MessageSignature> {
        self.0.message.as_ref()
    }

    /// Headers of the project's own making.
    #[must_use]
    pub fn headers(&self) -> &[SignatureHeader] {
        &self.0.headers
    }
}

/// Whether message signatures write this header.
fn is_of_messages(name: &HeaderName) -> bool {
    [
        message::CONTENT_DIGEST,
        message::SIGNATURE,
        message::SIGNATURE_INPUT,
    ]
    .contains(name)
}
