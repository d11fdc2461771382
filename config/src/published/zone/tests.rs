use std::collections::BTreeMap;

use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::txt::Parser;
use outrider_webhook::id::{EgressPoolId, Uid};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

use super::*;
use crate::resource::{EgressPoolSpec, from_json};

/// 2026-03-01T00:00:00Z.
const NOW: i64 = 1_772_323_200_000;

fn pool(id: u128, mut json: Value) -> Arc<EgressPool> {
    json["updated_at"] = "2026-02-05T00:00:00Z".into();
    let spec: EgressPoolSpec = from_json(json).spec.unwrap();
    let pool = EgressPool::compile(EgressPoolId::new(Uid::from_bits(id)), 7, &spec);
    Arc::new(pool.unwrap_or_else(|errors| panic!("{errors:?}")))
}

/// What a name server makes of it: the records of each name, in their order.
fn loaded(zone: &str) -> BTreeMap<String, Vec<RData>> {
    let origin = Name::from_ascii("egress.example.com.").unwrap();
    let parsed = Parser::new(zone.to_owned(), None, Some(origin)).parse();
    let (origin, sets) = parsed.unwrap_or_else(|error| panic!("{error}: {zone}"));
    assert_eq!(origin.to_ascii(), "egress.example.com.");
    let mut names: BTreeMap<String, Vec<RData>> = BTreeMap::new();
    for (key, set) in sets {
        let known = [RecordType::A, RecordType::AAAA, RecordType::TXT];
        assert!(known.contains(&key.record_type), "{}", key.record_type);
        assert_eq!(set.ttl(), TTL_S);
        let records = set
            .records_without_rrsigs()
            .map(|record| record.data.clone());
        names
            .entry(Name::from(key.name).to_ascii())
            .or_default()
            .extend(records);
    }
    names
}

fn addresses(records: &[RData]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = records.iter().filter_map(RData::ip_addr).collect();
    addresses.sort_unstable();
    addresses
}

/// The strings of the TXT records.
fn texts(records: &[RData]) -> Vec<Vec<String>> {
    let texts = records.iter().filter_map(|data| match data {
        RData::TXT(text) => Some(text),
        _ => None,
    });
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut texts: Vec<Vec<String>> = texts
        .map(|text| text.txt_data.iter().map(|one| string(one)).collect())
        .collect();
    texts.sort();
    texts
}

#[test]
fn a_name_server_loads_it_and_serves_what_is_used_or_announced() {
    let eu = json!({"name": "default", "region": "eu \"1\" \\ ;(", "addresses": [
        {"address": "192.0.2.10"}, {"address": "2001:db8::10"},
        {"address": "192.0.2.11", "state": "warming", "effective_at": "2026-03-08T00:00:00Z"},
        {"address": "192.0.2.12", "state": "draining", "retired_at": "2026-03-09T00:00:00Z"},
        {"address": "192.0.2.13", "state": "down"},
        {"address": "192.0.2.14", "state": "retired", "retired_at": "2026-02-20T00:00:00Z"},
    ]});
    let us = json!({"name": "300", "addresses": [{"address": "198.51.100.1"}]});
    let gone = json!({"name": "gone", "addresses": [{"address": "198.51.100.9", "state": "down"}]});
    let pools = [pool(1, eu), pool(2, us), pool(3, gone)];
    let zone = Published::of(&pools, false, NOW).to_zone();
    let names = loaded(&zone);
    let ips = |texts: &[&str]| -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let eu = ips(&["192.0.2.10", "192.0.2.11", "192.0.2.12", "2001:db8::10"]);
    let us = ips(&["198.51.100.1"]);
    let whole = ips(&[
        "192.0.2.10",
        "192.0.2.11",
        "192.0.2.12",
        "198.51.100.1",
        "2001:db8::10",
    ]);
    let of = |name: &str| addresses(&names[&format!("{name}egress.example.com.")]);
    assert_eq!((of("default."), of("300."), of("")), (eu, us, whole));
    assert_eq!(names.len(), 3, "{zone}");
    assert_eq!(
        texts(&names["egress.example.com."]),
        [["version=7", "updated_at=2026-02-05T00:00:00Z"]]
    );
    assert_eq!(
        texts(&names["default.egress.example.com."]),
        [
            vec!["mode=shared", "region=eu \"1\" \\ ;("],
            vec!["state=active", "192.0.2.10/32", "2001:db8::10/128"],
            vec![
                "state=draining",
                "retired_at=2026-03-09T00:00:00Z",
                "192.0.2.12/32"
            ],
            vec![
                "state=warming",
                "effective_at=2026-03-08T00:00:00Z",
                "192.0.2.11/32"
            ],
        ]
    );
}

#[test]
fn nothing_and_the_route_of_the_host_have_no_address() {
    for (has_host_route, expected) in [(false, 1), (true, 2)] {
        let zone = Published::of([], has_host_route, NOW).to_zone();
        let names = loaded(&zone);
        assert_eq!(names.len(), expected, "{zone}");
        let all: Vec<RData> = names.into_values().flatten().collect();
        assert_eq!((addresses(&all), texts(&all).len()), (vec![], expected));
    }
}

#[test]
fn a_pool_whose_name_is_none_of_a_host_is_in_the_whole_list_alone() {
    for name in ["-", "-a", "a-"] {
        let pools = [pool(
            1,
            json!({"name": name, "addresses": [{"address": "192.0.2.1"}]}),
        )];
        let zone = Published::of(&pools, false, NOW).to_zone();
        let names = loaded(&zone);
        let whole = &names["egress.example.com."];
        assert_eq!((names.len(), addresses(whole).len()), (1, 1), "{zone}");
    }
}

proptest! {
    /// Whatever the operator wrote, it loads, and no string is too long.
    #[test]
    fn every_list_loads(
        name in "[a-wyz0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        region in "[^\\p{Cc}]{1,60}",
        padding in 0_usize..255,
        last in prop::collection::btree_set(1_u8.., 1..20),
    ) {
        prop_assume!(name != "dynamic");
        let mut region = "x".repeat(padding) + &region;
        region.truncate(region.floor_char_boundary(255));
        let list: Vec<Value> = last.iter().map(|last| json!({"address": format!("192.0.2.{last}")})).collect();
        let pools = [pool(1, json!({"name": name, "region": region, "addresses": list}))];
        let zone = Published::of(&pools, false, NOW).to_zone();
        prop_assert!(zone.is_ascii());
        let names = loaded(&zone);
        for owner in ["", &format!("{name}.")] {
            let records = &names[&format!("{owner}egress.example.com.")];
            prop_assert_eq!(addresses(records).len(), last.len());
        }
        let of_pool = texts(&names[&format!("{name}.egress.example.com.")]);
        if region.is_ascii() {
            let told = format!("region={region}");
            prop_assert_eq!(&of_pool[0][1], &told[..told.len().min(255)]);
        }
    }
}
