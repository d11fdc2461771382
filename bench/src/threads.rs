//! What the threads of a process did: CPU time by thread, and context switches, which is how often
//! they were put to sleep or pushed aside.
//!
//! The CPU time per event follows the switches: under light load every event wakes the threads by
//! itself, under full load one wake serves many.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// Switches of one thread, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Switches {
    /// It had nothing to do: it waited for a socket, a disk, a lock, another thread.
    pub(crate) voluntary: u64,
    /// Others were given its core.
    pub(crate) involuntary: u64,
}

/// What threads used in a stretch of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    /// Of all of them.
    pub(crate) switches: Switches,
    /// CPU time by the name of the threads.
    pub(crate) cpu: BTreeMap<String, Duration>,
}

/// All threads of a process up to a moment.
#[derive(Debug, Clone)]
pub(crate) struct Threads(BTreeMap<u32, Thread>);

/// One thread up to a moment.
#[derive(Debug, Clone, Default)]
struct Thread {
    name: String,
    switches: Switches,
    cpu: Duration,
}

impl Threads {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        // /proc is memory, not a disk: reading it does not block the runtime.
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .with_context(|| format!("the threads of process {pid} cannot be read"))?;
        let mut threads = BTreeMap::new();
        for task in tasks {
            let task = task?;
            let name = task.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            let id = id.context("a thread without a number")?;
            // One that has ended since it was listed counts no more.
            if let Some(thread) = thread(&task.path())? {
                threads.insert(id, thread);
            }
        }
        Ok(Self(threads))
    }

    /// What was added since `before`. Threads that ended in between took their counts with them;
    /// those of the gateway that matter live as long as it does.
    pub(crate) fn since(&self, before: &Self) -> Used {
        let mut used = Used::default();
        for (id, now) in &self.0 {
            let then = before.0.get(id).cloned().unwrap_or_default();
            let (now_of, then_of) = (now.switches, then.switches);
            used.switches.voluntary += now_of.voluntary.saturating_sub(then_of.voluntary);
            used.switches.involuntary += now_of.involuntary.saturating_sub(then_of.involuntary);
            *used.cpu.entry(now.name.clone()).or_default() += now.cpu.saturating_sub(then.cpu);
        }
        used
    }
}

/// A thread by its folder in /proc; `None` when it has ended.
fn thread(task: &Path) -> anyhow::Result<Option<Thread>> {
    let read = |file: &str| fs::read_to_string(task.join(file)).ok();
    let (Some(status), Some(schedstat)) = (read("status"), read("schedstat")) else {
        return Ok(None);
    };
    let switches = parse(&status).context("the switches of a thread are not told")?;
    // Nanoseconds on a core, nanoseconds waiting for one, stretches.
    let ran_ns = schedstat.split(' ').next().and_then(|ns| ns.parse().ok());
    let ran_ns = ran_ns.context("the CPU time of a thread is not told")?;
    let name = status.lines().find_map(|line| line.strip_prefix("Name:"));
    Ok(Some(Thread {
        name: name.unwrap_or_default().trim().to_owned(),
        switches,
        cpu: Duration::from_nanos(ran_ns),
    }))
}

fn parse(status: &str) -> Option<Switches> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some(Switches {
        voluntary: field("voluntary_ctxt_switches:")?,
        involuntary: field("nonvoluntary_ctxt_switches:")?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn texts_of_another_shape_are_refused() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("voluntary_ctxt_switches:\t7\n"), None);
        let many = "voluntary_ctxt_switches:\tmany\nnonvoluntary_ctxt_switches:\t1\n";
        assert_eq!(parse(many), None);
    }

    #[test]
    fn the_two_kinds_are_told_apart() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t70\nnonvoluntary_ctxt_switches:\t3\n";
        let expected = Switches {
            voluntary: 70,
            involuntary: 3,
        };
        assert_eq!(parse(status), Some(expected));
    }

    #[test]
    fn threads_that_are_new_count_in_full_and_those_that_ended_not_at_all() {
        let thread = |name: &str, voluntary, involuntary, cpu_ms| Thread {
            name: name.to_owned(),
            switches: Switches {
                voluntary,
                involuntary,
            },
            cpu: Duration::from_millis(cpu_ms),
        };
        let before = [
            (1, thread("log", 10, 1, 100)),
            (2, thread("log", 50, 5, 900)),
        ];
        let after = [
            (1, thread("log", 13, 1, 103)),
            (3, thread("log", 4, 2, 40)),
            (4, thread("index", 0, 0, 7)),
        ];
        let used = Threads(after.into()).since(&Threads(before.into()));
        let expected = Switches {
            voluntary: 7,
            involuntary: 2,
        };
        assert_eq!(used.switches, expected);
        let cpu = [("index", 7), ("log", 43)];
        let cpu = cpu.map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms)));
        assert_eq!(used.cpu, BTreeMap::from(cpu));
    }

    #[test]
    fn a_wait_of_this_process_is_a_voluntary_switch() {
        let before = Threads::of(std::process::id()).unwrap();
        let (sender, receiver) = std::sync::mpsc::sync_channel::<()>(0);
        assert!(receiver.recv_timeout(Duration::from_millis(1)).is_err());
        let since = Threads::of(std::process::id()).unwrap().since(&before);
        assert!(since.switches.voluntary > 0, "{since:?}");
        drop(sender);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(Threads::of(u32::MAX).is_err());
    }
}
