//! The bootstrap as the settings of a data plane.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use outrider_config::bootstrap::{Bootstrap, ForwardTls, IntakeSettings, Reflector, SmtpSecurity};
use outrider_dataplane::ingest::{Access, Limits};
use outrider_dataplane::notices::{Security, SmtpSettings};
use outrider_dataplane::state_log::StateKey;
use outrider_dataplane::{Settings, egress, forward};
use outrider_webhook::address::{self, AddressSet};
use outrider_webhook::http1::HeadLimits;
use outrider_webhook::secret::Secret;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

use crate::cli::UnsafeArgs;
use crate::exit::Failure;

/// How long a drain waits for attempts under way; `standards` section 3.4 and `egress` section 9.
const DRAIN_GRACE: Duration = Duration::from_secs(30);

/// The settings of a data plane whose control plane's API is at `control_plane`.
pub(crate) fn settings(
    bootstrap: &Bootstrap,
    control_plane: String,
    event_key: StateKey,
    testing: &UnsafeArgs,
) -> Result<Settings, Failure> {
    testing.warn();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Settings {
        public_listen: bootstrap.public_listen,
        public_tls: bootstrap.public_tls.clone(),
        admin_listen: bootstrap.admin_listen,
        control_plane,
        state: None,
        event_key,
        threads,
        intake: limits(&bootstrap.intake),
        log: log_options(bootstrap),
        egress: egress_settings(bootstrap, testing)?,
        forward: forward_settings(bootstrap, bootstrap.egress.forward.listen)?,
        smtp: bootstrap.smtp.as_ref().map(smtp).transpose()?,
        in_flight_max: bootstrap.delivery.in_flight_max,
        lane_concurrency: bootstrap.delivery.lane_concurrency,
        batch_pause: bootstrap.delivery.batch_pause,
        excerpt_bytes_max: bootstrap.delivery.excerpt_bytes_max,
        drain_grace: DRAIN_GRACE,
        seed: rand::random(),
        unsafe_flags: testing.in_use(),
    })
}

fn smtp(settings: &outrider_config::bootstrap::SmtpSettings) -> Result<SmtpSettings, Failure> {
    let trusted = match &settings.ca {
        None => None,
        Some(path) => {
            let trusted = roots(path)?;
            if trusted.is_empty() {
                let says = anyhow!("smtp.ca: {} has no certificate", path.display());
                return Err(Failure::configuration(says));
            }
            Some(trusted)
        }
    };
    Ok(SmtpSettings {
        host: settings.host.clone(),
        port: settings.port,
        security: match settings.security {
            SmtpSecurity::StartTls => Security::StartTls,
            SmtpSecurity::Tls => Security::Tls,
            SmtpSecurity::None => Security::None,
        },
        trusted,
        credentials: settings.credentials.clone(),
        from: settings.from.clone(),
    })
}

fn limits(intake: &IntakeSettings) -> Limits {
    Limits {
        head_timeout: intake.head_timeout,
        body_timeout: intake.body_timeout,
        body_rate_min: intake.body_rate_min,
        keepalive: intake.keepalive,
        head: HeadLimits {
            line_bytes_max: intake.line_bytes_max,
            bytes_max: intake.head_bytes_max,
            headers_max: intake.headers_max,
        },
        in_flight_bytes_max: intake.in_flight_bytes_max,
        connections_max: intake.connections_max,
        connections_per_address_max: intake.connections_per_address_max,
        requests_per_connection_max: intake.requests_per_connection_max,
        access: Access {
            addresses: intake.addresses.clone(),
            trusted_proxies: intake.trusted_proxies.clone(),
            rate_per_address: intake.rate_per_address,
        },
    }
}

fn log_options(bootstrap: &Bootstrap) -> outrider_store::Options {
    let mut options = outrider_store::Options::new(bootstrap.data_dir.join("log"));
    options.segment_bytes = bootstrap.store.segment_bytes;
    options.sync = match bootstrap.store.sync {
        outrider_config::bootstrap::SyncMode::Always => outrider_store::Sync::Always,
        outrider_config::bootstrap::SyncMode::Interval(every) => {
            outrider_store::Sync::Interval(every)
        }
        outrider_config::bootstrap::SyncMode::Off => outrider_store::Sync::Off,
    };
    options.node = bootstrap.store.node;
    options
}

/// Where deliveries may go: the same for who makes them and for who checks an endpoint.
pub(crate) fn policy(bootstrap: &Bootstrap, testing: &UnsafeArgs) -> address::Policy {
    let mut listeners = vec![
        bootstrap.public_listen,
        bootstrap.api_listen,
        bootstrap.admin_listen,
        bootstrap.xds.listen,
    ];
    listeners.extend(bootstrap.plain_listen());
    listeners.extend(bootstrap.egress.forward.listen);
    let mut policy: address::Policy = bootstrap.egress.policy(&listeners);
    for range in &testing.unsafe_egress_allow {
        policy.unsafe_allow(*range);
    }
    policy
}

pub(crate) fn egress_settings(
    bootstrap: &Bootstrap,
    testing: &UnsafeArgs,
) -> Result<egress::Settings, Failure> {
    let mut settings = egress::Settings::new(policy(bootstrap, testing));
    settings
        .resolve_overrides
        .clone_from(&testing.unsafe_resolve);
    let reflectors = bootstrap.egress.reflectors.iter().cloned();
    settings.reflectors = reflectors
        .map(|reflector| match reflector {
            Reflector::At(address) => egress::Reflector::At(address),
            Reflector::Named(name, port) => egress::Reflector::Named(name.into(), port),
        })
        .collect();
    for path in &testing.unsafe_extra_root {
        settings.extra_roots.extend(roots(path)?);
    }
    Ok(settings)
}

/// The forward proxy at an address; none without one.
pub(crate) fn forward_settings(
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
    let tls = settings.tls.as_ref().map(forward_tls).transpose()?;
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
    }))
}

/// TLS to clients of the forward proxy. Certificates are asked for where there are roots; who
/// shows none may still have a password.
fn forward_tls(files: &ForwardTls) -> Result<Arc<ServerConfig>, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = roots(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("cannot read a private key from {}", files.key.display()))
        .map_err(Failure::configuration)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .context("egress.tls")
        .map_err(Failure::configuration)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut trusted = RootCertStore::empty();
            for root in roots(path)? {
                trusted
                    .add(root)
                    .with_context(|| format!("egress.tls.client_ca: {}", path.display()))
                    .map_err(Failure::configuration)?;
            }
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

fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| format!("cannot read certificates from {}", path.display()))
        .map_err(Failure::configuration)
}
