//! Starting the gateway under test: free ports, a data directory, and the wait until it is ready.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use http::StatusCode;

use crate::http1;
use crate::process::Gateway;

/// How long the gateway may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a gateway listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// Events, and the API through its proxy.
    pub(crate) public: SocketAddr,
    /// The control plane's API.
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Ports {
    /// Ports that were free just now; the gateway cannot report one it chose itself.
    pub(crate) fn free() -> anyhow::Result<Self> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        // All are held until each is known, so that they differ.
        let (public, api, admin) = (bind()?, bind()?, bind()?);
        Ok(Self {
            public: public.local_addr()?,
            api: api.local_addr()?,
            admin: admin.local_addr()?,
        })
    }
}

/// What to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    pub(crate) program: &'a Path,
    /// For its data and its log.
    pub(crate) directory: &'a Path,
    pub(crate) ports: Ports,
    pub(crate) resources: Option<&'a Path>,
    /// More arguments for `outrider serve`.
    pub(crate) more: &'a [String],
}

impl Start<'_> {
    /// Where its data lies.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn until_ready(&self) -> anyhow::Result<Gateway> {
        let log = self.directory.join("gateway.log");
        let mut gateway = Gateway::start(self.program, &self.arguments(), log)?;
        let due = Instant::now() + READY_TIMEOUT;
        loop {
            gateway.check_alive()?;
            if let Ok((StatusCode::OK, _)) = http1::get(self.ports.admin, "/ready").await {
                return Ok(gateway);
            }
            if Instant::now() >= due {
                bail!("the gateway was not ready in {} s", READY_TIMEOUT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["serve".to_owned()];
        for (flag, value) in [
            ("--data-dir", self.data_dir().display().to_string()),
            ("--public-listen", self.ports.public.to_string()),
            ("--api-listen", self.ports.api.to_string()),
            ("--admin-listen", self.ports.admin.to_string()),
            ("--unsafe-egress-allow", "127.0.0.0/8".to_owned()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        if let Some(file) = self.resources {
            arguments.extend(["--resources".to_owned(), file.display().to_string()]);
        }
        arguments.extend(self.more.iter().cloned());
        arguments
    }
}
