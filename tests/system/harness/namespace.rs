//! Tests in a network namespace of their own: addresses come and go there, and ports are few,
//! without anybody else's being touched.
//!
//! Such a test starts itself again inside of a namespace, alone; what is in it is the namespace's.

use std::process::{Command, Stdio};

/// Set for the run inside.
const INSIDE: &str = "OUTRIDER_TEST_NAMESPACE";

/// Whether this is the run inside of a namespace; outside, the test of this name is run inside and
/// has to pass. Where there can be no namespace it is skipped with a line that names it, but not
/// in a CI.
pub(crate) fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        return true;
    }
    let is_possible = Command::new("unshare")
        .args(["-rn", "ip", "link", "set", "lo", "up"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_possible {
        assert!(
            std::env::var_os("CI").is_none(),
            "{test} needs a network namespace (unshare -rn, ip)"
        );
        eprintln!("skipped: {test}: no network namespace");
        return false;
    }
    // Without the name of this crate, as the test runner has it.
    let (_, name) = test.split_once("::").unwrap();
    let run = Command::new("unshare")
        .arg("-rn")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(
        run.status.success() && output.contains("1 passed"),
        "{name} inside of a namespace: {}\n{output}\n{errors}",
        run.status
    );
    eprintln!("{errors}");
    false
}

/// Runs a command that has to work.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}
