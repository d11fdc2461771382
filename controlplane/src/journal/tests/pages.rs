//! Lists of the journal: that pages hold what they should, and that no list reads everything.

use std::collections::BTreeSet;

use outrider_config::resource::to_document;
use serde_json::json;

use super::*;
use crate::api::page::{PageRequest, Pagination};

const PROJECT: u128 = 1;

fn project() -> ProjectId {
    ProjectId::new(Uid::from_bits(PROJECT))
}

fn by() -> Author<'static> {
    Author {
        actor: "test",
        origin: Origin::Api,
        now_ms: NOW,
    }
}

fn add(journal: &Journal, numbers: impl IntoIterator<Item = u128>) {
    let endpoint = |number: u128| {
        let owner = if number.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        };
        let spec = json!({"name": format!("Näme {number}"), "url": "https://a.example", "secret": "s", "owner_id": owner});
        let spec = to_document(&spec).unwrap();
        Stored::new(
            Kind::Endpoint,
            Uid::from_bits(number),
            project(),
            spec,
            &by(),
        )
        .unwrap()
    };
    let edits: Vec<Edit> = numbers
        .into_iter()
        .map(endpoint)
        .map(Edit::create)
        .collect();
    journal
        .change(&by(), |_| Ok::<_, ChangeError>((edits, ())))
        .unwrap();
}

fn with_project(dir: &TempDir) -> Journal {
    let journal = open(dir);
    let spec = to_document(&json!({"name": "p", "type": "outgoing"})).unwrap();
    let one = Stored::new(
        Kind::Project,
        Uid::from_bits(PROJECT),
        project(),
        spec,
        &by(),
    )
    .unwrap();
    journal
        .change(&by(), |_| {
            Ok::<_, ChangeError>((vec![Edit::create(one)], ()))
        })
        .unwrap();
    journal
}

fn page(
    journal: &Journal,
    selection: &Selection,
    query: &[(&str, &str)],
) -> (Vec<u128>, Pagination) {
    let request = PageRequest::parse(|name| {
        query
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    });
    let page = journal.read(|view| {
        let cut = request.cut(view.list(selection, &request.scan())?, |row| {
            row.uid().to_string()
        });
        let before = match cut.before() {
            Some(look) => view.nearest(selection, look)?,
            None => None,
        };
        let after = match cut.after() {
            Some(look) => view.nearest(selection, look)?,
            None => None,
        };
        Ok::<_, JournalError>(cut.finish(before.is_some(), after))
    });
    let (rows, pagination) = page.unwrap();
    (
        rows.iter().map(|row| row.uid().bits()).collect(),
        pagination,
    )
}

fn endpoints() -> Selection {
    Selection::all(Kind::Endpoint, project())
}

/// All pages on the way from the first one, `next` or `prev`.
fn walk(
    journal: &Journal,
    selection: &Selection,
    sort: &str,
    per_page: usize,
    direction: &str,
) -> Vec<Vec<u128>> {
    let (per_page, mut cursor, mut pages) = (per_page.to_string(), String::new(), Vec::new());
    loop {
        let key = format!("{direction}_page_cursor");
        let query = [
            ("perPage", &per_page[..]),
            ("sort", sort),
            ("direction", direction),
            (&key[..], &cursor[..]),
        ];
        let (rows, pagination) = page(journal, selection, &query);
        pages.push(rows);
        let (has_more, next) = match direction {
            "next" => (pagination.has_next_page, pagination.next_page_cursor),
            _ => (pagination.has_prev_page, pagination.prev_page_cursor),
        };
        if !has_more {
            return pages;
        }
        cursor = next;
    }
}

#[test]
fn rows_that_come_between_pages_neither_repeat_nor_hide_others() {
    let dir = TempDir::new().unwrap();
    let journal = with_project(&dir);
    add(&journal, (10..=100).step_by(10));
    let (first, pagination) = page(&journal, &endpoints(), &[("perPage", "4")]);
    assert_eq!(first, [100, 90, 80, 70]);
    assert!(pagination.has_next_page && !pagination.has_prev_page);
    add(&journal, [65, 75, 110]);
    let cursor = pagination.next_page_cursor.as_str();
    let (second, pagination) = page(
        &journal,
        &endpoints(),
        &[("perPage", "4"), ("next_page_cursor", cursor)],
    );
    assert_eq!(second, [60, 50, 40, 30]);
    let cursor = pagination.prev_page_cursor.as_str();
    let back = [
        ("perPage", "4"),
        ("direction", "prev"),
        ("prev_page_cursor", cursor),
    ];
    let (back, pagination) = page(&journal, &endpoints(), &back);
    assert_eq!(back, [80, 75, 70, 65]);
    assert!(pagination.has_prev_page && pagination.has_next_page);
    // The way back is short at the beginning, and one can walk on from there.
    let cursor = pagination.prev_page_cursor.as_str();
    let back = [
        ("perPage", "8"),
        ("direction", "prev"),
        ("prev_page_cursor", cursor),
    ];
    let (back, pagination) = page(&journal, &endpoints(), &back);
    assert_eq!(back, [110, 100, 90, 80]);
    assert!(!pagination.has_prev_page && pagination.has_next_page);
    assert_eq!(pagination.next_page_cursor, Uid::from_bits(75).to_string());
}

#[test]
fn filters_select_and_pages_of_one_walk_through_them() {
    let dir = TempDir::new().unwrap();
    let journal = with_project(&dir);
    add(&journal, 2..=25);
    let odd = Selection {
        owner: Some("odd".to_owned()),
        ..endpoints()
    };
    let pages = walk(&journal, &odd, "asc", 1, "next");
    assert_eq!(
        pages,
        (3..=25).step_by(2).map(|n| vec![n]).collect::<Vec<_>>()
    );
    let named = |part: &str| Selection {
        name_part: Some(part.to_owned()),
        ..endpoints()
    };
    assert_eq!(
        walk(&journal, &named("NÄME 2"), "desc", 3, "next").concat(),
        [25, 24, 23, 22, 21, 20, 2]
    );
    assert_eq!(walk(&journal, &named("%"), "desc", 3, "next"), [vec![]]);
    let nobody = Selection {
        owner: Some("nobody".to_owned()),
        ..endpoints()
    };
    let (rows, pagination) = page(&journal, &nobody, &[]);
    assert!(rows.is_empty() && !pagination.has_next_page && !pagination.has_prev_page);
    assert_eq!(
        (pagination.next_page_cursor, pagination.prev_page_cursor),
        (String::new(), String::new())
    );
}

#[test]
fn no_list_of_the_api_reads_or_sorts_all_rows() {
    let dir = TempDir::new().unwrap();
    let journal = with_project(&dir);
    add(&journal, 2..=5);
    for (index, condition) in [
        ("resources_by_page", "uid <= '7'"),
        ("resources_by_owner", "owner = 'odd' AND uid <= '7'"),
    ] {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT document FROM resources INDEXED BY {index}
             WHERE project = 'p' AND kind = 'endpoint' AND {condition} ORDER BY uid DESC LIMIT 3"
        );
        let reader = journal.reader().unwrap();
        let mut statement = reader.prepare(&sql).unwrap();
        let plan: Vec<String> = statement
            .query_map((), |row| row.get(3))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(plan.len(), 1, "{plan:?}");
        assert!(
            plan[0].contains(index) && plan[0].contains("uid<"),
            "{plan:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_row_is_on_one_page_whichever_way_one_walks(
        numbers in prop::collection::btree_set(2_u128..1000, 0..40),
        per_page in 1_usize..12,
        is_ascending: bool,
    ) {
        let dir = TempDir::new().unwrap();
        let journal = with_project(&dir);
        add(&journal, numbers.iter().copied());
        let sort = if is_ascending { "ASC" } else { "DESC" };
        let mut expected: Vec<u128> = numbers.iter().copied().collect();
        if !is_ascending {
            expected.reverse();
        }
        let pages = walk(&journal, &endpoints(), sort, per_page, "next");
        prop_assert_eq!(pages.concat(), expected.clone());
        // Back from the last of these pages, the same ones come again.
        if let [before @ .., last] = &pages[..] && let Some(first) = last.first() {
            let per_page = per_page.to_string();
            let mut cursor = Uid::from_bits(*first).to_string();
            for expected in before.iter().rev() {
                let query = [("perPage", &per_page[..]), ("sort", sort), ("direction", "prev"), ("prev_page_cursor", &cursor[..])];
                let (rows, pagination) = page(&journal, &endpoints(), &query);
                prop_assert_eq!(&rows, expected);
                prop_assert!(pagination.has_next_page);
                cursor = pagination.prev_page_cursor;
            }
        }
        let mut pages = walk(&journal, &endpoints(), sort, per_page, "prev");
        prop_assert!(pages.iter().all(|page| page.len() <= per_page));
        pages.reverse();
        // The last step back may show again what it has to show a row of: no gap, no other order.
        let seen: BTreeSet<u128> = pages.concat().into_iter().collect();
        prop_assert_eq!(seen, numbers.clone());
        let skip = pages.first().map_or(0, |first| {
            pages.get(1).map_or(0, |second| first.iter().filter(|row| second.contains(row)).count())
        });
        prop_assert!(skip <= 1);
        let mut all = pages.concat();
        all.dedup();
        prop_assert_eq!(all, expected);
    }
}
