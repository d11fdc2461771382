//! What a tunnel costs that is open and does nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::echo::Echo;
use super::server::Server;
use super::tunnel::{self, Way};
use crate::report::float;

/// Tunnels that are opened at a time.
const AT_A_TIME: u64 = 32;
/// Tunnels before the first look at the memory: what is made once is not counted.
const WARM_UP: u64 = 64;
/// Longest wait for all tunnels of one client.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Memory of open tunnels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle {
    pub(super) tunnels: u64,
    /// Resident memory of the proxy without them and with them, KiB.
    pub(super) before_kib: u64,
    pub(super) after_kib: u64,
}

impl Idle {
    pub(super) fn kib_each(self) -> f64 {
        float(self.after_kib.saturating_sub(self.before_kib)) / float(self.tunnels.max(1))
    }
}

/// Opens so many tunnels, uses each once, and looks at the memory of the proxy. They are all alive
/// when it looks: each is used again afterwards.
pub(super) async fn measure(
    server: &Server,
    echo: &Arc<Echo>,
    tunnels: u64,
) -> anyhow::Result<Idle> {
    let way = server.way();
    drop(open(&way, echo, WARM_UP).await?);
    server.until_at_rest().await?;
    let before_kib = server.resident_kib()?;
    let open = open(&way, echo, tunnels).await?;
    server.until_at_rest().await?;
    let after_kib = server.resident_kib()?;
    for mut stream in open {
        let used = timeout(TIMEOUT, tunnel::echo(&mut stream)).await;
        used.context("timed out")?
            .context("an idle tunnel was closed")?;
    }
    Ok(Idle {
        tunnels,
        before_kib,
        after_kib,
    })
}

async fn open(way: &Way, echo: &Arc<Echo>, count: u64) -> anyhow::Result<Vec<TcpStream>> {
    let mut tasks = JoinSet::new();
    for client in 0..AT_A_TIME {
        let (way, echo) = (way.clone(), Arc::clone(echo));
        tasks.spawn(timeout(TIMEOUT, async move {
            let mut open = Vec::new();
            for number in (client..count).step_by(usize::try_from(AT_A_TIME)?) {
                let mut stream = tunnel::open(&way, &echo, number).await?;
                tunnel::echo(&mut stream).await?;
                open.push(stream);
            }
            anyhow::Ok(open)
        }));
    }
    let mut all = Vec::new();
    while let Some(open) = tasks.join_next().await {
        all.extend(open?.context("timed out")??);
    }
    Ok(all)
}

/// Lets this process, and those it starts, hold the sockets of so many tunnels: two of each tunnel
/// are the proxy's, and two are of the ends, which are both here.
pub(super) fn allow_sockets(tunnels: u64) -> anyhow::Result<()> {
    let needed = 2 * tunnels + 2_000;
    let limit = getrlimit(Resource::Nofile);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if is_enough(limit.current) {
        return Ok(());
    }
    let maximum = if is_enough(limit.maximum) {
        limit.maximum
    } else {
        Some(needed) // which root may
    };
    let raised = Rlimit {
        current: Some(needed),
        maximum,
    };
    setrlimit(Resource::Nofile, raised)
        .with_context(|| format!("{tunnels} tunnels need {needed} open files (`ulimit -n`)"))
}
