//! Starting and stopping the public listener: Pingora's server on a thread of its own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use tokio::sync::oneshot;
use tokio::task::JoinHandle as JoinTask;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Intake;
use super::front::Front;
use super::stopping::Stopping;
use super::tls::{PublicCertificates, watch};
use super::workers::{self, Ending, Up, workers};

/// How long the listener may take until it answers a connection.
const START_LIMIT: Duration = Duration::from_secs(5);

/// How long a drain waits for requests that were begun before it.
const UNDER_WAY_LIMIT: Duration = Duration::from_secs(20);

/// The public listener could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Pingora did not come up.
    #[error("the listener on {address} did not come up within {START_LIMIT:?}")]
    NotUp {
        /// The configured address.
        address: SocketAddr,
    },
    /// No thread to run on.
    #[error("cannot start the listener's thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// The running public listener.
pub struct PublicListener {
    thread: JoinHandle<()>,
    stop: CancellationToken,
    is_lost: CancellationToken,
    renewal: Option<JoinTask<()>>,
}

/// What it listens with.
struct Sockets {
    main: TcpListener,
    certificates: Option<Arc<PublicCertificates>>,
    plain: Option<TcpListener>,
}

impl PublicListener {
    /// Binds and serves with `threads` threads. Returns once connections are taken.
    ///
    /// # Errors
    /// [`ListenError`] when the address cannot be had: fatal at start, as Pingora itself would
    /// stay alive without its port.
    pub async fn start(
        address: SocketAddr,
        intake: Intake,
        threads: usize,
        certificates: Option<Arc<PublicCertificates>>,
    ) -> Result<Self, ListenError> {
        let bind = |address| {
            let bind_error = |source| ListenError::Bind { address, source };
            workers::bind(address).map_err(bind_error)
        };
        let plain = certificates.as_ref().and_then(|tls| tls.plain_listen());
        let sockets = Sockets {
            main: bind(address)?,
            plain: plain.map(bind).transpose()?,
            certificates,
        };
        let stop = CancellationToken::new();
        let renewal = sockets
            .certificates
            .as_ref()
            .map(|tls| tokio::spawn(watch(Arc::clone(tls), stop.clone())));
        let (stopping, under_way) = intake.stop_handles();
        let is_lost = CancellationToken::new();
        let ending = Ending {
            stopping: stopping.clone(),
            is_lost: is_lost.clone(),
        };
        let signal = StopSignal {
            stop: stop.clone(),
            stopping,
            under_way,
        };
        let (up, is_up) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("public-listener".into())
            .spawn(move || serve(sockets, intake, threads, (up, ending, signal)))
            .map_err(ListenError::Thread)?;
        let listener = Self {
            thread,
            stop,
            is_lost,
            renewal,
        };
        let error = match tokio::time::timeout(START_LIMIT, is_up).await {
            Ok(Ok(Ok(()))) => return Ok(listener),
            Ok(Ok(Err((address, source)))) => ListenError::Bind { address, source },
            Ok(Err(_)) | Err(_) => ListenError::NotUp { address },
        };
        listener.stop.cancel();
        Err(error)
    }

    /// Fires when the listener has ended, in whole or in part, and nobody asked it to.
    #[must_use]
    pub fn is_lost(&self) -> CancellationToken {
        self.is_lost.clone()
    }

    /// Stops accepting, lets requests under way end, and waits for the threads.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Some(renewal) = self.renewal
            && renewal.await.is_err()
        {
            tracing::error!("the renewal of certificates ended with a panic");
        }
        let thread = self.thread;
        if tokio::task::spawn_blocking(move || thread.join())
            .await
            .is_ok_and(|joined| joined.is_ok())
        {
            tracing::info!("public listener stopped");
        } else {
            tracing::error!("the public listener's thread ended with a panic");
        }
    }
}

fn serve(
    sockets: Sockets,
    intake: Intake,
    threads: usize,
    (up, ending, signal): (Up, Ending, StopSignal),
) {
    let conf = ServerConf {
        grace_period_seconds: Some(1),
        graceful_shutdown_timeout_seconds: Some(5),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let gate = Arc::new(intake.gate());
    let intake = Arc::new(intake);
    let front = |certificates| {
        let (intake, gate) = (Arc::clone(&intake), Arc::clone(&gate));
        Arc::new(Front::new(intake, gate, certificates))
    };
    let mut listeners = vec![(sockets.main, front(sockets.certificates))];
    listeners.extend(sockets.plain.map(|plain| (plain, front(None))));
    let (acceptor, workers) = workers(threads, listeners, (up, &ending));
    for worker in workers {
        server.add_service(worker);
    }
    server.add_service(acceptor);
    server.run(RunArgs {
        shutdown_signal: Box::new(signal),
    });
}

/// Our own stop instead of process signals: the drain decides when the listener goes.
struct StopSignal {
    stop: CancellationToken,
    stopping: Stopping,
    under_way: TaskTracker,
}

#[async_trait]
impl ShutdownSignalWatch for StopSignal {
    /// Pingora drops what is under way after a fixed sleep, so the wait for it is here: from the
    /// stop on no connection is taken, every reply closes its own, and what was begun may end,
    /// within a bound.
    async fn recv(&self) -> ShutdownSignal {
        self.stop.cancelled().await;
        self.stopping.begin();
        self.under_way.close();
        if tokio::time::timeout(UNDER_WAY_LIMIT, self.under_way.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                requests = self.under_way.len(),
                "requests cut off by the drain"
            );
        }
        ShutdownSignal::GracefulTerminate
    }
}
