//! Lists are walked in pages.

use serde_json::json;

use super::super::harness::{Api, Receiver, uid_of};
use super::{LISTS, outgoing};

/// The page of a list, as a client reads it.
struct Page {
    uids: Vec<String>,
    has_next: bool,
    has_prev: bool,
    next: String,
    prev: String,
    per_page: u64,
}

async fn page(api: &mut Api, list: &str, query: &str) -> Page {
    let shown = api.list(&format!("{list}?{query}")).await;
    let pagination = &shown["pagination"];
    let text = |name: &str| pagination[name].as_str().unwrap().to_owned();
    Page {
        uids: shown["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(uid_of)
            .collect(),
        has_next: pagination["has_next_page"].as_bool().unwrap(),
        has_prev: pagination["has_prev_page"].as_bool().unwrap(),
        next: text("next_page_cursor"),
        prev: text("prev_page_cursor"),
        per_page: pagination["per_page"].as_u64().unwrap(),
    }
}

/// Walks a list forth and back; `expected` is its order.
async fn assert_walk(api: &mut Api, list: &str, sort: &str, per_page: usize, expected: &[String]) {
    let what = format!("{list}, {sort}, {per_page} a page");
    let base = format!("sort={sort}&perPage={per_page}");
    let (mut forth, mut query) = (Vec::new(), base.clone());
    let last = loop {
        let at = page(api, list, &query).await;
        assert_eq!(at.has_prev, !forth.is_empty(), "{what}, {forth:?}");
        assert_eq!(at.prev, at.uids[0], "{what}");
        let rest = expected.len() - forth.len();
        assert_eq!(at.uids.len(), per_page.min(rest), "{what}");
        assert_eq!(at.has_next, rest > per_page, "{what}");
        forth.extend(at.uids.clone());
        assert!(forth.len() <= expected.len(), "{what}: no end");
        if !at.has_next {
            break at;
        }
        assert_eq!(
            at.next,
            expected[forth.len()],
            "{what}: the row after the page"
        );
        query = format!("{base}&direction=next&next_page_cursor={}", at.next);
    };
    assert_eq!(forth, expected, "{what}");

    let mut back = last.uids.clone();
    let (mut at, mut seen) = (last, 0);
    while at.has_prev {
        let query = format!("{base}&direction=prev&prev_page_cursor={}", at.prev);
        let before = page(api, list, &query).await;
        // The row of the cursor is the extra one, which is not shown again.
        assert!(before.has_next, "{what}, backwards");
        assert_eq!(before.next, at.uids[0], "{what}, backwards");
        back.splice(0..0, before.uids.clone());
        at = before;
        seen += 1;
        assert!(seen <= expected.len(), "{what}, backwards: no end");
    }
    assert_eq!(back, expected, "{what}, backwards");
    // And on again from the first page.
    if expected.len() > per_page {
        let query = format!("{base}&direction=next&next_page_cursor={}", at.next);
        let on = page(api, list, &query).await;
        let end = expected.len().min(at.uids.len() + per_page);
        assert_eq!(on.uids, expected[at.uids.len()..end], "{what}, on again");
    }
}

#[tokio::test]
async fn lists_are_walked_in_pages_of_every_size_forth_and_back() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = outgoing().await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    let mut admin = outrider.admin_api();
    let mut intake = admin.make_project("intake", "incoming", &json!({})).await;
    let backend = intake
        .make_endpoint("backend", &receiver.url("/backend"), &json!({}))
        .await;
    let (source, mask) = intake.make_source("shop", &json!({})).await;
    intake.subscribe_to(&backend, &source).await;
    let mut provider = outrider.client();
    let (mut sent, mut came) = (Vec::new(), Vec::new());
    for n in 0..7 {
        sent.push(project.publish(&endpoint, "a", &json!(n)).await);
        let path = format!("/ingest/{mask}");
        let reply = provider.post(&path, &[], n.to_string()).await.unwrap();
        came.push(reply.event_uid());
    }
    for (api, events) in [(&mut project, &sent), (&mut intake, &came)] {
        for list in LISTS {
            let newest = api.uids(list).await;
            assert_eq!(newest.len(), 7);
            if list == "/events" {
                let reversed: Vec<&String> = events.iter().rev().collect();
                assert_eq!(newest.iter().collect::<Vec<_>>(), reversed, "newest first");
            }
            let oldest: Vec<String> = newest.iter().rev().cloned().collect();
            for per_page in [1, 2, 3, 6, 7, 8] {
                assert_walk(api, list, "DESC", per_page, &newest).await;
                assert_walk(api, list, "asc", per_page, &oldest).await;
            }
            for odd in ["0", "-1", "abc", "", "1.5", "99999999999999999999"] {
                let whole = page(api, list, &format!("perPage={odd}")).await;
                assert_eq!((whole.per_page, whole.uids.len()), (20, 7), "perPage={odd}");
                assert!(!whole.has_next && !whole.has_prev);
            }
            // The cursor of the other direction says nothing.
            let query = format!("perPage=2&prev_page_cursor={}", newest[4]);
            assert_eq!(page(api, list, &query).await.uids, newest[..2]);
            // A page that is filtered is cut after the filter.
            let query = format!("perPage=3&endpointId={endpoint}&endpointId={backend}");
            let first = page(api, list, &query).await;
            assert_eq!((first.uids, first.has_next), (newest[..3].to_vec(), true));
        }
    }
}

#[tokio::test]
async fn rows_that_come_between_two_pages_move_nothing() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = outgoing().await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    for list in LISTS {
        for n in 0..4 {
            project.publish(&endpoint, "a", &json!(n)).await;
        }
        let before = project.uids(list).await;
        let first = page(&mut project, list, "perPage=2").await;
        assert_eq!(first.uids, before[..2]);
        for n in 4..7 {
            project.publish(&endpoint, "a", &json!(n)).await;
        }
        let query = format!("perPage=2&next_page_cursor={}", first.next);
        let second = page(&mut project, list, &query).await;
        assert_eq!(second.uids, before[2..4]);
        let query = format!("perPage=2&direction=prev&prev_page_cursor={}", second.prev);
        let back = page(&mut project, list, &query).await;
        assert_eq!((back.uids, back.has_prev), (before[..2].to_vec(), true));
        // Oldest first, the new ones are at the end.
        let query = "perPage=1000&sort=ASC";
        let all = page(&mut project, list, query).await.uids;
        let old: Vec<String> = before.iter().rev().cloned().collect();
        assert_eq!(all[..before.len()], old);
        assert_eq!(all.len(), before.len() + 3);
    }
}
