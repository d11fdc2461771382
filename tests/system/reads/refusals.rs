//! What cannot be read, and by whom.

use serde_json::json;

use super::super::harness::{Receiver, uid_of};
use super::{LISTS, NO_SUCH_ID, outgoing, percent};

#[tokio::test]
async fn parameters_that_make_no_sense_are_400_and_say_so() {
    let (_outrider, mut project) = outgoing().await;
    let endpoint = project
        .make_endpoint("customer", "http://127.255.0.1:8080/", &json!({}))
        .await;
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    let delivery = project.uids("/eventdeliveries").await.remove(0);
    let many = format!("endpointId={NO_SUCH_ID}&").repeat(101);
    for list in LISTS {
        let foreign_cursor = if list == "/events" { &delivery } else { &event };
        for (query, says) in [
            ("startDate=yesterday".to_owned(), "startDate"),
            ("endDate=2026-01-01".to_owned(), "endDate"),
            ("startDate=2026-13-01T00:00:00".to_owned(), "startDate"),
            ("startDate=2026-02-30T00:00:00".to_owned(), "startDate"),
            ("endDate=2026-01-01T25:00:00".to_owned(), "endDate"),
            ("endDate=9999-12-31T23:59:59-23:59".to_owned(), "endDate"),
            (
                "startDate=2026-01-02T00:00:00&endDate=2026-01-01T00:00:00".to_owned(),
                "startDate cannot be greater than endDate",
            ),
            ("next_page_cursor=nonsense".to_owned(), "cursor"),
            (format!("next_page_cursor={NO_SUCH_ID}"), "cursor"),
            (format!("next_page_cursor={endpoint}"), "cursor"),
            (format!("next_page_cursor={foreign_cursor}"), "cursor"),
            (
                "direction=prev&prev_page_cursor=nonsense".to_owned(),
                "cursor",
            ),
            (many.clone(), "endpointId"),
        ] {
            let reply = project.get(&format!("{list}?{query}")).await;
            let message = reply.refusal(400);
            assert!(message.contains(says), "{list}?{query}: {message}");
            assert_eq!(reply.code(), "invalid_parameter", "{list}?{query}");
        }
        let last = format!("{list}?endDate=9999-12-31T23:59:59");
        assert_eq!(project.rows(&last).await.len(), 1, "{last}");
    }
    for word in ["Nonsense", "success", "Pending", "Success,Failure"] {
        let query = format!("/eventdeliveries?status={word}");
        let message = project.get(&query).await.refusal(400);
        assert!(message.contains("status"), "{word}: {message}");
        let query = format!("/eventdeliveries?status=Success&status={word}");
        project.get(&query).await.refusal(400);
    }
    for body in ["x", "[1]", "{}", "1", "{\"a\":", "null"] {
        let query = format!("/events?body={}", percent(body));
        let message = project.get(&query).await.refusal(400);
        assert_eq!(message, "body must be a nonempty JSON object", "{body}");
    }
}

#[tokio::test]
async fn ids_that_nothing_has_give_empty_lists() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = outgoing().await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    project.publish(&endpoint, "a", &json!(1)).await;
    let mut admin = outrider.admin_api();
    let other = admin.make_project("other", "outgoing", &json!({})).await;
    let elsewhere = other
        .again()
        .make_endpoint("x", "http://127.255.0.1:8080/", &json!({}))
        .await;
    for id in [
        NO_SUCH_ID,
        "x",
        &elsewhere,
        "01arz3ndektsv4rrffq69g5fav",
        "%20",
        "%00",
    ] {
        for query in [
            format!("/events?endpointId={id}"),
            format!("/events?sourceId={id}"),
            format!("/events?ownerId={id}"),
            format!("/events?idempotencyKey={id}"),
            format!("/events?brokerMessageId={id}"),
            format!("/eventdeliveries?endpointId={id}"),
            format!("/eventdeliveries?endpointId={id}&endpointId={id}"),
            format!("/eventdeliveries?eventId={id}"),
            format!("/eventdeliveries?subscriptionId={id}"),
            format!("/eventdeliveries?idempotencyKey={id}"),
            format!("/eventdeliveries?eventType={id}"),
            format!("/eventdeliveries?brokerMessageId={id}"),
        ] {
            let list = project.list(&query).await;
            assert_eq!(list["content"], json!([]), "{query}");
            let nothing = json!({
                "per_page": 20, "has_next_page": false, "has_prev_page": false,
                "prev_page_cursor": "", "next_page_cursor": "",
            });
            assert_eq!(list["pagination"], nothing, "{query}");
        }
    }
    // One that is known beside one that is not finds what the first one has.
    for list in LISTS {
        let query = format!("{list}?endpointId={NO_SUCH_ID}&endpointId={endpoint}");
        assert_eq!(project.rows(&query).await.len(), 1, "{query}");
        // An empty one is none.
        assert_eq!(project.rows(&format!("{list}?endpointId=")).await.len(), 1);
    }
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = outgoing().await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    let delivery = uid_of(&project.delivery(&event, "Success").await);
    let one = format!("/eventdeliveries/{delivery}/deliveryattempts");
    let attempt = uid_of(&project.get(&one).await.data(200)[0]);
    project.get(&format!("{one}/{attempt}")).await.data(200);
    for id in [
        NO_SUCH_ID,
        "x",
        &endpoint,
        "%00",
        "..%2F..",
        "01ARZ3NDEKTSV4RRFFQ69G5FAVX",
    ] {
        for (path, message) in [
            (format!("/events/{id}"), "event not found"),
            (format!("/eventdeliveries/{id}"), "event delivery not found"),
            (
                format!("/eventdeliveries/{id}/deliveryattempts"),
                "event delivery not found",
            ),
            (
                format!("/eventdeliveries/{id}/deliveryattempts/{attempt}"),
                "event delivery not found",
            ),
            (format!("{one}/{id}"), "event delivery attempt not found"),
        ] {
            assert_eq!(project.get(&path).await.refusal(404), message, "{path}");
        }
    }
    // The id of one thing is not the id of another.
    project
        .get(&format!("/events/{delivery}"))
        .await
        .refusal(404);
    project
        .get(&format!("/eventdeliveries/{event}"))
        .await
        .refusal(404);
    project.get(&format!("{one}/{delivery}")).await.refusal(404);
}

#[tokio::test]
async fn the_key_of_another_project_sees_nothing() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = outgoing().await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    let delivery = uid_of(&project.delivery(&event, "Success").await);
    let attempts = format!("/eventdeliveries/{delivery}/deliveryattempts");
    let attempt = uid_of(&project.get(&attempts).await.data(200)[0]);
    let mut admin = outrider.admin_api();
    let mut other = admin.make_project("other", "outgoing", &json!({})).await;
    let mut intruder = project.with_key(other.key());
    for path in [
        "/events".to_owned(),
        "/eventdeliveries".to_owned(),
        format!("/events/{event}"),
        format!("/eventdeliveries/{delivery}"),
        attempts.clone(),
        format!("{attempts}/{attempt}"),
    ] {
        let refusal = intruder.get(&path).await.refusal(404);
        assert_eq!(refusal, "project not found", "{path}");
        // In his own project there is none of it.
        if path.len() < 20 {
            assert_eq!(other.rows(&path).await, [json!(null); 0], "{path}");
        } else {
            other.get(&path).await.refusal(404);
        }
        project.with_key(admin.key()).get(&path).await.data(200);
    }
    for query in [
        format!("/events?endpointId={endpoint}"),
        format!("/eventdeliveries?eventId={event}"),
        format!("/eventdeliveries?endpointId={endpoint}"),
    ] {
        assert_eq!(other.rows(&query).await, [json!(null); 0], "{query}");
    }
}
