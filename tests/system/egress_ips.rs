//! Pools of source addresses through file and API, and the list that receivers read.

use http::Method;
use serde_json::{Value, json};

use super::harness::{
    Api, DEADLINE, Outrider, Planes, RawClient, Receiver, Reply, Resources, Setup, check, get,
    until,
};

const POOLS: &str = "/api/v1/egress-pools";
const LISTS: [&str; 2] = ["/v1/egress-ips", "/api/v1/egress-ips"];
const LIST: &str = LISTS[0];

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    let value = reply.headers.get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

/// What somebody without a key gets, or with one of a project.
async fn list(outrider: &Outrider, key: &str) -> Value {
    let reply = Api::new(outrider.public(), key).get(LIST).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// Names of the pools in a list, each with its IPv4 addresses.
fn shown(list: &Value) -> Vec<(&str, String)> {
    let rows = list["pools"].as_array().unwrap().iter();
    rows.map(|row| (row["name"].as_str().unwrap(), row["ipv4"].to_string()))
        .collect()
}

/// Waits until a list shows this: a reply of the API waits a moment for the data plane, and no
/// longer.
async fn until_shown(outrider: &Outrider, key: &str, expected: &[(&str, String)]) {
    until("the list is as it should be", DEADLINE, async || {
        (shown(&list(outrider, key).await) == expected).then_some(())
    })
    .await;
}

async fn ask(outrider: &Outrider, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut nobody = Api::new(outrider.public(), "");
    nobody.call_with(method, path, headers, None).await
}

#[tokio::test]
async fn a_file_with_a_bad_pool_is_refused_with_its_line() {
    let text = "\
egress_pools:
  - {name: eu, addresses: [{address: 192.0.2.1}]}
  - {name: us, addresses: [{address: 192.0.2.1}], fallback: ap}
projects:
  - {name: shop, type: outgoing, egress_pool: eu1}
";
    let ended = check(text).await;
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    for part in [
        "line 3: egress_pools[1].addresses[0].address: 192.0.2.1 is in the egress pool `eu` already",
        "line 3: egress_pools[1].fallback: this file has no egress pool `ap`",
        "line 5: projects[0].egress_pool: this file has no egress pool `eu1`; did you mean `eu`?",
    ] {
        assert!(ended.output.contains(part), "{part}: {}", ended.output);
    }
    let good = "egress_pools: [{name: eu, addresses: [{address: 192.0.2.1}]}]\n";
    let ended = check(good).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
}

#[tokio::test]
async fn without_pools_the_route_of_the_host_is_published() {
    let outrider = Setup::by_host_route(&Resources::outgoing(&[]))
        .start()
        .await;
    let dynamic = json!({
        "name": "dynamic", "region": null, "mode": "dynamic", "ipv4": [], "ipv6": [], "state": "active",
        "effective_at": null, "retired_at": null,
    });
    let expected = json!({"version": 0, "updated_at": null, "pools": [dynamic]});
    assert_eq!(list(&outrider, "").await, expected);
    let text = ask(&outrider, Method::GET, "/v1/egress-ips?format=text", &[]).await;
    assert_eq!((text.status.as_u16(), text.text()), (200, String::new()));
}

#[tokio::test]
async fn the_pools_of_a_file_are_published_as_json_and_as_text() {
    let resources = Resources::outgoing(&[])
        .and_egress_pool("default", &["127.0.0.7", "2001:db8::7"], &json!({"region": "eu-1"}))
        .and_egress_pool("spare", &["127.0.0.8"], &json!({"addresses": [
            {"address": "127.0.0.8", "state": "warming", "effective_at": "2030-01-01T00:00:00Z"},
            {"address": "127.0.0.9", "state": "retired", "retired_at": "2020-01-01T00:00:00Z"},
            {"address": "127.0.0.10", "state": "down"},
        ]}));
    let outrider = Setup::new(&resources).start().await;
    let whole = list(&outrider, "").await;
    assert_eq!(
        shown(&whole),
        [
            ("default", r#"["127.0.0.7/32"]"#.to_owned()),
            ("spare", r#"["127.0.0.8/32"]"#.to_owned()),
            ("spare", r#"["127.0.0.10/32"]"#.to_owned()),
        ]
    );
    assert_eq!(
        (&whole["version"], &whole["pools"][0]["region"]),
        (&json!(1), &json!("eu-1"))
    );
    assert_eq!(whole["pools"][0]["ipv6"], json!(["2001:db8::7/128"]));
    assert_eq!(whole["pools"][1]["effective_at"], "2030-01-01T00:00:00Z");
    assert!(
        whole["updated_at"].as_str().unwrap().starts_with("20"),
        "{whole}"
    );
    let lines = "127.0.0.7/32\n127.0.0.8/32\n2001:db8::7/128\n";
    for path in LISTS {
        let json = ask(&outrider, Method::GET, path, &[("accept", "*/*")]).await;
        assert_eq!(
            (json.json(), header(&json, "content-type")),
            (whole.clone(), "application/json")
        );
        let asked = format!("{path}?format=text");
        let accepted = ask(&outrider, Method::GET, path, &[("accept", "text/plain")]).await;
        for text in [accepted, ask(&outrider, Method::GET, &asked, &[]).await] {
            assert_eq!(text.text(), lines);
            assert_eq!(header(&text, "content-type"), "text/plain; charset=utf-8");
            assert_ne!(header(&text, "etag"), header(&json, "etag"));
            for reply in [&text, &json] {
                assert_eq!(header(reply, "cache-control"), "public, max-age=3600");
                assert_eq!(header(reply, "vary"), "Accept, Authorization");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_has_the_list_does_not_get_it_again() {
    let resources = Resources::outgoing(&[]).and_egress_pool("default", &["127.0.0.7"], &json!({}));
    let outrider = Setup::new(&resources).start().await;
    let first = ask(&outrider, Method::GET, LIST, &[]).await;
    let tag = header(&first, "etag").to_owned();
    let weak = format!("\"x\", W/{tag}");
    for (path, value, status) in [
        (LIST, &*tag, 304),
        (LISTS[1], &*weak, 304),
        (LIST, "*", 304),
        (LIST, "\"x\"", 200),
        ("/v1/egress-ips?format=text", &*tag, 200),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let reply = ask(&outrider, method.clone(), path, &[("if-none-match", value)]).await;
            assert_eq!(reply.status.as_u16(), status, "{method} {path} {value}");
            let has_body = status == 200 && method == Method::GET;
            assert_eq!(!reply.body.is_empty(), has_body, "{method} {path} {value}");
            assert_eq!(
                header(&reply, "etag") == tag,
                !path.contains("text"),
                "{path}"
            );
            assert_eq!(header(&reply, "cache-control"), "public, max-age=3600");
        }
    }
    let head = ask(&outrider, Method::HEAD, LIST, &[]).await;
    assert_eq!(
        header(&head, "content-length"),
        first.body.len().to_string()
    );
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let reply = ask(&outrider, method.clone(), LIST, &[]).await;
        assert_eq!(
            (reply.status.as_u16(), header(&reply, "allow")),
            (405, "GET, HEAD"),
            "{method}"
        );
    }
    let reply = ask(&outrider, Method::GET, "/v1/egress-ips?format=csv", &[]).await;
    assert_eq!(
        reply.refusal(400),
        "`format` must be `json`, `text` or `zone`"
    );
    // Three on one connection: no answer has a byte that is taken for the next one's.
    let mut raw = RawClient::connect(outrider.public()).await;
    for (method, more, status) in [
        ("HEAD", String::new(), 200),
        ("GET", format!("If-None-Match: {tag}\r\n"), 304),
    ] {
        raw.write(format!("{method} {LIST} HTTP/1.1\r\nHost: a\r\n{more}\r\n"))
            .await;
        assert_eq!(raw.read_status().await, status, "{method}");
    }
    raw.write(format!("GET {LIST} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    assert_eq!(raw.read_reply().await.body, first.body);
}

/// Two projects, a pool for all and one of the first project, which it uses.
struct Shop {
    outrider: Outrider,
    admin: Api,
    acme: Api,
    other: Api,
    pool: String,
}

async fn shop() -> Shop {
    let outrider = Setup::through_api_alone().start().await;
    let mut admin = outrider.admin_api();
    let mut acme = admin.make_project("acme", "outgoing", &json!({})).await;
    let other = admin.make_project("other", "outgoing", &json!({})).await;
    let shared = json!({"name": "default", "addresses": [{"address": "127.0.0.7"}]});
    admin.post(POOLS, &shared).await.data(201);
    let dedicated = json!({
        "name": "acme-1", "mode": "dedicated", "projects": [acme.project()],
        "addresses": [{"address": "127.0.0.8"}],
    });
    let pool = admin.post(POOLS, &dedicated).await.uid();
    let chosen = acme
        .put("", &json!({"name": "acme", "egress_pool": "acme-1"}))
        .await;
    assert_eq!(chosen.data(202)["egress_pool"], "acme-1");
    Shop {
        outrider,
        admin,
        acme,
        other,
        pool,
    }
}

#[tokio::test]
async fn a_dedicated_pool_is_shown_to_its_project_alone() {
    let mut shop = shop().await;
    let shared = [("default", r#"["127.0.0.7/32"]"#.to_owned())];
    let own = [("acme-1", r#"["127.0.0.8/32"]"#.to_owned())];
    until_shown(&shop.outrider, shop.acme.key(), &own).await;
    assert_eq!(shown(&list(&shop.outrider, "").await), shared);
    assert_eq!(shown(&list(&shop.outrider, shop.other.key()).await), shared);
    // An endpoint that names the shared one uses that; what the project itself sends does not.
    let endpoint = json!({"name": "e", "url": "http://127.0.0.1:8099/", "egress_pool": "default"});
    shop.acme.post("/endpoints", &endpoint).await.data(201);
    let both = [own, shared].concat();
    until_shown(&shop.outrider, shop.acme.key(), &both).await;
    let mut acme = Api::new(shop.outrider.public(), shop.acme.key());
    let reply = acme.get("/v1/egress-ips?format=text").await;
    assert_eq!(reply.text(), "127.0.0.7/32\n127.0.0.8/32\n");
    assert_eq!(header(&reply, "cache-control"), "private, max-age=3600");
    assert_eq!(header(&reply, "vary"), "Accept, Authorization");
    // Nobody else can name it, or hear that there is one.
    let taken = shop
        .other
        .put("", &json!({"name": "other", "egress_pool": "acme-1"}))
        .await;
    let none = shop
        .other
        .put("", &json!({"name": "other", "egress_pool": "acme-2"}))
        .await;
    assert_eq!(
        taken.refusal(400).replace("acme-1", ""),
        none.refusal(400).replace("acme-2", "")
    );
    for (key, code) in [("CO.x.y", "unknown_key"), ("", "authentication_required")] {
        let headers = [("authorization", format!("Bearer {key}"))];
        let headers = headers.each_ref().map(|(name, value)| (*name, &**value));
        let reply = ask(&shop.outrider, Method::GET, LIST, &headers).await;
        assert_eq!(
            (reply.status.as_u16(), reply.code()),
            (401, code),
            "a wrong key is not none"
        );
    }
    shop.admin.get(POOLS).await.data(200);
    let mut root = Api::new(shop.outrider.api(), shop.acme.key());
    root.get(POOLS).await.refusal(403);
}

#[tokio::test]
async fn a_pool_is_not_removed_while_it_is_used() {
    let mut shop = shop().await;
    let path = format!("{POOLS}/{}", shop.pool);
    let refused = shop.admin.delete(&path).await;
    assert_eq!(refused.code(), "in_use");
    assert!(
        refused.refusal(409).contains("in use by project `acme`"),
        "{}",
        refused.text()
    );
    let narrower = shop
        .admin
        .put(&path, &json!({"projects": [shop.other.project()]}))
        .await;
    assert_eq!((narrower.code(), narrower.status.as_u16()), ("in_use", 409));
    shop.acme
        .put("", &json!({"name": "acme", "egress_pool": ""}))
        .await
        .data(202);
    shop.admin.delete(&path).await.data(200);
    shop.admin.get(&path).await.refusal(404);
    let shared = [("default", r#"["127.0.0.7/32"]"#.to_owned())];
    until_shown(&shop.outrider, shop.acme.key(), &shared).await;
}

#[tokio::test]
async fn the_list_is_served_without_the_control_plane_and_after_a_restart() {
    let resources = Resources::outgoing(&[]).and_egress_pool("default", &["127.0.0.7"], &json!({}));
    let (mut planes, mut data) = Planes::start(Some(&resources)).await;
    let before = get(data.public(), LISTS[1]).await.unwrap();
    assert_eq!(
        shown(&before.json()),
        [("default", r#"["127.0.0.7/32"]"#.to_owned())]
    );
    planes.control.process.kill();
    data.process.kill();
    data.start().await;
    for path in LISTS {
        let after = get(data.public(), path).await.unwrap();
        assert_eq!(after.json(), before.json());
        assert_eq!(header(&after, "etag"), header(&before, "etag"));
    }
}

/// Wants to hear of source addresses, at the receiver.
pub(super) async fn told_at(admin: &mut Api, name: &str, owner: &Receiver) -> Api {
    let config = json!({"meta_event": {
        "is_enabled": true, "type": "http", "event_type": ["egress_ips.updated"],
        "url": owner.url(&format!("/{name}")), "secret": "s",
    }});
    admin.make_project(name, "outgoing", &config).await
}

#[tokio::test]
async fn owners_hear_of_the_addresses_that_they_let_in() {
    let (owner, other) = (Receiver::start().await, Receiver::start().await);
    let outrider = Setup::through_api_alone().start().await;
    let mut admin = outrider.admin_api();
    let mut acme = told_at(&mut admin, "acme", &owner).await;
    let mut others = told_at(&mut admin, "other", &other).await;
    admin.make_project("quiet", "outgoing", &json!({})).await;
    let dedicated = json!({
        "name": "acme-1", "mode": "dedicated", "projects": [acme.project()],
        "addresses": [{"address": "127.0.0.8", "state": "warming", "effective_at": "2030-01-01T00:00:00Z"}],
    });
    let path = format!("{POOLS}/{}", admin.post(POOLS, &dedicated).await.uid());
    // Nothing that the list says, then an address that goes, then a pool for all.
    admin
        .put(&path, &json!({"selection": "sticky"}))
        .await
        .data(202);
    let second = json!({"addresses": [{"address": "127.0.0.9"}]});
    admin.put(&path, &second).await.data(202);
    let shared = json!({"name": "eu", "addresses": [{"address": "127.0.0.7"}]});
    admin.post(POOLS, &shared).await.data(201);
    let heard = async |owner: &Receiver, count: usize| {
        let received = owner.wait_for(count, DEADLINE).await;
        let mut all: Vec<(u64, Value)> = received
            .iter()
            .map(|request| {
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                assert_eq!(body["event_type"], "egress_ips.updated");
                let data = &body["data"];
                let short = json!([
                    data["name"],
                    data["added"],
                    data["removed"],
                    data["pools"][0]["state"]
                ]);
                (data["version"].as_u64().unwrap(), short)
            })
            .collect();
        all.sort_by_key(|(version, _)| *version); // deliveries have no order among them
        all.into_iter().map(|(_, short)| short).collect::<Vec<_>>()
    };
    let eu = json!(["eu", ["127.0.0.7/32"], [], "active"]);
    assert_eq!(
        heard(&owner, 3).await,
        [
            json!(["acme-1", ["127.0.0.8/32"], [], "warming"]),
            json!(["acme-1", ["127.0.0.9/32"], ["127.0.0.8/32"], "active"]),
            eu.clone(),
        ]
    );
    assert_eq!(heard(&other, 1).await, [eu], "and never of somebody else's");
    // They are told in the order of revisions, so nothing is on its way.
    assert_eq!(acme.rows("/meta-events").await.len(), 3);
    assert_eq!(others.rows("/meta-events").await.len(), 1);
}

/// Ranges of the list for a key.
async fn ranges(outrider: &Outrider, key: &str) -> Vec<String> {
    let path = format!("{LIST}?format=text");
    let reply = Api::new(outrider.public(), key).get(&path).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn whatever_leaves_comes_from_an_address_that_is_listed_for_its_project() {
    let (owner, at_acme, at_other) = (
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    );
    let outrider = Setup::through_api_alone().start().await;
    let mut admin = outrider.admin_api();
    let mut acme = told_at(&mut admin, "acme", &owner).await;
    let mut other = admin.make_project("other", "outgoing", &json!({})).await;
    let pool = |name: &str, numbers: &[u8], more: Value| {
        let addresses = numbers
            .iter()
            .map(|n| json!({"address": format!("127.0.0.{n}")}));
        let mut pool = json!({"name": name, "addresses": addresses.collect::<Vec<_>>()});
        pool.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        pool
    };
    let own = json!({"mode": "dedicated", "projects": [acme.project()]});
    admin
        .post(POOLS, &pool("acme-1", &[4, 5], own))
        .await
        .data(201);
    acme.put("", &json!({"name": "acme", "egress_pool": "acme-1"}))
        .await
        .data(202);
    admin
        .post(POOLS, &pool("default", &[2, 3], json!({})))
        .await
        .data(201);
    // A reply waits a moment for the data plane, and no longer.
    for (key, numbers) in [(acme.key(), ["4", "5"]), (other.key(), ["2", "3"])] {
        let expected = numbers.map(|n| format!("127.0.0.{n}/32"));
        until("the pool is in force", DEADLINE, async || {
            (ranges(&outrider, key).await == expected).then_some(())
        })
        .await;
    }
    for (project, receiver) in [(&mut acme, &at_acme), (&mut other, &at_other)] {
        let endpoint = project
            .make_endpoint("e", &receiver.url("/in"), &json!({}))
            .await;
        for n in 0..10 {
            project.publish(&endpoint, "a", &json!({"n": n})).await;
        }
        let listed = ranges(&outrider, project.key()).await;
        for request in receiver.wait_for(10, DEADLINE).await {
            let from = format!("{}/32", request.peer.ip());
            assert!(listed.contains(&from), "{from} is not in {listed:?}");
        }
    }
    // That of the shared pool is told when the project's own one is in force.
    let told = owner.wait_for(2, DEADLINE).await;
    let is_of_default = |body: &[u8]| String::from_utf8_lossy(body).contains("\"default\"");
    let of_default = told.iter().find(|request| is_of_default(&request.body));
    let from = of_default.unwrap().peer.ip().to_string();
    assert!(["127.0.0.4", "127.0.0.5"].contains(&&*from), "{from}");
}
