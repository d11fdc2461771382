//! Asks all connected data planes the same, and puts together what they say: what they keep in
//! memory is in no index. Not in the contract.

use std::collections::BTreeMap;
use std::time::Duration;

use outrider_webhook::id::NodeId;
use outrider_xds::{Action, Command, Outcome, Question, SendError};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::Api;
use super::error::ApiError;
use crate::random;

/// How long a data plane may take: it answers from memory.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Data planes that are asked; what they answer is held at once.
const NODES_MAX: usize = 64;
/// Items that are shown of all data planes together.
const ITEMS_MAX: usize = 1_000;

/// Asks everybody, and lists what stands under `name` in the answers, the newest first by `at_ms`.
/// Each item says which data plane it is from; `dataplanes` says who answered, and why not.
pub(super) async fn everybody(api: &Api, question: Question, name: &'static str) -> Value {
    let commands = api.commands();
    let mut asked = JoinSet::new();
    for node in commands.connected().into_iter().take(NODES_MAX) {
        let (commands, id) = (commands.clone(), random::uid(api.now_ms()));
        let command = Command {
            id,
            action: Action::Ask(question),
        };
        asked.spawn(async move { (node, commands.send(node, command, ANSWER_LIMIT).await) });
    }
    // Dropped with this call, which ends the tasks.
    let mut said = BTreeMap::new();
    while let Some(answered) = asked.join_next().await {
        if let Ok((node, outcome)) = answered {
            said.insert(node, outcome.map_err(|error| error.code()));
        }
    }
    together(said, name)
}

/// Asks one data plane for what any of them can say.
pub(super) async fn somebody(
    api: &Api,
    action: Action,
    limit: Duration,
) -> Result<Value, ApiError> {
    let commands = api.commands();
    let node = commands.connected().first().copied();
    let node = node.ok_or(SendError::NotConnected)?;
    let command = Command {
        id: random::uid(api.now_ms()),
        action,
    };
    match commands.send(node, command, limit).await? {
        Outcome::Answered(answer) => Ok(serde_json::from_slice(&answer)?),
        Outcome::Refused { code, message } => Err(ApiError::Command { code, message }),
        Outcome::Done => Ok(Value::Null),
    }
}

fn together(said: BTreeMap<NodeId, Result<Outcome, &'static str>>, name: &'static str) -> Value {
    let (mut items, mut dataplanes) = (Vec::new(), Vec::new());
    for (node, outcome) in said {
        let number = node.get();
        match answer(outcome) {
            Ok(mut answer) => {
                let left_out = answer.remove("left_out").unwrap_or(json!(0));
                if let Some(Value::Array(list)) = answer.remove(name) {
                    items.extend(list.into_iter().map(|item| (number, item)));
                }
                dataplanes.push(json!({
                    "number": number, "is_answered": true, "left_out": left_out,
                }));
            }
            Err(code) => dataplanes.push(json!({
                "number": number, "is_answered": false, "code": code,
            })),
        }
    }
    items.sort_by_key(|(number, item)| {
        let at_ms = item.get("at_ms").and_then(Value::as_i64).unwrap_or(0);
        (std::cmp::Reverse(at_ms), *number)
    });
    let shown = items.into_iter().take(ITEMS_MAX).map(|(number, mut item)| {
        if let Value::Object(fields) = &mut item {
            fields.insert("dataplane".to_owned(), number.into());
        }
        item
    });
    json!({"content": shown.collect::<Vec<_>>(), "dataplanes": dataplanes})
}

/// What a data plane said, or the code of why it said nothing.
fn answer(outcome: Result<Outcome, &'static str>) -> Result<Map<String, Value>, String> {
    match outcome {
        Ok(Outcome::Answered(answer)) => {
            serde_json::from_slice(&answer).map_err(|_| "bad_answer".to_owned())
        }
        Ok(Outcome::Refused { code, .. }) => Err(code),
        Ok(Outcome::Done) => Err("bad_answer".to_owned()),
        Err(code) => Err(code.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> Result<Outcome, &'static str> {
        Ok(Outcome::Answered(text.to_owned().into()))
    }

    #[test]
    fn who_says_nothing_or_nonsense_is_named_and_hides_nobody() {
        let refused = Outcome::Refused {
            code: "unknown_source".to_owned(),
            message: String::new(),
        };
        let said = [
            Err("dataplane_timeout"),
            answered("[]"),
            Ok(Outcome::Done),
            Ok(refused),
            answered(r#"{"rejected": [{"at_ms": 1}, {"at_ms": 3}], "left_out": 4}"#),
            answered(r#"{"rejected": [{"at_ms": 2}, "odd"]}"#),
        ];
        let nodes = (0..).map(|number| NodeId::new(number).unwrap());
        let value = together(nodes.zip(said).collect(), "rejected");
        let expected = json!({
            "content": [
                {"at_ms": 3, "dataplane": 4}, {"at_ms": 2, "dataplane": 5},
                {"at_ms": 1, "dataplane": 4}, "odd",
            ],
            "dataplanes": [
                {"number": 0, "is_answered": false, "code": "dataplane_timeout"},
                {"number": 1, "is_answered": false, "code": "bad_answer"},
                {"number": 2, "is_answered": false, "code": "bad_answer"},
                {"number": 3, "is_answered": false, "code": "unknown_source"},
                {"number": 4, "is_answered": true, "left_out": 4},
                {"number": 5, "is_answered": true, "left_out": 0},
            ],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn of_many_items_the_newest_are_shown() {
        let items: Vec<Value> = (0..2_000).map(|at_ms| json!({"at_ms": at_ms})).collect();
        let text = json!({"alerts": items}).to_string();
        let said = BTreeMap::from([(NodeId::new(1).unwrap(), answered(&text))]);
        let value = together(said, "alerts");
        let content = value["content"].as_array().unwrap();
        assert_eq!(
            (content.len(), &content[0]["at_ms"]),
            (ITEMS_MAX, &json!(1_999))
        );
    }
}
