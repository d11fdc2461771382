//! Verification of incoming requests: stage 2 of an event's path.
//!
//! A [`PresetSpec`] says as data how a provider signs; [`Verifier::compile`] turns it, with the
//! secrets of one source, into a [`Verifier`] that checks requests. The engine knows building
//! blocks (sources, formats, algorithms, templates), never a provider. It must not know where
//! configuration comes from, what time it is, or what the reply to a refused request looks like.
//!
//! Everything a preset says is prepared at configuration time. What this version cannot do is
//! a [`CompileError`] that names the field: a part of a check is never left out in silence.

mod allowed_url;
mod api_key;
mod certificate;
mod challenge;
mod check;
mod compile;
mod form;
mod handshake;
mod params;
mod pointers;
mod preset;
mod public_key;
mod public_url;
mod reading;
mod refusal;
mod scheme;
mod signature;
mod source;
mod template;
mod timestamp;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::{HeaderName, Method};

use crate::event::{Proof, RawEvent};

pub use self::api_key::{ApiKeyDigest, ApiKeyDigestError};
pub use self::certificate::{Certificate, CertificateError, CertificateNeed};
pub use self::challenge::{
    ActionSpec, ChallengeSpec, ChallengeVerifySpec, RequireSpec, RespondSpec, WhenSpec,
};
pub use self::compile::{CompileError, SECRETS_MAX};
pub use self::handshake::{Handshake, HandshakeAnswer};
pub use self::preset::{
    CertificateSpec, CheckSpec, FormatSpec, ParamSpec, PlacesSpec, PresetSpec, SchemeSpec,
    SignatureSpec, SignedSpec, SourceSpec, TimestampFormat, TimestampSpec, TrustSpec, builtin,
    builtin_names,
};
pub use self::reading::Reading;
pub use self::refusal::VerifyError;

use self::check::Check;
use self::handshake::Responder;
use self::pointers::{Pointers, Slot, Value, elements};
use self::scheme::Scheme;
use self::signature::{Part, Signature};
use self::source::{Found, Source};
use self::template::{Inputs, Template, is_challenge};
use self::timestamp::Timestamp;

/// Status of a refused request unless the preset says otherwise.
pub const REJECT_STATUS: u16 = 401;

/// Longest event type taken from a request, bytes (the limit of [`crate::event::EventFacts`]).
const EVENT_TYPE_BYTES_MAX: usize = 255;

/// Most elements of an array of which every one must verify.
const EACH_MAX: usize = 100;

/// Checks the requests of one source. Compiled once, when the source is configured.
pub struct Verifier {
    /// `None` is the explicit choice not to verify.
    rules: Option<Box<Rules>>,
    /// The first of these places that has a value is the event's type.
    event_type: Vec<Source>,
    /// The values of all these places together are the provider's id of a delivery.
    delivery_id: Vec<Source>,
    responders: Vec<Responder>,
    /// Whether a handshake gives a MAC made with the secret to whoever asks.
    has_open_mac: bool,
    /// All that the preset asks of a JSON body.
    pointers: Pointers,
    reject_status: u16,
}

/// What a verifying preset compiles to.
struct Rules {
    /// The array of which every element must verify, and what is asked of each.
    each: Option<(Slot, Pointers)>,
    signature: Signature,
    timestamp: Option<Timestamp>,
    checks: Vec<Check>,
    /// Alternatives of the signed text; empty when all schemes compare static credentials.
    signed: Vec<Template>,
    schemes: Vec<Scheme>,
}

impl Verifier {
    /// "No verification", as an explicit choice: every request passes.
    #[must_use]
    pub fn none() -> Self {
        Self {
            rules: None,
            event_type: Vec::new(),
            delivery_id: Vec::new(),
            responders: Vec::new(),
            has_open_mac: false,
            pointers: Pointers::default(),
            reject_status: REJECT_STATUS,
        }
    }

    /// The request as this verifier reads it. Handshake, check, type and delivery id of one
    /// request share a reading, so that its body is taken apart once.
    #[must_use]
    pub fn read<'r>(&'r self, request: &'r RawEvent) -> Reading<'r> {
        Reading::new(request, &self.pointers)
    }

    /// Checks a request that needs no certificate; as [`Verifier::check`].
    ///
    /// # Errors
    /// The first failed step, in the fixed order of [`VerifyError`].
    pub fn verify(&self, request: &RawEvent, now_s: i64) -> Result<Proof, VerifyError> {
        self.check(&self.read(request), now_s, None)
    }

    /// Checks a request against the rules at `now_s`, Unix seconds, with the certificate it
    /// points to if [`Verifier::certificate_need`] says that it needs one. Whoever fetched it
    /// answers for its chain and its names; its time is judged here.
    ///
    /// # Errors
    /// The first failed step, in the fixed order of [`VerifyError`].
    pub fn check(
        &self,
        reading: &Reading<'_>,
        now_s: i64,
        certificate: Option<&Certificate>,
    ) -> Result<Proof, VerifyError> {
        if let Some(rules) = &self.rules {
            let certificate = certificate.filter(|certificate| certificate.is_valid_at(now_s));
            rules.check_all(reading, now_s, certificate)?;
            // Anybody can have the signature of such a body from a handshake.
            if self.has_open_mac && is_challenge(&reading.request.body) {
                return Err(VerifyError::SignatureMismatch);
            }
        }
        Ok(Proof(()))
    }

    /// The certificate without which this request cannot be judged. `None` when it needs none:
    /// that is most presets, and costs nothing.
    ///
    /// # Errors
    /// The request is refused already: nothing is fetched for a request that fails a check
    /// which needs no key, least of all that of the address.
    pub fn certificate_need(
        &self,
        reading: &Reading<'_>,
        now_s: i64,
    ) -> Result<Option<CertificateNeed<'_>>, VerifyError> {
        match &self.rules {
            Some(rules) if rules.schemes.iter().any(|s| s.certificate().is_some()) => {
                rules.certificate_need(reading, now_s)
            }
            _ => Ok(None),
        }
    }

    /// Whether a request of this method may be a handshake.
    #[must_use]
    pub fn has_handshake(&self, method: &Method) -> bool {
        let mut responders = self.responders.iter();
        responders.any(|responder| responder.when.method == *method)
    }

    /// The handshake this request is, if it is one.
    #[must_use]
    pub fn handshake(&self, reading: &Reading<'_>) -> Option<Handshake<'_>> {
        let mut responders = self.responders.iter();
        responders
            .find(|responder| responder.when.matches(reading))
            .map(|responder| Handshake { responder })
    }

    /// The event's type at the preset's location. `None` when the preset has no location, or
    /// the value is missing, given twice, not printable text, or longer than 255 bytes.
    #[must_use]
    pub fn event_type(&self, request: &RawEvent) -> Option<Box<str>> {
        self.event_type_of(&self.read(request))
    }

    /// As [`Verifier::event_type`], of a request that is being read already.
    #[must_use]
    pub fn event_type_of(&self, reading: &Reading<'_>) -> Option<Box<str>> {
        let mut places = self.event_type.iter();
        let found = places.find_map(|place| match place.find(reading) {
            Found::Missing | Found::Unreadable => None,
            found => Some(found),
        });
        let Some(Found::Once(value)) = found else {
            return None;
        };
        let text = std::str::from_utf8(&value).ok()?;
        let fits =
            (1..=EVENT_TYPE_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
        fits.then(|| Box::from(text))
    }

    /// Whether the preset knows where the provider's own id of a delivery is.
    #[must_use]
    pub fn has_delivery_id(&self) -> bool {
        !self.delivery_id.is_empty()
    }

    /// The provider's own id of this delivery: the values of its places, in order. `None` when
    /// the preset has no such place or one of them has no single value. Most providers do not
    /// sign it: good against their repeats, not against an attacker's.
    #[must_use]
    pub fn delivery_id(&self, reading: &Reading<'_>) -> Option<Vec<Box<[u8]>>> {
        let places = self.has_delivery_id().then_some(&self.delivery_id)?;
        let value = |place: &Source| match place.find(reading) {
            Found::Once(value) if !value.is_empty() => Some(Box::from(&*value)),
            _ => None,
        };
        places.iter().map(value).collect()
    }

    /// The header that carries a static credential, if one does. It must be neither stored nor
    /// forwarded: who reads it can send in the provider's name.
    #[must_use]
    pub fn credential_header(&self) -> Option<&HeaderName> {
        match self.credential()? {
            Source::Header(name) => Some(name),
            _ => None,
        }
    }

    /// The query parameter that carries a static credential, if one does; as
    /// [`Verifier::credential_header`].
    #[must_use]
    pub fn credential_query(&self) -> Option<&str> {
        match self.credential()? {
            Source::Query(name) => Some(name),
            _ => None,
        }
    }

    /// Whether a GET can be an event: only where the signature covers the URL, which is all that
    /// such a request says.
    #[must_use]
    pub fn takes_get(&self) -> bool {
        let signed = self.rules.as_deref().map(|rules| &rules.signed);
        signed.is_some_and(|signed| !signed.is_empty() && signed.iter().all(Template::has_url))
    }

    /// Status to answer a refused request with, 400 to 499.
    #[must_use]
    pub fn reject_status(&self) -> u16 {
        self.reject_status
    }

    /// Whether at least one secret is a key for at least one scheme. When not, every request
    /// is refused with `bad_key`; worth telling the person who configures the source.
    #[must_use]
    pub fn has_usable_key(&self) -> bool {
        self.rules
            .as_ref()
            .is_none_or(|rules| rules.schemes.iter().any(Scheme::has_key))
    }

    fn credential(&self) -> Option<&Source> {
        let rules = self.rules.as_ref()?;
        rules
            .schemes
            .iter()
            .any(Scheme::is_static)
            .then(|| rules.signature.single_source())
            .flatten()
    }
}

/// Prints what kind of verifier it is; secrets, parameters and templates are left out.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field(
                "schemes",
                &self.rules.as_ref().map_or(0, |rules| rules.schemes.len()),
            )
            .field("reject_status", &self.reject_status)
            .finish_non_exhaustive()
    }
}

impl Rules {
    fn check_all(
        &self,
        reading: &Reading<'_>,
        now_s: i64,
        certificate: Option<&Certificate>,
    ) -> Result<(), VerifyError> {
        let Some((slot, pointers)) = &self.each else {
            return self.check(reading, now_s, certificate);
        };
        let Some(Value::Once(array)) = reading.json().map(|values| values.get(*slot)) else {
            return Err(VerifyError::MalformedBody);
        };
        let elements = elements(array, EACH_MAX).filter(|elements| !elements.is_empty());
        for element in elements.ok_or(VerifyError::MalformedBody)? {
            let element = reading.of_element(pointers, element.get());
            self.check(&element, now_s, certificate)?;
        }
        Ok(())
    }

    fn check(
        &self,
        reading: &Reading<'_>,
        now_s: i64,
        certificate: Option<&Certificate>,
    ) -> Result<(), VerifyError> {
        self.with_parts(reading, now_s, |parts, schemes, timestamp| {
            let inputs = Inputs {
                reading,
                timestamp,
                certificate,
            };
            // Every scheme may accept. When none does, the one that came furthest names the
            // reason.
            let mut reason = VerifyError::MalformedSignature;
            for scheme in schemes {
                match scheme.check(parts, &self.signed, &inputs) {
                    Ok(()) => return Ok(()),
                    Err(error) if error.progress() > reason.progress() => reason = error,
                    Err(_) => {}
                }
            }
            Err(reason)
        })
    }

    fn certificate_need(
        &self,
        reading: &Reading<'_>,
        now_s: i64,
    ) -> Result<Option<CertificateNeed<'_>>, VerifyError> {
        self.with_parts(reading, now_s, |parts, schemes, _| {
            let mut places = schemes
                .iter()
                .filter(|scheme| scheme.has_candidate(parts))
                .filter_map(|scheme| scheme.certificate());
            let Some(place) = places.next() else {
                return Ok(None);
            };
            let Found::Once(text) = place.source.find(reading) else {
                return Err(VerifyError::UntrustedCertUrl);
            };
            let url = place.allowed.parse(&text);
            Ok(Some(CertificateNeed {
                url: url.ok_or(VerifyError::UntrustedCertUrl)?,
                trust: place.trust,
                names: &place.names,
            }))
        })
    }

    /// Runs all steps that need no key, then `next` with the candidate signatures, the schemes
    /// they may be of, and the text of the timestamp.
    fn with_parts<'s, T>(
        &'s self,
        reading: &Reading<'_>,
        now_s: i64,
        next: impl FnOnce(&[Part<'_>], &'s [Scheme], &[u8]) -> Result<T, VerifyError>,
    ) -> Result<T, VerifyError> {
        let values = self.signature.find(reading)?;
        let parts = self.signature.parse(&values)?;
        let parts = parts.as_slice();
        let timestamp = match &self.timestamp {
            Some(timestamp) => timestamp.check(reading, parts, now_s)?,
            None => Cow::Borrowed(&[][..]),
        };
        for check in &self.checks {
            check.run(reading)?;
        }
        let Some(label) = self.signature.label(reading)? else {
            return next(parts, &self.schemes, &timestamp);
        };
        // Elsewhere than in the signature, the label says which one scheme it is of.
        let is_ours = |scheme: &&Scheme| scheme.label.as_deref() == Some(&*label);
        let scheme =
            self.schemes.iter().find(is_ours).ok_or_else(|| {
                VerifyError::UnsupportedAlgorithm(Arc::from("signature.label_from"))
            })?;
        let values = parts.iter().map(|part| part.value);
        let parts: Vec<Part<'_>> = values
            .map(|value| Part {
                label: &label,
                value,
            })
            .collect();
        next(&parts, std::slice::from_ref(scheme), &timestamp)
    }
}

/// Evidence for what this gateway says itself: nobody has to vouch for it.
#[must_use]
pub const fn own() -> Proof {
    Proof(())
}

#[cfg(test)]
mod tests;
