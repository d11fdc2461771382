//! Mutual TLS between the planes: each side shows a certificate and checks the other's.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// One side of mutual TLS, as PEM texts. Checked when a transport is made of it.
pub struct Tls {
    ca: Certificate,
    identity: Identity,
}

impl Tls {
    /// `ca` are the roots of the other side's certificate; `certificate` and `key` are ours.
    #[must_use]
    pub fn from_pem(ca: &[u8], certificate: &[u8], key: &[u8]) -> Self {
        Self {
            ca: Certificate::from_pem(ca),
            identity: Identity::from_pem(certificate, key),
        }
    }

    /// A client without a certificate does not get in.
    pub(crate) fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity.clone())
            .client_ca_root(self.ca.clone())
            .timeout(HANDSHAKE_TIMEOUT)
    }

    /// The name that is checked is the host of the URL.
    pub(crate) fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(self.ca.clone())
            .identity(self.identity.clone())
            .timeout(HANDSHAKE_TIMEOUT)
    }
}

/// Leaves the key out.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(***)")
    }
}

/// What is behind an error whose own text says little.
pub(crate) fn causes(error: &dyn StdError) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    match text.is_empty() {
        true => error.to_string(),
        false => text,
    }
}

/// A status with what is behind it: a connection that cannot be made says only there why.
pub(crate) fn status(status: &tonic::Status) -> String {
    let mut said = vec![status.code().to_string()];
    let mut add = |text: String| {
        // The layers below repeat each other.
        if !text.is_empty() && text != "transport error" && !said.contains(&text) {
            said.push(text);
        }
    };
    add(status.message().to_owned());
    let mut cause = status.source();
    while let Some(error) = cause {
        add(error.to_string());
        cause = error.source();
    }
    said.join(": ")
}
