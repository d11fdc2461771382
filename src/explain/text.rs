//! An explanation for people: the sentences of the answer, with times and ids.

use serde_json::Value;

/// The text, with a newline at its end.
pub(super) fn of(explained: &Value) -> String {
    let mut text = Text::default();
    let event = &explained["event"];
    text.line(0, &["event", str(event, "uid"), str(event, "event_type")]);
    text.line(1, &["received", str(event, "received_at")]);
    text.line(1, &["accepted", str(event, "accepted_at")]);
    if let Some(key) = event["idempotency_key"].as_str() {
        text.line(1, &["idempotency key", key]);
    }
    text.says(1, explained);
    text.says(1, &explained["verification"]);
    text.says(1, &explained["schema"]);
    routing(&mut text, &explained["routing"]);
    for delivery in list(explained, "deliveries") {
        self::delivery(&mut text, delivery);
    }
    if explained["deliveries_more"] == true {
        text.line(0, &["more deliveries are not shown"]);
    }
    let repeats = list(explained, "repeats").count();
    if repeats > 0 {
        text.line(
            0,
            &[
                &repeats.to_string(),
                "repeats with its idempotency key were not delivered",
            ],
        );
    }
    text.0
}

fn routing(text: &mut Text, routing: &Value) {
    if routing.is_null() {
        return;
    }
    let revision = routing["revision"].to_string();
    text.line(0, &["routing, under configuration revision", &revision]);
    text.says(1, &routing["audience"]);
    text.says(1, routing);
    for refused in list(routing, "refused") {
        text.says(2, refused);
    }
    match routing["refused_more"].as_u64() {
        None | Some(0) => {}
        Some(more) => text.line(
            2,
            &[&more.to_string(), "more were refused by their filters"],
        ),
    }
}

fn delivery(text: &mut Text, delivery: &Value) {
    let uid = str(delivery, "uid");
    text.line(0, &["delivery", uid, "to", str(delivery, "target_url")]);
    if let Some(number) = delivery["replay"].as_u64() {
        text.line(1, &["of replay", &number.to_string()]);
    }
    text.says(1, delivery);
    text.says(1, &delivery["order"]);
    for attempt in list(delivery, "attempts") {
        let number = attempt["number"].to_string();
        let says = [&number, str(attempt, "started_at"), str(attempt, "says")];
        text.line(2, &[&["attempt"], &says[..]].concat());
    }
    for limit in list(delivery, "limits") {
        text.line(2, &["limit", str(limit, "at"), str(limit, "says")]);
    }
    if let Some(due) = delivery["next_due_at"].as_str() {
        text.line(1, &["next attempt due", due]);
    }
}

fn list<'v>(of: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    of.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn str<'v>(of: &'v Value, name: &str) -> &'v str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, depth: usize, words: &[&str]) {
        self.0.push_str(&"  ".repeat(depth));
        let words: Vec<String> = words.iter().map(|word| printable(word)).collect();
        self.0.push_str(&words.join(" "));
        self.0.push('\n');
    }

    /// The sentence that a part of the answer has for people.
    fn says(&mut self, depth: usize, of: &Value) {
        if let Some(says) = of.get("says").and_then(Value::as_str) {
            self.line(depth, &[says]);
        }
    }
}

/// What others sent does not command a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|one| if one.is_control() { '\u{fffd}' } else { one })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_without_anything_is_a_text_all_the_same() {
        assert!(of(&json!({})).starts_with("event"));
        assert!(of(&Value::Null).ends_with('\n'));
    }

    #[test]
    fn control_characters_of_others_are_not_printed() {
        let text = of(&json!({"event": {"uid": "U", "event_type": "a\u{1b}[2Jb\n"}}));
        assert!(
            text.starts_with("event U a\u{fffd}[2Jb\u{fffd}\n"),
            "{text:?}"
        );
    }

    #[test]
    fn every_sentence_is_in_it() {
        let says = |text: &str| json!({"says": text});
        let text = of(&json!({
            "event": {"uid": "U", "event_type": "t"},
            "verification": says("one"), "schema": says("two"),
            "routing": {
                "revision": 7, "says": "four", "audience": says("three"),
                "refused": [says("five")], "refused_more": 2,
            },
            "deliveries": [{
                "uid": "D", "target_url": "u", "says": "six", "replay": 1, "order": says("nine"),
                "attempts": [{"number": 1, "started_at": "now", "says": "seven"}],
                "limits": [{"at": "then", "says": "eight"}], "next_due_at": "later",
            }],
            "deliveries_more": true, "repeats": ["R"],
        }));
        for part in [
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "nine",
            "revision 7",
            "2 more",
            "replay 1",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains("attempt 1 now seven\n") && text.contains("limit then eight\n"));
        assert!(
            text.contains("due later\n") && text.contains("1 repeats"),
            "{text}"
        );
    }
}
