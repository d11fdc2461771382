//! Context switches of a process: how often its threads were put to sleep or pushed aside.
//!
//! The CPU time per event follows them: under light load every event wakes the threads by
//! itself, under full load one wake serves many.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;

/// Switches of one thread, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Switches {
    /// It had nothing to do: it waited for a socket, a disk, a lock, another thread.
    pub(crate) voluntary: u64,
    /// Others were given its core.
    pub(crate) involuntary: u64,
}

/// The switches of all threads of a process up to a moment.
#[derive(Debug, Clone)]
pub(crate) struct Threads(BTreeMap<u32, Switches>);

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
            if let Ok(status) = fs::read_to_string(task.path().join("status")) {
                let switches = parse(&status).context("the switches of a thread are not told")?;
                threads.insert(id, switches);
            }
        }
        Ok(Self(threads))
    }

    /// What was added since `before`. Threads that ended in between took their counts with them;
    /// those of the gateway that matter live as long as it does.
    pub(crate) fn since(&self, before: &Self) -> Switches {
        let mut sum = Switches::default();
        for (id, now) in &self.0 {
            let then = before.0.get(id).copied().unwrap_or_default();
            sum.voluntary += now.voluntary.saturating_sub(then.voluntary);
            sum.involuntary += now.involuntary.saturating_sub(then.involuntary);
        }
        sum
    }
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
        let switches = |voluntary, involuntary| Switches {
            voluntary,
            involuntary,
        };
        let before = Threads(BTreeMap::from([(1, switches(10, 1)), (2, switches(50, 5))]));
        let after = Threads(BTreeMap::from([(1, switches(13, 1)), (3, switches(4, 2))]));
        assert_eq!(after.since(&before), switches(7, 2));
    }

    #[test]
    fn a_wait_of_this_process_is_a_voluntary_switch() {
        let before = Threads::of(std::process::id()).unwrap();
        let (sender, receiver) = std::sync::mpsc::sync_channel::<()>(0);
        assert!(receiver.recv_timeout(Duration::from_millis(1)).is_err());
        let since = Threads::of(std::process::id()).unwrap().since(&before);
        assert!(since.voluntary > 0, "{since:?}");
        drop(sender);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(Threads::of(u32::MAX).is_err());
    }
}
