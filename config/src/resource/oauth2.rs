//! Client credentials of OAuth 2.0, as an endpoint's authentication (contract 3.2).

use std::sync::Arc;

use outrider_webhook::address::TargetUrl;
use outrider_webhook::authentication::jwk::{Algorithm, AssertionKey, Jwk};
use outrider_webhook::authentication::oauth2::{Client, ExpiryUnit, Fields, Proof, Settings};
use outrider_webhook::secret::Secret;
use serde::{Deserialize, Serialize};

use super::authentication::secret;
use super::check::{Checks, Reason};
use super::field::{NOTE_BYTES_MAX, URL_BYTES_MAX, at_most, given};
use super::spec::{expose, to_document};
use crate::resource::REDACTED;

const PROOFS: &[&str] = &["shared_secret", "client_secret_basic", "client_assertion"];
/// Longest scope, audience, issuer and subject, and longest member of a key, bytes.
const TEXT_BYTES_MAX: usize = 2048;
const AT: &str = "authentication.oauth2";

/// What people write of a client of a token endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth2Spec {
    /// The token endpoint; required.
    pub url: Option<String>,
    /// Required.
    pub client_id: Option<String>,
    /// How the client shows who it is: `shared_secret` (in the body), `client_secret_basic`
    /// (native: in `Authorization`) or `client_assertion`.
    pub authentication_type: Option<String>,
    /// `client_credentials`, which is meant when absent.
    pub grant_type: Option<String>,
    /// Asked for with the token.
    pub scope: Option<String>,
    /// Asked for with the token.
    pub audience: Option<String>,
    /// The secret, where there is one.
    #[serde(serialize_with = "expose")]
    pub client_secret: Option<Secret>,
    /// The private key that signs assertions.
    pub signing_key: Option<SigningKeySpec>,
    /// How they are signed; follows from the key when absent, RS256 of RSA.
    pub signing_algorithm: Option<String>,
    /// Claim `iss` of assertions; the client's id when absent.
    pub issuer: Option<String>,
    /// Claim `sub` of assertions; the client's id when absent.
    pub subject: Option<String>,
    /// How answers name things, where not as the RFC does.
    pub field_mapping: Option<FieldMappingSpec>,
    /// `seconds` (default), `milliseconds`, `minutes` or `hours`.
    pub expiry_time_unit: Option<String>,
}

/// A JSON Web Key with its private members.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are those of RFC 7517 and RFC 7518")]
pub struct SigningKeySpec {
    pub kty: Option<String>,
    pub crv: Option<String>,
    pub kid: Option<String>,
    pub alg: Option<String>,
    #[serde(rename = "use")]
    pub usage: Option<String>,
    pub x: Option<String>,
    pub y: Option<String>,
    pub n: Option<String>,
    pub e: Option<String>,
    #[serde(serialize_with = "expose")]
    pub d: Option<Secret>,
    #[serde(serialize_with = "expose")]
    pub p: Option<Secret>,
    #[serde(serialize_with = "expose")]
    pub q: Option<Secret>,
    #[serde(serialize_with = "expose")]
    pub dp: Option<Secret>,
    #[serde(serialize_with = "expose")]
    pub dq: Option<Secret>,
    #[serde(serialize_with = "expose")]
    pub qi: Option<Secret>,
}

/// Names of the fields of a token endpoint's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FieldMappingSpec {
    /// `access_token` when absent.
    pub access_token: Option<String>,
    /// `token_type` when absent.
    pub token_type: Option<String>,
    /// `expires_in` when absent.
    pub expires_in: Option<String>,
}

impl SigningKeySpec {
    /// The private members, to be hidden and kept.
    pub fn private(&mut self) -> [&mut Option<Secret>; 6] {
        [
            &mut self.d,
            &mut self.p,
            &mut self.q,
            &mut self.dp,
            &mut self.dq,
            &mut self.qi,
        ]
    }

    fn compile(&self, algorithm: Option<Algorithm>, checks: &mut Checks) -> Option<AssertionKey> {
        let field = format!("{AT}.signing_key");
        let private = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi];
        let public = [
            &self.kty,
            &self.crv,
            &self.kid,
            &self.alg,
            &self.usage,
            &self.x,
            &self.y,
            &self.n,
            &self.e,
        ];
        let texts = public.into_iter().filter_map(|text| text.as_deref());
        let secrets = private.into_iter().flatten().map(Secret::expose);
        if texts
            .chain(secrets.clone())
            .any(|text| text.len() > TEXT_BYTES_MAX)
        {
            checks.fail(
                field,
                Reason::Shape("a key whose members have at most 2048 bytes each"),
            );
            return None;
        }
        if secrets.into_iter().any(|text| text == REDACTED) {
            let says = "has what replies show in the place of a secret: give the key itself";
            checks.fail(field, Reason::Rule(says.to_owned()));
            return None;
        }
        if given(self.usage.as_deref()).is_some_and(|usage| usage != "sig") {
            checks.fail(
                field,
                Reason::Rule("has a `use` other than `sig`".to_owned()),
            );
            return None;
        }
        fn text(text: &Option<String>) -> &str {
            text.as_deref().unwrap_or_default()
        }
        let jwk = Jwk {
            kty: text(&self.kty),
            crv: text(&self.crv),
            kid: text(&self.kid),
            alg: text(&self.alg),
            x: text(&self.x),
            y: text(&self.y),
            n: text(&self.n),
            e: text(&self.e),
            d: self.d.as_ref(),
            p: self.p.as_ref(),
            q: self.q.as_ref(),
            dp: self.dp.as_ref(),
            dq: self.dq.as_ref(),
            qi: self.qi.as_ref(),
        };
        let key = AssertionKey::new(&jwk, algorithm).map_err(Reason::refused);
        checks.take(&field, key)
    }
}

impl OAuth2Spec {
    /// Whether nothing is given.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let texts = [
            &self.url,
            &self.client_id,
            &self.authentication_type,
            &self.grant_type,
            &self.scope,
            &self.audience,
            &self.signing_algorithm,
            &self.issuer,
            &self.subject,
            &self.expiry_time_unit,
        ];
        let is_secret = |secret: &Secret| !secret.expose().is_empty();
        texts
            .into_iter()
            .all(|text| given(text.as_deref()).is_none())
            && !self.client_secret.as_ref().is_some_and(is_secret)
            && self
                .signing_key
                .as_ref()
                .is_none_or(|key| *key == SigningKeySpec::default())
    }

    /// The client. `owner` is whose endpoint it is for: nobody else gets its tokens.
    pub(super) fn compile(&self, owner: &str, checks: &mut Checks) -> Option<Arc<Client>> {
        let field = |name: &str| format!("{AT}.{name}");
        self.refuse_long_texts(checks);
        let url_text = checks.require(&field("url"), given(self.url.as_deref()));
        let url = url_text.and_then(|url| {
            let url = TargetUrl::parse(url).map_err(Reason::refused);
            checks.take(&field("url"), url)
        });
        let client_id = checks.require(&field("client_id"), given(self.client_id.as_deref()));
        if given(self.grant_type.as_deref()).is_some_and(|grant| grant != "client_credentials") {
            checks.fail(
                field("grant_type"),
                Reason::NotOneOf(&["client_credentials"]),
            );
        }
        let proof = self.proof(checks);
        let unit = match given(self.expiry_time_unit.as_deref()) {
            None => Some(ExpiryUnit::Seconds),
            Some(word) => {
                let unit = ExpiryUnit::of_word(word);
                checks.take(
                    &field("expiry_time_unit"),
                    unit.ok_or(Reason::NotOneOf(ExpiryUnit::WORDS)),
                )
            }
        };
        // All of it as it is written, secrets included: two that differ anywhere are two clients.
        let document = to_document(self).unwrap_or_default();
        let identity = [owner.as_bytes(), b"\n", &document].concat();
        let text = |text: &Option<String>| given(text.as_deref()).map(Box::from);
        let settings = Settings {
            url: url?,
            url_text: url_text?.into(),
            client_id: client_id?.into(),
            proof: proof?,
            scope: text(&self.scope),
            audience: text(&self.audience),
            fields: self.fields(),
            unit: unit?,
        };
        Some(Arc::new(Client::new(settings, &identity)))
    }

    fn proof(&self, checks: &mut Checks) -> Option<Proof> {
        let field = |name: &str| format!("{AT}.{name}");
        let kind = given(self.authentication_type.as_deref());
        let kind = checks.require(&field("authentication_type"), kind)?;
        let client_secret = |checks: &mut Checks| {
            secret(checks, &field("client_secret"), self.client_secret.as_ref()).cloned()
        };
        match kind {
            "shared_secret" => client_secret(checks).map(Proof::SecretInBody),
            "client_secret_basic" => client_secret(checks).map(Proof::SecretInHeader),
            "client_assertion" => {
                let algorithm = match given(self.signing_algorithm.as_deref()) {
                    None => None,
                    Some(word) => {
                        let known = Algorithm::of_word(word);
                        let known = known.ok_or(Reason::NotOneOf(Algorithm::WORDS));
                        Some(checks.take(&field("signing_algorithm"), known)?)
                    }
                };
                let key = checks.require(&field("signing_key"), self.signing_key.as_ref())?;
                let text = |text: &Option<String>| given(text.as_deref()).map(Box::from);
                Some(Proof::Assertion {
                    key: Box::new(key.compile(algorithm, checks)?),
                    issuer: text(&self.issuer),
                    subject: text(&self.subject),
                })
            }
            _ => {
                checks.fail(field("authentication_type"), Reason::NotOneOf(PROOFS));
                None
            }
        }
    }

    fn fields(&self) -> Fields {
        let usual = Fields::default();
        let Some(own) = &self.field_mapping else {
            return usual;
        };
        let or = |text: &Option<String>, usual| given(text.as_deref()).map_or(usual, Box::from);
        Fields {
            access_token: or(&own.access_token, usual.access_token),
            token_type: or(&own.token_type, usual.token_type),
            expires_in: or(&own.expires_in, usual.expires_in),
        }
    }

    fn refuse_long_texts(&self, checks: &mut Checks) {
        let mapping = self.field_mapping.clone().unwrap_or_default();
        let secret = self.client_secret.as_ref().map(Secret::expose);
        for (name, text, bytes_max) in [
            ("url", self.url.as_deref(), URL_BYTES_MAX),
            ("client_id", self.client_id.as_deref(), NOTE_BYTES_MAX),
            ("client_secret", secret, TEXT_BYTES_MAX),
            ("scope", self.scope.as_deref(), TEXT_BYTES_MAX),
            ("audience", self.audience.as_deref(), TEXT_BYTES_MAX),
            ("issuer", self.issuer.as_deref(), TEXT_BYTES_MAX),
            ("subject", self.subject.as_deref(), TEXT_BYTES_MAX),
            (
                "field_mapping.access_token",
                mapping.access_token.as_deref(),
                NOTE_BYTES_MAX,
            ),
            (
                "field_mapping.token_type",
                mapping.token_type.as_deref(),
                NOTE_BYTES_MAX,
            ),
            (
                "field_mapping.expires_in",
                mapping.expires_in.as_deref(),
                NOTE_BYTES_MAX,
            ),
        ] {
            at_most(checks, &format!("{AT}.{name}"), text, bytes_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn with(more: Value) -> Value {
        let mut spec = json!({"url": "https://a.example/token", "client_id": "me",
            "authentication_type": "shared_secret", "client_secret": "hunter2"});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec
    }

    fn compile(spec: Value, owner: &str) -> Result<Arc<Client>, String> {
        let spec: OAuth2Spec = serde_json::from_value(spec).unwrap();
        let mut checks = Checks::default();
        let client = spec.compile(owner, &mut checks);
        checks.finish(client).map_err(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            errors.join("; ")
        })
    }

    #[test]
    fn what_cannot_be_used_is_named_and_never_shown() {
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "d": "hunter2"});
        let assertion = |more: Value| {
            let mut spec = with(json!({"authentication_type": "client_assertion"}));
            spec.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            spec
        };
        let hidden = json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "d": REDACTED});
        for (spec, expected) in [
            (
                json!({}),
                "`authentication.oauth2.url`: is missing; `authentication.oauth2.client_id`: is missing; `authentication.oauth2.authentication_type`: is missing",
            ),
            (
                with(json!({"url": "ftp://a"})),
                "`authentication.oauth2.url`: ",
            ),
            (
                with(json!({"authentication_type": "magic"})),
                "`authentication.oauth2.authentication_type`: must be `shared_secret`",
            ),
            (
                with(json!({"client_secret": ""})),
                "`authentication.oauth2.client_secret`: is missing",
            ),
            (
                with(json!({"client_secret": REDACTED})),
                "`authentication.oauth2.client_secret`: is what replies show",
            ),
            (
                with(json!({"grant_type": "password"})),
                "`authentication.oauth2.grant_type`: must be `client_credentials`",
            ),
            (
                with(json!({"expiry_time_unit": "days"})),
                "`authentication.oauth2.expiry_time_unit`: must be `seconds`",
            ),
            (
                with(json!({"scope": "x".repeat(2049)})),
                "`authentication.oauth2.scope`: must be from 0 to 2048 bytes",
            ),
            (
                assertion(json!({})),
                "`authentication.oauth2.signing_key`: is missing",
            ),
            (
                assertion(json!({"signing_key": {"kty": "oct"}})),
                "`authentication.oauth2.signing_key`: has a `kty` other than",
            ),
            (
                assertion(json!({"signing_key": key})),
                "`authentication.oauth2.signing_key`: has a `d` that is not base64url of the right length",
            ),
            (
                assertion(json!({"signing_key": hidden})),
                "`authentication.oauth2.signing_key`: has what replies show",
            ),
            (
                assertion(json!({"signing_key": {"kty": "OKP", "use": "enc"}})),
                "`authentication.oauth2.signing_key`: has a `use` other than",
            ),
            (
                assertion(json!({"signing_key": key, "signing_algorithm": "ES512"})),
                "`authentication.oauth2.signing_algorithm`: must be `RS256`",
            ),
        ] {
            let found = compile(spec, "p").unwrap_err();
            assert!(found.starts_with(expected), "{found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
    }

    #[test]
    fn a_token_is_shared_by_those_alone_who_are_the_same_client() {
        let of = |more: Value, owner| *compile(with(more), owner).unwrap().fingerprint();
        let one = of(json!({}), "p");
        assert_eq!(one, of(json!({}), "p"));
        for other in [
            of(json!({}), "q"),
            of(json!({"url": "https://b.example/token"}), "p"),
            of(json!({"client_id": "you"}), "p"),
            of(json!({"client_secret": "other"}), "p"),
            of(json!({"scope": "read"}), "p"),
            of(json!({"audience": "read"}), "p"),
            of(json!({"authentication_type": "client_secret_basic"}), "p"),
            of(json!({"expiry_time_unit": "hours"}), "p"),
            of(json!({"field_mapping": {"access_token": "t"}}), "p"),
        ] {
            assert_ne!(one, other);
        }
    }
}
