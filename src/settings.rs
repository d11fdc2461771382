//! The bootstrap as the settings of a data plane.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use outrider_config::bootstrap::{Bootstrap, IntakeSettings, Reflector, SmtpSecurity};
use outrider_dataplane::ingest::{Access, Limits};
use outrider_dataplane::notices::{Security, SmtpSettings};
use outrider_dataplane::state_log::StateKey;
use outrider_dataplane::{Settings, egress};
use outrider_webhook::address;
use outrider_webhook::http1::HeadLimits;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::cli::UnsafeArgs;
use crate::exit::Failure;
use crate::proxy;

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
        egress: delivery_egress(bootstrap, testing)?,
        forward: proxy::listener(bootstrap, bootstrap.egress.forward.listen)?,
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
    if let Some(count) = bootstrap.egress.new_connections_per_destination {
        settings.new_connections_per_destination = count;
    }
    settings
        .name_servers
        .clone_from(&bootstrap.egress.name_servers);
    for (family, reflector) in bootstrap.egress.lone_reflectors() {
        tracing::warn!(
            family,
            %reflector,
            "only one of `egress.reflectors` is of this family: its addresses are never taken down by reflectors"
        );
    }
    let reflectors = bootstrap.egress.reflectors.iter().cloned();
    settings.reflectors = reflectors
        .map(|reflector| match reflector {
            Reflector::At(address) => egress::Reflector::At(address),
            Reflector::Named(name, port) => egress::Reflector::Named(name.into(), port),
        })
        .collect();
    let certificates = bootstrap.egress.client_certificates.iter();
    settings.certificates = certificates.map(proxy::named).collect::<Result<_, _>>()?;
    for path in &testing.unsafe_extra_root {
        settings.extra_roots.extend(roots(path)?);
    }
    Ok(settings)
}

/// The way out of deliveries: straight, or through a forward proxy.
fn delivery_egress(
    bootstrap: &Bootstrap,
    testing: &UnsafeArgs,
) -> Result<egress::Settings, Failure> {
    let mut settings = egress_settings(bootstrap, testing)?;
    if let Some(via) = &bootstrap.egress.via {
        settings.via = Some(proxy::settings(via)?);
    }
    Ok(settings)
}

pub(crate) fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| format!("cannot read certificates from {}", path.display()))
        .map_err(Failure::configuration)
}
