//! A source: where incoming events come from, and how they prove it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use outrider_webhook::id::{ProjectId, SourceId};
use outrider_webhook::secret::Secret;
use outrider_webhook::verify::{self, PresetSpec, Verifier};
use serde_json::{Value, json};

use super::check::{Checks, FieldError, Reason};
use super::field::{self, given, header_name};
use super::location::EventTypeLocation;
use super::project::{BODY_BYTES_DEFAULT, Project, ProjectKind};
use super::source_spec::{ApiKeyVerifierSpec, BasicAuthSpec, HmacSpec, SourceSpec, VerifierSpec};

/// Largest body of a GitHub source unless its project sets a limit: GitHub sends up to 25 MiB
/// (RULINGS section E).
pub const GITHUB_BODY_BYTES_DEFAULT: usize = 25 * 1024 * 1024;
const MASK_BYTES_MAX: usize = 64;
const DENY_HEADERS_MAX: usize = 64;
const CUSTOM_RESPONSE_BYTES_MAX: usize = 50 * 1024;
const PROVIDERS: &[&str] = &["github", "shopify", "twitter"];
const VERIFIERS: &[&str] = &["noop", "hmac", "basic_auth", "api_key"];

/// A checked source.
#[derive(Debug)]
pub struct Source {
    id: SourceId,
    project: ProjectId,
    revision: u64,
    name: Box<str>,
    mask: Arc<str>,
    /// What verifies, for people: the name of the preset or the type of the verifier.
    verified_by: Box<str>,
    verifier: Verifier,
    is_disabled: bool,
    event_type: Option<EventTypeLocation>,
    custom_response: Option<(Bytes, HeaderValue)>,
    deny_headers: Vec<HeaderName>,
    public_url: Option<Box<str>>,
    body_bytes_default: usize,
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
        let event_type = given(spec.event_type_location.as_deref())
            .and_then(|text| checks.take("event_type_location", EventTypeLocation::parse(text)));
        let custom_response = custom_response(&mut checks, spec);
        let deny_headers = deny_headers(&mut checks, spec);
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
                verified_by: scheme.name,
                verifier: verifier?,
                is_disabled: spec.is_disabled.unwrap_or(false),
                event_type,
                custom_response,
                deny_headers,
                public_url: given(spec.public_url.as_deref()).map(Box::from),
                body_bytes_default,
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
    pub fn event_type_location(&self) -> Option<&EventTypeLocation> {
        self.event_type.as_ref()
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
            "verified_by": self.verified_by,
            "is_disabled": self.is_disabled,
            "event_type_location": self.event_type.as_ref().map(EventTypeLocation::to_string),
            "custom_response": self.custom_response.as_ref().map(|(body, content_type)| json!({
                "body_bytes": body.len(),
                "content_type": content_type.to_str().unwrap_or_default(),
            })),
            "deny_headers": self.deny_headers.iter().map(HeaderName::as_str).collect::<Vec<_>>(),
            "public_url": self.public_url,
        })
    }
}

/// How a source verifies: a preset, and what it is compiled with.
struct Scheme {
    name: Box<str>,
    preset: Preset,
    secrets: Vec<Secret>,
    params: BTreeMap<String, String>,
    /// Where problems of the preset are reported.
    field: &'static str,
}

enum Preset {
    None,
    Builtin(&'static PresetSpec),
    Own(Box<PresetSpec>),
}

impl Scheme {
    fn of(name: &str, preset: Preset, secret: Option<&Secret>, field: &'static str) -> Self {
        let secrets = secret.cloned().into_iter().collect();
        Self {
            name: name.into(),
            preset,
            secrets,
            params: BTreeMap::new(),
            field,
        }
    }

    fn is_github(&self) -> bool {
        self.name.starts_with("github")
    }

    fn compile(&self, checks: &mut Checks, spec: &SourceSpec) -> Option<Verifier> {
        let preset = match &self.preset {
            Preset::None => return Some(Verifier::none()),
            Preset::Builtin(preset) => preset,
            Preset::Own(preset) => &**preset,
        };
        let public_url = given(spec.public_url.as_deref());
        let verifier = Verifier::compile(preset, &self.secrets, &self.params, public_url)
            .map_err(Reason::refused);
        let verifier = checks.take(self.field, verifier)?;
        if !verifier.has_usable_key() {
            let reason = Reason::Rule(
                "none of the secrets has the form that this verification needs".to_owned(),
            );
            checks.fail(self.field, reason);
        }
        Some(verifier)
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

/// The one way in which the verification is said.
fn scheme(checks: &mut Checks, spec: &SourceSpec) -> Option<Scheme> {
    let (provider, preset) = (
        given(spec.provider.as_deref()),
        given(spec.preset.as_deref()),
    );
    let verifier = spec.verifier.as_ref();
    if preset.is_none() {
        for (field, is_given) in [
            ("secrets", spec.secrets.is_some()),
            ("params", spec.params.is_some()),
        ] {
            if is_given {
                checks.fail(
                    field,
                    Reason::Rule("belongs to `preset`, which is not given".to_owned()),
                );
            }
        }
    }
    match (preset, provider, verifier) {
        (Some(_), Some(_), _) => {
            checks.fail("preset", Reason::Conflict("provider"));
            None
        }
        (Some(_), None, Some(_)) => {
            checks.fail("preset", Reason::Conflict("verifier"));
            None
        }
        (Some(name), None, None) => named_preset(checks, name, spec),
        (None, Some(provider), verifier) => provider_scheme(checks, provider, verifier),
        (None, None, Some(verifier)) => verifier_scheme(checks, verifier),
        (None, None, None) => {
            let say = "is missing: give `provider`, `verifier` or `preset`; `verifier: {type: noop}` accepts anything";
            checks.fail("verifier", Reason::Rule(say.to_owned()));
            None
        }
    }
}

fn named_preset(checks: &mut Checks, name: &str, spec: &SourceSpec) -> Option<Scheme> {
    let Some(preset) = verify::builtin(name) else {
        let known: Vec<&str> = verify::builtin_names().collect();
        checks.fail(
            "preset",
            Reason::Rule(format!("must be one of {}", known.join(", "))),
        );
        return None;
    };
    let secrets = spec.secrets.clone().unwrap_or_default();
    let params = spec.params.clone().unwrap_or_default();
    Some(Scheme {
        name: name.into(),
        preset: Preset::Builtin(preset),
        secrets,
        params,
        field: "preset",
    })
}

fn provider_scheme(
    checks: &mut Checks,
    provider: &str,
    verifier: Option<&VerifierSpec>,
) -> Option<Scheme> {
    let Some(preset) = PROVIDERS
        .contains(&provider)
        .then(|| verify::builtin(provider))
        .flatten()
    else {
        checks.fail("provider", Reason::NotOneOf(PROVIDERS));
        return None;
    };
    let default = VerifierSpec::default();
    let verifier = verifier.unwrap_or(&default);
    match given(verifier.kind.as_deref()) {
        None | Some("hmac" | "noop") => {}
        Some(_) => checks.fail("verifier.type", Reason::Conflict("provider")),
    }
    let default = HmacSpec::default();
    let hmac = verifier.hmac.as_ref().unwrap_or(&default);
    for (field, value) in [
        ("verifier.hmac.header", &hmac.header),
        ("verifier.hmac.hash", &hmac.hash),
        ("verifier.hmac.encoding", &hmac.encoding),
        ("verifier.hmac.prefix", &hmac.prefix),
    ] {
        if given(value.as_deref()).is_some() {
            checks.fail(field, Reason::Conflict("provider"));
        }
    }
    refuse_others(checks, verifier, "hmac");
    let secret = secret(checks, "verifier.hmac.secret", hmac.secret.as_ref())?;
    Some(Scheme::of(
        provider,
        Preset::Builtin(preset),
        Some(secret),
        "provider",
    ))
}

fn verifier_scheme(checks: &mut Checks, verifier: &VerifierSpec) -> Option<Scheme> {
    let kind = checks.require("verifier.type", given(verifier.kind.as_deref()))?;
    if !VERIFIERS.contains(&kind) {
        checks.fail("verifier.type", Reason::NotOneOf(VERIFIERS));
        return None;
    }
    refuse_others(checks, verifier, kind);
    match kind {
        "hmac" => hmac_scheme(checks, verifier.hmac.as_ref()),
        "basic_auth" => basic_auth_scheme(checks, verifier.basic_auth.as_ref()),
        "api_key" => api_key_scheme(checks, verifier.api_key.as_ref()),
        _ => Some(Scheme::of("noop", Preset::None, None, "verifier")),
    }
}

/// Settings of a type that is not the chosen one would be ignored: refused, unless empty.
fn refuse_others(checks: &mut Checks, verifier: &VerifierSpec, kind: &str) {
    let others = [
        (
            "hmac",
            "verifier.hmac",
            verifier
                .hmac
                .as_ref()
                .is_some_and(|hmac| *hmac != HmacSpec::default()),
        ),
        (
            "basic_auth",
            "verifier.basic_auth",
            verifier
                .basic_auth
                .as_ref()
                .is_some_and(|auth| *auth != BasicAuthSpec::default()),
        ),
        (
            "api_key",
            "verifier.api_key",
            verifier
                .api_key
                .as_ref()
                .is_some_and(|key| *key != ApiKeyVerifierSpec::default()),
        ),
    ];
    for (other, field, is_given) in others {
        if is_given && other != kind {
            checks.fail(field, Reason::Conflict("verifier.type"));
        }
    }
}

fn hmac_scheme(checks: &mut Checks, hmac: Option<&HmacSpec>) -> Option<Scheme> {
    let hmac = checks.require("verifier.hmac", hmac)?;
    let header = checks.require("verifier.hmac.header", given(hmac.header.as_deref()));
    if let Some(header) = header {
        checks.take("verifier.hmac.header", header_name(header));
    }
    let hash = checks.require("verifier.hmac.hash", given(hmac.hash.as_deref()));
    let hash = hash.and_then(|hash| {
        word(
            checks,
            "verifier.hmac.hash",
            hash,
            &["SHA256", "SHA512", "SHA1", "SHA384"],
        )
    });
    let encoding = checks.require("verifier.hmac.encoding", given(hmac.encoding.as_deref()));
    let encoding = encoding
        .and_then(|word_| word(checks, "verifier.hmac.encoding", word_, &["hex", "base64"]));
    let secret = secret(checks, "verifier.hmac.secret", hmac.secret.as_ref());
    let preset = PresetSpec::generic_hmac(header?, hash?, encoding?)
        .with_prefix(hmac.prefix.as_deref().unwrap_or_default());
    Some(Scheme::of(
        "hmac",
        Preset::Own(Box::new(preset)),
        Some(secret?),
        "verifier.hmac",
    ))
}

fn basic_auth_scheme(checks: &mut Checks, auth: Option<&BasicAuthSpec>) -> Option<Scheme> {
    let auth = checks.require("verifier.basic_auth", auth)?;
    let user = checks.require(
        "verifier.basic_auth.username",
        given(auth.username.as_deref()),
    );
    // RFC 7617: everything up to the first colon is the user.
    let user = user.and_then(|user| {
        let reason = Reason::Shape("a user without a colon");
        checks.take(
            "verifier.basic_auth.username",
            (!user.contains(':')).then_some(user).ok_or(reason),
        )
    });
    let password = secret(
        checks,
        "verifier.basic_auth.password",
        auth.password.as_ref(),
    );
    let pair = Secret::new(format!("{}:{}", user?, password?.expose()));
    let preset = checks.require("verifier.type", verify::builtin("basic_auth"))?;
    Some(Scheme::of(
        "basic_auth",
        Preset::Builtin(preset),
        Some(&pair),
        "verifier.basic_auth",
    ))
}

fn api_key_scheme(checks: &mut Checks, key: Option<&ApiKeyVerifierSpec>) -> Option<Scheme> {
    let key = checks.require("verifier.api_key", key)?;
    let header = key.header_name.as_deref().unwrap_or_default();
    if !header.is_empty() {
        checks.take("verifier.api_key.header_name", header_name(header));
    }
    let secret = secret(
        checks,
        "verifier.api_key.header_value",
        key.header_value.as_ref(),
    )?;
    let preset = PresetSpec::api_key_header(header);
    Some(Scheme::of(
        "api_key",
        Preset::Own(Box::new(preset)),
        Some(secret),
        "verifier.api_key",
    ))
}

fn secret<'s>(checks: &mut Checks, field: &str, secret: Option<&'s Secret>) -> Option<&'s Secret> {
    checks.require(field, secret.filter(|secret| !secret.expose().is_empty()))
}

fn word<'w>(
    checks: &mut Checks,
    field: &str,
    word: &'w str,
    known: &'static [&'static str],
) -> Option<&'w str> {
    checks.take(
        field,
        known
            .contains(&word)
            .then_some(word)
            .ok_or(Reason::NotOneOf(known)),
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

fn deny_headers(checks: &mut Checks, spec: &SourceSpec) -> Vec<HeaderName> {
    let names = spec.deny_headers.as_deref().unwrap_or_default();
    if names.len() > DENY_HEADERS_MAX {
        checks.fail(
            "deny_headers",
            Reason::OutOfRange {
                min: 0,
                max: DENY_HEADERS_MAX as u64,
                unit: "headers",
            },
        );
        return Vec::new();
    }
    let parse = |(index, name): (usize, &String)| {
        checks.take(&format!("deny_headers[{index}]"), header_name(name))
    };
    names.iter().enumerate().filter_map(parse).collect()
}
