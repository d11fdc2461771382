//! The figures of a run of `reads`: tables for people, JSON for the record.

use std::time::Duration;

use serde_json::{Value, json};

use super::kinds::Kind;
use super::loading::Loaded;
use super::measure::Series;
use super::tally::Tally;
use crate::report::{align, float, mib};

/// One kind of read at both ports.
pub(super) struct Line {
    pub(super) kind: &'static Kind,
    /// CPU time of the gateway for all of them.
    pub(super) cpu: Option<Duration>,
    /// At the API's own port.
    pub(super) api: Series,
    /// Through the public listener.
    pub(super) public: Series,
}

impl Line {
    fn is_missed(&self) -> bool {
        let p99 = self.api.latency.ms(0.99).max(self.public.latency.ms(0.99));
        p99 > self.kind.budget_ms
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.kind.name.to_owned(),
            format!("{:.0}", self.kind.budget_ms),
        ];
        for series in [&self.api, &self.public] {
            let latency = &series.latency;
            cells.extend([0.5, 0.99, 1.0].map(|quantile| format!("{:.2}", latency.ms(quantile))));
        }
        cells.push(match self.cpu_ms() {
            Some(ms) => format!("{ms:.2}"),
            None => "-".to_owned(),
        });
        cells.push((self.api.short + self.public.short).to_string());
        cells.push(match (self.behind(), self.lag_ms_max()) {
            (0, _) => "-".to_owned(),
            (count, most) => format!("{count} (max {most} ms)"),
        });
        cells.push(if self.is_missed() { "MISSED" } else { "" }.to_owned());
        cells
    }

    /// Of the gateway, per read.
    fn cpu_ms(&self) -> Option<f64> {
        let reads = self.api.latency.count() + self.public.latency.count();
        Some(self.cpu?.as_secs_f64() * 1e3 / float(reads.max(1)))
    }

    fn behind(&self) -> u64 {
        self.api.behind + self.public.behind
    }

    fn lag_ms_max(&self) -> u64 {
        self.api.lag_ms_max.max(self.public.lag_ms_max)
    }

    fn json(&self) -> Value {
        json!({
            "kind": self.kind.name,
            "budget_p99_ms": self.kind.budget_ms,
            "missed": self.is_missed(),
            "cpu_ms_per_read": self.cpu_ms(),
            "api": self.api.json(),
            "public": self.public.json(),
        })
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (port, series) in [("api", &self.api), ("public", &self.public)] {
            if series.wrong > 0 {
                let some = series.faults.join("; ");
                faults.push(format!(
                    "{}, {port}: {} wrong replies: {some}",
                    self.kind.name, series.wrong
                ));
            }
        }
        faults
    }
}

/// What came in while the second pass read.
pub(super) struct Beside {
    pub(super) rate: u32,
    pub(super) sent: crate::load::Outcome,
}

/// The whole run.
pub(super) struct Report {
    pub(super) command: Vec<String>,
    pub(super) tally: Box<Tally>,
    pub(super) loaded: Loaded,
    pub(super) at_rest: Vec<Line>,
    /// Cores that other processes kept busy meanwhile.
    pub(super) others: f64,
    pub(super) beside: Beside,
    pub(super) under_load: Vec<Line>,
    pub(super) exit: String,
}

impl Report {
    pub(super) fn json(&self) -> Value {
        let lines = |lines: &[Line]| lines.iter().map(Line::json).collect::<Vec<_>>();
        json!({
            "command": self.command,
            "events": self.tally.load,
            "deliveries": self.tally.deliveries,
            "failures": self.tally.failures,
            "repeats": self.tally.repeats,
            "load": self.loaded.json(),
            "reads_at_rest": lines(&self.at_rest),
            "cores_busy_with_others": self.others,
            "beside": {"rate": self.beside.rate, "sent": self.beside.sent.json()},
            "reads_under_load": lines(&self.under_load),
            "exit": self.exit,
        })
    }

    pub(super) fn text(&self) -> String {
        format!(
            "{}\nreads at rest, ms (other processes kept {:.1} cores busy):\n{}\nreads with {} events/s coming in ({} accepted, ack p50 {:.2}, p99 {:.2} ms), ms:\n{}",
            align(&self.load_rows()),
            self.others,
            table(&self.at_rest),
            self.beside.rate,
            self.beside.sent.count(),
            self.beside.sent.ack.ms(0.5),
            self.beside.sent.ack.ms(0.99),
            table(&self.under_load),
        )
    }

    /// What makes the figures worthless, if anything.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, sent) in [
            ("load", &self.loaded.sent),
            ("second pass", &self.beside.sent),
        ] {
            let (refused, failed) = (sent.refused_count(), sent.failed);
            if refused + failed > 0 {
                let some = sent.errors.join("; ");
                faults.push(format!(
                    "{name}: {refused} events refused, {failed} not answered: {some}"
                ));
            }
        }
        let lines = self.at_rest.iter().chain(&self.under_load);
        faults.extend(lines.flat_map(Line::faults));
        faults
    }

    fn load_rows(&self) -> Vec<Vec<String>> {
        let (loaded, tally) = (&self.loaded, &self.tally);
        let kib = |bytes: u64| mib(bytes / 1_024);
        let per_event = |bytes: u64| float(bytes) / float(tally.load.max(1));
        let rows = [
            ("events", tally.load.to_string()),
            (
                "deliveries",
                format!("{} ({} to fail)", tally.deliveries, tally.failures),
            ),
            ("accepted/s", format!("{:.0}", loaded.accepted_per_s())),
            ("deliveries/s", format!("{:.0}", loaded.deliveries_per_s())),
            (
                "ack p50 / p99 ms",
                format!(
                    "{:.2} / {:.2}",
                    loaded.sent.ack.ms(0.5),
                    loaded.sent.ack.ms(0.99)
                ),
            ),
            (
                "gateway CPU-us/event, at the end of the load",
                format!("{:.1}", loaded.us_per_event(loaded.cpu_at_end)),
            ),
            (
                "gateway CPU-us/event, delivered and indexed",
                format!("{:.1}", loaded.us_per_event(loaded.cpu)),
            ),
            (
                "RSS idle / peak / after MiB",
                format!(
                    "{} / {} / {}",
                    mib(loaded.idle_kib),
                    mib(loaded.peak_kib),
                    mib(loaded.resident_kib)
                ),
            ),
            (
                "index lag at the end of the load",
                format!(
                    "{} ms, {} MiB",
                    loaded.lag_at_end.lag_ms,
                    kib(loaded.lag_at_end.lag_bytes)
                ),
            ),
            (
                "longest index lag after that",
                format!("{} ms", loaded.lag_ms_max),
            ),
            (
                "index caught up after the load",
                format!("{:.2} s", loaded.indexed_after_load.as_secs_f64()),
            ),
            (
                "index caught up after the last delivery",
                format!("{:.2} s", loaded.indexed_after_delivery.as_secs_f64()),
            ),
            (
                "index on disk",
                format!(
                    "{} MiB, {:.0} B/event",
                    kib(loaded.index_bytes),
                    per_event(loaded.index_bytes)
                ),
            ),
            (
                "log on disk",
                format!(
                    "{} MiB, {:.0} B/event",
                    kib(loaded.log_bytes),
                    per_event(loaded.log_bytes)
                ),
            ),
        ];
        rows.map(|(name, figure)| vec![name.to_owned(), figure])
            .into()
    }
}

fn table(lines: &[Line]) -> String {
    let head = [
        "",
        "budget",
        "api p50",
        "p99",
        "max",
        "public p50",
        "p99",
        "max",
        "short",
        "behind",
        "",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(lines.iter().map(Line::cells));
    align(&rows)
}
