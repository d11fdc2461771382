use super::*;
use crate::resource::{from_document, from_json, to_document};
use outrider_webhook::id::Uid;
use proptest::prelude::*;

const PROJECT: &str = "01JD4N3T8Q2W5X6Y7Z8A9B0C1D";

fn compiled(json: Value) -> Result<EgressPool, Vec<String>> {
    let spec: EgressPoolSpec = from_json(json).spec.unwrap();
    let pool = EgressPool::compile(EgressPoolId::new(Uid::from_bits(2)), 7, &spec);
    pool.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// A good pool with one field of another value.
fn with(field: &str, value: Value) -> Result<EgressPool, Vec<String>> {
    let mut json = json!({"name": "eu", "addresses": [{"address": "192.0.2.1"}]});
    json[field] = value;
    compiled(json)
}

/// The same with one field of its address.
fn with_address(field: &str, value: Value) -> Result<EgressPool, Vec<String>> {
    let mut address = json!({"address": "192.0.2.1"});
    address[field] = value;
    with("addresses", json!([address]))
}

#[test]
fn every_field_that_cannot_be_used_is_named_with_what_to_change() {
    let many: Vec<Value> = (0..257)
        .map(|n| json!({"address": format!("2001:db8::{n:x}")}))
        .collect();
    for (field, value, expected) in [
        ("name", json!(""), "`name`: is missing"),
        ("name", json!("EU"), "`name`: must be 1 to 63 of"),
        ("name", json!("e_u"), "`name`: must be 1 to 63 of"),
        ("name", json!("x".repeat(64)), "`name`: must be 1 to 63 of"),
        ("name", json!("dynamic"), "`name`: cannot be `dynamic`"),
        (
            "mode",
            json!("both"),
            "`mode`: must be `shared` or `dedicated`",
        ),
        (
            "selection",
            json!("random"),
            "`selection`: must be `least_connections` or `sticky`",
        ),
        ("addresses", json!([]), "`addresses`: is missing"),
        (
            "addresses",
            json!(many),
            "`addresses`: must be from 1 to 256 addresses",
        ),
        (
            "fallback",
            json!("eu"),
            "`fallback`: a pool cannot be its own",
        ),
        ("fallback", json!("E U"), "`fallback`: must be 1 to 63 of"),
        (
            "max_connections",
            json!(1_000_001),
            "`max_connections`: must be from 1 to 1000000 connections",
        ),
        ("region", json!("a\nb"), "`region`: must be 1 to 255 bytes"),
        (
            "projects",
            json!([PROJECT]),
            "`projects`: a shared pool is for all projects",
        ),
        ("mode", json!("dedicated"), "`projects`: is missing"),
    ] {
        let errors = with(field, value.clone()).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(expected), "{value}: {errors:?}");
    }
}

#[test]
fn an_address_that_nothing_can_come_from_is_refused() {
    for (address, expected) in [
        ("", "is missing"),
        ("localhost", "must be one IPv4 or IPv6 address"),
        ("192.0.2.1/32", "must be one IPv4 or IPv6 address"),
        ("192.0.2.1:80", "must be one IPv4 or IPv6 address"),
        ("192.0.2.01", "must be one IPv4 or IPv6 address"),
        ("fe80::1%eth0", "must be one IPv4 or IPv6 address"),
        ("0.0.0.0", "is the unspecified address"),
        ("::", "is the unspecified address"),
        ("224.0.0.1", "is a multicast address"),
        ("ff02::1", "is a multicast address"),
        ("255.255.255.255", "is the broadcast address"),
        ("::ffff:192.0.2.1", "is an IPv4 address inside"),
        ("fe80::1", "is a link-local address"),
    ] {
        let errors = with_address("address", json!(address)).unwrap_err();
        let expected = format!("`addresses[0].address`: {expected}");
        assert!(errors[0].starts_with(&expected), "{address}: {errors:?}");
    }
    let twice = json!([{"address": "2001:db8::1"}, {"address": "2001:DB8:0::1"}]);
    assert_eq!(
        with("addresses", twice).unwrap_err(),
        ["`addresses[1].address`: 2001:db8::1 stands in this pool already"]
    );
    // Whether loopback may be used is for the data plane.
    assert!(with_address("address", json!("127.0.0.2")).is_ok());
}

#[test]
fn states_and_times_have_to_fit_each_other() {
    for (address, expected) in [
        (
            json!({"state": "up"}),
            "`addresses[0].state`: must be `warming`, `active`, `draining`, `down` or `retired`",
        ),
        (
            json!({"effective_at": "soon"}),
            "`addresses[0].effective_at`: must be a time like",
        ),
        (
            json!({"retired_at": "9999-12-31T23:59:59-23:59"}),
            "`addresses[0].retired_at`: must be a time like",
        ),
        (
            json!({"state": "retired"}),
            "`addresses[0].retired_at`: is missing: a retired address",
        ),
        (
            json!({"effective_at": "2026-02-01T00:00:00Z", "retired_at": "2026-02-01T01:00:00+01:00"}),
            "`addresses[0].retired_at`: must be later than `effective_at`",
        ),
    ] {
        let mut address = address;
        address["address"] = "192.0.2.1".into();
        let errors = with("addresses", json!([address])).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(expected), "{errors:?}");
    }
}

#[test]
fn a_dedicated_pool_is_for_the_projects_that_it_names() {
    let dedicated = |name: &str, projects: Value| {
        compiled(json!({
            "name": name, "mode": "dedicated", "projects": projects, "fallback": "spare",
            "addresses": [{"address": "192.0.2.1"}],
        }))
    };
    assert_eq!(
        dedicated("acme", json!([PROJECT, "x", PROJECT])).unwrap_err(),
        [
            "`projects[1]`: must be the uid of a project",
            "`projects[2]`: is named already"
        ]
    );
    let many = dedicated("acme", json!(vec!["x"; 1_001])).unwrap_err();
    assert_eq!(many, ["`projects`: must be from 1 to 1000 projects"]);
    let error = dedicated("default", json!([PROJECT])).unwrap_err();
    assert!(error[0].starts_with("`mode`: the pool `default` is for"));
    let pool = dedicated("acme", json!([PROJECT])).unwrap();
    assert!(pool.serves(PROJECT.parse().unwrap()));
    assert!(!pool.serves(ProjectId::new(Uid::from_bits(1))));
    assert_eq!(pool.fallback().map(|name| &**name), Some("spare"));
}

#[test]
fn what_is_not_said_has_its_default() {
    let pool = with("region", Value::Null).unwrap();
    assert_eq!((&**pool.name(), pool.revision()), ("eu", 7));
    assert_eq!(
        (pool.mode(), pool.selection()),
        (PoolMode::Shared, PoolSelection::LeastConnections)
    );
    let none = (pool.fallback(), pool.max_connections(), pool.region());
    assert_eq!(none, (None, None, None));
    let address = PoolAddress {
        address: "192.0.2.1".parse().unwrap(),
        state: AddressState::Active,
        effective_at_ms: None,
        retired_at_ms: None,
    };
    assert_eq!(pool.addresses()[..], [address]);
    assert!(pool.serves(ProjectId::new(Uid::from_bits(1))));
    let pool = with("max_connections", json!(5)).unwrap();
    assert_eq!(pool.max_connections(), Some(5));
}

prop_compose! {
    fn some_address()(
        v4: u32, v6: u128, is_v4: bool,
        state in 0..AddressState::ALL.len(),
        from in 0_i64..4_000_000_000, life in 1_i64..4_000_000_000,
        has: [bool; 2],
    ) -> Value {
        let address = if is_v4 {
            IpAddr::V4(v4.into())
        } else {
            IpAddr::V6(v6.into())
        };
        let mut one = json!({"address": address, "state": AddressState::ALL[state].as_str()});
        if has[0] {
            one["effective_at"] = rfc3339(from * 1000).into();
        }
        if has[1] {
            one["retired_at"] = rfc3339((from + life) * 1000).into();
        }
        one
    }
}

proptest! {
    /// What passes the check is what was written, and never what nothing can come from.
    #[test]
    fn a_pool_that_is_taken_says_what_was_written(
        name in "[a-z-]{0,5}", texts in prop::collection::vec(some_address(), 0..6),
    ) {
        let json = json!({"name": name, "addresses": texts});
        let spec: EgressPoolSpec = from_json(json.clone()).spec.unwrap();
        let again: EgressPoolSpec = from_document(&to_document(&spec).unwrap()).unwrap();
        prop_assert_eq!(&again, &spec);
        if let Ok(pool) = compiled(json) {
            let dump = pool.dump();
            prop_assert_eq!(pool.addresses().len(), texts.len());
            for (at, (one, text)) in pool.addresses().iter().zip(&texts).enumerate() {
                let address = one.address;
                prop_assert!(!address.is_unspecified() && !address.is_multicast());
                prop_assert_eq!(address.to_canonical(), address);
                for field in ["address", "state", "effective_at", "retired_at"] {
                    prop_assert_eq!(&dump["addresses"][at][field], text.get(field).unwrap_or(&Value::Null));
                }
                prop_assert!(one.state != AddressState::Retired || one.retired_at_ms.is_some());
            }
        }
    }
}
