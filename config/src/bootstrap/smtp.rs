//! How mails about endpoints are sent.

use std::path::PathBuf;

use outrider_webhook::secret::Secret;
use serde::Deserialize;

use super::spec::Checks;

/// A server that takes mails.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    /// Its name or address; no default.
    pub host: String,
    /// Its port. Default by security: 587, 465, 25.
    pub port: u16,
    /// Default [`SmtpSecurity::StartTls`].
    pub security: SmtpSecurity,
    /// The only roots that its certificate may come from, PEM; the public ones when absent.
    pub ca: Option<PathBuf>,
    /// Name and password, both or neither.
    pub credentials: Option<(String, Secret)>,
    /// Whom mails come from: an address like `hooks@a.example`.
    pub from: String,
}

/// How the connection to the server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// By `STARTTLS`, without which nothing is sent.
    StartTls,
    /// By TLS from the first byte.
    Tls,
    /// Not at all.
    None,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SmtpSpec {
    host: Option<String>,
    port: Option<u64>,
    security: Option<String>,
    ca: Option<String>,
    username: Option<String>,
    password: Option<String>,
    from: Option<String>,
}

impl SmtpSpec {
    /// `None` also when something is wrong, which is reported.
    pub(super) fn check(self, checks: &mut Checks) -> Option<SmtpSettings> {
        let security = match self.security.as_deref() {
            None | Some("starttls") => SmtpSecurity::StartTls,
            Some("tls") => SmtpSecurity::Tls,
            Some("none") => SmtpSecurity::None,
            Some(_) => {
                checks.fail("smtp.security", "must be `starttls`, `tls` or `none`");
                SmtpSecurity::StartTls
            }
        };
        let default = match security {
            SmtpSecurity::StartTls => 587,
            SmtpSecurity::Tls => 465,
            SmtpSecurity::None => 25,
        };
        let port = checks.number("smtp.port", self.port, default, (1, 65_535));
        let host = self.host.filter(|host| !host.is_empty());
        if host.is_none() {
            checks.fail("smtp.host", "is missing");
        }
        let ca = self.ca.filter(|path| !path.is_empty());
        if ca.is_some() && security == SmtpSecurity::None {
            checks.fail("smtp.ca", "is for TLS: `security` must not be `none`");
        }
        let is_address = |from: &String| {
            from.split_once('@')
                .is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())
        };
        let from = self.from.filter(is_address);
        if from.is_none() {
            checks.fail("smtp.from", "must be an address like hooks@a.example");
        }
        let credentials = match (self.username, self.password) {
            (Some(_), Some(_)) if security == SmtpSecurity::None => {
                checks.fail(
                    "smtp.password",
                    "is not sent in clear: `security` must not be `none`",
                );
                None
            }
            (Some(name), Some(password)) => Some((name, Secret::new(password))),
            (None, None) => None,
            _ => {
                checks.fail("smtp", "takes `username` and `password`, both or neither");
                None
            }
        };
        Some(SmtpSettings {
            host: host?,
            port: u16::try_from(port).ok()?,
            security,
            ca: ca.map(PathBuf::from),
            credentials,
            from: from?,
        })
    }
}
