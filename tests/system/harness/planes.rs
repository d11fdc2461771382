//! The planes apart: a control plane and data planes as processes of their own.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::api::Api;
use super::http_client::{Client, get};
use super::outrider::{Ended, binary, wait};
use super::ports::free_port;
use super::resources::Resources;
use super::wait::{DEADLINE, until};

/// One process in a role, with its directory over restarts.
pub(crate) struct Process {
    role: &'static str,
    dir: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    child: Option<Child>,
}

impl Process {
    fn new(role: &'static str, dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let data_dir = dir.join("data").display().to_string();
        Self {
            role,
            dir,
            args: vec!["--data-dir".to_owned(), data_dir],
            env: Vec::new(),
            child: None,
        }
    }

    fn args(mut self, args: &[(&str, &str)]) -> Self {
        for (name, value) in args {
            self.args.extend([(*name).to_owned(), (*value).to_owned()]);
        }
        self
    }

    /// One more flag, from the next start on.
    pub(crate) fn flag(&mut self, name: &str, value: &str) {
        self.args.extend([name.to_owned(), value.to_owned()]);
    }

    /// Another value of a flag, from the next start on.
    pub(crate) fn change_flag(&mut self, name: &str, value: &str) {
        let place = self.args.iter().position(|arg| arg == name);
        let place = place.expect("the flag is given");
        value.clone_into(&mut self.args[place + 1]);
    }

    /// One more flag, from the next start on.
    pub(crate) fn add_flag(&mut self, name: &str, value: &str) {
        self.args.extend([name.to_owned(), value.to_owned()]);
    }

    /// Goes without a flag, from the next start on.
    pub(crate) fn drop_flag(&mut self, name: &str) {
        let place = self.args.iter().position(|arg| arg == name);
        let place = place.expect("the flag is given");
        self.args.drain(place..place + 2);
    }

    /// A setting by environment variable, from the next start on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it and does not wait.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "already running");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("stderr"))
            .unwrap();
        let child = binary()
            .arg(self.role)
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Runs what is not expected to serve, to its end.
    pub(crate) async fn run_to_end(&mut self) -> Ended {
        self.launch();
        let status = wait(self.child.as_mut().unwrap()).await;
        self.child = None;
        Ended {
            code: status.code(),
            output: self.stderr(),
        }
    }

    /// kill -9, and the end of the process.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; does not wait.
    pub(crate) fn signal(&self) {
        self.send(Signal::TERM);
    }

    /// It does nothing at all any more, as on a host that has vanished.
    pub(crate) fn freeze(&self) {
        self.send(Signal::STOP);
    }

    /// It goes on.
    pub(crate) fn thaw(&self) {
        self.send(Signal::CONT);
    }

    fn send(&self, signal: Signal) {
        let child = self.child.as_ref().expect("not running");
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// SIGTERM, and the status with which the process ends.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.signal();
        self.ended().await
    }

    /// Waits for its end; the status.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("not running");
        wait(&mut child).await.code()
    }

    /// Where its data lies.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Everything it wrote since its first start.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.dir.join("stderr")).unwrap_or_default()
    }

    async fn until_answered(&mut self, address: SocketAddr, path: &str) {
        let role = self.role;
        let child = self.child.as_mut().unwrap();
        until(&format!("{role} answers {path}"), DEADLINE, async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the {role} ended at its start: {status}");
            }
            let reply = get(address, path).await.ok()?;
            (reply.status == StatusCode::OK).then_some(())
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}\n---", self.role, self.stderr());
        }
    }
}

/// A control plane.
pub(crate) struct ControlPlane {
    pub(crate) process: Process,
    api: SocketAddr,
    xds: SocketAddr,
}

impl ControlPlane {
    /// Starts it and waits until its API answers.
    pub(crate) async fn start(&mut self) {
        self.process.launch();
        self.process.until_answered(self.api, "/healthz").await;
    }

    /// The instance admin, at the control plane itself.
    pub(crate) fn admin(&self) -> Api {
        let key = fs::read_to_string(self.process.data_dir().join("admin-key")).unwrap();
        Api::new(self.api, key.trim_end())
    }

    /// Where its API answers.
    pub(crate) fn api(&self) -> SocketAddr {
        self.api
    }

    /// Where data planes connect.
    pub(crate) fn xds(&self) -> SocketAddr {
        self.xds
    }

    /// The list of data planes.
    pub(crate) async fn dataplanes(&self) -> Vec<Value> {
        let list = self.admin().get("/api/v1/dataplanes").await.data(200);
        list.as_array().unwrap().clone()
    }

    /// Waits until the data plane with this name satisfies the condition.
    pub(crate) async fn until(
        &self,
        what: &str,
        id: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        until(what, DEADLINE, async || {
            let all = self.dataplanes().await;
            all.into_iter()
                .find(|one| one["id"] == id && condition(one))
        })
        .await
    }
}

/// A data plane.
pub(crate) struct DataPlane {
    pub(crate) process: Process,
    public: SocketAddr,
    admin: SocketAddr,
}

impl DataPlane {
    /// Starts it, waits until it is ready, and says how long that took.
    pub(crate) async fn start(&mut self) -> Duration {
        let begun = Instant::now();
        self.process.launch();
        self.process.until_answered(self.admin, "/ready").await;
        begun.elapsed()
    }

    /// Whether it is ready.
    pub(crate) async fn is_ready(&self) -> bool {
        let reply = get(self.admin, "/ready").await;
        reply.is_ok_and(|reply| reply.status == StatusCode::OK)
    }

    /// A producer's connection.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.public)
    }

    /// Where events go.
    pub(crate) fn public(&self) -> SocketAddr {
        self.public
    }

    /// Text of an admin page.
    pub(crate) async fn admin_page(&self, path: &str) -> String {
        get(self.admin, path).await.unwrap().text()
    }
}

/// A forward proxy in a process of its own.
pub(crate) struct EgressRole {
    pub(crate) process: Process,
    /// Where clients connect.
    pub(crate) listen: SocketAddr,
    admin: SocketAddr,
}

impl EgressRole {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.process.launch();
        self.until_ready().await;
    }

    /// Text of an admin page.
    pub(crate) async fn admin_page(&self, path: &str) -> String {
        get(self.admin, path).await.unwrap().text()
    }

    /// Waits until it is ready.
    pub(crate) async fn until_ready(&mut self) {
        self.process.until_answered(self.admin, "/ready").await;
    }
}

/// Both planes on directories of their own; deliveries to loopback allowed.
pub(crate) struct Planes {
    dir: TempDir,
    pub(crate) control: ControlPlane,
}

impl Planes {
    /// A control plane with a resource file, or with one of nothing but a pool to leave from; not
    /// started.
    pub(crate) fn new(resources: Option<&Resources>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (api, xds) = (free_port(), free_port());
        let file = dir.path().join("resources.yaml");
        let resources = resources.cloned().unwrap_or_default();
        fs::write(&file, resources.text_with_a_pool()).unwrap();
        let process = Process::new("controlplane", dir.path().join("control")).args(&[
            ("--api-listen", &api.to_string()),
            ("--xds-listen", &xds.to_string()),
            ("--unsafe-egress-allow", "127.0.0.0/8"),
            ("--resources", &file.display().to_string()),
        ]);
        Self {
            control: ControlPlane { process, api, xds },
            dir,
        }
    }

    /// A data plane of this control plane with a node number; not started.
    pub(crate) fn data_plane(&self, name: &str, number: u16) -> DataPlane {
        let (public, admin) = (free_port(), free_port());
        let mut process = Process::new("dataplane", self.dir.path().join(name)).args(&[
            ("--public-listen", &public.to_string()),
            ("--admin-listen", &admin.to_string()),
            ("--unsafe-egress-allow", "127.0.0.0/8"),
        ]);
        process.set("OUTRIDER__STORE__NODE", &number.to_string());
        process.set("OUTRIDER__STORE__SEGMENT_BYTES", "8388608");
        let xds = format!("http://{}", self.control.xds);
        process.set("OUTRIDER__CONTROL_PLANE__XDS", &xds);
        let api = format!("http://{}", self.control.api);
        process.set("OUTRIDER__CONTROL_PLANE__API", &api);
        DataPlane {
            process,
            public,
            admin,
        }
    }

    /// A forward proxy of this control plane; not started.
    pub(crate) fn egress(&self, name: &str) -> EgressRole {
        let (listen, admin) = (free_port(), free_port());
        let process = Process::new("egress", self.dir.path().join(name)).args(&[
            ("--listen", &listen.to_string()),
            ("--admin-listen", &admin.to_string()),
            ("--control-plane", &format!("http://{}", self.control.xds)),
            ("--unsafe-egress-allow", "127.0.0.0/8"),
        ]);
        EgressRole {
            process,
            listen,
            admin,
        }
    }

    /// A control plane and one data plane, both ready.
    pub(crate) async fn start(resources: Option<&Resources>) -> (Self, DataPlane) {
        let mut planes = Self::new(resources);
        planes.control.start().await;
        let mut data = planes.data_plane("data", 0);
        data.start().await;
        (planes, data)
    }

    /// A place for files of the test.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}
