//! A gateway whose deliveries go through a proxy in a process of its own: both judge, the proxy
//! alone asks for names, and what it refuses the attempt says.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::super::harness::{Api, DEADLINE, DataPlane, EgressRole, Planes, until};
use super::Case;
use super::forms::{DENIED, Delivered, WORDS, endpoint};
use super::zone::Zone;

/// The planes apart, with the policy of some cases.
pub(super) struct Through {
    _planes: Planes,
    data: DataPlane,
    egress: EgressRole,
    project: Api,
    pub(super) zone: Zone,
}

impl Through {
    pub(super) async fn start(policy: &BTreeMap<String, Value>, root: &str) -> Self {
        let zone = Zone::start().await;
        let (setting, servers) = zone.setting();
        let mut planes = Planes::new(None);
        let (mut egress, mut data) = (planes.egress("egress"), planes.data_plane("data", 0));
        let control = &mut planes.control.process;
        control.drop_flag("--resources"); // with a pool the family would be that of the pool
        for process in [control, &mut egress.process, &mut data.process] {
            process.drop_flag("--unsafe-egress-allow");
            process.set(setting, &servers);
            for (name, value) in policy {
                let name = format!("OUTRIDER__EGRESS__{}", name.to_ascii_uppercase());
                process.set(&name, &value.to_string());
            }
        }
        let proxy = format!("http://{}", egress.listen);
        data.process.set("OUTRIDER__EGRESS__VIA__PROXY", &proxy);
        data.process.add_flag("--unsafe-extra-root", root);
        planes.control.start().await;
        egress.start().await;
        data.start().await;
        let config = json!({"strategy": {"type": "linear", "duration": 3_600, "retry_count": 2}});
        let mut admin = planes.control.admin();
        let project = admin.make_project("tenant", "outgoing", &config).await;
        Self {
            _planes: planes,
            data,
            egress,
            project,
            zone,
        }
    }

    /// Whether an endpoint for the case can be saved; which one that is.
    pub(super) async fn endpoint(&mut self, case: &Case) -> Result<String, String> {
        endpoint(&mut self.project, case).await
    }

    /// How often each reason was counted, here or there.
    async fn reasons(&self) -> Vec<f64> {
        let pages = [
            self.data.admin_page("/metrics").await,
            self.egress.admin_page("/metrics").await,
        ];
        let (metric, label) = DENIED;
        let count = |(reason, _): &(&str, &str)| {
            let label = format!("{label}=\"{reason}\"");
            pages.iter().map(|page| sum(page, metric, &label)).sum()
        };
        WORDS.iter().map(count).collect()
    }

    /// How many attempts came to what.
    async fn outcomes(&self) -> BTreeMap<String, f64> {
        let page = self.data.admin_page("/metrics").await;
        let mut outcomes = BTreeMap::new();
        for line in page.lines() {
            let Some(labels) = line.strip_prefix("outrider_delivery_attempts_total{") else {
                continue;
            };
            let (labels, count) = labels.rsplit_once("} ").unwrap();
            let (_, outcome) = labels.split_once("outcome=\"").unwrap();
            let (outcome, _) = outcome.split_once('"').unwrap();
            *outcomes.entry(outcome.to_owned()).or_default() += count.parse::<f64>().unwrap();
        }
        outcomes
    }

    /// The first attempt of a new event for the endpoint.
    pub(super) async fn deliver(&self, endpoint: &str, case: &Case) -> Delivered {
        let (reasons, outcomes) = (self.reasons().await, self.outcomes().await);
        let mut project = self.project.at(self.data.public());
        let event = project.publish(endpoint, "a", &json!(1)).await;
        let outcome = until(&format!("{event} is attempted"), DEADLINE, async || {
            let mut now = self.outcomes().await.into_iter();
            let before = |outcome: &String| outcomes.get(outcome).copied().unwrap_or(0.0);
            now.find(|(outcome, count)| before(outcome) < *count)
                .map(|(outcome, _)| outcome)
        })
        .await;
        let now = self.reasons().await;
        let counted = WORDS.iter().zip(reasons.iter().zip(now));
        let counted = counted.filter(|(_, (before, now))| *before < now);
        let mut counted: Vec<_> = counted.map(|((reason, _), _)| *reason).collect();
        counted.dedup();
        let attempt = match &outcome[..] {
            "success" => json!({"status": true}),
            "http_3xx" => {
                let status = case.response.as_ref().map(|redirect| redirect.status);
                let status = status.expect("nothing else redirects");
                json!({"status": false, "http_status": status.to_string()})
            }
            "blocked" => json!({"status": false, "error_class": "egress_denied"}),
            failed => json!({"status": false, "error_class": failed}),
        };
        Delivered::Attempted(attempt, counted)
    }
}

/// The sum of a metric over all lines with this label.
fn sum(page: &str, metric: &str, label: &str) -> f64 {
    let lines = page.lines();
    let lines = lines.filter(|line| line.starts_with(metric) && line.contains(label));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}
