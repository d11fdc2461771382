//! The gateway under test: started, watched through `/proc`, ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;

/// How long the gateway may drain after SIGTERM before it is killed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// The gateway is at rest when it used no CPU time, to the clock tick, for this long.
const REST: Duration = Duration::from_millis(300);
/// Longest wait for rest: background work may never pause.
const REST_TIMEOUT: Duration = Duration::from_secs(60);
/// How often memory is sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// A running gateway. Dropping it kills it.
pub(crate) struct Gateway {
    child: Child,
    log: PathBuf,
}

impl Gateway {
    /// Starts `program` with `args`; what it logs goes to the file `log`.
    pub(crate) fn start(program: &Path, args: &[String], log: PathBuf) -> anyhow::Result<Self> {
        let file = File::create(&log).context("the log file cannot be created")?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("`{}` cannot be started", program.display()))?;
        Ok(Self { child, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log when the process has ended.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the gateway ended with {status}:\n{}", log_tail(&self.log)),
        }
    }

    /// Ends it at once, and waits for that.
    pub(crate) fn kill(&mut self) {
        // Fails only when it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the gateway to drain and waits for its end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .context("the gateway cannot be signalled")?;
        let due = Instant::now() + DRAIN_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= due {
                bail!("the gateway did not drain in {} s", DRAIN_TIMEOUT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log file, for an error message.
pub(crate) fn log_tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(20);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// CPU time used so far by a process, user and system, all threads.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    // /proc is memory, not a disk: reading it does not block the runtime.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("the CPU time of process {pid} cannot be read"))?;
    let ticks = parse_cpu_ticks(&stat)
        .with_context(|| format!("the CPU time of process {pid} cannot be understood"))?;
    Ok(duration_of(ticks))
}

/// Processes whose parent is `parent`.
pub(crate) fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("the processes cannot be listed")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue; // not a process
        };
        // One that has ended since it was listed is nobody's child.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if parse_parent(&stat) == Some(parent) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// A process with all that descend from it.
pub(crate) fn family(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut family = vec![pid];
    let mut asked = 0;
    while let Some(parent) = family.get(asked) {
        family.extend(children(*parent)?);
        asked += 1;
    }
    Ok(family)
}

/// CPU time used so far by the whole machine, all cores, since it started.
pub(crate) fn machine_time() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("the machine's CPU time cannot be read")?;
    let ticks = parse_busy_ticks(&stat).context("the machine's CPU time cannot be understood")?;
    Ok(duration_of(ticks))
}

/// Waits for what follows the last delivery: attempt records, the index.
pub(crate) async fn until_at_rest(pid: u32) -> anyhow::Result<()> {
    let due = Instant::now() + REST_TIMEOUT;
    let mut before = cpu_time(pid)?;
    while Instant::now() < due {
        tokio::time::sleep(REST).await;
        let now = cpu_time(pid)?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(())
}

fn duration_of(ticks: u64) -> Duration {
    let hertz = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / hertz))
}

/// The first line of `/proc/stat` without idle (4th), waiting for disks (5th), and guests (9th
/// on), which count as user already.
fn parse_busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields = fields
        .split_ascii_whitespace()
        .take(8)
        .map(str::parse::<u64>);
    let fields = fields.collect::<Result<Vec<u64>, _>>().ok()?;
    let is_busy = |place: &usize| ![3, 4].contains(place);
    Some(
        (0..fields.len())
            .filter(is_busy)
            .filter_map(|place| fields.get(place))
            .sum(),
    )
}

/// The fields of `/proc/<pid>/stat` from the 3rd on. The name in field 2 may hold blanks and brackets.
fn fields_after_name(stat: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_ascii_whitespace())
}

/// Field 4 of `/proc/<pid>/stat`.
fn parse_parent(stat: &str) -> Option<u32> {
    fields_after_name(stat)?.nth(1)?.parse().ok()
}

/// Fields 14 and 15 of `/proc/<pid>/stat`.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = fields_after_name(stat)?.skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// Resident memory of the process, KiB.
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    memory_kib(pid, "VmRSS:")
}

/// The most that it ever was, KiB.
pub(crate) fn peak_kib(pid: u32) -> anyhow::Result<u64> {
    memory_kib(pid, "VmHWM:")
}

fn memory_kib(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .context("the gateway's memory cannot be read")?;
    parse_kib(&status, field).context("the gateway's memory cannot be understood")
}

fn parse_kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Watches memory in the background and keeps the highest value.
pub(crate) struct MemoryWatch {
    peak_kib: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl MemoryWatch {
    pub(crate) fn start(pid: u32) -> Self {
        let peak_kib = Arc::new(AtomicU64::new(0));
        let peak = Arc::clone(&peak_kib);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
            loop {
                ticks.tick().await;
                // A process that has ended has no memory; who runs it finds out.
                let Ok(kib) = resident_kib(pid) else { return };
                peak.fetch_max(kib, Ordering::Relaxed);
            }
        });
        Self { peak_kib, task }
    }

    pub(crate) fn peak_kib(&self) -> u64 {
        self.peak_kib.load(Ordering::Relaxed)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_another_shape_are_refused() {
        assert_eq!(parse_cpu_ticks(""), None);
        assert_eq!(parse_cpu_ticks("1 (a) S 1 2"), None);
        assert_eq!(parse_parent("1 (a) S"), None);
        assert_eq!(parse_busy_ticks("cpu  1 2 x"), None);
        assert_eq!(parse_busy_ticks("intr 1 2 3"), None);
        assert_eq!(parse_kib("VmRSS: many kB", "VmRSS:"), None);
        assert_eq!(parse_kib("VmSize: 5 kB", "VmRSS:"), None);
    }

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 31 0 0 20 0 4 0";
        assert_eq!(parse_cpu_ticks(stat), Some(281));
        assert_eq!(parse_parent(stat), Some(1));
    }

    #[test]
    fn idle_time_and_guests_are_not_busy() {
        let stat = "cpu  100 10 20 7000 300 1 2 3 50 60\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse_busy_ticks(stat), Some(136));
    }

    #[test]
    fn a_child_is_found_as_long_as_it_runs() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let found = children(std::process::id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()), "{found:?}");
        assert!(!children(std::process::id()).unwrap().contains(&child.id()));
    }

    #[test]
    fn children_of_children_are_of_the_family() {
        // A shell that has more to do than to become the other program.
        let mut shell = Command::new("sh");
        let mut shell = shell.args(["-c", "sleep 600; true"]).spawn().unwrap();
        let due = Instant::now() + Duration::from_secs(10);
        let of = |pid| family(pid).unwrap();
        while of(shell.id()).len() < 2 && Instant::now() < due {
            std::thread::yield_now();
        }
        let (own, its) = (of(std::process::id()), of(shell.id()));
        shell.kill().unwrap();
        shell.wait().unwrap();
        let sleep = *its.get(1).unwrap();
        let _ = kill_process(
            Pid::from_raw(i32::try_from(sleep).unwrap()).unwrap(),
            Signal::KILL,
        );
        assert_eq!(its.len(), 2);
        assert!(its.iter().all(|pid| own.contains(pid)), "{its:?} {own:?}");
    }

    #[test]
    fn this_process_can_be_read() {
        assert!(machine_time().unwrap() > Duration::ZERO);
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(resident_kib(pid).unwrap() > 100);
    }
}
