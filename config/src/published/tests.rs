use super::*;
use crate::resource::{EgressPoolSpec, from_json};
use outrider_webhook::id::{EgressPoolId, Uid};
use proptest::prelude::*;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// 2026-03-01T00:00:00Z.
const NOW: i64 = 1_772_323_200_000;

fn pool(id: u128, revision: u64, json: Value) -> Arc<EgressPool> {
    let spec: EgressPoolSpec = from_json(json).spec.unwrap();
    let pool = EgressPool::compile(EgressPoolId::new(Uid::from_bits(id)), revision, &spec);
    Arc::new(pool.unwrap_or_else(|errors| panic!("{errors:?}")))
}

fn row(name: &str, state: &str, ipv4: &[&str], ipv6: &[&str]) -> Value {
    json!({
        "name": name, "region": null, "mode": "shared", "ipv4": ipv4, "ipv6": ipv6, "state": state,
        "effective_at": null, "retired_at": null,
    })
}

#[test]
fn nothing_is_a_list_and_the_route_of_the_host_has_no_address() {
    let list = Published::of([], false, NOW);
    assert_eq!(
        list.to_json(),
        json!({"version": 0, "updated_at": null, "pools": []})
    );
    assert_eq!((list.to_text().as_str(), list.ends_ms()), ("", None));
    let list = Published::of([], true, NOW);
    let mut dynamic = row("dynamic", "active", &[], &[]);
    dynamic["mode"] = "dynamic".into();
    assert_eq!(list.to_json()["pools"], json!([dynamic]));
    assert_eq!(list.to_text(), "");
}

#[test]
fn there_is_a_row_for_each_state_and_its_times() {
    let at = "2026-03-08T00:00:00Z";
    let eu = pool(
        1,
        3,
        json!({"name": "eu", "region": "eu-1", "updated_at": "2026-02-03T00:00:00Z", "addresses": [
            {"address": "2001:db8::2"}, {"address": "192.0.2.10"}, {"address": "192.0.2.9"},
            {"address": "192.0.2.1", "state": "warming", "effective_at": at},
            {"address": "192.0.2.2", "state": "warming"},
            {"address": "192.0.2.3", "state": "down"},
            {"address": "192.0.2.4", "state": "draining", "retired_at": at},
        ]}),
    );
    let us = pool(
        2,
        5,
        json!({"name": "us", "updated_at": "2026-02-05T00:00:00Z", "addresses": [{"address": "198.51.100.1"}]}),
    );
    let list = Published::of([&eu, &us], false, NOW);
    let with = |mut row: Value, field: &str| {
        row["region"] = "eu-1".into();
        if !field.is_empty() {
            row[field] = at.into();
        }
        row
    };
    let active = row(
        "eu",
        "active",
        &["192.0.2.9/32", "192.0.2.10/32"],
        &["2001:db8::2/128"],
    );
    let expected = json!({"version": 5, "updated_at": "2026-02-05T00:00:00Z", "pools": [
        with(row("eu", "warming", &["192.0.2.2/32"], &[]), ""),
        with(row("eu", "warming", &["192.0.2.1/32"], &[]), "effective_at"),
        with(active, ""),
        with(row("eu", "draining", &["192.0.2.4/32"], &[]), "retired_at"),
        with(row("eu", "down", &["192.0.2.3/32"], &[]), ""),
        row("us", "active", &["198.51.100.1/32"], &[]),
    ]});
    assert_eq!(list.to_json(), expected);
    let text = "192.0.2.1/32\n192.0.2.2/32\n192.0.2.4/32\n192.0.2.9/32\n192.0.2.10/32\n198.51.100.1/32\n2001:db8::2/128\n";
    assert_eq!(list.to_text(), text);
    assert_eq!(list.ends_ms(), None);
}

#[test]
fn a_retired_address_is_listed_thirty_days_longer() {
    let retired = |at: &str| json!({"address": "192.0.2.1", "state": "retired", "retired_at": at});
    let old = pool(
        1,
        1,
        json!({"name": "old", "addresses": [retired("2026-03-01T00:00:00Z")]}),
    );
    let end = NOW + 30 * DAY_MS;
    for (now, is_listed) in [
        (NOW - DAY_MS, true),
        (end - 1, true),
        (end, false),
        (end + DAY_MS, false),
    ] {
        let list = Published::of([&old], false, now);
        assert_eq!(
            list.to_json()["pools"].as_array().unwrap().len(),
            usize::from(is_listed)
        );
        assert_eq!(list.to_text().is_empty(), !is_listed);
        assert_eq!(list.ends_ms(), is_listed.then_some(end));
        assert_eq!(list.to_json()["version"], 1);
    }
}

prop_compose! {
    fn some_pool(id: u128)(
        states in prop::collection::vec((0..AddressState::ALL.len(), 0_i64..60, any::<bool>()), 1..12),
        revision in 1_u64..9,
    ) -> Arc<EgressPool> {
        let addresses: Vec<Value> = states.iter().enumerate().map(|(at, (state, days, is_v4))| {
            let state = AddressState::ALL[*state];
            let address = if *is_v4 { format!("10.0.{id}.{at}") } else { format!("2001:db8:{id}::{at}") };
            let retired_at = rfc3339(NOW - days * DAY_MS);
            let retired_at = (state == AddressState::Retired).then_some(retired_at);
            json!({"address": address, "state": state.as_str(), "retired_at": retired_at})
        }).collect();
        pool(id, revision, json!({"name": format!("p{id}"), "addresses": addresses}))
    }
}

proptest! {
    /// Every address that a connection may come from is in both forms, exactly once; nothing else
    /// is, and the list stays the same until the time it says.
    #[test]
    fn the_list_is_what_the_pools_are(one in some_pool(1), two in some_pool(2), days in 0_i64..40) {
        let now = NOW + days * DAY_MS;
        let list = Published::of([&one, &two], false, now);
        let json = list.to_json();
        let rows = json["pools"].as_array().unwrap();
        let listed = |range: &str| rows.iter().flat_map(|row| ["ipv4", "ipv6"].map(|family| &row[family]))
            .flat_map(|list| list.as_array().unwrap()).filter(|one| *one == range).count();
        let text = list.to_text();
        let lines: Vec<&str> = text.lines().collect();
        let mut count = 0;
        for one in one.addresses().iter().chain(two.addresses().iter()) {
            let is_old = one.state == AddressState::Retired && one.retired_at_ms.unwrap() + RETIRED_MS <= now;
            let range = range(one.address);
            prop_assert_eq!(listed(&range), usize::from(!is_old), "{}", range);
            let is_seen = !is_old && one.state != AddressState::Down;
            prop_assert_eq!(lines.iter().filter(|line| **line == range).count(), usize::from(is_seen));
            count += usize::from(is_seen);
        }
        prop_assert_eq!(lines.len(), count);
        prop_assert_eq!(&json["version"], one.revision().max(two.revision()));
        if let Some(end) = list.ends_ms() {
            prop_assert!(end > now);
            prop_assert_eq!(Published::of([&one, &two], false, end - 1).to_json(), json.clone());
            prop_assert_ne!(Published::of([&one, &two], false, end).to_json(), json);
        }
    }
}
