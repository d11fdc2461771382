//! Section 2.5, as clients see it.

use super::*;

#[tokio::test]
async fn section_2_5_a_client_walks_there_and_back() {
    let mut fixture = Fixture::with_projects().await;
    let all = "/api/v1/projects/{out}/endpoints";
    for n in 1..=5 {
        fixture.advance(1); // ids are in the order of their time
        let body = json!({"name": format!("e{n}"), "url": "https://a.example", "owner_id": if n % 2 == 0 { "even" } else { "odd" }});
        fixture.run(vec![row("POST", all, body, 201)]).await;
    }
    let names =
        |names: &[&str]| -> Value { names.iter().map(|name| json!({"name": name})).collect() };
    let page = |query: &str, rows: &[&str], next: bool, prev: bool| {
        get(&format!("{all}?{query}"), 200).shows(json!({
            "content": names(rows),
            "pagination": {"has_next_page": next, "has_prev_page": prev},
        }))
    };
    let cursor = |row: Row| {
        row.saves("next", "/pagination/next_page_cursor")
            .saves("prev", "/pagination/prev_page_cursor")
    };
    fixture
        .run(vec![
            page("", &["e5", "e4", "e3", "e2", "e1"], false, false),
            cursor(page("perPage=2", &["e5", "e4"], true, false)),
            cursor(page(
                "perPage=2&next_page_cursor={next}",
                &["e3", "e2"],
                true,
                true,
            )),
            page(
                "perPage=2&direction=prev&prev_page_cursor={prev}",
                &["e5", "e4"],
                true,
                false,
            ),
            page(
                "perPage=2&next_page_cursor={next}&direction=next",
                &["e1"],
                false,
                true,
            ),
            cursor(page("perPage=2&sort=asc", &["e1", "e2"], true, false)),
            page(
                "perPage=2&sort=ASC&next_page_cursor={next}",
                &["e3", "e4"],
                true,
                true,
            ),
            page("ownerId=odd&perPage=1", &["e5"], true, false),
            page("ownerId=even&q=E2", &["e2"], false, false),
            page("ownerId=nobody", &[], false, false),
            page("q=E", &["e5", "e4", "e3", "e2", "e1"], false, false),
            page(
                "perPage=nonsense&sort=up&direction=sideways&next_page_cursor=",
                &["e5", "e4", "e3", "e2", "e1"],
                false,
                false,
            ),
        ])
        .await;
}
