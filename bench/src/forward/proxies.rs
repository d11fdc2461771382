//! The proxies, each started with the least that it needs: no cache, no log of accesses, no added
//! headers, loopback open, and as many threads or processes as it makes use of on two cores.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::server::Server;

/// A proxy that can be started here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// `outrider egress`
    Outrider,
    /// Squid, from the PATH
    Squid,
    /// Tinyproxy, from the PATH
    Tinyproxy,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Outrider => "outrider",
            Self::Squid => "squid",
            Self::Tinyproxy => "tinyproxy",
        }
    }
}

/// A proxy that runs already, as `name=address:pid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) pid: u32,
}

impl std::str::FromStr for Running {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parts = text.split_once('=').and_then(|(name, rest)| {
            let (address, pid) = rest.rsplit_once(':')?;
            Some((name, address.parse().ok()?, pid.parse().ok()?))
        });
        match parts {
            Some((name, address, pid)) if !name.is_empty() => Ok(Self {
                name: name.to_owned(),
                address,
                pid,
            }),
            _ => {
                bail!("`name=address:port:pid` is expected, for example `mine=127.0.0.1:3128:4711`")
            }
        }
    }
}

/// What a start needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    /// The binary of the gateway.
    pub(super) outrider: &'a Path,
    /// For its configuration and its log; empty, and its own.
    pub(super) directory: &'a Path,
    /// Tunnels that will be open at a time.
    pub(super) tunnels: u32,
}

impl Start<'_> {
    /// Starts it, on a port that was free just now.
    pub(super) fn start(self, kind: Kind) -> anyhow::Result<Server> {
        let [address] = free_addresses()?;
        let log = self.directory.join("log");
        match kind {
            Kind::Outrider => self.outrider(address, log),
            Kind::Squid => Server::start(self.squid(address)?, address, log),
            Kind::Tinyproxy => Server::start(self.tinyproxy(address)?, address, log),
        }
    }

    /// What is written to the file it is started with.
    fn configured(&self, text: &str) -> anyhow::Result<PathBuf> {
        let file = self.directory.join("configuration");
        fs::write(&file, text).context("its configuration cannot be written")?;
        Ok(file)
    }

    /// The role alone, and a control plane that it has its projects from.
    fn outrider(&self, address: SocketAddr, log: PathBuf) -> anyhow::Result<Server> {
        let [api, xds, admin] = free_addresses()?;
        let resources = self.configured(&projects())?;
        let role = |name: &str| {
            let mut command = Command::new(self.outrider);
            command
                .arg(name)
                .arg("--data-dir")
                .arg(self.directory.join(name))
                .args(["--unsafe-egress-allow", "127.0.0.0/8"])
                // No log of accesses: it is one line for each connection.
                .env("RUST_LOG", "info,outrider::egress=warn");
            command
        };
        let mut control = role("controlplane");
        control
            .arg("--resources")
            .arg(resources)
            .args(["--api-listen", &api.to_string()])
            .args(["--xds-listen", &xds.to_string()]);
        let control = Server::start(control, api, self.directory.join("controlplane.log"))?;
        let mut proxy = role("egress");
        proxy
            .args(["--listen", &address.to_string()])
            .args(["--admin-listen", &admin.to_string()])
            .args(["--control-plane", &format!("http://{xds}")]);
        let proxy = Server::start(proxy, address, log)?;
        let tenants = (0..TENANTS).map(tenant).collect();
        Ok(proxy.beside(control).for_tenants(tenants))
    }

    fn tinyproxy(&self, address: SocketAddr) -> anyhow::Result<Command> {
        let (ip, port, most) = (address.ip(), address.port(), self.tunnels + 1_000);
        let file = self.configured(&format!(
            "Listen {ip}\nPort {port}\nAllow 127.0.0.0/8\nMaxClients {most}\n\
             Timeout 600\nLogLevel Critical\nDisableViaHeader Yes\n"
        ))?;
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(file);
        Ok(command)
    }

    /// With two workers where that is possible. They talk through `/run/squid`, a path that is built
    /// in, and through shared memory, which root can give it for itself, in a mount namespace. It
    /// must not be root then: workers of one that gives up root do not find unpacked libraries.
    fn squid(&self, address: SocketAddr) -> anyhow::Result<Command> {
        let has_workers = rustix::process::geteuid().is_root()
            && ["unshare", "setpriv"].iter().all(|tool| is_there(tool));
        let file = self.configured(&self.squid_configuration(address, has_workers)?)?;
        if !has_workers {
            let mut command = Command::new("squid");
            command.arg("-N").arg("-f").arg(file);
            return Ok(command);
        }
        for path in [self.directory, file.as_path()] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))?;
        }
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", SQUID_AS_NOBODY, "sh"])
            .arg(file);
        Ok(command)
    }

    fn squid_configuration(
        &self,
        address: SocketAddr,
        has_workers: bool,
    ) -> anyhow::Result<String> {
        let directory = self.directory.display();
        // What it does not start without; that they are empty changes nothing here.
        fs::create_dir_all(self.directory.join("errors"))?;
        fs::write(self.directory.join("mime"), "")?;
        let mut text = format!(
            "http_port {address}\n\
             http_access allow all\n\
             access_log none\n\
             cache_log {directory}/cache.log\n\
             cache deny all\n\
             cache_mem 0 MB\n\
             coredump_dir none\n\
             err_page_stylesheet none\n\
             error_directory {directory}/errors\n\
             forwarded_for delete\n\
             icon_directory {directory}/errors\n\
             mime_table {directory}/mime\n\
             netdb_filename none\n\
             pid_filename {directory}/pid\n\
             pinger_enable off\n\
             # Otherwise every POST has a connection of its own.\n\
             server_pconn_for_nonretriable allow all\n\
             shutdown_lifetime 0 seconds\n\
             unlinkd_program /bin/true\n\
             via off\n\
             visible_hostname bench\n"
        );
        if has_workers {
            writeln!(text, "workers 2")?;
        }
        Ok(text)
    }
}

/// Tenants of the gateway: each may open 500 connections a second, and have 1,000 open.
const TENANTS: usize = 64;

/// The uid of a project.
fn tenant(number: usize) -> String {
    format!("01BENCH0TENANT{number:012}")
}

/// The resource file with all tenants.
fn projects() -> String {
    let projects = (0..TENANTS).map(|number| {
        let uid = tenant(number);
        format!("  - name: tenant {number}\n    type: outgoing\n    uid: {uid}\n")
    });
    format!("projects:\n{}", projects.collect::<String>())
}

/// Addresses that were free just now, all different.
fn free_addresses<const N: usize>() -> anyhow::Result<[SocketAddr; N]> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = (0..N).map(bind).collect::<Result<Vec<_>, _>>()?;
    let addresses = held.iter().map(TcpListener::local_addr);
    let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
    addresses
        .try_into()
        .map_err(|_| anyhow::anyhow!("no addresses"))
}

/// The account that owns nothing.
const NOBODY: u32 = 65_534;

const SQUID_AS_NOBODY: &str = "mount -t tmpfs -o mode=1777 none /run && mkdir -m 1777 /run/squid && \
    mount -t tmpfs -o mode=1777 none /dev/shm && \
    exec setpriv --reuid=65534 --regid=65534 --clear-groups -- squid --foreground -f \"$1\"";

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_proxy_has_a_name_an_address_and_a_process() {
        for text in [
            "",
            "=127.0.0.1:1:2",
            "a=127.0.0.1:1",
            "a=host:1:2",
            "a=127.0.0.1:1:x",
            "a",
        ] {
            assert!(text.parse::<Running>().is_err(), "{text}");
        }
        let running: Running = "a=[::1]:3128:7".parse().unwrap();
        let address = "[::1]:3128".parse().unwrap();
        assert_eq!(
            (running.name.as_str(), running.address, running.pid),
            ("a", address, 7)
        );
    }

    #[test]
    fn the_projects_are_a_file_that_the_gateway_takes() {
        let problems = outrider_config::check(&projects());
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn a_program_that_is_not_there_is_told_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let start = Start {
            outrider: Path::new("/nonexistent/outrider"),
            directory: directory.path(),
            tunnels: 1,
        };
        let error = start.start(Kind::Outrider).err().unwrap().to_string();
        assert_eq!(error, "there is no `/nonexistent/outrider`");
    }
}
