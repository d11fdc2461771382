//! The limit a gateway is held against: an nginx that answers 202 to everything and keeps
//! nothing, on the same machine, from the same generator, with the same bodies.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::http1;
use crate::load::Outcome;
use crate::process::{children, cpu_time, log_tail};
use crate::report::{float, per_second};

/// How long nginx may take until it answers.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// What became of the measurement.
#[derive(Debug, Clone)]
pub(crate) enum Nginx {
    Measured(Figures),
    /// There is no figure, and why.
    NotMeasured(String),
}

/// What nginx did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// CPU time of all its processes, microseconds a request.
    pub(crate) cpu_us_per_request: f64,
    pub(crate) workers: usize,
}

impl Nginx {
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Measured(figures) => json!({
                "per_s": figures.per_s,
                "p50_ms": figures.p50_ms,
                "p99_ms": figures.p99_ms,
                "cpu_us_per_request": figures.cpu_us_per_request,
                "workers": figures.workers,
            }),
            Self::NotMeasured(why) => json!({ "not_measured": why }),
        }
    }

    /// For the line of limits below the table.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Measured(figures) => format!(
                "{:.0}/s, p50 {:.2} ms, p99 {:.2} ms, {:.1} CPU-us/request, {} workers",
                figures.per_s,
                figures.p50_ms,
                figures.p99_ms,
                figures.cpu_us_per_request,
                figures.workers,
            ),
            Self::NotMeasured(why) => format!("not measured: {why}"),
        }
    }
}

/// Starts `program` as an nginx in `directory`, drives it with `load`, ends it. A figure is what
/// was measured or it is none: whatever goes wrong becomes the reason.
pub(crate) async fn measure(
    program: &Path,
    directory: &Path,
    load: impl AsyncFnOnce(SocketAddr) -> anyhow::Result<Outcome>,
) -> Nginx {
    match figures(program, directory, load).await {
        Ok(Some(figures)) => Nginx::Measured(figures),
        Ok(None) => Nginx::NotMeasured("no nginx".to_owned()),
        Err(error) => Nginx::NotMeasured(format!("{error:#}")),
    }
}

async fn figures(
    program: &Path,
    directory: &Path,
    load: impl AsyncFnOnce(SocketAddr) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Option<Figures>> {
    let Some(mut server) = Server::start(program, directory)? else {
        return Ok(None);
    };
    server.until_ready().await?;
    let before = server.cpu_time()?;
    let outcome = load(server.address).await?;
    let cpu = server.cpu_time()?.saturating_sub(before);
    let (count, lost) = (outcome.count(), outcome.refused_count() + outcome.failed);
    if count == 0 || lost > 0 {
        bail!("nginx left {lost} requests unanswered or refused, and answered {count}");
    }
    Ok(Some(Figures {
        per_s: per_second(count, outcome.elapsed),
        p50_ms: outcome.ack.ms(0.5),
        p99_ms: outcome.ack.ms(0.99),
        cpu_us_per_request: cpu.as_secs_f64() * 1e6 / float(count),
        workers: server.workers()?.len(),
    }))
}

/// A running nginx. Dropping it ends it with its workers.
struct Server {
    master: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// `None` when there is no such program.
    fn start(program: &Path, directory: &Path) -> anyhow::Result<Option<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        drop(listener); // nginx cannot report a port it chose itself
        let (file, log) = (directory.join("nginx.conf"), directory.join("nginx.log"));
        fs::write(&file, configuration(address, directory))
            .context("its configuration cannot be written")?;
        let output = File::create(&log).context("its log cannot be created")?;
        let started = Command::new(program)
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn();
        match started {
            Ok(master) => Ok(Some(Self {
                master,
                address,
                log,
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("nginx cannot be started"),
        }
    }

    /// Waits until it answers as it will under load.
    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let due = Instant::now() + READY_TIMEOUT;
        loop {
            if let Some(status) = self.master.try_wait()? {
                bail!("nginx ended with {status}: {}", log_tail(&self.log));
            }
            if let Ok((StatusCode::ACCEPTED, _)) = http1::get(self.address, "/").await {
                return Ok(());
            }
            if Instant::now() >= due {
                bail!("nginx was not ready in {} s", READY_TIMEOUT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn workers(&self) -> anyhow::Result<Vec<u32>> {
        children(self.master.id())
    }

    /// CPU time of the master and all workers.
    fn cpu_time(&self) -> anyhow::Result<Duration> {
        let mut sum = cpu_time(self.master.id())?;
        for worker in self.workers()? {
            sum += cpu_time(worker)?;
        }
        Ok(sum)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, not a kill: the master alone would die of that, and its workers would serve on.
        // It ends at once, and kills workers that do not. Fails only when it has ended already.
        let _ = kill_process(Pid::from_child(&self.master), Signal::TERM);
        let _ = self.master.wait();
    }
}

/// Everything it writes lies in `directory`. Only `return` answers: nginx then reads the body
/// and throws it away, so the connection lives on.
fn configuration(address: SocketAddr, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"daemon off;
# Started as root it would change to an account that this machine may not have; otherwise ignored.
user root;
worker_processes auto;
pid "{directory}/nginx.pid";
error_log stderr warn;
events {{
    worker_connections 4096;
}}
http {{
    access_log off;
    # The generator keeps its connections from the first request to the last.
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path "{directory}/nginx-body";
    proxy_temp_path "{directory}/nginx-proxy";
    fastcgi_temp_path "{directory}/nginx-fastcgi";
    uwsgi_temp_path "{directory}/nginx-uwsgi";
    scgi_temp_path "{directory}/nginx-scgi";
    server {{
        listen {address};
        location / {{
            return 202;
        }}
    }}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn nothing(_: SocketAddr) -> anyhow::Result<Outcome> {
        bail!("not to be loaded")
    }

    #[tokio::test]
    async fn without_nginx_there_is_no_figure() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("nginx");
        let nginx = measure(&program, directory.path(), nothing).await;
        assert_eq!(nginx.text(), "not measured: no nginx");
        assert_eq!(nginx.json(), json!({"not_measured": "no nginx"}));
    }

    #[tokio::test]
    async fn an_nginx_that_does_not_serve_is_told_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let nginx = measure(Path::new("false"), directory.path(), nothing).await;
        let text = nginx.text();
        assert!(text.starts_with("not measured: nginx ended with"), "{text}");
    }
}
