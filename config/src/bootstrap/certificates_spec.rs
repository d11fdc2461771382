//! Certificates by which receivers know us, on the hosts that connect to them.

use std::collections::HashSet;
use std::path::PathBuf;

use outrider_webhook::id::ProjectId;
use serde::Deserialize;

use super::forward_spec::projects;
use super::spec::Checks;

const CERTIFICATES_MAX: usize = 1_000;

/// A certificate that endpoints name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCertificate {
    /// 1 to 63 of `a-z`, `0-9` and `-`; no two are the same.
    pub name: String,
    /// PEM of the certificate, and what leads to its root.
    pub certificate: PathBuf,
    /// PEM of its private key.
    pub key: PathBuf,
    /// PEM of the only roots that the receivers' certificates may come from; the public ones when
    /// absent.
    pub ca: Option<PathBuf>,
    /// Whose endpoints may name it; `None` for all.
    pub projects: Option<Vec<ProjectId>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CertificateSpec {
    name: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    ca: Option<String>,
    projects: Option<Vec<String>>,
}

/// Checks the list.
pub(super) fn check(
    specs: Option<Vec<CertificateSpec>>,
    checks: &mut Checks,
) -> Vec<NamedCertificate> {
    let specs = specs.unwrap_or_default();
    if specs.len() > CERTIFICATES_MAX {
        let say = format!("must be at most {CERTIFICATES_MAX}");
        checks.fail("egress.client_certificates", say);
    }
    let mut names = HashSet::new();
    let specs = specs.into_iter().enumerate();
    specs
        .map(|(index, spec)| {
            spec.check(
                &format!("egress.client_certificates[{index}]"),
                &mut names,
                checks,
            )
        })
        .collect()
}

impl CertificateSpec {
    fn check(
        self,
        path: &str,
        names: &mut HashSet<String>,
        checks: &mut Checks,
    ) -> NamedCertificate {
        let name = self.name.unwrap_or_default();
        let is_letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=63).contains(&name.len()) || !name.bytes().all(is_letter) {
            checks.fail(
                format!("{path}.name"),
                "must be 1 to 63 of `a-z`, `0-9` and `-`",
            );
        } else if !names.insert(name.clone()) {
            checks.fail(format!("{path}.name"), "is that of another one");
        }
        let mut file = |field: &str, given: Option<String>| {
            let given = given.unwrap_or_default();
            if given.is_empty() {
                checks.fail(format!("{path}.{field}"), "must be the path of a PEM file");
            }
            PathBuf::from(given)
        };
        NamedCertificate {
            name,
            certificate: file("certificate", self.certificate),
            key: file("key", self.key),
            ca: self.ca.filter(|path| !path.is_empty()).map(PathBuf::from),
            projects: projects(self.projects, &format!("{path}.projects"), checks),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::bootstrap::Bootstrap;

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let text = "egress:
  client_certificates:
    - {name: bank, certificate: a, key: b, projects: ['*']}
    - {name: bank, certificate: a, projects: []}
    - {name: A, certificate: a, key: b, projects: [x]}
";
        let found = Bootstrap::load(Some(text), std::iter::empty()).unwrap_err();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        for (path, part) in [
            ("client_certificates[1].name: ", "another"),
            ("client_certificates[1].key: ", "PEM"),
            ("client_certificates[1].projects: ", "`*`"),
            ("client_certificates[2].name: ", "1 to 63"),
            ("client_certificates[2].projects[0]: ", "uid"),
        ] {
            let is_told = |text: &String| text.contains(path) && text.contains(part);
            assert!(found.iter().any(is_told), "{path} {found:#?}");
        }
        assert_eq!(found.len(), 5, "{found:#?}");
    }
}
