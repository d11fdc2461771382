//! How dispatchers know that this proxy lives: on a connection of its own each byte that comes is
//! sent back, until the process ends.
//!
//! Inside a tunnel a destination that resets and a proxy that dies look the same. Such a connection
//! no destination can touch: one that does not answer any more is the proxy's loss. It holds up no
//! drain, and goes on while that lasts, as tunnels do.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use crate::egress::via::PULSE;

/// Such connections at once: one for each dispatcher.
pub(super) const PULSES_MAX: usize = 1_024;
/// A client that says nothing for so long is gone: it is to ask every ten seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The answer to who asks for one.
pub(super) fn reply() -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{PULSE}: 1\r\nconnection: close\r\n\r\n").into_bytes()
}

/// Answers until the client is gone or `cut` fires.
pub(super) async fn beat(mut client: Client, cut: CancellationToken) {
    let mut bytes = [0; 16];
    loop {
        let read = tokio::select! {
            () = cut.cancelled() => return, // the end is the message
            read = timeout(SILENCE_MAX, client.read(&mut bytes)) => read,
        };
        let Ok(Ok(count @ 1..)) = read else { return };
        let asked = bytes.get(..count).unwrap_or_default();
        if client.reply(asked).await.is_err() {
            return;
        }
    }
}
