//! TLS to destinations: which roots are trusted, which versions are spoken, what is resumed.
//!
//! A profile is what an endpoint has of its own (roots instead of the public ones, a client
//! certificate) or nothing: public roots, and extra ones given at start. TLS 1.2 and 1.3, HTTP/1.1.
//! Session tickets are kept per project and profile, so that a receiver shared by two projects
//! cannot link them by a resumed session, and none resumes what was shown with another certificate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use outrider_webhook::client_tls::ClientTls;
use outrider_webhook::id::ProjectId;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use super::EgressError;

/// Sessions remembered per project and profile. A session is a few hundred bytes.
const SESSIONS_EACH: usize = 32;
/// Pairs of those whose sessions are remembered; beyond, some start again with full handshakes.
const PROFILES_MAX: usize = 1_024;

/// A set of TLS settings, in the key of a pooled connection: equal ones may share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Profile {
    /// The trusted roots of this process, no client certificate.
    Default,
    /// What an endpoint has of its own.
    Own(Arc<ClientTls>),
}

/// Prepared TLS settings.
pub(super) struct Profiles {
    pub(super) roots: Arc<RootCertStore>,
    base: ClientConfig,
    prepared: Mutex<HashMap<(ProjectId, Profile), Arc<ClientConfig>>>,
}

impl Profiles {
    /// Prepares the profile.
    ///
    /// # Errors
    /// [`EgressError::Root`] for an extra root that is no certificate, [`EgressError::Tls`] when
    /// the crypto provider lacks the versions we ask for.
    pub(super) fn new(extra_roots: Vec<CertificateDer<'static>>) -> Result<Self, EgressError> {
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for (index, root) in extra_roots.into_iter().enumerate() {
            roots
                .add(root)
                .map_err(|source| EgressError::Root { index, source })?;
        }
        let roots = Arc::new(roots);
        let mut base = builder()?
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        base.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            roots,
            base,
            prepared: Mutex::default(),
        })
    }

    /// The settings for a project, with their own store of sessions.
    ///
    /// # Errors
    /// [`EgressError::Tls`], which was looked for at the start.
    pub(super) fn config(
        &self,
        project: ProjectId,
        profile: &Profile,
    ) -> Result<Arc<ClientConfig>, EgressError> {
        // A panic elsewhere cannot leave this map half changed.
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (project, profile.clone());
        if let Some(config) = prepared.get(&key) {
            return Ok(Arc::clone(config));
        }
        if prepared.len() >= PROFILES_MAX
            && let Some(other) = prepared.keys().next().cloned()
        {
            prepared.remove(&other);
        }
        let mut config = match profile {
            Profile::Default => self.base.clone(), // its parts are shared
            Profile::Own(own) => self.own(own)?,
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS_EACH);
        let config = Arc::new(config);
        prepared.insert(key, Arc::clone(&config));
        Ok(config)
    }

    fn own(&self, own: &ClientTls) -> Result<ClientConfig, EgressError> {
        let roots = own.roots().unwrap_or(&self.roots);
        let builder = builder()?.with_root_certificates(Arc::clone(roots));
        let mut config = match own.identity() {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let shown = SingleCertAndKey::from(Arc::clone(identity));
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        config.alpn_protocols.clone_from(&self.base.alpn_protocols);
        Ok(config)
    }
}

/// The provider is named here, so that no process-wide default decides.
fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, EgressError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(EgressError::Tls)
}
