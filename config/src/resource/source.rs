//! A source: where incoming events come from, and how they prove it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use outrider_webhook::client_certificate::ClientCertificateRule;
use outrider_webhook::id::{ProjectId, SourceId};
use outrider_webhook::selector::Selector;
use outrider_webhook::verify::Verifier;
use serde_json::{Value, json};

use super::alerts::Thresholds;
use super::check::{Checks, FieldError, Reason};
use super::client_certificate;
use super::deduplication::Deduplication;
use super::field::{self, given, header_name};
use super::project::{BODY_BYTES_DEFAULT, Project, ProjectKind};
use super::protection::Protection;
use super::source_spec::SourceSpec;
use super::verification::{Scheme, scheme};

/// Largest body of a GitHub source unless its project sets a limit: GitHub sends up to 25 MiB
/// (RULINGS section E).
pub const GITHUB_BODY_BYTES_DEFAULT: usize = 25 * 1024 * 1024;
/// The event format, and the preset that has it by default.
const CLOUDEVENTS: &str = "cloudevents";
const MASK_BYTES_MAX: usize = 64;
const HEADERS_MAX: usize = 64;
const CUSTOM_RESPONSE_BYTES_MAX: usize = 50 * 1024;

/// A checked source.
#[derive(Debug)]
pub struct Source {
    id: SourceId,
    project: ProjectId,
    revision: u64,
    name: Box<str>,
    mask: Arc<str>,
    /// What verifies, for people: the name of the preset or the type of the verifier.
    verified_by: Arc<str>,
    verifier: Verifier,
    is_disabled: bool,
    event_type: Option<Selector>,
    deduplication: Deduplication,
    is_cloudevents: bool,
    thresholds: Thresholds,
    custom_response: Option<(Bytes, HeaderValue)>,
    deny_headers: Vec<HeaderName>,
    public_url: Option<Box<str>>,
    body_bytes_default: usize,
    protection: Protection,
    client_certificate: Option<ClientCertificateRule>,
}

impl Source {
    /// Checks a specification for its project.
    ///
    /// # Errors
    /// Every field that cannot be used.
    pub fn compile(
        id: SourceId,
        revision: u64,
        project: &Project,
        spec: &SourceSpec,
    ) -> Result<Self, Vec<FieldError>> {
        let mut checks = Checks::default();
        spec.refuse_unsupported(&mut checks);
        spec.refuse_long_texts(&mut checks);
        if project.kind() == ProjectKind::Outgoing {
            checks.fail(
                "",
                Reason::UnsupportedValue("a source in an outgoing project"),
            );
        }
        let name = field::name(&mut checks, spec.name.as_deref());
        kind(&mut checks, spec);
        let mask = mask(&mut checks, spec);
        let scheme = scheme(&mut checks, spec);
        let verifier = scheme
            .as_ref()
            .and_then(|scheme| scheme.compile(&mut checks, spec));
        let event_type = given(spec.event_type_location.as_deref()).and_then(|text| {
            let location = Selector::parse(text).map_err(Reason::refused);
            checks.take("event_type_location", location)
        });
        let deduplication = Deduplication::compile(&mut checks, spec, verifier.as_ref());
        let is_cloudevents = is_cloudevents(&mut checks, spec, scheme.as_ref());
        let preset = scheme.as_ref().map(|scheme| &*scheme.name);
        let thresholds = Thresholds::compile(&mut checks, spec.alerts.as_ref(), preset);
        let custom_response = custom_response(&mut checks, spec);
        headers(
            &mut checks,
            "forward_headers",
            spec.forward_headers.as_deref(),
        );
        let deny_headers = headers(&mut checks, "deny_headers", spec.deny_headers.as_deref());
        let protection = Protection::compile(&mut checks, &spec.protection());
        let certificate = spec.client_certificate.as_ref();
        let client_certificate = certificate.and_then(|rule| rule.compile(&mut checks));
        let source = (|| {
            let scheme = scheme?;
            let body_bytes_default = if scheme.is_github() {
                GITHUB_BODY_BYTES_DEFAULT
            } else {
                BODY_BYTES_DEFAULT
            };
            Some(Self {
                id,
                project: project.id(),
                revision,
                name: name?,
                mask: mask?,
                verified_by: scheme.name.into(),
                verifier: verifier?,
                is_disabled: spec.is_disabled.unwrap_or(false),
                event_type,
                deduplication,
                is_cloudevents,
                thresholds,
                custom_response,
                deny_headers,
                public_url: given(spec.public_url.as_deref()).map(Box::from),
                body_bytes_default,
                protection,
                client_certificate,
            })
        })();
        checks.finish(source)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> SourceId {
        self.id
    }

    /// The project that owns it.
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

    /// Last part of its URL; unique over all projects.
    #[must_use]
    pub fn mask(&self) -> &str {
        &self.mask
    }

    /// The mask, shared with the index by mask.
    pub(crate) fn shared_mask(&self) -> &Arc<str> {
        &self.mask
    }

    /// What verifies, for people and as a metric label: the name of the preset or the type of the
    /// verifier, `own` for a preset of its own.
    #[must_use]
    pub fn verified_by(&self) -> &Arc<str> {
        &self.verified_by
    }

    /// Checks its requests.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Whether it refuses everything.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.is_disabled
    }

    /// The explicit place of the event type; it wins over the preset's (RULINGS 39).
    #[must_use]
    pub fn event_type_location(&self) -> Option<&Selector> {
        self.event_type.as_ref()
    }

    /// What makes two of its requests the same event.
    #[must_use]
    pub fn deduplication(&self) -> &Deduplication {
        &self.deduplication
    }

    /// Whether its requests have to be CloudEvents.
    #[must_use]
    pub fn is_cloudevents(&self) -> bool {
        self.is_cloudevents
    }

    /// When it is worth a person's attention.
    #[must_use]
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// What senders are answered instead of our own words: body and content type.
    #[must_use]
    pub fn custom_response(&self) -> Option<(&Bytes, &HeaderValue)> {
        self.custom_response
            .as_ref()
            .map(|(body, content_type)| (body, content_type))
    }

    /// Headers that are neither stored nor forwarded.
    #[must_use]
    pub fn deny_headers(&self) -> &[HeaderName] {
        &self.deny_headers
    }

    /// Who may send to it, and how often.
    #[must_use]
    pub fn protection(&self) -> &Protection {
        &self.protection
    }

    /// What a client's certificate has to be, if that matters.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&ClientCertificateRule> {
        self.client_certificate.as_ref()
    }

    /// The URL that the provider signed, where it signs the URL.
    #[must_use]
    pub fn public_url(&self) -> Option<&str> {
        self.public_url.as_deref()
    }

    /// Largest body it takes, bytes: the project's own limit, else the preset's, else
    /// [`BODY_BYTES_DEFAULT`].
    #[must_use]
    pub fn body_bytes_max(&self, project: &Project) -> usize {
        project
            .body_bytes_configured()
            .unwrap_or(self.body_bytes_default)
    }

    pub(crate) fn dump(&self) -> Value {
        json!({
            "uid": self.id.to_string(),
            "revision": self.revision,
            "name": self.name,
            "type": "http",
            "mask_id": &*self.mask,
            "verified_by": &*self.verified_by,
            "is_disabled": self.is_disabled,
            "event_type_location": self.event_type.as_ref().map(Selector::to_string),
            "idempotency_keys": self.deduplication.selectors().iter().map(Selector::to_string).collect::<Vec<_>>(),
            "custom_response": self.custom_response.as_ref().map(|(body, content_type)| json!({
                "body_bytes": body.len(),
                "content_type": content_type.to_str().unwrap_or_default(),
            })),
            "deny_headers": self.deny_headers.iter().map(HeaderName::as_str).collect::<Vec<_>>(),
            "public_url": self.public_url,
            "protection": self.protection.dump(),
            "client_certificate": self.client_certificate.as_ref().map(client_certificate::dump),
        })
    }
}

fn kind(checks: &mut Checks, spec: &SourceSpec) {
    match given(spec.kind.as_deref()) {
        None | Some("http") => {}
        Some("rest_api" | "pub_sub" | "db_change_stream") => {
            checks.fail(
                "type",
                Reason::UnsupportedValue("a source of another type than `http`"),
            );
        }
        Some(_) => checks.fail("type", Reason::NotOneOf(&["http"])),
    }
}

fn is_cloudevents(checks: &mut Checks, spec: &SourceSpec, scheme: Option<&Scheme>) -> bool {
    match given(spec.event_format.as_deref()) {
        None => scheme.is_some_and(|scheme| &*scheme.name == CLOUDEVENTS),
        Some("raw") => false,
        Some(CLOUDEVENTS) => true,
        Some(_) => {
            checks.fail("event_format", Reason::NotOneOf(&["raw", CLOUDEVENTS]));
            false
        }
    }
}

fn mask(checks: &mut Checks, spec: &SourceSpec) -> Option<Arc<str>> {
    let mask = checks.require("mask_id", given(spec.mask_id.as_deref()))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let fits = mask.len() <= MASK_BYTES_MAX && mask.bytes().all(is_plain);
    checks.take(
        "mask_id",
        fits.then(|| mask.into())
            .ok_or(Reason::Shape("1 to 64 letters, digits, `-` and `_`")),
    )
}

fn custom_response(checks: &mut Checks, spec: &SourceSpec) -> Option<(Bytes, HeaderValue)> {
    let response = spec.custom_response.as_ref()?;
    let (body, content_type) = (
        given(response.body.as_deref()),
        given(response.content_type.as_deref()),
    );
    if body.is_none() && content_type.is_none() {
        return None;
    }
    let body = body.unwrap_or_default();
    if body.len() > CUSTOM_RESPONSE_BYTES_MAX {
        let reason = Reason::OutOfRange {
            min: 0,
            max: CUSTOM_RESPONSE_BYTES_MAX as u64,
            unit: "bytes",
        };
        checks.fail("custom_response.body", reason);
    }
    let value = HeaderValue::from_str(content_type.unwrap_or("text/plain; charset=utf-8"));
    let value = value.map_err(|_| Reason::Shape("the value of an HTTP header"));
    let content_type = checks.take("custom_response.content_type", value)?;
    Some((Bytes::copy_from_slice(body.as_bytes()), content_type))
}

fn headers(checks: &mut Checks, field: &str, names: Option<&[String]>) -> Vec<HeaderName> {
    let names = names.unwrap_or_default();
    if names.len() > HEADERS_MAX {
        checks.fail(
            field,
            Reason::OutOfRange {
                min: 0,
                max: HEADERS_MAX as u64,
                unit: "headers",
            },
        );
        return Vec::new();
    }
    let parse = |(index, name): (usize, &String)| {
        checks.take(&format!("{field}[{index}]"), header_name(name))
    };
    names.iter().enumerate().filter_map(parse).collect()
}
