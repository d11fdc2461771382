//! What a source wants of its clients' certificates.

use outrider_webhook::client_certificate::{ClientCertificateRule, ClientRoots};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Checks, Reason};
use super::field::{NOTE_BYTES_MAX, at_most, given};

/// Longest PEM text of roots.
const CA_BYTES_MAX: usize = 64 * 1024;
/// Longest list of names.
const NAMES_MAX: usize = 64;

/// What people write of the client certificate of a source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientCertificateSpec {
    /// Whether a client without one is refused; default true.
    pub required: Option<bool>,
    /// Common names, one of which the subject has.
    pub subjects: Option<Vec<String>>,
    /// Alternative names (DNS, URI, e-mail or address), one of which it has.
    pub sans: Option<Vec<String>>,
    /// PEM of its own roots; those of the public listener when absent.
    pub ca: Option<String>,
}

impl ClientCertificateSpec {
    /// The rule; `None` when something was reported.
    pub(super) fn compile(&self, checks: &mut Checks) -> Option<ClientCertificateRule> {
        let field = "client_certificate.ca";
        at_most(checks, field, self.ca.as_deref(), CA_BYTES_MAX);
        let roots = match given(self.ca.as_deref()) {
            None => None,
            Some(pem) => {
                let roots = ClientRoots::from_pem(pem.as_bytes()).map_err(Reason::refused);
                Some(checks.take(field, roots)?)
            }
        };
        Some(ClientCertificateRule {
            is_required: self.required.unwrap_or(true),
            roots,
            subjects: names(checks, "subjects", self.subjects.as_deref()),
            sans: names(checks, "sans", self.sans.as_deref()),
        })
    }
}

pub(super) fn dump(rule: &ClientCertificateRule) -> Value {
    json!({
        "required": rule.is_required,
        "subjects": rule.subjects,
        "sans": rule.sans,
        "has_own_ca": rule.roots.is_some(),
    })
}

fn names(checks: &mut Checks, list: &str, texts: Option<&[String]>) -> Vec<Box<str>> {
    let texts = texts.unwrap_or_default();
    let field = format!("client_certificate.{list}");
    if texts.len() > NAMES_MAX {
        let reason = Reason::OutOfRange {
            min: 0,
            max: NAMES_MAX as u64,
            unit: "names",
        };
        checks.fail(field, reason);
        return Vec::new();
    }
    for (index, text) in texts.iter().enumerate() {
        let field = format!("{field}[{index}]");
        if text.is_empty() {
            checks.fail(&*field, Reason::Missing);
        }
        at_most(checks, &field, Some(text), NOTE_BYTES_MAX);
    }
    texts.iter().map(|text| text.as_str().into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named() {
        let many = vec!["x".to_owned(); NAMES_MAX + 1];
        for (spec, expected) in [
            (
                json!({"ca": "hunter2"}),
                "`client_certificate.ca`: must be PEM",
            ),
            (
                json!({"ca": "x".repeat(CA_BYTES_MAX + 1)}),
                "from 0 to 65536 bytes",
            ),
            (
                json!({"subjects": [""]}),
                "`client_certificate.subjects[0]`: is missing",
            ),
            (
                json!({"sans": ["x".repeat(256)]}),
                "`client_certificate.sans[0]`: must be from 0 to 255",
            ),
            (
                json!({"sans": many}),
                "`client_certificate.sans`: must be from 0 to 64 names",
            ),
        ] {
            let spec: ClientCertificateSpec = serde_json::from_value(spec).unwrap();
            let mut checks = Checks::default();
            spec.compile(&mut checks);
            let errors = checks.finish(Some(())).unwrap_err();
            assert!(errors[0].to_string().contains(expected), "{errors:?}");
        }
        let mut checks = Checks::default();
        let rule = ClientCertificateSpec::default()
            .compile(&mut checks)
            .unwrap();
        assert!(rule.is_required && rule.roots.is_none());
    }
}
