//! Looks whether the files have changed: once a second, and when asked by SIGHUP.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use outrider_config::bootstrap::PublicTls;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{LOOK_EVERY, PublicCertificates};

/// What a file looks like from outside: another one, or another content, looks different.
pub(super) type Stamp = Option<(u64, u64, i64, i64)>;

/// Reads the files again whenever they have changed, until `stop`.
pub(in crate::ingest) async fn watch(
    certificates: Arc<PublicCertificates>,
    stop: CancellationToken,
) {
    let mut asked = match signal(SignalKind::hangup()) {
        Ok(asked) => Some(asked),
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be handled");
            None
        }
    };
    let mut known = certificates.read_at.clone();
    loop {
        let hangup = async {
            match &mut asked {
                Some(asked) => asked.recv().await,
                None => std::future::pending().await,
            }
        };
        let is_asked = tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        // Taken before the files are read: a change in between is seen the next time.
        let now = stamps(&certificates).await;
        if is_asked || now != known {
            known = now;
            let certificates = Arc::clone(&certificates);
            // A panic there would be ours to see, and the old certificates stay.
            if tokio::task::spawn_blocking(move || certificates.reload())
                .await
                .is_err()
            {
                tracing::error!("reading the certificates ended with a panic");
            }
        }
    }
}

async fn stamps(certificates: &Arc<PublicCertificates>) -> Vec<Stamp> {
    let certificates = Arc::clone(certificates);
    let look = move || stamps_of(&certificates.settings);
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

/// How all files look now.
pub(super) fn stamps_of(settings: &PublicTls) -> Vec<Stamp> {
    let pairs = settings.certificates.iter();
    let files = pairs.flat_map(|files| [&files.certificate, &files.key]);
    let stamp = |path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    };
    files.chain(&settings.client_ca).map(stamp).collect()
}
