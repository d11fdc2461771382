//! How an endpoint's receiver knows its caller, beside the signature (contract 3.2).

use outrider_webhook::authentication::{Authentication, Credential, CredentialError};
use outrider_webhook::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Checks, Reason};
use super::field::{given, header_name, is_framing};
use super::oauth2::OAuth2Spec;
use super::source_spec::{ApiKeyVerifierSpec, BasicAuthSpec};

/// What replies show in the place of a secret. Who sends it back means the secret that is there.
pub const REDACTED: &str = "[REDACTED]";

const TYPES: &[&str] = &["api_key", "basic_auth", "oauth2"];

/// What people write of an endpoint's authentication: a type and what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthenticationSpec {
    /// `api_key`, `basic_auth` or `oauth2`; no authentication when empty, and nothing else is given.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A fixed value in a header.
    pub api_key: Option<ApiKeyVerifierSpec>,
    /// HTTP Basic.
    pub basic_auth: Option<BasicAuthSpec>,
    /// A token of OAuth 2.0.
    pub oauth2: Option<OAuth2Spec>,
}

impl AuthenticationSpec {
    /// Whether it says that there is none: the way to end one.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        given(self.kind.as_deref()).is_none() && self.blocks().iter().all(|(_, is_given)| !is_given)
    }

    fn blocks(&self) -> [(&'static str, bool); 3] {
        let is_key = |key: &ApiKeyVerifierSpec| {
            given(key.header_name.as_deref()).is_some() || is_secret(key.header_value.as_ref())
        };
        let is_basic = |basic: &BasicAuthSpec| {
            given(basic.username.as_deref()).is_some() || is_secret(basic.password.as_ref())
        };
        [
            ("api_key", self.api_key.as_ref().is_some_and(is_key)),
            ("basic_auth", self.basic_auth.as_ref().is_some_and(is_basic)),
            (
                "oauth2",
                self.oauth2.as_ref().is_some_and(|one| !one.is_blank()),
            ),
        ]
    }

    /// `None` inside for none; `None` when something was reported.
    /// `owner` is whose endpoint it is for.
    pub(super) fn compile(
        &self,
        owner: &str,
        checks: &mut Checks,
    ) -> Option<Option<Authentication>> {
        if self.is_blank() {
            return Some(None);
        }
        let kind = checks.require("authentication.type", given(self.kind.as_deref()))?;
        for (block, is_given) in self.blocks() {
            if is_given && block != kind && TYPES.contains(&kind) {
                let reason = Reason::Rule(format!("does not belong to the type `{kind}`"));
                checks.fail(format!("authentication.{block}"), reason);
                return None;
            }
        }
        if kind == "oauth2" {
            let spec = checks.require("authentication.oauth2", self.oauth2.as_ref())?;
            return Some(Some(Authentication::OAuth2(spec.compile(owner, checks)?)));
        }
        let fixed = match kind {
            "api_key" => api_key(self.api_key.as_ref(), checks),
            "basic_auth" => basic(self.basic_auth.as_ref(), checks),
            _ => {
                checks.fail("authentication.type", Reason::NotOneOf(TYPES));
                None
            }
        };
        fixed.map(|fixed| Some(Authentication::Fixed(fixed)))
    }
}

fn api_key(spec: Option<&ApiKeyVerifierSpec>, checks: &mut Checks) -> Option<Credential> {
    let spec = checks.require("authentication.api_key", spec)?;
    let field = "authentication.api_key.header_name";
    let name = checks.require(field, given(spec.header_name.as_deref()));
    let name = name.and_then(|name| checks.take(field, header_name(name)));
    let name = name.and_then(|name| {
        let shape = Reason::Shape("a header that does not frame the message");
        checks.take(field, (!is_framing(&name)).then_some(name).ok_or(shape))
    });
    let field = "authentication.api_key.header_value";
    let value = secret(checks, field, spec.header_value.as_ref());
    let (name, value) = (name?, value?);
    let made = Credential::api_key(name, value).map_err(Reason::refused);
    checks.take(field, made)
}

fn basic(spec: Option<&BasicAuthSpec>, checks: &mut Checks) -> Option<Credential> {
    let spec = checks.require("authentication.basic_auth", spec)?;
    let user = "authentication.basic_auth.username";
    let username = checks.require(user, given(spec.username.as_deref()));
    let field = "authentication.basic_auth.password";
    let password = secret(checks, field, spec.password.as_ref());
    match Credential::basic(username?, password?) {
        Ok(made) => Some(made),
        Err(error @ CredentialError::Username) => {
            checks.fail(user, Reason::refused(error));
            None
        }
        Err(error) => {
            checks.fail(field, Reason::refused(error));
            None
        }
    }
}

fn is_secret(secret: Option<&Secret>) -> bool {
    secret.is_some_and(|secret| !secret.expose().is_empty())
}

/// A secret that has to be given, and not as what replies show for one.
pub(super) fn secret<'s>(
    checks: &mut Checks,
    field: &str,
    secret: Option<&'s Secret>,
) -> Option<&'s Secret> {
    let given = secret.filter(|secret| !secret.expose().is_empty());
    let given = checks.require(field, given)?;
    if given.expose() == REDACTED {
        let says = "is what replies show in the place of a secret: give the secret itself";
        checks.fail(field, Reason::Rule(says.to_owned()));
        return None;
    }
    Some(given)
}

pub(super) fn dump(authentication: &Authentication) -> Value {
    match authentication {
        Authentication::Fixed(fixed) => json!({"header": fixed.name().as_str(), "value": "***"}),
        Authentication::OAuth2(client) => {
            json!({"header": "authorization", "client_id": client.client_id()})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(spec: Value) -> String {
        let spec: AuthenticationSpec = serde_json::from_value(spec).unwrap();
        let mut checks = Checks::default();
        spec.compile("owner", &mut checks);
        let errors = checks.finish(Some(())).unwrap_err();
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        errors.join("; ")
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (spec, expected) in [
            (
                json!({"type": "digest"}),
                "`authentication.type`: must be `api_key`",
            ),
            (
                json!({"api_key": {"header_name": "x"}}),
                "`authentication.type`: is missing",
            ),
            (
                json!({"type": "api_key"}),
                "`authentication.api_key`: is missing",
            ),
            (
                json!({"type": "api_key", "api_key": {}}),
                "`authentication.api_key.header_name`: is missing; `authentication.api_key.header_value`: is missing",
            ),
            (
                json!({"type": "api_key", "api_key": {"header_name": "a b", "header_value": "v"}}),
                "`authentication.api_key.header_name`: must be the name of an HTTP header",
            ),
            (
                json!({"type": "api_key", "api_key": {"header_name": "Host", "header_value": "v"}}),
                "`authentication.api_key.header_name`: must be a header that does not frame",
            ),
            (
                json!({"type": "api_key", "api_key": {"header_name": "x-k", "header_value": "hunter2\n"}}),
                "`authentication.api_key.header_value`: must be from 1 to 4096 bytes",
            ),
            (
                json!({"type": "api_key", "api_key": {"header_name": "x-k", "header_value": REDACTED}}),
                "`authentication.api_key.header_value`: is what replies show",
            ),
            (
                json!({"type": "api_key", "api_key": {"header_name": "x-k", "header_value": "v"}, "basic_auth": {"username": "u"}}),
                "`authentication.basic_auth`: does not belong to the type `api_key`",
            ),
            (
                json!({"type": "basic_auth", "basic_auth": {"username": "a:b", "password": "hunter2"}}),
                "`authentication.basic_auth.username`: must be without `:`",
            ),
            (
                json!({"type": "basic_auth", "basic_auth": {"username": "a"}}),
                "`authentication.basic_auth.password`: is missing",
            ),
        ] {
            let found = errors(spec);
            assert!(found.starts_with(expected), "{found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
    }

    #[test]
    fn what_clients_send_for_none_is_none() {
        for spec in [
            json!({}),
            json!({"type": "", "api_key": null, "basic_auth": {"username": "", "password": ""}, "oauth2": null}),
        ] {
            let spec: AuthenticationSpec = serde_json::from_value(spec).unwrap();
            assert!(spec.is_blank());
            let mut checks = Checks::default();
            assert!(matches!(spec.compile("owner", &mut checks), Some(None)));
            checks.finish(Some(())).unwrap();
        }
        let spec = json!({"type": "basic_auth", "basic_auth": {"username": "u", "password": "p"}, "api_key": {"header_name": ""}});
        let spec: AuthenticationSpec = serde_json::from_value(spec).unwrap();
        let mut checks = Checks::default();
        let compiled = spec.compile("owner", &mut checks).unwrap().unwrap();
        assert_eq!(compiled.header(), "authorization");
        assert_eq!(
            dump(&compiled),
            json!({"header": "authorization", "value": "***"})
        );
    }
}
