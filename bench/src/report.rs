//! The figures of a run: a table for people, JSON for the record.

use std::time::Duration;

use serde_json::{Value, json};

use crate::limits::Limits;
use crate::load::Outcome;
use crate::payload::Mode;
use crate::sink::Counts;
use crate::threads::Used;

/// A rate; 0 when no time has passed.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 {
        float(count) / seconds
    } else {
        0.0
    }
}

/// A count as a float. Counts of a run are far below 2^53, where floats become inexact.
#[allow(
    clippy::cast_precision_loss,
    reason = "figures for people, with three digits"
)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// One stretch of load, from its first event to its last delivery.
#[derive(Debug)]
pub(crate) struct Phase {
    /// Events per second asked for; `None` is the closed loop.
    pub(crate) rate: Option<u32>,
    pub(crate) sent: Outcome,
    pub(crate) received: Counts,
    /// From the first event to the last delivery.
    pub(crate) delivered_in: Duration,
    /// Accepted events that never arrived.
    pub(crate) missing: u64,
    /// CPU time of the gateway, until it was at rest again.
    pub(crate) cpu: Duration,
    /// What the gateway's threads used, over the same time.
    pub(crate) threads: Used,
    /// Highest resident memory of the gateway, KiB.
    pub(crate) peak_kib: u64,
}

impl Phase {
    pub(crate) fn accepted_per_s(&self) -> f64 {
        per_second(self.sent.count(), self.sent.elapsed)
    }

    pub(crate) fn delivered_per_s(&self) -> f64 {
        per_second(self.received.events, self.delivered_in)
    }

    fn cpu_us_per_event(&self) -> f64 {
        self.per_event(self.cpu.as_secs_f64() * 1e6)
    }

    fn voluntary_per_event(&self) -> f64 {
        self.per_event(float(self.threads.switches.voluntary))
    }

    fn involuntary_per_event(&self) -> f64 {
        self.per_event(float(self.threads.switches.involuntary))
    }

    /// CPU microseconds per event of the threads with this name; cut to 15 letters, as Linux does.
    fn thread_cpu_us(&self, name: &str) -> f64 {
        let cpu = self.threads.cpu.get(name).copied().unwrap_or_default();
        self.per_event(cpu.as_secs_f64() * 1e6)
    }

    /// A share of each accepted event; 0 when there is none.
    fn per_event(&self, sum: f64) -> f64 {
        if self.sent.accepted.is_empty() {
            return 0.0;
        }
        sum / float(self.sent.count())
    }

    fn json(&self) -> Value {
        json!({
            "rate": self.rate,
            "sent": self.sent.json(),
            "received": self.received.json(),
            "accepted_per_s": self.accepted_per_s(),
            "delivered_per_s": self.delivered_per_s(),
            "missing": self.missing,
            "cpu_us_per_event": self.cpu_us_per_event(),
            "cpu_us_per_event_by_thread": self.threads.cpu.keys().map(|name| (name.clone(), self.thread_cpu_us(name).into())).collect::<serde_json::Map<_, _>>(),
            "voluntary_switches_per_event": self.voluntary_per_event(),
            "involuntary_switches_per_event": self.involuntary_per_event(),
            "rss_peak_kib": self.peak_kib,
        })
    }
}

/// One kind of traffic through one gateway process.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) mode: Mode,
    /// Resident memory before the first event, KiB.
    pub(crate) idle_kib: u64,
    /// As fast as the clients go.
    pub(crate) capacity: Phase,
    /// At a fixed rate.
    pub(crate) paced: Phase,
    /// How the gateway ended when it was asked to.
    pub(crate) exit: String,
}

impl Traffic {
    fn json(&self) -> Value {
        json!({
            "mode": self.mode.as_str(),
            "rss_idle_kib": self.idle_kib,
            "capacity": self.capacity.json(),
            "paced": self.paced.json(),
            "exit": self.exit,
        })
    }

    /// What makes the figures worthless, if anything.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, phase) in [("capacity", &self.capacity), ("paced", &self.paced)] {
            let mode = self.mode.as_str();
            let mut fault = |count: u64, what: &str| {
                if count > 0 {
                    faults.push(format!("{mode}, {name}: {count} events {what}"));
                }
            };
            fault(phase.missing, "were accepted and never delivered");
            fault(phase.sent.refused_count(), "were refused");
            fault(phase.sent.failed, "were not answered");
            for error in &phase.sent.errors {
                faults.push(format!("{mode}, {name}: {error}"));
            }
        }
        faults
    }
}

/// The whole run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) command: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) traffic: Vec<Traffic>,
}

impl Report {
    pub(crate) fn json(&self) -> Value {
        json!({
            "command": self.command,
            "limits": self.limits.json(),
            "traffic": self.traffic.iter().map(Traffic::json).collect::<Vec<_>>(),
        })
    }

    /// A table: one line per figure, one column per stretch of load.
    pub(crate) fn table(&self) -> String {
        let mut rows: Vec<Vec<String>> = ROWS
            .iter()
            .map(|(name, _)| vec![(*name).to_owned()])
            .collect();
        for traffic in &self.traffic {
            for phase in [&traffic.capacity, &traffic.paced] {
                for (row, (_, figure)) in rows.iter_mut().zip(ROWS) {
                    row.push(figure(traffic, phase));
                }
            }
        }
        rows.push(self.ratios());
        format!("{}\n{}", align(&rows), self.limits.text())
    }

    /// CPU time of an event in requests that nginx answers and forgets, in the same run.
    fn ratios(&self) -> Vec<String> {
        let request_us = self.limits.nginx_cpu_us();
        let ratio = |phase: &Phase| {
            let ratio = request_us.map(|request_us| phase.cpu_us_per_event() / request_us);
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        let phases = self.traffic.iter();
        let phases = phases.flat_map(|traffic| [&traffic.capacity, &traffic.paced]);
        let ratios = phases.map(ratio);
        std::iter::once("CPU of an event / nginx request".to_owned())
            .chain(ratios)
            .collect()
    }
}

type Figure = fn(&Traffic, &Phase) -> String;

const ROWS: &[(&str, Figure)] = &[
    ("traffic", |traffic, _| traffic.mode.as_str().to_owned()),
    ("load", |_, phase| match phase.rate {
        Some(rate) => format!("{rate}/s"),
        None => "closed loop".to_owned(),
    }),
    ("accepted", |_, phase| phase.sent.count().to_string()),
    ("accepted/s", |_, phase| {
        format!("{:.0}", phase.accepted_per_s())
    }),
    ("delivered/s", |_, phase| {
        format!("{:.0}", phase.delivered_per_s())
    }),
    ("missing", |_, phase| phase.missing.to_string()),
    ("repeated", |_, phase| phase.received.repeats.to_string()),
    ("gateway CPU-us/event", |_, phase| {
        format!("{:.1}", phase.cpu_us_per_event())
    }),
    ("  of it: public listener", |_, phase| {
        format!("{:.1}", phase.thread_cpu_us("public"))
    }),
    ("  of it: log", |_, phase| {
        format!("{:.1}", phase.thread_cpu_us("outrider-log"))
    }),
    ("  of it: index", |_, phase| {
        format!("{:.1}", phase.thread_cpu_us("outrider-index"))
    }),
    ("voluntary switches/event", |_, phase| {
        format!("{:.2}", phase.voluntary_per_event())
    }),
    ("involuntary switches/event", |_, phase| {
        format!("{:.2}", phase.involuntary_per_event())
    }),
    ("ack p50 ms", |_, phase| {
        format!("{:.2}", phase.sent.ack.ms(0.5))
    }),
    ("ack p99 ms", |_, phase| {
        format!("{:.2}", phase.sent.ack.ms(0.99))
    }),
    ("delivery p50 ms", |_, phase| {
        format!("{:.2}", phase.received.latency.ms(0.5))
    }),
    ("delivery p99 ms", |_, phase| {
        format!("{:.2}", phase.received.latency.ms(0.99))
    }),
    ("RSS idle MiB", |traffic, _| mib(traffic.idle_kib)),
    ("RSS peak MiB", |_, phase| mib(phase.peak_kib)),
];

pub(crate) fn mib(kib: u64) -> String {
    format!("{:.1}", float(kib) / 1_024.0)
}

pub(crate) fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(String::len).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                text.push_str(&format!("{cell:<width$}"));
            } else {
                text.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_gives_no_rate() {
        assert!(per_second(5, Duration::ZERO).abs() < f64::EPSILON);
        assert!((per_second(5, Duration::from_millis(500)) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = align(&[row(["a", "1234"]), row(["longer", "5"])]);
        assert_eq!(text, "a       1234\nlonger     5\n");
    }
}
