//! A client of a token endpoint that is tried out before an endpoint has it.

use std::sync::Arc;

use outrider_webhook::address::Scheme;
use outrider_webhook::authentication::oauth2::Client;

use super::check::{Checks, FieldError, Reason};
use super::oauth2::OAuth2Spec;
use super::project::Project;

/// Where the fields of a client are in an endpoint, but not in a trial.
const AROUND: &str = "authentication.";

impl OAuth2Spec {
    /// The client as an endpoint of the project would have it.
    ///
    /// # Errors
    /// Every field that cannot be used, below `oauth2`.
    pub fn on_trial(&self, project: &Project) -> Result<Arc<Client>, Vec<FieldError>> {
        let mut checks = Checks::default();
        let client = self.compile(&project.id().to_string(), &mut checks);
        let is_open = |client: &Arc<Client>| client.url().scheme() != Scheme::Https;
        if project.is_https_enforced() && client.as_ref().is_some_and(is_open) {
            let says = "must be https: the project enforces secure endpoints";
            checks.fail("oauth2.url", Reason::Rule(says.to_owned()));
        }
        let mut client = checks.finish(client);
        for error in client.as_mut().err().into_iter().flatten() {
            if let Some(field) = error.field.strip_prefix(AROUND) {
                error.field = field.to_owned();
            }
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use outrider_webhook::id::{ProjectId, Uid};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_named_where_it_stands_in_a_trial() {
        let project = |enforces: bool| {
            let config = json!({"ssl": {"enforce_secure_endpoints": enforces}});
            let spec = json!({"name": "shop", "type": "outgoing", "config": config});
            let spec = serde_json::from_value(spec).unwrap();
            Project::compile(ProjectId::new(Uid::from_bits(7)), 1, &spec).unwrap()
        };
        let trial = |spec: serde_json::Value, enforces| {
            let spec: OAuth2Spec = serde_json::from_value(spec).unwrap();
            let errors = spec.on_trial(&project(enforces)).err();
            let errors = errors.into_iter().flatten().map(|error| error.to_string());
            errors.collect::<Vec<_>>()
        };
        let good = json!({"url": "http://a.example/token", "client_id": "me",
            "authentication_type": "shared_secret", "client_secret": "hunter2"});
        assert_eq!(
            trial(json!({}), false),
            [
                "`oauth2.url`: is missing",
                "`oauth2.client_id`: is missing",
                "`oauth2.authentication_type`: is missing",
            ]
        );
        assert_eq!(
            trial(good.clone(), true),
            ["`oauth2.url`: must be https: the project enforces secure endpoints"]
        );
        assert_eq!(trial(good, false), [""; 0]);
    }
}
