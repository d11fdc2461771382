//! The rules of pages, on lists of numbers.

use super::*;

fn request(query: &[(&str, &str)]) -> PageRequest {
    let get = |name: &str| {
        query
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    };
    PageRequest::parse(get)
}

/// The page over rows 1 to 9, as a store would make it.
fn page(query: &[(&str, &str)]) -> (Vec<u32>, Pagination) {
    let request = request(query);
    let scan = request.scan();
    let cursor: Option<u32> = scan.from.map(|text| text.parse().unwrap());
    let mut rows: Vec<u32> = (1..=9).collect();
    if scan.order == Order::Descending {
        rows.reverse();
    }
    rows.retain(|row| match (cursor, scan.order) {
        (None, _) => true,
        (Some(cursor), Order::Ascending) => *row >= cursor,
        (Some(cursor), Order::Descending) => *row <= cursor,
    });
    rows.truncate(scan.limit);
    let cut = request.cut(rows, u32::to_string);
    let nearest = |look: &Look| {
        let beyond: u32 = look.beyond.parse().unwrap();
        let row = match look.order {
            Order::Ascending => beyond + 1,
            Order::Descending => beyond - 1,
        };
        (1..=9).contains(&row).then(|| row.to_string())
    };
    let has_before = cut.before().and_then(nearest).is_some();
    let after = cut.after().and_then(nearest);
    cut.finish(has_before, after)
}

#[test]
fn parameters_that_make_no_sense_have_their_defaults() {
    for (text, expected) in [
        ("", 20),
        ("abc", 20),
        ("0", 20),
        ("-3", 20),
        ("1.5", 20),
        ("99999999999999999999", 20),
        ("1", 1),
        ("1000", 1000),
        ("1001", 1000),
        ("4294967296", 1000),
    ] {
        assert_eq!(request(&[("perPage", text)]).per_page, expected, "{text}");
    }
    assert_eq!(request(&[]).per_page, 20);
    for (sort, expected) in [
        ("asc", Order::Ascending),
        ("ASC", Order::Ascending),
        ("desc", Order::Descending),
        ("up", Order::Descending),
        ("", Order::Descending),
    ] {
        assert_eq!(request(&[("sort", sort)]).order, expected, "{sort}");
    }
    let both = [
        ("next_page_cursor", "n"),
        ("prev_page_cursor", "p"),
        ("direction", "PREV"),
    ];
    assert_eq!(request(&both).cursor.as_deref(), Some("p"));
    assert_eq!(request(&both[..2]).cursor.as_deref(), Some("n"));
    assert_eq!(
        request(&[("next_page_cursor", &"x".repeat(129))]).cursor,
        None
    );
}

/// Query, rows, next and previous cursor, whether there is a next and a previous page.
type Row = (
    &'static [(&'static str, &'static str)],
    &'static [u32],
    [&'static str; 2],
    [bool; 2],
);

#[test]
fn pages_are_those_of_the_contract() {
    let table: &[Row] = &[
        (&[], &[9, 8, 7], ["6", "9"], [true, false]),
        (
            &[("next_page_cursor", "6")],
            &[6, 5, 4],
            ["3", "6"],
            [true, true],
        ),
        (
            &[("next_page_cursor", "3")],
            &[3, 2, 1],
            ["1", "3"],
            [false, true],
        ),
        (&[("next_page_cursor", "1")], &[1], ["", "1"], [false, true]),
        (&[("next_page_cursor", "0")], &[], ["", ""], [false, false]),
        (&[("sort", "asc")], &[1, 2, 3], ["4", "1"], [true, false]),
        (
            &[("sort", "asc"), ("next_page_cursor", "8")],
            &[8, 9],
            ["9", "8"],
            [false, true],
        ),
        (
            &[("direction", "prev"), ("prev_page_cursor", "3")],
            &[6, 5, 4],
            ["3", "6"],
            [true, true],
        ),
        (
            &[("direction", "prev"), ("prev_page_cursor", "6")],
            &[9, 8, 7],
            ["6", "9"],
            [true, false],
        ),
        // Short on the way back: what follows is told truthfully.
        (
            &[("direction", "prev"), ("prev_page_cursor", "8")],
            &[9, 8],
            ["7", "9"],
            [true, false],
        ),
        (
            &[("direction", "prev"), ("prev_page_cursor", "7")],
            &[9, 8, 7],
            ["6", "9"],
            [true, false],
        ),
        (
            &[("direction", "prev"), ("prev_page_cursor", "9")],
            &[9],
            ["8", "9"],
            [true, false],
        ),
        (
            &[
                ("sort", "asc"),
                ("direction", "prev"),
                ("prev_page_cursor", "4"),
            ],
            &[1, 2, 3],
            ["4", "1"],
            [true, false],
        ),
        (
            &[
                ("sort", "asc"),
                ("direction", "prev"),
                ("prev_page_cursor", "2"),
            ],
            &[1, 2],
            ["3", "1"],
            [true, false],
        ),
        // Backwards from the end.
        (
            &[("direction", "prev")],
            &[3, 2, 1],
            ["1", "3"],
            [false, true],
        ),
        (
            &[("direction", "prev"), ("sort", "asc")],
            &[7, 8, 9],
            ["9", "7"],
            [false, true],
        ),
    ];
    for (query, rows, [next, prev], [has_next, has_prev]) in table {
        let query = [&[("perPage", "3")], *query].concat();
        let (found, pagination) = page(&query);
        assert_eq!(found, *rows, "{query:?}");
        let expected = Pagination {
            per_page: 3,
            has_next_page: *has_next,
            has_prev_page: *has_prev,
            prev_page_cursor: (*prev).to_owned(),
            next_page_cursor: (*next).to_owned(),
        };
        assert_eq!(pagination, expected, "{query:?}");
    }
}
