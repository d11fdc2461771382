//! `outrider audit`: proves from the event log of a stopped data directory that every accepted
//! event has exactly one fate for each delivery, and that the log is what was written.

use std::fmt::{self, Display, Formatter};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use outrider_store::MetaError;
use outrider_store::audit::{self, EventPoint, Report, Violation};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::AuditArgs;
use crate::exit::{self, Failure};

/// Where the log lies in a data directory.
const LOG: &str = "log";

pub(crate) fn run(args: &AuditArgs) -> Result<ExitCode, Failure> {
    let dir = args.data_dir.join(LOG);
    let report = audit::run(&dir).map_err(failure)?;
    let text = match args.json {
        true => format!("{}\n", in_json(&report).map_err(Failure::io)?),
        false => Text(&dir, &report).to_string(),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Who stopped reading has read enough; the code still tells.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::io(error));
        }
        _ => {}
    }
    Ok(match report.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(exit::DATA),
    })
}

fn failure(error: audit::Error) -> Failure {
    match &error {
        audit::Error::InUse(_) => Failure::unavailable(error),
        audit::Error::NoLog(_) => Failure::configuration(error),
        audit::Error::Meta(
            MetaError::Json { .. } | MetaError::Checksum(_) | MetaError::Missing(_),
        ) => Failure::new(exit::DATA, error),
        audit::Error::Meta(_) | audit::Error::File(_) => Failure::io(error),
    }
}

/// The report with its verdict, on one line.
fn in_json(report: &Report) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(report).context("cannot write the report as JSON")?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("is_clean".into(), json!(report.is_clean()));
    }
    Ok(value.to_string())
}

/// The report for people; the last line is the verdict.
struct Text<'a>(&'a Path, &'a Report);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(dir, report) = self;
        write_log(f, dir, report)?;
        write_records(f, report)?;
        for part in &report.given_up {
            let (start, end) = (part.start, part.end);
            writeln!(f, "given up    {start} to {end}, by an earlier salvage")?;
        }
        if let Some(at) = report.torn_tail {
            writeln!(
                f,
                "torn tail   {at}: the next start cuts it off, nothing in it was acknowledged"
            )?;
        }
        for violation in &report.violations {
            write_violation(f, violation)?;
        }
        if report.violations_more > 0 {
            writeln!(f, "violation   and {} more", report.violations_more)?;
        }
        write_verdict(f, report)
    }
}

fn write_log(f: &mut Formatter<'_>, dir: &Path, report: &Report) -> fmt::Result {
    write!(f, "log         {}: ", dir.display())?;
    match report.segment_range {
        Some((first, last)) => write!(f, "segments {first} to {last} ({})", report.segments)?,
        None => write!(f, "no segment")?,
    }
    write!(f, ", {} groups, {} bytes", report.groups, report.bytes)?;
    if report.groups_before > 0 {
        write!(f, ", {} older groups dropped", report.groups_before)?;
    }
    let end = match report.is_closed {
        true => "closed in good order",
        false => "not closed",
    };
    writeln!(f, "; {end}")
}

fn write_records(f: &mut Formatter<'_>, report: &Report) -> fmt::Result {
    let (records, fates) = (&report.records, &report.deliveries);
    let (events, duplicates) = (records.events, records.duplicates);
    writeln!(f, "events      {events} accepted, {duplicates} duplicates")?;
    for (what, point) in [("first", report.first_event), ("last", report.last_event)] {
        if let Some(EventPoint { uid, at_ms }) = point {
            writeln!(f, "{what:<11} {uid} at {}", time_of(at_ms))?;
        }
    }
    writeln!(
        f,
        "deliveries  {}: {} delivered, {} failed, {} discarded, {} pending ({} scheduled, {} to be retried)",
        fates.total,
        fates.delivered,
        fates.failed,
        fates.discarded,
        fates.pending(),
        fates.scheduled,
        fates.retrying
    )?;
    writeln!(f, "attempts    {}", records.attempts)?;
    for (count, what) in [
        (
            records.late,
            "outcomes of workers that had lost their lease",
        ),
        (
            records.unjudged,
            "records about events that are not there any more",
        ),
        (
            records.events_unfinished,
            "events that were never accepted in full",
        ),
        (records.payloads_erased, "erased payloads"),
    ] {
        if count > 0 {
            writeln!(f, "told        {count} {what}")?;
        }
    }
    writeln!(f, "memory      {} bytes", report.memory_bytes)
}

fn write_violation(f: &mut Formatter<'_>, violation: &Violation) -> fmt::Result {
    let (code, position) = (violation.code.as_str(), violation.position);
    write!(f, "violation   {code} at {position}: {}", violation.says)?;
    if let Some(event) = violation.event {
        write!(f, "; event {event}")?;
    }
    if let Some(delivery) = violation.delivery {
        write!(f, "; delivery {delivery}")?;
    }
    writeln!(f)
}

fn write_verdict(f: &mut Formatter<'_>, report: &Report) -> fmt::Result {
    let count = report.violations.len() as u64 + report.violations_more;
    let but = match report.given_up.len() {
        0 => String::new(),
        parts => format!(", but for {parts} part(s) that a salvage gave up"),
    };
    if report.is_clean() {
        writeln!(
            f,
            "clean: every accepted event has one fate for each delivery, and the log is what was written{but}"
        )
    } else {
        writeln!(f, "not clean: {count} violation(s){but}")
    }
}

fn time_of(unix_ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).ok();
    time.and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{unix_ms} ms"))
}
