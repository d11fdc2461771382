//! The threads of the public listener: one takes connections and hands them out, the others each
//! have a runtime and connections of their own.
//!
//! A connection stays with its thread from the first byte to the last. Where threads share their
//! tasks, as they do by default, a thread that has two things to do wakes another one for the
//! second: with requests as short as ours that costs more than the help is worth, and what one
//! core has in its caches the other one needs. What is given up: a request that computes for long
//! holds up the other connections of its thread, where others would have taken them over. So a
//! new connection goes to the thread that has the fewest.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::front::Front;

/// Name of the threads.
const NAME: &str = "public";
/// Connections that may wait for a thread to take them; more wait in the system.
const ARRIVALS_MAX: usize = 1_024;
/// Connections that may wait in the system, which has a bound of its own below that.
const BACKLOG: u32 = 65_535;
/// To wait when the process may have no more files: connections that end make room.
const NO_FILES_PAUSE: Duration = Duration::from_secs(1);

/// A socket that listens on an address.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of a process before this one may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A connection on its way to a thread.
struct Arrival {
    front: Arc<Front>,
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
}

/// A connection as it counts for the choice of a thread.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn of(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread, as the acceptor knows it.
struct Desk {
    arrivals: mpsc::Sender<Arrival>,
    /// Its connections.
    open: Arc<AtomicUsize>,
}

/// A thread with connections of its own.
pub(super) struct Worker {
    arrivals: mpsc::Receiver<Arrival>,
}

/// The thread that takes connections.
pub(super) struct Acceptor {
    listeners: Vec<(TcpListener, Arc<Front>)>,
    desks: Vec<Desk>,
    up: Option<oneshot::Sender<()>>,
}

/// `threads` workers, and who hands connections to them; `up` is told once he does.
pub(super) fn workers(
    threads: usize,
    listeners: Vec<(TcpListener, Arc<Front>)>,
    up: oneshot::Sender<()>,
) -> (Acceptor, Vec<Worker>) {
    let pair = |_| {
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let desk = Desk {
            arrivals: sender,
            open: Arc::default(),
        };
        (desk, Worker { arrivals })
    };
    let (desks, workers) = (0..threads.max(1)).map(pair).unzip();
    let acceptor = Acceptor {
        listeners,
        desks,
        up: Some(up),
    };
    (acceptor, workers)
}

#[async_trait]
impl Service for Worker {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let connections = TaskTracker::new();
        // Ends with the acceptor.
        while let Some(arrival) = self.arrivals.recv().await {
            connections.spawn(async move {
                let _place = arrival.place;
                arrival
                    .front
                    .connected(arrival.stream, arrival.address)
                    .await;
            });
        }
        connections.close();
        connections.wait().await;
    }

    fn name(&self) -> &str {
        NAME
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

#[async_trait]
impl Service for Acceptor {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let (desks, listeners) = (
            std::mem::take(&mut self.desks),
            std::mem::take(&mut self.listeners),
        );
        let all = listeners
            .into_iter()
            .map(|(listener, front)| accept(listener, front, &desks, shutdown.clone()));
        if let Some(up) = self.up.take() {
            // Who does not wait any more has given up on us.
            let _ = up.send(());
        }
        for ended in futures_util::future::join_all(all).await {
            if let Err(error) = ended {
                tracing::error!(%error, "connections are no longer taken");
            }
        }
    }

    fn name(&self) -> &str {
        NAME
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// Hands out connections until the end of the listener.
async fn accept(
    listener: TcpListener,
    front: Arc<Front>,
    desks: &[Desk],
    mut shutdown: ShutdownWatch,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        // Both arms may be dropped: a connection that was not taken stays in the system.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|is_given| *is_given) => return Ok(()),
        };
        // Off this thread's poll: the one it goes to has it on its own.
        let accepted = accepted.and_then(|(stream, address)| Ok((stream.into_std()?, address)));
        match accepted {
            Ok((stream, address)) => {
                let fewest = |desk: &&Desk| desk.open.load(Ordering::Relaxed);
                let Some(desk) = desks.iter().min_by_key(fewest) else {
                    return Ok(());
                };
                let arrival = Arrival {
                    front: Arc::clone(&front),
                    stream,
                    address,
                    place: Place::of(&desk.open),
                };
                if desk.arrivals.send(arrival).await.is_err() {
                    return Err(io::Error::other("a thread of the listener has ended"));
                }
            }
            Err(error) if is_out_of_files(&error) => {
                tracing::error!(%error, "no connection can be taken");
                tokio::time::sleep(NO_FILES_PAUSE).await;
            }
            // A client that went away before it was taken.
            Err(error) => tracing::debug!(%error, "a connection was not taken"),
        }
    }
}

/// The bound of the process or of the system is reached.
fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
