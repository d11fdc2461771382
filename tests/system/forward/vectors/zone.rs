//! The names of the case at hand. A gateway remembers answers for a second at least, so a
//! request counts only when it is known to have had the answers of its own case.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::super::super::harness::{DEADLINE, NameServer, until};
use super::Case;

/// Answers to look-ups, one after the other; the last one for all that follow.
type Sequence = Vec<Vec<IpAddr>>;

#[derive(Default)]
struct Names {
    /// Of the case at hand, with the number of the look-up that is its first.
    now: HashMap<String, (usize, Sequence)>,
    /// What each name was last known to be.
    known: HashMap<String, Sequence>,
}

/// A name server with the names of one case.
pub(super) struct Zone {
    server: NameServer,
    names: Arc<Mutex<Names>>,
}

impl Zone {
    pub(super) async fn start() -> Self {
        let names = Arc::new(Mutex::new(Names::default()));
        let own = Arc::clone(&names);
        let server = NameServer::start(0, move |name, number| {
            let names = own.lock().unwrap();
            let (first, sequence) = names.now.get(name)?;
            let place = number.saturating_sub(*first).min(sequence.len() - 1);
            Some(sequence[place].clone())
        });
        Self {
            server: server.await,
            names,
        }
    }

    pub(super) fn setting(&self) -> (&'static str, String) {
        self.server.setting()
    }

    /// Asks until the answer is one to the names of this case.
    pub(super) async fn ask<T>(&self, case: &Case, mut ask: impl AsyncFnMut() -> T) -> T {
        let sequences = sequences(case);
        until(
            &format!("{} is asked anew", case.id),
            DEADLINE,
            async || {
                let before: HashMap<_, _> = sequences
                    .keys()
                    .map(|name| (name.clone(), self.server.lookups(name)))
                    .collect();
                {
                    let mut names = self.names.lock().unwrap();
                    let now = sequences.iter();
                    let now = now.map(|(name, all)| (name.clone(), (before[name], all.clone())));
                    names.now = now.collect();
                }
                let total = self.server.all_lookups();
                let answer = ask().await;
                if !case.is_resolved() {
                    assert_eq!(
                        self.server.all_lookups(),
                        total,
                        "{} is known before",
                        case.id
                    );
                }
                let mut names = self.names.lock().unwrap();
                let is_own = sequences.iter().all(|(name, all)| {
                    let is_new = self.server.lookups(name) > before[name];
                    if is_new {
                        names.known.insert(name.clone(), all.clone());
                    }
                    let is_known = all.len() == 1 && names.known.get(name) == Some(all);
                    is_new || is_known
                });
                (is_own || !case.is_resolved()).then_some(answer)
            },
        )
        .await
    }

    /// No other look-up may happen.
    pub(super) fn assert_asked_only_for(&self, case: &Case) {
        let names = self.names.lock().unwrap();
        for name in self.server.names() {
            let is_of_a_case = names.known.contains_key(&name) || name == "missing.example.com";
            assert!(is_of_a_case, "{}: {name} was asked for", case.id);
        }
    }
}

fn sequences(case: &Case) -> HashMap<String, Sequence> {
    let asked = case.dns.iter().filter(|(name, _)| is_asked(case, name));
    asked
        .map(|(name, answers)| (name.clone(), sequence(answers)))
        .collect()
}

/// One case has the names of others only, and `localhost` is what it is without a name server
/// (RFC 6761 section 6.3).
fn is_asked(case: &Case, name: &str) -> bool {
    let is_of_another = case.reason == "dns_no_address" && !case.input.contains(name);
    !is_of_another && name != "localhost"
}

fn sequence(answers: &[Value]) -> Sequence {
    let address = |value: &Value| value.as_str().unwrap().parse().unwrap();
    match answers.first() {
        Some(Value::Array(_)) => answers
            .iter()
            .map(|list| list.as_array().unwrap().iter().map(address).collect())
            .collect(),
        _ => vec![answers.iter().map(address).collect()],
    }
}
