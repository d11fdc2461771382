//! How the process ends: sysexits codes, one message each.

use std::process::ExitCode;

/// Command line cannot be understood (EX_USAGE).
pub(crate) const USAGE: u8 = 64;
/// What is kept is not what was written (EX_DATAERR).
pub(crate) const DATA: u8 = 65;
/// An address or the data directory is taken (EX_UNAVAILABLE).
pub(crate) const UNAVAILABLE: u8 = 69;
/// The log cannot be read or written (EX_IOERR).
pub(crate) const IO: u8 = 74;
/// The configuration is wrong (EX_CONFIG).
pub(crate) const CONFIGURATION: u8 = 78;

/// An end that is not success.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
        }
    }

    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::new(USAGE, error)
    }

    pub(crate) fn unavailable(error: impl Into<anyhow::Error>) -> Self {
        Self::new(UNAVAILABLE, error)
    }

    pub(crate) fn io(error: impl Into<anyhow::Error>) -> Self {
        Self::new(IO, error)
    }

    pub(crate) fn configuration(error: impl Into<anyhow::Error>) -> Self {
        Self::new(CONFIGURATION, error)
    }

    /// Prints the message with its causes and gives the code.
    pub(crate) fn report(self) -> ExitCode {
        eprintln!("outrider: {}", message(&self.error));
        ExitCode::from(self.code)
    }
}

/// An error with its causes, each said once: many of ours quote their cause already.
fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// What clap has to say: help and version are no failures.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a closed stdout or stderr here.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_that_is_quoted_is_not_told_again_and_every_other_is() {
        let error = anyhow!("broken").context("cannot read x: broken");
        assert_eq!(message(&error), "cannot read x: broken");
        let error = error.context("cannot start");
        assert_eq!(message(&error), "cannot start: cannot read x: broken");
        assert_eq!(message(&anyhow!("alone")), "alone");
    }
}
