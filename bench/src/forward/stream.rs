//! How much goes through tunnels, both directions at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::echo::Echo;
use super::tunnel::{self, Way};
use crate::report::float;

const CHUNK_BYTES: usize = 128 << 10;
/// Longest wait for the last byte after the last one was sent.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What went through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streamed {
    /// Sent and received.
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
}

impl Streamed {
    /// Both directions together.
    pub(super) fn gbit_per_s(self) -> f64 {
        float(self.bytes) * 8.0 / 1e9 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Fills `streams` tunnels for so long; each byte goes there and back.
pub(super) async fn run(
    way: &Way,
    echo: &Arc<Echo>,
    streams: usize,
    duration: Duration,
) -> anyhow::Result<Streamed> {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..streams {
        let number = u64::try_from(number)?;
        let stream = tunnel::open(way, echo, number).await?;
        tasks.spawn(one(stream, begin + duration));
    }
    let mut bytes = 0;
    while let Some(sent) = tasks.join_next().await {
        bytes += 2 * sent??;
    }
    Ok(Streamed {
        bytes,
        elapsed: begin.elapsed(),
    })
}

/// Bytes that went there and came back. The end is known by its number of bytes: not every proxy
/// carries on when one side has closed.
async fn one(stream: TcpStream, until: Instant) -> anyhow::Result<u64> {
    let (from, to) = stream.into_split();
    let (tell, told) = oneshot::channel();
    let sending = tokio::spawn(async move {
        let (sent, to) = send(to, until).await?;
        let _ = tell.send(sent); // nobody listens when receiving has failed
        anyhow::Ok(to)
    });
    let wait = until.saturating_duration_since(Instant::now()) + TIMEOUT;
    let received = timeout(wait, receive(from, told)).await;
    let received = received.context("timed out").and_then(|received| received);
    if received.is_err() {
        sending.abort();
    } else {
        drop(sending.await??);
    }
    received
}

/// Sends until it is time; its half of the connection stays open.
async fn send(mut to: OwnedWriteHalf, until: Instant) -> anyhow::Result<(u64, OwnedWriteHalf)> {
    let chunk = vec![0x5a; CHUNK_BYTES];
    let mut sent = 0_u64;
    while Instant::now() < until {
        to.write_all(&chunk).await?;
        sent += u64::try_from(CHUNK_BYTES)?;
    }
    Ok((sent, to))
}

/// Reads as much as was sent.
async fn receive(mut from: OwnedReadHalf, sent: oneshot::Receiver<u64>) -> anyhow::Result<u64> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut received, mut due) = (0_u64, None);
    let mut sent = std::pin::pin!(sent);
    while due != Some(received) {
        // Both arms are cancel-safe.
        tokio::select! {
            total = &mut sent, if due.is_none() => {
                due = Some(total.context("sending failed")?);
            }
            count = from.read(&mut chunk) => {
                let count = count?;
                ensure!(count > 0, "closed after {received} bytes");
                received += u64::try_from(count)?;
            }
        }
    }
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_byte_comes_back() {
        let echo = Arc::new(Echo::start().await.unwrap());
        let streamed = run(&Way::Direct, &echo, 2, Duration::from_millis(100)).await;
        let streamed = streamed.unwrap();
        assert!(streamed.bytes > 0 && streamed.gbit_per_s() > 0.0);
    }
}
