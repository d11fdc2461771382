//! A connection from where the host's route puts it: not from an address of ours, so nothing is
//! known of where it leaves, but it is counted as the others are.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::Sources;
use crate::egress::fault::Fault;
use crate::metrics::{Active, Departure, EgressMetrics};

impl Sources {
    /// Connects, and counts the connection as open as long as the [`Active`] lives.
    ///
    /// # Errors
    /// A [`Fault`] of the destination, or of the way there.
    pub(in crate::egress) async fn connect_by_host_route(
        &self,
        destination: SocketAddr,
        limit: Instant,
    ) -> Result<(TcpStream, Active), Fault> {
        let from = Departure::HostRoute {
            is_ipv4: destination.is_ipv4(),
        };
        let active = self.metrics.active(from);
        let trying = Trying {
            metrics: &self.metrics,
            from,
            started: Instant::now(),
            result: "given_up",
        };
        let connected = match timeout_at(limit, TcpStream::connect(destination)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Fault::connect(destination, &error)),
            Err(_) => Err(Fault::connect_timeout(destination)),
        };
        trying.ended(match &connected {
            Ok(_) => "connected",
            Err(fault) => fault.failure.code(),
        });
        Ok((connected?, active))
    }
}

/// A connect under way: what came of it is noted also when it is given up.
struct Trying<'a> {
    metrics: &'a EgressMetrics,
    from: Departure<'a>,
    started: Instant,
    result: &'static str,
}

impl Trying<'_> {
    fn ended(mut self, result: &'static str) {
        self.result = result; // and noted as it is dropped
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.metrics.connected(self.from, self.result, took);
    }
}
