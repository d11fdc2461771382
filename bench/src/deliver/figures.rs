//! The figures of one scenario, for people and for the record.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::latency::Latency;

/// What was found.
#[derive(Debug)]
pub(super) struct Scenario {
    name: String,
    figures: Vec<(String, Value)>,
    faults: Vec<String>,
}

impl Scenario {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            figures: Vec::new(),
            faults: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, figure: &str, value: impl Into<Value>) {
        self.figures.push((figure.to_owned(), value.into()));
    }

    /// Something that must not happen, whatever the machine is like.
    pub(super) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let named = |fault| format!("{}: {fault}", self.name);
        self.faults.iter().map(named)
    }

    pub(super) fn json(&self) -> (String, Value) {
        let mut figures: serde_json::Map<String, Value> = self.figures.iter().cloned().collect();
        figures.insert("faults".to_owned(), json!(self.faults));
        (self.name.clone(), figures.into())
    }

    pub(super) fn table(&self) -> String {
        let mut table = format!("\n| {} | |\n|---|---|\n", self.name);
        for (figure, value) in &self.figures {
            // Writing to a string does not fail.
            let _ = writeln!(table, "| {} | {} |", figure.replace('_', " "), cell(value));
        }
        for fault in &self.faults {
            let _ = writeln!(table, "| **not clean** | {fault} |");
        }
        table
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            if number >= 100.0 {
                format!("{number:.0}")
            } else {
                format!("{number:.2}")
            }
        }
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" / "),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name} {}", cell(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// Latencies without and with something, stretch by stretch.
#[derive(Debug, Default)]
pub(super) struct Pair {
    without: Vec<Latency>,
    with: Vec<Latency>,
}

impl Pair {
    pub(super) fn without(&mut self, latency: Latency) {
        self.without.push(latency);
    }

    pub(super) fn with(&mut self, latency: Latency) {
        self.with.push(latency);
    }

    /// p50 and p99 of all stretches together and of each, and the ratio of the p99s.
    pub(super) fn tell(&self, scenario: &mut Scenario) -> anyhow::Result<()> {
        let (without, with) = (joined(&self.without)?, joined(&self.with)?);
        for (word, all, each) in [
            ("without", &without, &self.without),
            ("with", &with, &self.with),
        ] {
            let p99 = |latency: &Latency| latency.ms(0.99);
            scenario.add(&format!("p50_ms_{word}"), all.ms(0.5));
            scenario.add(&format!("p99_ms_{word}"), all.ms(0.99));
            let each: Vec<f64> = each.iter().map(p99).collect();
            scenario.add(&format!("p99_ms_{word}_by_stretch"), json!(each));
            scenario.add(&format!("p999_ms_{word}"), all.ms(0.999));
        }
        scenario.add("p50_ratio", ratio(with.ms(0.5), without.ms(0.5)));
        scenario.add("p99_ratio", ratio(with.ms(0.99), without.ms(0.99)));
        // One stall of the machine moves the p99 of all, and that of one stretch only.
        let medians = ratio(median_p99(&self.with), median_p99(&self.without));
        scenario.add("p99_ratio_of_medians", medians);
        let in_turn = self.without.iter().zip(&self.with);
        let in_turn = in_turn.map(|(without, with)| ratio(with.ms(0.99), without.ms(0.99)));
        scenario.add("p99_ratio_by_round", json!(in_turn.collect::<Vec<_>>()));
        Ok(())
    }
}

fn joined(latencies: &[Latency]) -> anyhow::Result<Latency> {
    let mut all = Latency::new()?;
    for latency in latencies {
        all.join(latency)?;
    }
    Ok(all)
}

/// Of the stretches' p99s, milliseconds; the upper one of two.
fn median_p99(latencies: &[Latency]) -> f64 {
    let mut each: Vec<f64> = latencies.iter().map(|latency| latency.ms(0.99)).collect();
    each.sort_by(f64::total_cmp);
    each.get(each.len() / 2).copied().unwrap_or_default()
}

/// 0 when there is nothing to compare with.
fn ratio(with: f64, without: f64) -> f64 {
    if without > 0.0 { with / without } else { 0.0 }
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
    fn nothing_to_compare_with_is_no_ratio() {
        let mut scenario = Scenario::new("x");
        Pair::default().tell(&mut scenario).unwrap();
        assert_eq!(scenario.json().1["p99_ratio"], 0.0);
    }

    #[test]
    fn stretches_are_compared_together_and_in_turn() {
        let mut pair = Pair::default();
        for (without, with) in [(1_000, 2_000), (4_000, 4_000)] {
            pair.without(latency(without));
            pair.with(latency(with));
        }
        let mut scenario = Scenario::new("x");
        pair.tell(&mut scenario).unwrap();
        let (_, figures) = scenario.json();
        let near = |figure: &Value, to: f64| (figure.as_f64().unwrap() - to).abs() < 0.01;
        assert!(near(&figures["p99_ratio"], 1.0), "{figures}");
        assert!(near(&figures["p99_ratio_of_medians"], 1.0), "{figures}");
        assert!(near(&figures["p99_ratio_by_round"][0], 2.0), "{figures}");
    }

    #[test]
    fn a_fault_is_in_all_that_is_shown() {
        let mut scenario = Scenario::new("x");
        scenario.add("p99_ms", json!([1.234, 1234.5]));
        scenario.fault("lost".to_owned());
        let table = scenario.table();
        assert!(table.contains("| p99 ms | 1.23 / 1234 |"), "{table}");
        assert!(table.contains("lost"), "{table}");
        assert_eq!(scenario.json().1["faults"], json!(["lost"]));
        assert_eq!(scenario.faults().collect::<Vec<_>>(), ["x: lost"]);
    }
}
