//! How a source verifies, as people write it: a provider, Convoy's verifier or a native preset,
//! all of which end in a preset of the `webhook` crate and what it is compiled with.

use std::collections::BTreeMap;

use outrider_webhook::secret::Secret;
use outrider_webhook::verify::{self, ParamSpec, PresetSpec, Verifier};

use super::check::{Checks, Reason};
use super::field::{given, header_name};
use super::preset_choice::PresetChoice;
use super::source_spec::{ApiKeyVerifierSpec, BasicAuthSpec, HmacSpec, SourceSpec, VerifierSpec};

/// What a preset of a source's own is called.
const OWN: &str = "own";

const PROVIDERS: &[&str] = &["github", "shopify", "twitter"];
const VERIFIERS: &[&str] = &["noop", "hmac", "basic_auth", "api_key"];

/// How a source verifies: a preset, and what it is compiled with.
pub(super) struct Scheme {
    pub(super) name: Box<str>,
    preset: Preset,
    secrets: Vec<Secret>,
    params: BTreeMap<String, ParamSpec>,
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

    pub(super) fn is_github(&self) -> bool {
        self.name.starts_with("github")
    }

    pub(super) fn compile(&self, checks: &mut Checks, spec: &SourceSpec) -> Option<Verifier> {
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

/// The one way in which the verification is said.
pub(super) fn scheme(checks: &mut Checks, spec: &SourceSpec) -> Option<Scheme> {
    let provider = given(spec.provider.as_deref());
    let preset = spec.preset.as_ref().filter(|preset| preset.is_given());
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
        (Some(preset), None, None) => preset_scheme(checks, preset, spec),
        (None, Some(provider), verifier) => provider_scheme(checks, provider, verifier),
        (None, None, Some(verifier)) => verifier_scheme(checks, verifier),
        (None, None, None) => {
            let say = "is missing: give `provider`, `verifier` or `preset`; `verifier: {type: noop}` accepts anything";
            checks.fail("verifier", Reason::Rule(say.to_owned()));
            None
        }
    }
}

fn preset_scheme(checks: &mut Checks, choice: &PresetChoice, spec: &SourceSpec) -> Option<Scheme> {
    let (name, preset) = match choice {
        PresetChoice::Own(preset) => (OWN, Preset::Own(preset.clone())),
        PresetChoice::Named(name) => match verify::builtin(name) {
            Some(preset) => (name.as_str(), Preset::Builtin(preset)),
            None => {
                let known: Vec<&str> = verify::builtin_names().collect();
                let reason = format!("must be one of {}, or a preset", known.join(", "));
                checks.fail("preset", Reason::Rule(reason));
                return None;
            }
        },
    };
    Some(Scheme {
        name: name.into(),
        preset,
        secrets: spec.secrets.clone().unwrap_or_default(),
        params: spec.params.clone().unwrap_or_default(),
        field: "preset",
    })
}

/// Header, hash, encoding and prefix of a provider's signature. Clients of Convoy repeat them, and
/// who says what holds anyway asks for nothing else.
fn provider_hmac(provider: &str) -> [&'static str; 4] {
    match provider {
        "github" => ["X-Hub-Signature-256", "SHA256", "hex", "sha256="],
        "shopify" => ["X-Shopify-Hmac-SHA256", "SHA256", "base64", ""],
        "twitter" => [
            "X-Twitter-Webhooks-Signature",
            "SHA256",
            "base64",
            "sha256=",
        ],
        _ => [""; 4],
    }
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
    let [header, hash, encoding, prefix] = provider_hmac(provider);
    for (field, value, own) in [
        ("verifier.hmac.header", &hmac.header, header),
        ("verifier.hmac.hash", &hmac.hash, hash),
        ("verifier.hmac.encoding", &hmac.encoding, encoding),
        ("verifier.hmac.prefix", &hmac.prefix, prefix),
    ] {
        let value = given(value.as_deref());
        if value.is_some_and(|value| !value.eq_ignore_ascii_case(own)) {
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
