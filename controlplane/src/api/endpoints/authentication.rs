//! Credentials of endpoints in requests and replies: a secret that replies hide may be sent back as
//! they show it.

use outrider_config::resource::{
    AuthenticationSpec, ClientCertSpec, OAuth2Spec, REDACTED, SigningKeySpec,
};
use outrider_webhook::secret::Secret;
use serde_json::{Value, json};

/// As replies show it; `None` when there is none.
pub(super) fn shown(spec: AuthenticationSpec) -> Option<Value> {
    if spec.is_blank() {
        return None;
    }
    let kind = spec.kind.unwrap_or_default();
    let mut shown = json!({ "type": kind });
    if let Some(key) = spec.api_key.filter(|_| kind == "api_key") {
        // Convoy shows it, as it shows the secrets that sign.
        shown["api_key"] = json!({
            "header_name": key.header_name.unwrap_or_default(),
            "header_value": key.header_value.as_ref().map_or("", Secret::expose),
        });
    }
    if let Some(basic) = spec.basic_auth.filter(|_| kind == "basic_auth") {
        shown["basic_auth"] = json!({
            "username": basic.username.unwrap_or_default(),
            "password": REDACTED,
        });
    }
    if let Some(oauth2) = spec.oauth2.filter(|_| kind == "oauth2") {
        shown["oauth2"] = shown_client(oauth2);
    }
    Some(shown)
}

/// A client as it was written, without what nobody else may know.
fn shown_client(mut client: OAuth2Spec) -> Value {
    hide(&mut client.client_secret);
    if let Some(key) = &mut client.signing_key {
        key.private().into_iter().for_each(hide);
    }
    let mut shown = serde_json::to_value(client).unwrap_or_default();
    // Clients of Convoy take a field that is not there, and not each null.
    if let Value::Object(fields) = &mut shown {
        fields.retain(|_, value| !value.is_null());
        for value in fields.values_mut().filter_map(Value::as_object_mut) {
            value.retain(|_, member| !member.is_null());
        }
    }
    shown
}

fn hide(secret: &mut Option<Secret>) {
    if secret
        .as_ref()
        .is_some_and(|secret| !secret.expose().is_empty())
    {
        *secret = Some(Secret::new(REDACTED));
    }
}

/// What is not given stays, and what is given as replies show it.
pub(super) fn keep(given: &mut Option<AuthenticationSpec>, old: Option<AuthenticationSpec>) {
    let Some(given) = given else {
        *given = old;
        return;
    };
    let Some(old) = old else { return };
    if let (Some(given), Some(old)) = (&mut given.basic_auth, old.basic_auth) {
        keep_secret(&mut given.password, old.password);
    }
    if let (Some(given), Some(old)) = (&mut given.oauth2, old.oauth2) {
        keep_secret(&mut given.client_secret, old.client_secret);
        if let (Some(given), Some(old)) = (&mut given.signing_key, old.signing_key) {
            keep_key(given, old);
        }
    }
    if let (Some(given), Some(old)) = (&mut given.api_key, old.api_key) {
        keep_secret(&mut given.header_value, old.header_value);
    }
}

/// Members of another key do not fit what is kept, which the check finds.
fn keep_key(given: &mut SigningKeySpec, mut old: SigningKeySpec) {
    for (given, old) in given.private().into_iter().zip(old.private()) {
        keep_secret(given, old.take());
    }
}

/// Our certificate, whose key is in no reply; `None` when there is none.
pub(super) fn shown_certificate(spec: ClientCertSpec) -> Option<Value> {
    let is_set = !spec.is_blank();
    let certificate = spec.client_cert.unwrap_or_default();
    is_set.then(|| json!({"client_cert": certificate, "client_key": REDACTED}))
}

/// As [`keep`], of our certificate.
pub(super) fn keep_certificate(given: &mut Option<ClientCertSpec>, old: Option<ClientCertSpec>) {
    match (given, old) {
        (Some(given), Some(old)) => keep_secret(&mut given.client_key, old.client_key),
        (given @ None, old) => *given = old,
        (Some(_), None) => {}
    }
}

/// The secret that is there, where what was sent is what replies show for it.
pub(super) fn keep_secret(given: &mut Option<Secret>, old: Option<Secret>) {
    if given
        .as_ref()
        .is_some_and(|given| given.expose() == REDACTED)
        && old.is_some()
    {
        *given = old;
    }
}
