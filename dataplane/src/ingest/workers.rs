//! The threads of the public listener: one takes connections and hands them out, the others each
//! have a runtime and connections of their own.
//!
//! A connection stays with its thread from the first byte to the last. Where threads share their
//! tasks, as they do by default, a thread that has two things to do wakes another one for the
//! second: with requests as short as ours that costs more than the help is worth, and what one
//! core has in its caches the other one needs. What is given up: a request that computes for long
//! holds up the other connections of its thread, where others would have taken them over. So a
//! new connection goes to the thread that has the least to do (`load`).

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::net::{TcpListener as Listener, TcpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::front::Front;
use super::load::{Counted, Load, least};
use super::stopping::Stopping;

/// Name of the threads that have connections.
const NAME: &str = "public";
/// Name of the one that takes them.
const ACCEPTOR_NAME: &str = "public-accept";
/// Connections that may wait for a thread to take them; more wait in the system.
const ARRIVALS_MAX: usize = 1_024;
/// Connections that may wait in the system, which has a bound of its own below that.
const BACKLOG: u32 = 65_535;
/// To wait when no connection can be taken, for want of files or memory: those that end make room.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

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
    counted: Counted,
}

/// A thread, as the acceptor knows it: what it gives to it, and what it has to do already.
struct Assigned {
    arrivals: mpsc::Sender<Arrival>,
    load: Arc<Load>,
}

/// All of them.
struct Threads {
    all: Vec<Assigned>,
    /// The one after that which was chosen last.
    next: AtomicUsize,
}

impl Threads {
    /// Who has the least to do, in turns.
    fn choose(&self) -> Option<&Assigned> {
        let loads = self.all.iter().map(|assigned| &*assigned.load);
        let chosen = least(loads, self.next.load(Ordering::Relaxed))?;
        self.next.store(chosen + 1, Ordering::Relaxed);
        self.all.get(chosen)
    }
}

/// The end of the threads: the sign that asks for it, and who is told when one of them ends
/// without.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) stopping: Stopping,
    pub(super) is_lost: CancellationToken,
}

impl Drop for Ending {
    /// However it came about, with a panic too: a process that has lost its port must not look
    /// as if it served.
    fn drop(&mut self) {
        if !self.stopping.is_given() {
            self.is_lost.cancel();
        }
    }
}

/// A thread with connections of its own.
pub(super) struct Worker {
    arrivals: mpsc::Receiver<Arrival>,
    _ending: Ending,
}

/// What the acceptor says once it takes connections, or why it cannot.
pub(super) type Up = oneshot::Sender<Result<(), (SocketAddr, io::Error)>>;

/// The thread that takes connections.
pub(super) struct Acceptor {
    listeners: Vec<(TcpListener, Arc<Front>)>,
    threads: Threads,
    up: Option<Up>,
    ending: Ending,
}

/// `threads` workers, and who hands connections to them; `up` is told once he does.
pub(super) fn workers(
    threads: usize,
    listeners: Vec<(TcpListener, Arc<Front>)>,
    (up, ending): (Up, &Ending),
) -> (Acceptor, Vec<Worker>) {
    let pair = |_| {
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let assigned = Assigned {
            arrivals: sender,
            load: Arc::default(),
        };
        let worker = Worker {
            arrivals,
            _ending: ending.clone(),
        };
        (assigned, worker)
    };
    let (all, workers) = (0..threads.max(1)).map(pair).unzip();
    let acceptor = Acceptor {
        listeners,
        threads: Threads {
            all,
            next: AtomicUsize::new(0),
        },
        up: Some(up),
        ending: ending.clone(),
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
        // Ends with the acceptor.
        while let Some(arrival) = self.arrivals.recv().await {
            // Theirs is the runtime, which outlasts us: after the drain's wait for requests it is
            // dropped with what is left in it, and whether we waited for that is not asked.
            tokio::spawn(async move {
                let Arrival {
                    front,
                    stream,
                    address,
                    counted,
                } = arrival;
                front.connected(stream, address, counted).await;
            });
        }
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
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let Some(up) = self.up.take() else { return };
        let listeners = std::mem::take(&mut self.listeners);
        let listeners: Result<Vec<_>, _> = listeners.into_iter().map(on_this_runtime).collect();
        let (listeners, said) = match listeners {
            Ok(listeners) => (listeners, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        // Who does not wait any more has given up on us.
        if said.is_err() | up.send(said).is_err() {
            return;
        }
        // Not Pingora's sign, which comes when requests under way have ended: a connection that
        // is taken until then only adds to them.
        let stopped = self.ending.stopping.given();
        let all = listeners
            .iter()
            .map(|(listener, front)| accept(listener, front, &self.threads));
        tokio::select! {
            // Dropped with the stop: a connection on its way to a thread had no answer yet.
            ended = futures_util::future::try_join_all(all) => if let Err(error) = ended {
                tracing::error!(%error, "connections are no longer taken");
            },
            () = stopped => {}
        }
        // The workers end with this.
        self.threads.all.clear();
    }

    fn name(&self) -> &str {
        ACCEPTOR_NAME
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

type Listening = (Listener, Arc<Front>);

fn on_this_runtime(
    (listener, front): (TcpListener, Arc<Front>),
) -> Result<Listening, (SocketAddr, io::Error)> {
    let unspecified = SocketAddr::from(([0; 4], 0));
    let address = listener.local_addr().unwrap_or(unspecified);
    match Listener::from_std(listener) {
        Ok(listener) => Ok((listener, front)),
        Err(error) => Err((address, error)),
    }
}

/// Hands out connections for as long as there are threads to take them.
async fn accept(
    listener: &Listener,
    front: &Arc<Front>,
    threads: &Threads,
) -> io::Result<Infallible> {
    let ended = || io::Error::other("a thread of the listener has ended");
    loop {
        // Off this thread's poll: the one it goes to has it on its own.
        let accepted = listener.accept().await;
        match accepted.and_then(|(stream, address)| Ok((stream.into_std()?, address))) {
            Ok((stream, address)) => {
                let assigned = threads.choose().ok_or_else(ended)?;
                let arrival = Arrival {
                    front: Arc::clone(front),
                    stream,
                    address,
                    counted: Counted::new(&assigned.load),
                };
                let sent = assigned.arrivals.send(arrival).await;
                sent.map_err(|_| ended())?;
            }
            Err(error) if is_of_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was taken");
            }
            Err(error) => {
                tracing::error!(%error, "no connection can be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The error is of the connection that would have been taken: accept(2) passes on what the
/// network said of it. All others would come again at once.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
        )
    )
}
