//! `outrider serve --quickstart`: a seeded example, a receiver that checks signatures, and one
//! event of each direction sent through the public listener, told as a person would read it.
//!
//! Nothing here is a short cut: the events travel the same way as any other.

mod http;
mod receiver;
mod seed;
mod story;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use outrider_config::bootstrap::Bootstrap;
use outrider_config::file;
use outrider_webhook::address::{InternalRule, InternalTarget};
use tokio::net::TcpListener;

use self::seed::Seed;
use crate::exit::Failure;

/// Where the receiver listens when nobody else does.
const RECEIVER_PORT: u16 = 5080;

/// The example: its secrets, its receiver, and the resources that join them.
pub(crate) struct Quickstart {
    seed: Seed,
    receiver: TcpListener,
    receiver_address: SocketAddr,
    resource_file: PathBuf,
}

impl Quickstart {
    /// Starts the receiver and opens exactly its address to the projects of the example.
    pub(crate) async fn prepare(bootstrap: &mut Bootstrap) -> Result<Self, Failure> {
        let seed = Seed::load_or_make(&bootstrap.data_dir.join("quickstart.seed"))
            .context("cannot keep the example's secrets")
            .map_err(Failure::io)?;
        let receiver = bind()
            .await
            .context("cannot start the example's receiver")
            .map_err(Failure::unavailable)?;
        let receiver_address = receiver
            .local_addr()
            .context("cannot start the example's receiver")
            .map_err(Failure::unavailable)?;
        bootstrap.egress.internal.push(InternalRule {
            projects: vec![seed::INCOMING.into(), seed::OUTGOING.into()],
            target: InternalTarget::Address(receiver_address),
        });
        let resource_file = bootstrap.data_dir.join("quickstart.yaml");
        let text = seed.resources(receiver_address);
        write_private(&resource_file, &text)
            .with_context(|| format!("cannot write {}", resource_file.display()))
            .map_err(Failure::io)?;
        Ok(Self {
            seed,
            receiver,
            receiver_address,
            resource_file,
        })
    }

    /// The example's resources, through the same parser as any file.
    pub(crate) fn resources(&self) -> Result<file::File, Failure> {
        file::parse(&self.seed.resources(self.receiver_address)).map_err(|problems| {
            crate::start::all_problems(&self.resource_file.display().to_string(), &problems)
        })
    }

    /// Sends the events and prints what happens, until it is dropped.
    pub(crate) async fn tell(self, bootstrap: Bootstrap) {
        story::tell(self, bootstrap).await;
    }
}

async fn bind() -> std::io::Result<TcpListener> {
    match TcpListener::bind(("127.0.0.1", RECEIVER_PORT)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("127.0.0.1", 0)).await, // taken: any free port will do
    }
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
