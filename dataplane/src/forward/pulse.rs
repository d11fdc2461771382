//! How dispatchers know that this proxy lives: on a connection of its own each byte that comes is
//! sent back, until the process ends.
//!
//! Inside a tunnel a destination that resets and a proxy that dies look the same. Such a connection
//! no destination can touch: one that does not answer any more is the proxy's loss. It holds up no
//! drain, and goes on while that lasts, as tunnels do.

use std::time::Duration;

use http::header::PROXY_AUTHORIZATION;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Forward;
use super::client::Client;
use super::connection::{After, Refused};
use super::head::Ask;
use super::identity::Shown;
use super::record::Record;
use super::refusal::Refusal;
use crate::egress::via::PULSE;

/// Such connections at once: one for each dispatcher.
const PULSES_MAX: usize = 1_024;
/// A client that says nothing for so long is gone: it is to ask every ten seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);

impl Forward {
    /// Lets a client know for as long as it likes that this process lives.
    pub(super) async fn pulse(
        &self,
        client: &mut Client,
        ask: &Ask<'_>,
        record: &mut Record,
    ) -> Result<After, Refused> {
        record.is_pulse();
        let shown = Shown::read(ask.value(&PROXY_AUTHORIZATION));
        record.identity = self.caller(client, &shown)?.name().into();
        if self.draining.is_cancelled() {
            return Err((Refusal::Draining, "this proxy is being stopped".to_owned()));
        }
        if self.pulses.len() >= PULSES_MAX {
            let words = format!("at most {} connections ask for the pulse", PULSES_MAX);
            return Err((Refusal::Limit, words));
        }
        match client.reply(&reply()).await {
            Ok(()) => Ok(After::Pulse),
            Err(_) => Ok(After::Gone),
        }
    }
}

/// The answer to who asks for one.
fn reply() -> Vec<u8> {
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
