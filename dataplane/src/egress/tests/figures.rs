//! What is counted of connections and denials: new ones alone, whoever they are from.

use outrider_config::snapshot::{AddressState, PoolSelection};
use outrider_webhook::retry::{Failure, Outcome};

use super::sources::{leave, pool_of, send_from};
use super::support::*;
use crate::egress::Egress;
use crate::metrics::Metrics;

/// An egress whose figures can be read.
struct Counted {
    egress: Egress,
    metrics: Metrics,
}

impl Counted {
    fn new() -> Self {
        let (metrics, mut settings) = (Metrics::new().unwrap(), settings());
        settings.metrics = Some(metrics.way_out.clone());
        Self {
            egress: Egress::new(settings).unwrap(),
            metrics,
        }
    }

    /// Sum over the series that have all of these labels (`name="value"`).
    fn of(&self, name: &str, labels: &[&str]) -> f64 {
        let page = String::from_utf8(self.metrics.encode().unwrap()).unwrap();
        let is_asked = |series: &str| {
            let (found, set) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| set.contains(label))
        };
        let values = page.lines().filter_map(|line| line.rsplit_once(' '));
        let values = values.filter(|(series, _)| is_asked(series));
        values.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }

    /// Connects that ended so, those of them with a time, and connections that are open.
    fn connects(&self, labels: &[&str]) -> [f64; 3] {
        let family: Vec<&str> = labels
            .iter()
            .filter(|label| label.starts_with("family"))
            .copied()
            .collect();
        let open = &labels[..2];
        [
            self.of("outrider_egress_connections_total", labels),
            self.of("outrider_egress_connect_seconds_count", &family),
            self.of("outrider_egress_active_connections", open),
        ]
    }
}

const DYNAMIC: [&str; 2] = ["pool=\"dynamic\"", "source_ip=\"\""];

#[tokio::test]
async fn a_connection_that_is_used_again_is_counted_once() {
    let (receiver, counted) = (Receiver::answering(OK).await, Counted::new());
    for _ in 0..3 {
        let exchange = send(&counted.egress, &receiver.url()).await;
        assert_eq!(exchange.outcome, Outcome::Answered { status: 200 });
    }
    let [pool, source] = DYNAMIC;
    let labels = [pool, source, "family=\"ipv4\"", "result=\"connected\""];
    assert_eq!(counted.connects(&labels), [1.0, 1.0, 1.0]);
    // No other series, and no address of a receiver anywhere.
    assert_eq!(counted.of("outrider_egress_connections_total", &[]), 1.0);
    counted.egress.close_idle();
    until("it is closed", || counted.connects(&labels)[2] == 0.0).await;
    // Literal addresses are not asked for, and nothing was encrypted.
    for name in ["dns", "tls"] {
        let name = format!("outrider_egress_{name}_seconds_count");
        assert_eq!(counted.of(&name, &[]), 0.0, "{name}");
    }
}

#[tokio::test]
async fn connects_that_fail_are_counted_by_their_failure() {
    let counted = Counted::new();
    let gone = {
        let receiver = Receiver::answering(OK).await;
        receiver.url()
    };
    until("nobody listens", || {
        std::net::TcpStream::connect(gone[7..].split('/').next().unwrap()).is_err()
    })
    .await;
    let exchange = send(&counted.egress, &gone).await;
    assert_eq!(exchange.outcome, Outcome::Failed(Failure::ConnectRefused));
    let [pool, source] = DYNAMIC;
    let labels = [
        pool,
        source,
        "family=\"ipv4\"",
        "result=\"connect_refused\"",
    ];
    assert_eq!(counted.connects(&labels), [1.0, 1.0, 0.0]);
}

#[tokio::test]
async fn connections_from_a_pool_are_counted_by_its_address() {
    let (receiver, counted) = (Receiver::answering(OK).await, Counted::new());
    let here = "127.0.0.2".parse().unwrap();
    let elsewhere = "203.0.113.7".parse().unwrap();
    let active = AddressState::Active;
    let addresses = [(elsewhere, active), (here, active)];
    let pool = pool_of("two", PoolSelection::Sticky, &addresses);
    // Whichever comes first: the one that is not here is passed over.
    let exchange = send_from(&counted.egress, &receiver.url(), leave(&pool)).await;
    assert_eq!(exchange.local.map(|local| local.ip()), Some(here));
    let of = |result| {
        let result = format!("result=\"{result}\"");
        let labels = ["pool=\"two\"", &result];
        counted.of("outrider_egress_connections_total", &labels)
    };
    assert_eq!(of("connected"), 1.0);
    let used = ["pool=\"two\"", "source_ip=\"127.0.0.2\""];
    assert_eq!(counted.of("outrider_egress_active_connections", &used), 1.0);
    // What was never sent took no time.
    assert!(of("source_absent") <= 1.0);
    let timed = counted.of("outrider_egress_connect_seconds_count", &[]);
    assert_eq!(timed, 1.0);
}

#[tokio::test]
async fn denials_are_counted_by_their_reason() {
    let counted = Counted::new();
    for (url, reason) in [
        ("http://10.0.0.1/", "address_denied"),
        ("http://localhost/", "name_denied"),
        ("http://192.0.2.1:25/", "address_denied"),
        ("http://hooks.example.com:25/", "port_not_allowed"),
    ] {
        let labels = [&*format!("reason=\"{reason}\"")];
        let before = counted.of("outrider_egress_denied_total", &labels);
        send(&counted.egress, url).await;
        let after = counted.of("outrider_egress_denied_total", &labels);
        assert_eq!(after - before, 1.0, "{url}");
    }
    assert_eq!(counted.of("outrider_egress_denied_total", &[]), 4.0);
}
