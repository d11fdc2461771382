//! Mails about endpoints, by SMTP: one at a time, tried a few times, and given up visibly.

use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use outrider_webhook::secret::Secret;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Mails that may wait.
const WAITING_MAX: usize = 1_000;
/// Waits before a mail is tried again; then it is given up.
const AGAIN: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];
/// For one mail, from connecting on.
const LIMIT: Duration = Duration::from_secs(30);

/// A server that takes mails.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// The only roots that its certificate may come from; the public ones when absent.
    pub trusted: Option<Vec<CertificateDer<'static>>>,
    /// Name and password.
    pub credentials: Option<(String, Secret)>,
    /// Whom mails come from.
    pub from: String,
}

/// How the connection to the server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// By `STARTTLS`, without which nothing is sent.
    StartTls,
    /// By TLS from the first byte.
    Tls,
    /// Not at all.
    None,
}

/// A mail.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) text: String,
}

/// Takes mails.
#[derive(Clone)]
pub(crate) struct Mails(mpsc::Sender<Mail>);

impl Mails {
    /// False when too many wait.
    pub(super) fn send(&self, mail: Mail) -> bool {
        self.0.try_send(mail).is_ok()
    }
}

/// The task that sends them.
pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    waiting: mpsc::Receiver<Mail>,
    metrics: Arc<Metrics>,
}

/// Mails cannot be sent with these settings.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The sender is no address.
    #[error("`smtp.from`: {0}")]
    From(#[from] lettre::address::AddressError),
    /// The server's name does not do for TLS.
    #[error("`smtp.host`: {0}")]
    Tls(#[from] lettre::transport::smtp::Error),
    /// What its certificate may come from is no certificate.
    #[error("`smtp.ca`: {0}")]
    Ca(#[source] lettre::transport::smtp::Error),
}

fn tls(
    host: &str,
    trusted: Option<&[CertificateDer<'static>]>,
) -> Result<TlsParameters, MailError> {
    let builder = TlsParameters::builder(host.to_owned());
    let Some(trusted) = trusted else {
        return Ok(builder.build_rustls()?);
    };
    let mut builder = builder.certificate_store(CertificateStore::None);
    for root in trusted {
        let root = Certificate::from_der(root.to_vec()).map_err(MailError::Ca)?;
        builder = builder.add_root_certificate(root);
    }
    builder.build_rustls().map_err(MailError::Ca)
}

impl Mailer {
    pub(crate) fn new(
        settings: SmtpSettings,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Mails), MailError> {
        let from = Mailbox::new(
            Some("Outrider".to_owned()),
            settings.from.parse::<Address>()?,
        );
        let tls = || tls(&settings.host, settings.trusted.as_deref());
        let tls = match settings.security {
            Security::StartTls => Tls::Required(tls()?),
            Security::Tls => Tls::Wrapper(tls()?),
            Security::None => Tls::None,
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host);
        let mut builder = builder.port(settings.port).tls(tls).timeout(Some(LIMIT));
        if let Some((name, password)) = settings.credentials {
            let password = password.expose().to_owned();
            builder = builder.credentials(Credentials::new(name, password));
        }
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let mailer = Self {
            transport: builder.build(),
            from,
            waiting,
            metrics,
        };
        Ok((mailer, Mails(sender)))
    }

    /// Runs until `stop` fires; what waits then is lost, which is said.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let sending = async {
            while let Some(mail) = self.waiting.recv().await {
                let result = self.send(&mail).await;
                let label = if result { "sent" } else { "failed" };
                let counter = &self.metrics.notifications;
                counter.with_label_values(&["mail", label]).inc();
            }
        };
        stop.run_until_cancelled(sending).await;
        let left = self.waiting.len();
        if left > 0 {
            tracing::warn!(left, "mails were not sent before the end");
        }
    }

    async fn send(&self, mail: &Mail) -> bool {
        let message = mail.to.parse::<Address>().ok().and_then(|to| {
            let builder = Message::builder().from(self.from.clone());
            let builder = builder.to(Mailbox::new(None, to)).subject(&mail.subject);
            builder.body(mail.text.clone()).ok()
        });
        let Some(message) = message else {
            tracing::error!(to = mail.to, "a mail cannot be written to this address");
            return false;
        };
        let mut waits = AGAIN.into_iter();
        loop {
            let sent = tokio::time::timeout(LIMIT, self.transport.send(message.clone())).await;
            let error = match sent {
                Ok(Ok(_)) => return true,
                // The server will not have it another time either.
                Ok(Err(error)) if error.is_permanent() => {
                    tracing::error!(%error, to = mail.to, "a mail is refused");
                    return false;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            let Some(wait) = waits.next() else {
                tracing::error!(error, to = mail.to, "a mail could not be sent");
                return false;
            };
            tracing::warn!(error, to = mail.to, "a mail is sent again");
            tokio::time::sleep(wait).await;
        }
    }
}
