//! The figures of the proxies: a column each, beside the direct way in the same run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::idle::Idle;
use super::stream::Streamed;
use super::subject::Subject;
use crate::latency::Latency;
use crate::report::{align, float, per_second};

/// A stretch at capacity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    per_s: f64,
    /// CPU time of the proxy for each, microseconds.
    cpu_us: Option<f64>,
}

impl Stretch {
    pub(super) fn new(count: u64, elapsed: Duration, cpu: Option<Duration>) -> Self {
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / float(count.max(1));
        Self {
            per_s: per_second(count, elapsed),
            cpu_us: cpu.map(each),
        }
    }
}

/// Latencies of the direct way and of the proxy at one rate, stretch by stretch.
#[derive(Debug, Default)]
pub(super) struct Paced {
    rate: u32,
    stretches: Vec<(Latency, Latency)>,
    /// How busy the machine was, of all its cores, in the stretches through the proxy. Half of
    /// what is reached at full load may be more than half of the work: full load does much at once.
    busy: Vec<f64>,
}

impl Paced {
    pub(super) fn push(&mut self, rate: u32, direct: Latency, through: Latency) {
        self.rate = rate;
        self.stretches.push((direct, through));
    }

    pub(super) fn busy(&mut self, share: f64) {
        self.busy.push(share);
    }

    /// Milliseconds of each stretch: direct, through.
    fn ms(&self, quantile: f64) -> Vec<(f64, f64)> {
        let stretches = self.stretches.iter();
        stretches
            .map(|(direct, through)| (direct.ms(quantile), through.ms(quantile)))
            .collect()
    }

    /// The medians of the stretches: direct, through, and what the proxy added.
    fn medians(&self, quantile: f64) -> Option<[f64; 3]> {
        let ms = self.ms(quantile);
        Some([
            median(ms.iter().map(|(direct, _)| *direct))?,
            median(ms.iter().map(|(_, through)| *through))?,
            median(ms.iter().map(|(direct, through)| through - direct))?,
        ])
    }

    fn json(&self) -> Value {
        let quantile = |quantile: f64| {
            let [direct, through, added] = self.medians(quantile).unwrap_or_default();
            json!({
                "direct_ms": direct,
                "through_ms": through,
                "added_ms": added,
                "by_round_ms": self.ms(quantile),
            })
        };
        json!({"per_s": self.rate, "machine_busy": self.busy, "p50": quantile(0.5), "p99": quantile(0.99)})
    }
}

/// Latencies at a rate of tunnels and at one of requests.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    /// Until a tunnel can be sent to.
    pub(super) set_up: Paced,
    /// Until what was sent through a new tunnel is back.
    pub(super) echoed: Paced,
    /// Of forwarded requests.
    pub(super) answered: Paced,
}

impl Latencies {
    fn json(&self) -> Value {
        json!({
            "connect": self.set_up.json(),
            "connect_and_echo": self.echoed.json(),
            "request": self.answered.json(),
        })
    }
}

/// All that is measured of one proxy.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) processes: Option<usize>,
    pub(super) keeps_connections: Option<bool>,
    pub(super) idle: Option<Idle>,
    pub(super) tunnels: Vec<Stretch>,
    pub(super) requests: Vec<Stretch>,
    pub(super) streams: Vec<(Streamed, Option<Duration>)>,
    /// At half of its own capacity.
    pub(super) half: Latencies,
    /// At a rate that is everybody's.
    pub(super) same: Latencies,
    /// Tunnels and requests that came to nothing.
    pub(super) failed: u64,
    pub(super) errors: BTreeMap<String, u64>,
    /// Why there are no figures from here on.
    pub(super) not_measured: Option<String>,
}

impl Figures {
    pub(super) fn tunnels_per_s(&self) -> f64 {
        median(self.tunnels.iter().map(|stretch| stretch.per_s)).unwrap_or_default()
    }

    pub(super) fn requests_per_s(&self) -> f64 {
        median(self.requests.iter().map(|stretch| stretch.per_s)).unwrap_or_default()
    }

    fn gbit_per_s(&self) -> Option<f64> {
        median(
            self.streams
                .iter()
                .map(|(streamed, _)| streamed.gbit_per_s()),
        )
    }

    /// CPU time for a gigabyte, both directions counted, milliseconds.
    fn cpu_ms_per_gb(&self) -> Option<f64> {
        median(self.streams.iter().filter_map(|(streamed, cpu)| {
            let gigabytes = float(streamed.bytes.max(1)) / 1e9;
            cpu.map(|cpu| cpu.as_secs_f64() * 1e3 / gigabytes)
        }))
    }

    fn json(&self) -> Value {
        let stretches = |stretches: &[Stretch]| {
            json!({
                "per_s": median(stretches.iter().map(|stretch| stretch.per_s)),
                "cpu_us_each": cpu_us(stretches),
                "per_s_by_round": stretches.iter().map(|stretch| stretch.per_s).collect::<Vec<_>>(),
                "cpu_us_by_round": stretches.iter().map(|stretch| stretch.cpu_us).collect::<Vec<_>>(),
            })
        };
        json!({
            "processes": self.processes,
            "keeps_connections": self.keeps_connections,
            "tunnels": stretches(&self.tunnels),
            "requests": stretches(&self.requests),
            "gbit_per_s": self.gbit_per_s(),
            "gbit_per_s_by_round": self.streams.iter().map(|(streamed, _)| streamed.gbit_per_s()).collect::<Vec<_>>(),
            "cpu_ms_per_gb": self.cpu_ms_per_gb(),
            "idle": self.idle.map(|idle| json!({
                "tunnels": idle.tunnels,
                "before_kib": idle.before_kib,
                "after_kib": idle.after_kib,
                "kib_each": idle.kib_each(),
            })),
            "at_half_load": self.half.json(),
            "at_the_same_rate": self.same.json(),
            "failed": self.failed,
            "errors": self.errors,
            "not_measured": self.not_measured,
        })
    }
}

fn cpu_us(stretches: &[Stretch]) -> Option<f64> {
    median(stretches.iter().filter_map(|stretch| stretch.cpu_us))
}

/// The one in the middle, the upper one of two.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

pub(super) fn json(subjects: &[Subject]) -> Value {
    let columns = subjects
        .iter()
        .map(|subject| (subject.name.clone(), subject.figures.json()));
    Value::Object(columns.collect())
}

/// One line per figure, one column per proxy.
pub(super) fn table(subjects: &[Subject]) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for subject in subjects {
        for (number, (name, cell)) in column(subject).into_iter().enumerate() {
            if rows.len() == number {
                rows.push(vec![name]);
            }
            rows[number].push(cell.unwrap_or_else(|| "-".to_owned()));
        }
    }
    let mut text = align(&rows);
    for subject in subjects {
        let (name, figures) = (&subject.name, &subject.figures);
        if let Some(why) = &figures.not_measured {
            text.push_str(&format!("{name}: not measured: {why}\n"));
        }
        for (error, count) in &figures.errors {
            text.push_str(&format!("{name}: {count} x {error}\n"));
        }
    }
    text
}

/// What a row is called, and what a proxy has there.
type Cell = (String, Option<String>);

fn column(subject: &Subject) -> Vec<Cell> {
    let figures = &subject.figures;
    let paced = [
        ("half load", &figures.half),
        ("the same rate", &figures.same),
    ];
    let paced = paced.into_iter().flat_map(|(at, latencies)| {
        let rows = PACED_ROWS.iter();
        rows.map(move |(name, cell)| (name.replace("{at}", at), cell(latencies)))
    });
    let rows = ROWS
        .iter()
        .map(|(name, cell)| ((*name).to_owned(), cell(figures)));
    let head = (String::new(), Some(subject.name.clone()));
    let end = ("failed".to_owned(), Some(figures.failed.to_string()));
    std::iter::once(head)
        .chain(rows)
        .chain(paced)
        .chain([end])
        .collect()
}

type Row<T> = (&'static str, fn(&T) -> Option<String>);

const ROWS: &[Row<Figures>] = &[
    ("processes", |of| {
        of.processes.map(|count| count.to_string())
    }),
    ("new tunnels/s", |of| {
        let is_measured = !of.tunnels.is_empty();
        is_measured.then(|| whole(of.tunnels_per_s()))
    }),
    ("  CPU-us each", |of| cpu_us(&of.tunnels).map(fine)),
    ("forwarded requests/s", |of| {
        let is_measured = !of.requests.is_empty();
        is_measured.then(|| whole(of.requests_per_s()))
    }),
    ("  CPU-us each", |of| cpu_us(&of.requests).map(fine)),
    ("  on connections that are kept", |of| {
        let word = |keeps| if keeps { "yes" } else { "no" };
        of.keeps_connections.map(|keeps| word(keeps).to_owned())
    }),
    ("Gbit/s, both directions", |of| of.gbit_per_s().map(fine)),
    ("  CPU-ms per GB", |of| of.cpu_ms_per_gb().map(whole)),
    ("KiB per idle tunnel", |of| {
        of.idle.map(|idle| fine(idle.kib_each()))
    }),
];

const PACED_ROWS: &[Row<Latencies>] = &[
    ("CONNECT at {at}, per s", |of| rate(&of.set_up)),
    ("  p50 ms, direct > through", |of| both(&of.set_up, 0.5)),
    ("  p50 ms added", |of| added(&of.set_up, 0.5)),
    ("  p99 ms added", |of| added(&of.set_up, 0.99)),
    ("  with the echo, p50 ms added", |of| added(&of.echoed, 0.5)),
    ("  with the echo, p99 ms added", |of| {
        added(&of.echoed, 0.99)
    }),
    ("  machine busy", |of| busy(&of.set_up)),
    ("request at {at}, per s", |of| rate(&of.answered)),
    ("  p50 ms, direct > through", |of| both(&of.answered, 0.5)),
    ("  p50 ms added", |of| added(&of.answered, 0.5)),
    ("  p99 ms added", |of| added(&of.answered, 0.99)),
    ("  machine busy", |of| busy(&of.answered)),
];

fn whole(figure: f64) -> String {
    format!("{figure:.0}")
}

fn fine(figure: f64) -> String {
    format!("{figure:.1}")
}

fn rate(paced: &Paced) -> Option<String> {
    let is_measured = !paced.stretches.is_empty();
    is_measured.then(|| paced.rate.to_string())
}

fn both(paced: &Paced, quantile: f64) -> Option<String> {
    let [direct, through, _] = paced.medians(quantile)?;
    Some(format!("{direct:.2} > {through:.2}"))
}

fn busy(paced: &Paced) -> Option<String> {
    let share = median(paced.busy.iter().copied())?;
    Some(format!("{:.0} %", share * 100.0))
}

fn added(paced: &Paced, quantile: f64) -> Option<String> {
    let [_, _, added] = paced.medians(quantile)?;
    Some(format!("{added:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(us: u64) -> Latency {
        let mut latency = Latency::new().unwrap();
        latency.record_us(us);
        latency
    }

    #[test]
    fn what_was_not_measured_has_no_figure() {
        let mut subject = Subject::direct();
        subject.figures.not_measured = Some("there is none".to_owned());
        subject.figures.errors.insert("reset".to_owned(), 3);
        let table = table(&[subject]);
        let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line("new tunnels/s").ends_with(" -"), "{table}");
        assert!(line("KiB per idle tunnel").ends_with(" -"), "{table}");
        assert!(table.contains("direct: not measured: there is none"));
        assert!(table.contains("direct: 3 x reset"));
    }

    #[test]
    fn one_bad_stretch_does_not_move_what_a_proxy_adds() {
        let mut paced = Paced::default();
        for (direct, through) in [(1_000, 1_500), (90_000, 1_500), (1_000, 1_500)] {
            paced.push(7, latency(direct), latency(through));
        }
        let [direct, through, added] = paced.medians(0.99).unwrap();
        let near = |ms: f64, to: f64| (ms - to).abs() < 0.01;
        assert!(near(direct, 1.0) && near(through, 1.5) && near(added, 0.5));
        assert!(Paced::default().medians(0.5).is_none());
    }

    #[test]
    fn figures_are_medians_and_their_rounds_are_told() {
        let mut subject = Subject::direct();
        for (count, cpu_ms) in [(100, 1), (300, 6), (200, 3)] {
            let cpu = Some(Duration::from_millis(cpu_ms));
            let stretch = Stretch::new(count, Duration::from_secs(1), cpu);
            subject.figures.tunnels.push(stretch);
        }
        let json = json(&[subject]);
        let tunnels = &json["direct"]["tunnels"];
        assert_eq!(
            (&tunnels["per_s"], &tunnels["cpu_us_each"]),
            (&json!(200.0), &json!(15.0))
        );
        assert_eq!(tunnels["per_s_by_round"], json!([100.0, 300.0, 200.0]));
    }
}
