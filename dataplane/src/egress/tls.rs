//! TLS to destinations: which roots are trusted, which versions are spoken, what is resumed.
//!
//! One profile so far: public roots (and extra ones given at start), TLS 1.2 and 1.3, no client
//! certificate, HTTP/1.1. Session tickets are kept per project, so that a receiver shared by two
//! projects cannot link them by a resumed session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use outrider_webhook::id::ProjectId;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::EgressError;

/// Sessions remembered per project. A session is a few hundred bytes.
const SESSIONS_PER_PROJECT: usize = 32;
/// Projects whose sessions are remembered; beyond, some start again with full handshakes.
const PROJECTS_MAX: usize = 1_024;

/// Names a set of TLS settings in the key of a pooled connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ProfileId {
    /// The trusted roots of this process, no client certificate.
    Default,
}

/// Prepared TLS settings.
pub(super) struct Profiles {
    pub(super) roots: Arc<RootCertStore>,
    base: ClientConfig,
    per_project: Mutex<HashMap<ProjectId, Arc<ClientConfig>>>,
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
        // The provider is named here, so that no process-wide default decides.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut base = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(EgressError::Tls)?
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        base.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            roots,
            base,
            per_project: Mutex::default(),
        })
    }

    /// The settings for a project, with its own store of sessions.
    pub(super) fn config(&self, project: ProjectId) -> Arc<ClientConfig> {
        // A panic elsewhere cannot leave this map half changed.
        let mut configs = self
            .per_project
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(&project) {
            return Arc::clone(config);
        }
        if configs.len() >= PROJECTS_MAX
            && let Some(other) = configs.keys().next().copied()
        {
            configs.remove(&other);
        }
        let mut config = self.base.clone(); // its parts are shared
        config.resumption = Resumption::in_memory_sessions(SESSIONS_PER_PROJECT);
        let config = Arc::new(config);
        configs.insert(project, Arc::clone(&config));
        config
    }
}
