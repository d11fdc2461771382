//! The published cases of the address policy, through the running proxy in both of its forms and
//! as deliveries, in a network namespace where every address there is answers: nothing that was
//! refused is reached.

mod forms;
mod via;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use self::forms::Delivered;
use self::via::Through;
use self::zone::Zone;
use super::super::harness::{Api, Resources, Setup, is_inside, run};
use super::destination::Destination;
use super::support::Proxy;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    kind: String,
    input: String,
    #[serde(default)]
    dns: BTreeMap<String, Vec<Value>>,
    #[serde(default)]
    policy: BTreeMap<String, Value>,
    #[serde(default)]
    response: Option<Redirect>,
    reason: String,
    #[serde(default)]
    connect: Vec<String>,
}

#[derive(Deserialize)]
struct Redirect {
    status: u16,
    location: String,
}

impl Case {
    /// Whether the name is asked for, or its verdict is known before.
    fn is_resolved(&self) -> bool {
        let after = [
            "ok",
            "address_denied",
            "self_address",
            "dns_no_address",
            "redirect_not_followed",
        ];
        !self.dns.is_empty() && after.contains(&&self.reason[..])
    }

    /// A redirect is no matter of addresses: the first request is sent, and nothing more.
    fn verdict(&self) -> &str {
        match &self.reason[..] {
            "redirect_not_followed" => "ok",
            reason => reason,
        }
    }

    fn addresses(&self) -> Vec<String> {
        match self.response {
            Some(_) => vec![
                self.dns["hooks.example.com"][0]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            ],
            None => self.connect.clone(),
        }
    }
}

fn load() -> File {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["../shared/vectors", "tests/vectors"];
    let text = places
        .iter()
        .find_map(|dir| fs::read_to_string(top.join(dir).join("ssrf.json")).ok());
    serde_json::from_str(&text.unwrap_or_else(|| panic!("none of {places:?} can be read"))).unwrap()
}

/// All addresses there are become addresses of this host, which is alone in its namespace.
pub(super) fn own_all_addresses() {
    run("ip", &["route", "add", "local", "0.0.0.0/0", "dev", "lo"]);
    run("ip", &["-6", "route", "add", "local", "::/0", "dev", "lo"]);
}

/// The ports that the cases name, allowed or not, and what is there in any case.
fn ports(cases: &[Case]) -> BTreeSet<u16> {
    let inputs = cases.iter().map(|case| &case.input);
    let named = inputs.filter_map(|input| {
        let digits = input.rsplit(':').next()?;
        let end = digits.find(|byte: char| !byte.is_ascii_digit());
        digits[..end.unwrap_or(digits.len())].parse().ok()
    });
    named.filter(|port| *port != 0).chain([80, 443]).collect()
}

/// A gateway with the policy of some cases.
struct Gateway {
    proxy: Proxy,
    project: Api,
    zone: Zone,
}

impl Gateway {
    async fn start(policy: &BTreeMap<String, Value>, root: &str) -> Self {
        let zone = Zone::start().await;
        let (setting, servers) = zone.setting();
        let mut setup = Setup::guarded(&Resources::outgoing(&[]))
            .small_segments()
            .flag("--unsafe-extra-root", root)
            .env(setting, &servers);
        for (name, value) in policy {
            let name = format!("OUTRIDER__EGRESS__{}", name.to_ascii_uppercase());
            setup = setup.env(&name, &value.to_string());
        }
        let proxy = Proxy::of(setup, &[]).await;
        let mut admin = proxy.outrider.admin_api();
        let config = json!({"strategy": {"type": "linear", "duration": 3_600, "retry_count": 2}});
        let project = admin.make_project("tenant", "outgoing", &config).await;
        Self {
            proxy,
            project,
            zone,
        }
    }
}

/// What is wrong with a case in one of its forms.
struct Wrong<'a> {
    case: &'a Case,
    found: Vec<String>,
}

impl<'a> Wrong<'a> {
    const fn of(case: &'a Case) -> Self {
        let found = Vec::new();
        Self { case, found }
    }

    fn compare(&mut self, form: &str, got: &str, expected: &str, destination: &Destination) {
        let reached = destination.take_reached().into_iter();
        let reached: Vec<_> = reached.map(|address| address.ip().to_string()).collect();
        let (id, input) = (&self.case.id, &self.case.input);
        if got != expected {
            self.found
                .push(format!("{id} {input:?} {form}: {got}, expected {expected}"));
        }
        let may_be = if expected == "ok" {
            self.case.addresses()
        } else {
            Vec::new()
        };
        let is_right = reached.iter().all(|ip| may_be.contains(ip));
        if !is_right || reached.is_empty() != may_be.is_empty() {
            self.found.push(format!(
                "{id} {input:?} {form}: reached {reached:?}, not {may_be:?}"
            ));
        }
    }
}

/// The verdict of each form that the case has; how many those are, of tunnels, URLs and deliveries.
async fn judge<'a>(
    gateway: &mut Gateway,
    destination: &Destination,
    case: &'a Case,
) -> (Wrong<'a>, [usize; 3]) {
    let (mut wrong, mut judged) = (Wrong::of(case), [0; 3]);
    let redirect = case.response.as_ref();
    destination.redirect(redirect.map(|it| (it.status, it.location.clone())));
    let Gateway {
        proxy,
        project,
        zone,
    } = gateway;
    if forms::has_authority(case) {
        let asked = zone.ask(case, async || {
            destination.take_reached();
            forms::connect(proxy, case).await
        });
        let got = asked.await;
        wrong.compare(
            "CONNECT",
            &got,
            forms::expected_of_connect(case),
            destination,
        );
        judged[0] += 1;
    }
    if forms::has_url(case) {
        let asked = zone.ask(case, async || {
            destination.take_reached();
            forms::absolute(proxy, case).await
        });
        let got = asked.await;
        wrong.compare(
            "whole URL",
            &got,
            forms::expected_of_absolute(case),
            destination,
        );
        judged[1] += 1;
    }
    if case.kind != "connect" {
        let delivered = match forms::endpoint(project, case).await {
            Err(words) => Delivered::Refused(words),
            Ok(endpoint) => {
                let asked = zone.ask(case, async || {
                    destination.take_reached();
                    forms::deliver(&proxy.outrider, project, &endpoint).await
                });
                asked.await
            }
        };
        let got = delivered.verdict(case);
        wrong.compare("delivery", &got, case.verdict(), destination);
        judged[2] += 1;
    }
    zone.assert_asked_only_for(case);
    (wrong, judged)
}

/// The file with the destination's root.
fn root(dir: &Path, destination: &Destination) -> String {
    let root = dir.join("root.pem");
    fs::write(&root, destination.root()).unwrap();
    root.display().to_string()
}

/// Cases that one gateway can have.
fn by_policy(file: &File) -> BTreeMap<String, Vec<&Case>> {
    let mut cases: BTreeMap<String, Vec<&Case>> = BTreeMap::new();
    for case in &file.cases {
        let policy = serde_json::to_string(&case.policy).unwrap();
        cases.entry(policy).or_default().push(case);
    }
    cases
}

/// The verdict on a delivery through another process.
async fn judge_through<'a>(
    through: &mut Through,
    destination: &Destination,
    case: &'a Case,
) -> Wrong<'a> {
    let mut wrong = Wrong::of(case);
    let redirect = case.response.as_ref();
    destination.redirect(redirect.map(|it| (it.status, it.location.clone())));
    let delivered = match through.endpoint(case).await {
        Err(words) => Delivered::Refused(words),
        Ok(endpoint) => {
            let asked = through.zone.ask(case, async || {
                destination.take_reached();
                through.deliver(&endpoint, case).await
            });
            asked.await
        }
    };
    let got = delivered.verdict(case);
    wrong.compare("through a proxy", &got, case.verdict(), destination);
    through.zone.assert_asked_only_for(case);
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_has_the_same_verdict_through_a_proxy() {
    let name = "every_case_has_the_same_verdict_through_a_proxy";
    if !is_inside(&format!("{}::{name}", module_path!())) {
        return;
    }
    own_all_addresses();
    let file = load();
    let destination = Destination::everywhere(ports(&file.cases)).await;
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path(), &destination);
    destination.close_each(); // a tunnel that is used again asks for no name
    let (mut judged, mut wrong) = (0, Vec::new());
    for cases in by_policy(&file).values() {
        let mut through = Through::start(&cases[0].policy, &root).await;
        destination.take_reached();
        for case in cases.iter().filter(|case| case.kind != "connect") {
            let found = judge_through(&mut through, &destination, case).await;
            wrong.extend(found.found);
            judged += 1;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(judged, 213);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_has_one_verdict_in_all_forms() {
    let name = "every_case_has_one_verdict_in_all_forms";
    if !is_inside(&format!("{}::{name}", module_path!())) {
        return;
    }
    own_all_addresses();
    let file = load();
    let destination = Destination::everywhere(ports(&file.cases)).await;
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path(), &destination);
    let (mut judged, mut wrong) = ([0; 3], Vec::new());
    for cases in by_policy(&file).values() {
        let mut gateway = Gateway::start(&cases[0].policy, &root).await;
        destination.take_reached();
        for case in cases {
            let (found, forms) = judge(&mut gateway, &destination, case).await;
            wrong.extend(found.found);
            (0..3).for_each(|form| judged[form] += forms[form]);
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // Of 225 cases: as tunnels, as whole URLs, as deliveries.
    assert_eq!(judged, [202, 221, 213]);
}
