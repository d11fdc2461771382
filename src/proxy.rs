//! Settings of both ends of the forward proxy: who may use it, and how deliveries go through it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use outrider_config::bootstrap::{Bootstrap, ForwardTls, NamedCertificate, ViaSettings, ViaTls};
use outrider_dataplane::egress::{NamedTls, ProxySettings};
use outrider_dataplane::forward;
use outrider_webhook::address::AddressSet;
use outrider_webhook::client_tls::{self, ClientIdentity, ClientTls, ClientTlsError};
use outrider_webhook::secret::Secret;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use sha2::{Digest, Sha256};

use crate::exit::Failure;
use crate::settings::roots;

const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The forward proxy at an address; none without one.
pub(crate) fn listener(
    bootstrap: &Bootstrap,
    listen: Option<SocketAddr>,
) -> Result<Option<forward::Settings>, Failure> {
    let settings = &bootstrap.egress.forward;
    let Some(listen) = listen else {
        return Ok(None);
    };
    let identities = settings.identities.iter().map(|identity| {
        let digest = |password: &Secret| Sha256::digest(password.expose().as_bytes()).into();
        forward::Identity {
            name: identity.name.as_str().into(),
            passwords: identity.passwords.iter().map(digest).collect(),
            certificate: identity.certificate.clone(),
            projects: match &identity.projects {
                None => forward::Reach::All,
                Some(projects) => forward::Reach::Some(projects.clone()),
            },
        }
    });
    let identities: Vec<_> = identities.collect();
    let has_passwords = identities.iter().any(|one| !one.passwords.is_empty());
    if has_passwords && settings.tls.is_none() && !listen.ip().is_loopback() {
        tracing::warn!(%listen, "passwords for the forward proxy come in clear text: set `egress.tls`, or keep the way to it private");
    }
    let tls = settings.tls.as_ref().map(listener_tls).transpose()?;
    Ok(Some(forward::Settings {
        listen,
        identities: forward::Identities(identities),
        tls,
        proxy_protocol: settings
            .proxy_protocol
            .as_ref()
            .map(|ranges| ranges.iter().copied().collect::<AddressSet>()),
        tunnel_idle: settings.tunnel_idle,
        tunnel_life: settings.tunnel_life,
        connections_max: settings.connections_max,
        connections_per_address_max: settings.connections_per_address_max,
        opens: settings.opens,
        seed: rand::random(),
    }))
}

/// TLS to clients of the forward proxy. Certificates are asked for where there are roots; who
/// shows none may still have a password.
fn listener_tls(files: &ForwardTls) -> Result<Arc<ServerConfig>, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = roots(&files.certificate)?;
    let key = private_key(&files.key)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(VERSIONS)
        .context("egress.tls")
        .map_err(Failure::configuration)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let trusted = trusted(path, "egress.tls.client_ca")?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider)
                .allow_unauthenticated()
                .build()
                .with_context(|| format!("egress.tls.client_ca: {}", path.display()))
                .map_err(Failure::configuration)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(chain, key)
        .with_context(|| format!("egress.tls: {} and its key", files.certificate.display()))
        .map_err(Failure::configuration)?;
    Ok(Arc::new(config))
}

/// How deliveries go through a proxy.
pub(crate) fn settings(via: &ViaSettings) -> Result<ProxySettings, Failure> {
    let tls = match &via.tls {
        None => None,
        Some(tls) => {
            let name = ServerName::try_from(via.host.clone())
                .context("egress.via.proxy")
                .map_err(Failure::configuration)?;
            Some((name, client_tls(tls)?))
        }
    };
    if via.credentials.is_some() && tls.is_none() && !is_loopback(&via.host) {
        tracing::warn!(
            proxy = via.host,
            "the password for the egress proxy goes in clear text: use https, or keep the way to it private"
        );
    }
    let authorization = via.credentials.as_ref().map(|(name, password)| {
        let encoded = BASE64_STANDARD.encode(format!("{name}:{}", password.expose()));
        HeaderValue::from_str(&format!("Basic {encoded}"))
    });
    let mut authorization = authorization
        .transpose()
        .context("egress.via.password")
        .map_err(Failure::configuration)?;
    if let Some(authorization) = &mut authorization {
        authorization.set_sensitive(true);
    }
    Ok(ProxySettings {
        host: via.host.clone(),
        port: via.port,
        tls,
        authorization,
    })
}

fn is_loopback(host: &str) -> bool {
    let ip: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
}

fn client_tls(files: &ViaTls) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusted = match &files.ca {
        Some(path) => trusted(path, "egress.via.ca")?,
        None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)
        .context("egress.via")
        .map_err(Failure::configuration)?
        .with_root_certificates(trusted);
    let config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(roots(certificate)?, private_key(key)?)
            .with_context(|| format!("egress.via: {} and its key", certificate.display()))
            .map_err(Failure::configuration)?,
    };
    Ok(Arc::new(config))
}

/// A certificate that endpoints name.
pub(crate) fn named(one: &NamedCertificate) -> Result<NamedTls, Failure> {
    let of = format!("egress.client_certificates `{}`", one.name);
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .with_context(|| format!("{of}: cannot read {}", path.display()))
            .map_err(Failure::configuration)
    };
    let wrong = |path: &Path, error: ClientTlsError| {
        let says = anyhow!("{of}: {} {error}", path.display());
        Failure::configuration(says)
    };
    let chain = ClientIdentity::chain(&read(&one.certificate)?);
    let chain = chain.map_err(|error| wrong(&one.certificate, error))?;
    let identity = ClientIdentity::new(chain, &Secret::new(read(&one.key)?));
    let identity = identity.map_err(|error| wrong(&one.key, error))?;
    let roots = match &one.ca {
        None => None,
        Some(path) => {
            let roots = client_tls::roots(&read(path)?);
            Some(roots.map_err(|error| wrong(path, error))?)
        }
    };
    let tls = ClientTls::new(roots, Some(identity));
    let tls = tls.map_err(|error| wrong(&one.certificate, error))?;
    let tls = tls.ok_or_else(|| Failure::configuration(anyhow!("{of}: nothing in it")))?;
    Ok(NamedTls {
        name: one.name.as_str().into(),
        tls: Arc::new(tls),
        projects: one.projects.clone(),
    })
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    PrivateKeyDer::from_pem_file(path)
        .with_context(|| format!("cannot read a private key from {}", path.display()))
        .map_err(Failure::configuration)
}

/// The roots in a file, of which there must be one.
fn trusted(path: &Path, setting: &str) -> Result<RootCertStore, Failure> {
    let mut trusted = RootCertStore::empty();
    for root in roots(path)? {
        trusted
            .add(root)
            .with_context(|| format!("{setting}: {}", path.display()))
            .map_err(Failure::configuration)?;
    }
    if trusted.is_empty() {
        let says = anyhow!("{setting}: {} has no certificate", path.display());
        return Err(Failure::configuration(says));
    }
    Ok(trusted)
}
