//! What the owners of projects hear of where their deliveries come from, when nobody names a pool.

use http::Method;
use serde_json::{Value, json};

use super::egress_ips::told_at;
use super::harness::{DEADLINE, Receiver, Setup};

const POOLS: &str = "/api/v1/egress-pools";

/// What was told, by the revision that it is of: names of pools, and what was removed.
async fn heard(owner: &Receiver, count: usize) -> Vec<Value> {
    let received = owner.wait_for(count, DEADLINE).await;
    let mut all: Vec<(u64, Value)> = received
        .iter()
        .map(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let data = &body["data"];
            let rows = data["pools"].as_array().unwrap().iter();
            let names: Vec<&Value> = rows.map(|row| &row["name"]).collect();
            let told = json!([names, data["removed"]]);
            (data["version"].as_u64().unwrap(), told)
        })
        .collect();
    all.sort_by_key(|(version, _)| *version); // deliveries have no order among them
    all.into_iter().map(|(_, told)| told).collect()
}

#[tokio::test]
async fn that_the_route_of_the_host_comes_or_goes_is_told_to_who_uses_it() {
    let (owner, other) = (Receiver::start().await, Receiver::start().await);
    let outrider = Setup::through_api_alone().start().await;
    let mut admin = outrider.admin_api();
    told_at(&mut admin, "none", &owner).await;
    let mut named = told_at(&mut admin, "named", &other).await;
    let eu = json!({"name": "eu", "addresses": [{"address": "127.0.0.8"}]});
    admin.post(POOLS, &eu).await.data(201);
    let change = json!({"name": "named", "egress_pool": "eu"});
    named.put("", &change).await.data(202);
    let default = json!({"name": "default", "addresses": [{"address": "127.0.0.7"}]});
    let path = format!("{POOLS}/{}", admin.post(POOLS, &default).await.uid());
    heard(&owner, 2).await;
    admin.call(Method::DELETE, &path, None).await.data(200);
    let came = [json!([["eu"], []]), json!([["default"], []])];
    let [first, second] = &came;
    let ranges = json!(["127.0.0.7/32"]);
    let gone = json!([["dynamic"], ranges]);
    assert_eq!(
        heard(&owner, 3).await,
        [first.clone(), second.clone(), gone]
    );
    // It names a pool, so nothing of it comes from elsewhere.
    let gone = json!([[], ranges]);
    assert_eq!(
        heard(&other, 3).await,
        [first.clone(), second.clone(), gone]
    );
}
