//! The listener of the API: so many connections, so long for a head and for taking a reply, and an
//! orderly end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::patience::Patience;

/// Connections at a time; who comes then waits to be accepted. Several times as many as the public
/// listener passes on at once.
const CONNECTIONS_MAX: usize = 4096;
/// How long a head may take to arrive, and a kept connection to be used again. Longer than the
/// public listener keeps an idle connection (10 s): we should not close first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a head, and what is read ahead of a body.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How old a connection may get. Who takes its replies in drops would keep it for ever.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);
/// How long requests under way may take when the server or their connection ends.
const GRACE: Duration = Duration::from_secs(10);
/// Wait after a failed accept, which is mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the router until `shutdown` fires, and then the requests under way for a while.
///
/// # Errors
/// When the listener is of no use at all.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    listener.local_addr()?;
    let (permits, tasks) = (
        Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        TaskTracker::new(),
    );
    loop {
        // The permit comes first: an accepted connection never waits.
        let permit = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&permits).acquire_owned() => permit, // cancel-safe
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted, // cancel-safe
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                tasks.spawn(async move {
                    let _permit = permit;
                    connection(stream, router, shutdown).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "api listener: accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await; // not a busy loop
            }
        }
    }
    drop(listener); // nobody else gets in
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let _ = stream.set_nodelay(true); // slower without, not wrong
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(
            TokioIo::new(Patience::new(stream)),
            TowerToHyperService::new(router),
        );
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = is_to_end(shutdown) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "api connection ended"),
        Err(_) => tracing::warn!("an api request was cut off at the end of its connection"),
    }
}

/// At the end of the server, or at the age limit.
async fn is_to_end(shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_AGE_MAX) => {}
    }
}
