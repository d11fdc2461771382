//! The signature settings of a project, checked against each other once.

use http::HeaderName;

use super::{
    CONVOY_HEADER, Encoding, Format, Hash, Input, KeyForm, SecretType, SignError, SignatureHeader,
    SigningKey, Version, request,
};

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
            || (settings.format == Format::Custom && !has_own)
        {
            return Err(SignError::NoScheme);
        }
        if request::is_reserved(&settings.header) {
            return Err(SignError::ReservedHeader(settings.header));
        }
        let mut taken: Vec<&HeaderName> =
            has_convoy.then_some(&settings.header).into_iter().collect();
        for name in settings.headers.iter().map(SignatureHeader::name) {
            if request::is_reserved(name) {
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
    /// Whether a header may carry the idempotency key: it must not be one that we write.
    ///
    /// # Errors
    /// [`SignError::ReservedHeader`].
    pub fn check_idempotency_header(&self, name: &HeaderName) -> Result<(), SignError> {
        let is_convoys = self.format().has_convoy() && name == self.header();
        let is_own = self.headers().iter().any(|own| own.name() == name);
        if request::is_reserved(name) || is_convoys || is_own {
            return Err(SignError::ReservedHeader(name.clone()));
        }
        Ok(())
    }

    /// Whether an endpoint can sign with these keys.
    ///
    /// # Errors
    /// [`SignError::BadKey`] or [`SignError::NoSharedSecret`].
    pub fn check_keys(&self, keys: &[SigningKey]) -> Result<(), SignError> {
        if self.needs_standard_keys() {
            keys.iter().try_for_each(SigningKey::check_standard)?;
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
        self.format().has_standard() || self.headers().iter().any(is_whsec)
    }

    /// Whether private keys alone are not enough.
    #[must_use]
    pub fn needs_shared_secret(&self) -> bool {
        self.format().has_convoy() || self.headers().iter().any(|own| own.signed().is_some())
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

    /// Headers of the project's own making.
    #[must_use]
    pub fn headers(&self) -> &[SignatureHeader] {
        &self.0.headers
    }
}
