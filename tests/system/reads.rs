//! What happened to events, read back: every filter, every page, and nothing of anybody else.

mod date;
mod filters;
mod pages;
mod refusals;
mod shown;

use serde_json::{Value, json};

use super::harness::{Api, Outrider, Setup};

const NO_SUCH_ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const LISTS: [&str; 2] = ["/events", "/eventdeliveries"];

/// An outgoing project whose deliveries are tried twice, a second apart.
async fn outgoing() -> (Outrider, Api) {
    let outrider = Setup::through_api().start().await;
    let config = json!({"strategy": {"type": "linear", "duration": 1, "retry_count": 2}});
    let mut admin = outrider.admin_api();
    let project = admin.make_project("shop", "outgoing", &config).await;
    (outrider, project)
}

async fn incoming() -> (Outrider, Api) {
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let project = admin.make_project("intake", "incoming", &json!({})).await;
    (outrider, project)
}

/// Publishes this event; its uid.
async fn publish(project: &mut Api, event: Value) -> String {
    project.post("/events", &event).await.event_uid()
}

fn sorted(mut uids: Vec<String>) -> Vec<String> {
    uids.sort_unstable();
    uids
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
