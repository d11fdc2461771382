//! The gateway as a process: started on a directory of its own, watched, stopped, killed.

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::api::Api;
use super::http_client::{Client, get};
use super::listed;
use super::ports::free_port;
use super::resources::Resources;
use super::wait::{DEADLINE, unix_s, until};

const RESOURCES: &str = "resources.yaml";

/// What a gateway is started with, and where its data stays over restarts.
pub(crate) struct Setup {
    dir: TempDir,
    public: SocketAddr,
    api: SocketAddr,
    admin: SocketAddr,
    flags: Vec<String>,
    env: Vec<(String, String)>,
    has_resources: bool,
    has_pool: bool,
    clock_offset_s: i64,
    clock_held_at: Option<u64>,
}

impl Setup {
    /// A fresh directory, free ports, deliveries to loopback allowed, all from a pool.
    pub(crate) fn new(resources: &Resources) -> Self {
        let setup = Self {
            has_pool: true,
            ..Self::empty()
        };
        setup.on(resources).allowing_loopback()
    }

    /// The same without a pool that the resources do not have: deliveries from any address.
    pub(crate) fn by_host_route(resources: &Resources) -> Self {
        Self::guarded(resources).allowing_loopback()
    }

    /// That with the address policy as it is in production.
    pub(crate) fn guarded(resources: &Resources) -> Self {
        Self::empty().on(resources)
    }

    /// All but the pool is made through the API. Deliveries to loopback allowed, and segments as
    /// [`Setup::small_segments`].
    pub(crate) fn through_api() -> Self {
        Self::new(&Resources::default()).small_segments()
    }

    /// The same without any resource file.
    pub(crate) fn through_api_alone() -> Self {
        listed::leaves_from_anywhere();
        Self::empty().allowing_loopback().small_segments()
    }

    fn on(mut self, resources: &Resources) -> Self {
        self.has_resources = true;
        self.write(resources);
        self
    }

    fn write(&self, resources: &Resources) {
        let text = match self.has_pool {
            true => resources.text_with_a_pool(),
            false => resources.text(),
        };
        fs::write(self.dir.path().join(RESOURCES), text).unwrap();
    }

    fn allowing_loopback(self) -> Self {
        self.flag("--unsafe-egress-allow", "127.0.0.0/8")
    }

    fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            public: free_port(),
            api: free_port(),
            admin: free_port(),
            flags: Vec::new(),
            env: Vec::new(),
            has_resources: false,
            has_pool: false,
            clock_offset_s: 0,
            clock_held_at: None,
        }
    }

    /// One more flag with its value.
    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// One more flag without a value.
    pub(crate) fn switch(mut self, name: &str) -> Self {
        self.flags.push(name.to_owned());
        self
    }

    /// A setting by environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Segments of 8 MiB: a restart reads the newest one to its end, which takes a debug build
    /// seconds where it has 256 MiB.
    pub(crate) fn small_segments(self) -> Self {
        self.env("OUTRIDER__STORE__SEGMENT_BYTES", "8388608")
    }

    /// Listens for events at this address instead.
    pub(crate) fn public(mut self, address: SocketAddr) -> Self {
        self.public = address;
        self
    }

    /// Serves the API at this address instead.
    pub(crate) fn api(mut self, address: SocketAddr) -> Self {
        self.api = address;
        self
    }

    /// Listens for administration at this address instead.
    pub(crate) fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = address;
        self
    }

    /// Where the data lies.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(self) -> Outrider {
        let mut outrider = self.not_started();
        outrider.start().await;
        outrider
    }

    /// What a test starts by itself.
    pub(crate) fn not_started(self) -> Outrider {
        Outrider {
            setup: self,
            child: None,
        }
    }

    /// Runs what is not expected to serve, on the data directory given, to its end.
    pub(crate) async fn run_to_end_on(&self, data_dir: &Path) -> Ended {
        let mut child = self.spawn(data_dir);
        let status = wait(&mut child).await;
        Ended {
            code: status.code(),
            output: self.stderr(),
        }
    }

    /// Runs what is not expected to serve, to its end.
    pub(crate) async fn run_to_end(&self) -> Ended {
        self.run_to_end_on(&self.data_dir()).await
    }

    fn spawn(&self, data_dir: &Path) -> Child {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.stderr_path())
            .unwrap();
        let mut command = binary();
        command.arg("serve");
        if self.has_resources {
            command
                .arg("--resources")
                .arg(self.dir.path().join(RESOURCES));
        }
        if self.clock_offset_s != 0 {
            let now = unix_s().strict_add_signed(self.clock_offset_s);
            command.arg("--unsafe-now").arg(now.to_string());
        }
        if let Some(now) = self.clock_held_at {
            let now = now.to_string();
            command.args(["--unsafe-now", &now, "--unsafe-hold-clock"]);
        }
        command
            .arg("--data-dir")
            .arg(data_dir)
            .args([
                "--public-listen",
                &self.public.to_string(),
                "--api-listen",
                &self.api.to_string(),
                "--admin-listen",
                &self.admin.to_string(),
            ])
            .args(&self.flags)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn stderr_path(&self) -> PathBuf {
        self.dir.path().join("stderr")
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.stderr_path()).unwrap_or_default()
    }
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote.
    pub(crate) output: String,
}

/// `outrider check FILE`, on a file with this text.
pub(crate) async fn check(text: &str) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file.yaml");
    fs::write(&file, text).unwrap();
    run(binary().arg("check").arg(&file)).await
}

/// `outrider audit` of a data directory, with more arguments.
pub(crate) async fn audit(data_dir: &Path, arguments: &[&str]) -> Ended {
    let mut command = binary();
    command.arg("audit").arg("--data-dir").arg(data_dir);
    run(command.args(arguments)).await
}

/// `outrider explain` with these arguments.
pub(crate) async fn explain(arguments: &[&str]) -> Ended {
    run(binary().arg("explain").args(arguments)).await
}

/// Runs a command to its end.
async fn run(command: &mut Command) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("output");
    let log = File::create(&output).unwrap();
    let written = command.stdout(log.try_clone().unwrap()).stderr(log);
    let status = wait(&mut written.spawn().unwrap()).await;
    Ended {
        code: status.code(),
        output: fs::read_to_string(&output).unwrap(),
    }
}

/// A gateway under test; killed when dropped.
pub(crate) struct Outrider {
    setup: Setup,
    child: Option<Child>,
}

impl Outrider {
    /// Starts it, again, on the directory it has, and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.launch();
        self.wait_until_live().await;
    }

    /// Starts it and does not wait.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "already running");
        self.child = Some(self.setup.spawn(&self.setup.data_dir()));
    }

    async fn wait_until_live(&mut self) {
        let admin = self.setup.admin;
        let child = self.child.as_mut().unwrap();
        until("the gateway is LIVE", DEADLINE, async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the gateway ended at its start: {status}");
            }
            let reply = get(admin, "/ready").await.ok()?;
            (reply.status == StatusCode::OK && reply.text().trim() == "LIVE").then_some(())
        })
        .await;
    }

    /// From the next start on its clock is this many seconds off.
    pub(crate) fn set_clock(&mut self, offset_s: i64) {
        self.setup.clock_offset_s = offset_s;
    }

    /// From the next start on its clock stands still at this Unix second.
    pub(crate) fn hold_clock_at(&mut self, unix_s: u64) {
        self.setup.clock_held_at = Some(unix_s);
    }

    /// Starts it, again, with what its journal holds and no resource file.
    pub(crate) async fn start_without_resources(&mut self) {
        self.setup.has_resources = false;
        self.start().await;
    }

    /// Writes another resource file, for the next start.
    pub(crate) fn replace_resources(&self, resources: &Resources) {
        self.setup.write(resources);
    }

    /// Starts it on the directory it has, where it is not expected to serve; how that ended.
    pub(crate) async fn run_to_end(&self) -> Ended {
        assert!(self.child.is_none(), "already running");
        let before = self.stderr().len();
        let mut ended = self.setup.run_to_end().await;
        ended.output.drain(..before); // what it wrote in earlier runs
        ended
    }

    /// kill -9, and the end of the process.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// How it ended by itself, if it did.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().unwrap()
    }

    /// SIGTERM, and the status with which the process ends after its drain.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("not running");
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        wait(&mut child).await.code()
    }

    /// The process.
    pub(crate) fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("not running");
        Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
    }

    /// A producer's connection to the public listener.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.setup.public)
    }

    /// Where events go.
    pub(crate) fn public(&self) -> SocketAddr {
        self.setup.public
    }

    /// Where the API is served without the public listener in between.
    pub(crate) fn api(&self) -> SocketAddr {
        self.setup.api
    }

    /// The instance-admin key.
    pub(crate) fn admin_key(&self) -> String {
        let text = fs::read_to_string(self.data_dir().join("admin-key")).unwrap();
        text.trim_end().to_owned()
    }

    /// The instance admin, through the public listener.
    pub(crate) fn admin_api(&self) -> Api {
        Api::new(self.setup.public, &self.admin_key())
    }

    /// Where operators look.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.setup.admin
    }

    /// Where the data lies.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.setup.data_dir()
    }

    /// Everything it wrote since its first start.
    pub(crate) fn stderr(&self) -> String {
        self.setup.stderr()
    }

    /// Text of an admin page.
    pub(crate) async fn admin_page(&self, path: &str) -> String {
        let reply = get(self.setup.admin, path).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        reply.text()
    }

    /// Sum of a metric over the label sets that contain all of `labels` (`name="value"`).
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.admin_page("/stats/prometheus").await;
        let is_asked = |series: &str| {
            let (found, set) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| set.contains(label))
        };
        let values = page.lines().filter_map(|line| line.rsplit_once(' '));
        values
            .filter(|(series, _)| is_asked(series))
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum()
    }

    /// Waits until a metric reaches a value.
    pub(crate) async fn wait_for_metric(
        &self,
        name: &str,
        labels: &[&str],
        at_least: f64,
        deadline: Duration,
    ) {
        until(
            &format!("{name}{labels:?} >= {at_least}"),
            deadline,
            async || (self.metric(name, labels).await >= at_least).then_some(()),
        )
        .await;
    }
}

/// The reason of the request that this source refused last.
pub(crate) async fn reason_of_the_last(outrider: &Outrider, source: &str) -> String {
    let page = outrider
        .admin_page(&format!("/rejected?source={source}"))
        .await;
    let samples: serde_json::Value = serde_json::from_str(&page).unwrap();
    let reason = samples["rejected"][0]["reason"].as_str();
    reason
        .unwrap_or_else(|| panic!("no sample in {page}"))
        .to_owned()
}

impl Drop for Outrider {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let written = self.stderr();
            let from = written
                .char_indices()
                .rev()
                .nth(8_000)
                .map_or(0, |(at, _)| at);
            eprintln!(
                "--- the gateway's last words ---\n{}\n---",
                &written[from..]
            );
        }
    }
}

/// The built binary, with no setting that leaked in from the environment of the test run.
pub(super) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrider"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OUTRIDER") {
            command.env_remove(name);
        }
    }
    command
}

pub(super) async fn wait(child: &mut Child) -> ExitStatus {
    until("the process ends", DEADLINE, async || {
        child.try_wait().unwrap()
    })
    .await
}
