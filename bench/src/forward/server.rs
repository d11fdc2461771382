//! A proxy under test: what runs, where it listens, what its processes use.

use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::tunnel::{Proxy, Way};
use crate::process::{cpu_time, family, log_tail, resident_kib};

/// How long a proxy may take to end before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(3);
/// It is at rest when it used no CPU time, to the clock tick, for this long.
const REST: Duration = Duration::from_millis(200);
/// Longest wait for rest: some have timers that never rest.
const REST_TIMEOUT: Duration = Duration::from_secs(5);

/// A running proxy. Dropping it ends what was started here, with all its processes.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    tenants: Arc<[String]>,
    pid: u32,
    /// Of one that was started here.
    own: Option<Own>,
    /// What it does not work without; its use of CPU and memory is not counted.
    beside: Option<Box<Self>>,
}

struct Own {
    process: Child,
    log: PathBuf,
}

impl Server {
    /// One that runs already.
    pub(super) fn running(address: SocketAddr, pid: u32) -> Self {
        Self {
            address,
            tenants: Arc::new([]),
            pid,
            own: None,
            beside: None,
        }
    }

    /// Asks for these tenants, in turn.
    pub(super) fn for_tenants(mut self, tenants: Vec<String>) -> Self {
        self.tenants = tenants.into();
        self
    }

    /// With another process that it needs.
    pub(super) fn beside(mut self, other: Self) -> Self {
        self.beside = Some(Box::new(other));
        self
    }

    /// The way through it.
    pub(super) fn way(&self) -> Way {
        Way::Through(Proxy {
            address: self.address,
            tenants: Arc::clone(&self.tenants),
        })
    }

    /// Starts a proxy that will listen on `address`; what it logs goes to the file `log`.
    pub(super) fn start(
        mut command: Command,
        address: SocketAddr,
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let output = File::create(&log).context("its log cannot be created")?;
        let command = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let process = command.spawn().map_err(|error| {
            let program = command.get_program().display();
            match error.kind() {
                ErrorKind::NotFound => anyhow::anyhow!("there is no `{program}`"),
                _ => anyhow::anyhow!("`{program}` cannot be started: {error}"),
            }
        })?;
        let mut server = Self::running(address, process.id());
        server.own = Some(Own { process, log });
        Ok(server)
    }

    /// An error with the end of its log when it has ended.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(beside) = &mut self.beside {
            beside.check_alive().context("what it needs")?;
        }
        let Some(own) = &mut self.own else {
            return Ok(());
        };
        match own.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended with {status}: {}", log_tail(&own.log)),
        }
    }

    /// CPU time used so far by all its processes.
    pub(super) fn cpu_time(&self) -> anyhow::Result<Duration> {
        family(self.pid)?.into_iter().map(cpu_time).sum()
    }

    /// Resident memory of all its processes, KiB. What they share counts for each of them, so only
    /// differences say something.
    pub(super) fn resident_kib(&self) -> anyhow::Result<u64> {
        family(self.pid)?.into_iter().map(resident_kib).sum()
    }

    pub(super) fn processes(&self) -> anyhow::Result<usize> {
        Ok(family(self.pid)?.len())
    }

    /// Waits for what follows the last answer: connections that are closed.
    pub(super) async fn until_at_rest(&self) -> anyhow::Result<()> {
        let due = Instant::now() + REST_TIMEOUT;
        let mut before = self.cpu_time()?;
        while Instant::now() < due {
            tokio::time::sleep(REST).await;
            let now = self.cpu_time()?;
            if now == before {
                break;
            }
            before = now;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(own) = &mut self.own else {
            return;
        };
        let family = family(self.pid).unwrap_or_default();
        // Asked first: a master that is killed leaves its workers behind.
        let _ = kill_process(Pid::from_child(&own.process), Signal::TERM);
        let due = Instant::now() + END_TIMEOUT;
        while matches!(own.process.try_wait(), Ok(None)) && Instant::now() < due {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        if matches!(own.process.try_wait(), Ok(None)) {
            for pid in family {
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                // Fails only when it has ended already.
                let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
            }
            let _ = own.process.wait();
        }
    }
}
