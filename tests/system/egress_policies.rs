//! Policies that close destinations: pushed, in force at once, and never forgotten.

mod taken_back;

use serde_json::{Value, json};

use super::endpoint_authentication::attempt_of;
use super::harness::{
    Api, DEADLINE, DataPlane, Endpoint, OUTGOING, Outrider, Planes, Receiver, Reply, Resources,
    Setup, TokenEndpoint, check, get, uid, until,
};

pub(super) const POLICIES: &str = "/api/v1/egress-policies";
const VERSION: &str = "outrider_egress_policy_version";
const SECRET: &str = "shared-with-the-customer";

/// The revision that a change made.
fn revision(reply: &Reply) -> f64 {
    let value = &reply.headers["x-outrider-config-revision"];
    value.to_str().unwrap().parse().unwrap()
}

async fn in_force(outrider: &Outrider, version: f64) {
    until("the policies are in force", DEADLINE, async || {
        let found = outrider.metric(VERSION, &[]).await;
        ((found - version).abs() < 0.5).then_some(())
    })
    .await;
}

/// A new policy, once it is in force; its uid.
pub(super) async fn close(outrider: &Outrider, admin: &mut Api, policy: Value) -> String {
    let reply = admin.post(POLICIES, &policy).await;
    let uid = reply.uid();
    in_force(outrider, revision(&reply)).await;
    uid
}

/// Takes the only policy away.
pub(super) async fn open(outrider: &Outrider, admin: &mut Api, uid: &str) {
    admin.delete(&format!("{POLICIES}/{uid}")).await.data(200);
    in_force(outrider, 0.0).await;
}

/// A gateway with an outgoing project that tries again every second.
async fn start() -> (Outrider, Api, Api) {
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 50});
    let config = json!({"strategy": strategy});
    let project = admin.make_project("shop", "outgoing", &config).await;
    (outrider, admin, project)
}

/// Attempts that a policy refused.
async fn blocked(outrider: &Outrider, at_least: f64) {
    let (metric, labels) = ("outrider_delivery_attempts_total", ["outcome=\"blocked\""]);
    outrider
        .wait_for_metric(metric, &labels, at_least, DEADLINE)
        .await;
}

#[tokio::test]
async fn a_policy_closes_at_once_also_what_is_connected_and_the_attempt_says_which() {
    let receiver = Receiver::start().await;
    let (outrider, mut admin, mut project) = start().await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/"), &json!({}))
        .await;
    let first = project.publish(&endpoint, "a", &json!(1)).await;
    project.delivery(&first, "Success").await;
    let policy = json!({"name": "inside", "deny": ["127.0.0.0/8"]});
    let policy = close(&outrider, &mut admin, policy).await;
    let second = project.publish(&endpoint, "a", &json!(2)).await;
    blocked(&outrider, 2.0).await;
    assert_eq!((receiver.connections(), receiver.received().len()), (1, 1));
    let attempt = attempt_of(&mut project, &second, "Retry").await;
    assert_eq!(attempt["error_class"], "egress_denied", "{attempt}");
    let denied = json!({"reason": "policy_denied", "policy": "inside"});
    assert_eq!(attempt["denied"], denied);
    assert_eq!(
        attempt["error"],
        "egress denied: policy denied by the egress policy `inside`"
    );
    let explained = project
        .get(&format!("/events/{second}/explain"))
        .await
        .data(200)
        .to_string();
    assert!(
        explained.contains("policy denied by the egress policy `inside`"),
        "{explained}"
    );
    let (metric, reason) = ("outrider_egress_denied_total", ["reason=\"policy_denied\""]);
    let refused = outrider.metric(metric, &reason).await;
    assert!(refused >= 2.0, "{refused}");
    // Nothing is lost by it: what waited goes when it is taken back, on a new connection.
    open(&outrider, &mut admin, &policy).await;
    project.delivery(&second, "Success").await;
    assert_eq!((receiver.connections(), receiver.received().len()), (2, 2));
}

#[tokio::test]
async fn a_policy_is_for_its_projects_and_for_what_they_tell_of_themselves() {
    let (receiver, owner) = (Receiver::start().await, Receiver::start().await);
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let told = |path: &str| {
        json!({
            "strategy": {"type": "linear", "duration": 1, "retry_count": 50},
            "meta_event": {
                "is_enabled": true, "type": "http", "event_type": ["endpoint.created"],
                "url": owner.url(path), "secret": "s",
            },
        })
    };
    let mut ours = admin.make_project("ours", "outgoing", &told("/ours")).await;
    let mut others = admin
        .make_project("others", "outgoing", &told("/others"))
        .await;
    let policy =
        json!({"name": "p", "projects": [ours.project()], "only": ["192.0.2.0/24", "a.example"]});
    let policy = close(&outrider, &mut admin, policy).await;
    let url = receiver.url("/");
    let refused = ours
        .post("/endpoints", &json!({"name": "e", "url": url}))
        .await;
    assert_eq!(
        refused.refusal(400),
        "`url`: 127.0.0.1 is not among what the egress policy `p` lists"
    );
    ours.make_endpoint("e", "http://a.example/", &json!({}))
        .await;
    blocked(&outrider, 2.0).await; // the meta event that tells of it
    let endpoint = others.make_endpoint("e", &url, &json!({})).await;
    let event = others.publish(&endpoint, "a", &json!(1)).await;
    others.delivery(&event, "Success").await;
    let told = owner.wait_for(1, DEADLINE).await;
    assert_eq!(told[0].path_and_query, "/others");
    open(&outrider, &mut admin, &policy).await;
    let told = owner.wait_for(2, DEADLINE).await;
    assert_eq!((told.len(), &*told[1].path_and_query), (2, "/ours"));
}

#[tokio::test]
async fn tokens_are_not_fetched_from_what_is_closed() {
    let receiver = Receiver::start().await;
    let tokens = TokenEndpoint::start(|_| (200, json!({"access_token": "t"}))).await;
    let at = tokens.url().replace("http://", "").replace("/token", "");
    let outrider = Setup::through_api()
        .flag("--unsafe-resolve", &format!("login.example={at}"))
        .start()
        .await;
    let mut admin = outrider.admin_api();
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 50});
    let mut project = admin
        .make_project("shop", "outgoing", &json!({"strategy": strategy}))
        .await;
    let client = json!({
        "url": "http://login.example/token", "client_id": "me",
        "authentication_type": "shared_secret", "client_secret": "hunter2",
    });
    let oauth2 = json!({"authentication": {"type": "oauth2", "oauth2": client}});
    let endpoint = project
        .make_endpoint("e", &receiver.url("/"), &oauth2)
        .await;
    let policy = json!({"name": "p", "deny": ["example"]});
    let policy = close(&outrider, &mut admin, policy).await;
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    let attempt = attempt_of(&mut project, &event, "Retry").await;
    assert_eq!(attempt["error_class"], "auth_unavailable", "{attempt}");
    let denied = json!({"reason": "policy_denied", "policy": "p"});
    assert_eq!(attempt["denied"], denied);
    assert_eq!(tokens.asked().len(), 0);
    let tried = project
        .post("/endpoints/oauth2/test", &json!({"oauth2": client}))
        .await;
    assert_eq!(
        tried.refusal(400),
        "`oauth2.url`: login.example is closed by the egress policy `p`"
    );
    open(&outrider, &mut admin, &policy).await;
    project.delivery(&event, "Success").await;
    assert_eq!(tokens.asked().len(), 1);
}

#[tokio::test]
async fn what_is_closed_is_refused_when_it_is_saved_and_when_an_event_names_it() {
    let (outrider, mut admin, mut project) = start().await;
    for (body, says) in [
        (
            json!({"name": "x"}),
            "a policy closes something: `deny`, `only` or `ports` is missing",
        ),
        (
            json!({"name": "X", "ports": [1]}),
            "`name`: must be 1 to 63 of",
        ),
        (
            json!({"name": "x", "deny": ["a b"]}),
            "`deny[0]`: must be a range of addresses",
        ),
        (json!({"name": "x", "only": []}), "`only`: is empty"),
        (
            json!({"name": "x", "ports": [65536]}),
            "`ports[0]`: must be from 1 to 65535",
        ),
        (
            json!({"name": "x", "ports": vec![1; 1001]}),
            "`ports`: must be from 1 to 1000 ports",
        ),
        (
            json!({"name": "x", "ports": [1], "projects": ["shop"]}),
            "`projects[0]`: must be the uid",
        ),
    ] {
        let refused = admin.post(POLICIES, &body).await.refusal(400);
        assert!(refused.starts_with(says), "{body}: {refused}");
    }
    assert_eq!(
        project.get(POLICIES).await.status,
        404,
        "it is no project's"
    );
    let mut root = Api::new(outrider.api(), project.key());
    assert_eq!(root.get(POLICIES).await.status, 403);
    let policy = json!({"name": "p", "deny": [".closed.example"], "ports": [80, 443]});
    close(&outrider, &mut admin, policy).await;
    for (url, says) in [
        (
            "https://a.closed.example/",
            "a.closed.example is closed by the egress policy `p`",
        ),
        (
            "http://127.0.0.1:8080/",
            "port 8080 is closed by the egress policy `p`",
        ),
    ] {
        let body = json!({"name": "e", "url": url});
        let refused = project.post("/endpoints", &body).await.refusal(400);
        assert_eq!(refused, format!("`url`: {says}"));
        let event = json!({"url": url, "event_type": "a", "data": {}});
        let refused = project.post("/events/dynamic", &event).await.refusal(400);
        assert!(refused.contains(says), "{refused}");
    }
    project
        .make_endpoint("e", "https://open.example/", &json!({}))
        .await;
}

#[tokio::test]
async fn a_file_with_a_bad_policy_is_refused_with_its_line() {
    let text = "\
egress_policies:
  - {name: web, ports: [443, 0]}
  - {name: net, only: [10.0.0.0/33], projects: [shp]}
projects:
  - {name: shop, type: outgoing}
";
    let ended = check(text).await;
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    for part in [
        "line 2: egress_policies[0].ports[1]: must be from 1 to 65535",
        "line 3: egress_policies[1].only[0]: must be a range of addresses",
        "line 3: egress_policies[1].projects[0]: this file has no project with the name `shp`",
    ] {
        assert!(ended.output.contains(part), "{part}: {}", ended.output);
    }
    let good = "egress_policies: [{name: web, ports: [443]}]\n";
    let ended = check(good).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
}

/// One endpoint of a file at the receiver, that is tried every second, and a policy of all.
fn resources(receiver: &Receiver, policy: Value) -> Resources {
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 50});
    let endpoint = Endpoint::new(1, &receiver.url("/hook"), SECRET).with("strategy", strategy);
    Resources::outgoing(&[endpoint]).and_egress_policy(policy)
}

async fn publish(data: &DataPlane, number: u32) {
    let (mut client, endpoint) = (data.client(), uid(1));
    let reply = client.publish_to(&endpoint, "a", json!({"n": number}));
    reply.await.unwrap().event_uid();
}

/// Waits until so many attempts of the data plane were refused by the address policy.
async fn until_blocked(data: &DataPlane, at_least: f64) {
    until("attempts are refused", DEADLINE, async || {
        let page = data.admin_page("/metrics").await;
        let lines = page.lines().filter(|line| {
            line.starts_with("outrider_delivery_attempts_total") && line.contains("\"blocked\"")
        });
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        (counts.sum::<f64>() >= at_least).then_some(())
    })
    .await;
}

/// Waits until a page of metrics has this version of the policies.
async fn until_version(page: impl AsyncFn() -> String, version: f64) {
    until("the version of the policies", DEADLINE, async || {
        page()
            .await
            .contains(&format!("{VERSION} {version}\n"))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_policy_holds_without_the_control_plane_and_over_a_restart() {
    let receiver = Receiver::start().await;
    let policy = json!({"name": "inside", "deny": ["127.0.0.0/8"]});
    let (mut planes, mut data) = Planes::start(Some(&resources(&receiver, policy))).await;
    let mut egress = planes.egress("egress");
    egress.start().await;
    planes.control.process.kill();
    for round in 1..=2 {
        publish(&data, round).await;
        until_blocked(&data, 1.0).await;
        for page in [
            data.admin_page("/metrics").await,
            egress.admin_page("/metrics").await,
        ] {
            assert!(page.contains(&format!("{VERSION} 1\n")), "{page}");
        }
        let to = receiver.address();
        for request in [
            format!("CONNECT {to} HTTP/1.1\r\nHost: a\r\nx-outrider-tenant: {OUTGOING}\r\n\r\n"),
            format!(
                "GET http://{to}/ HTTP/1.1\r\nHost: a\r\nx-outrider-tenant: {OUTGOING}\r\n\r\n"
            ),
        ] {
            let mut client = super::harness::RawClient::connect(egress.listen).await;
            client.write(&request).await;
            let reply = client.read_reply().await;
            assert_eq!(reply.status, 403, "{}", reply.text());
            assert_eq!(
                reply.headers["x-outrider-egress-error"],
                "denied:policy_denied"
            );
        }
        if round == 1 {
            data.process.kill();
            egress.process.kill();
            data.start().await;
            egress.start().await;
        }
    }
    assert_eq!((receiver.connections(), receiver.received().len()), (0, 0));
    // A file made it, so it is the file that takes it back.
    planes.control.process.launch();
    let mut admin = planes.control.admin();
    until("the control plane answers", DEADLINE, async || {
        get(planes.control.api(), "/healthz").await.ok()
    })
    .await;
    let policy = admin.get(POLICIES).await.data(200)[0]["uid"].clone();
    let path = format!("{POLICIES}/{}", policy.as_str().unwrap());
    assert_eq!(admin.delete(&path).await.code(), "managed_by_file");
}

#[tokio::test]
async fn deliveries_through_a_proxy_are_closed_there_and_say_so() {
    let receiver = Receiver::start().await;
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 50});
    let url = "http://hooks.example/in";
    let endpoint = Endpoint::new(1, url, SECRET).with("strategy", strategy);
    let mut planes = Planes::new(Some(&Resources::outgoing(&[endpoint])));
    planes.control.start().await;
    let mut egress = planes.egress("egress");
    egress.process.flag(
        "--unsafe-resolve",
        &format!("hooks.example={}", receiver.address()),
    );
    egress.start().await;
    let mut data = planes.data_plane("data", 0);
    data.process
        .set("RUST_LOG", "info,outrider_dataplane::deliver=debug");
    let proxy = format!("http://{}", egress.listen);
    data.process.set("OUTRIDER__EGRESS__VIA__PROXY", &proxy);
    data.start().await;
    publish(&data, 1).await;
    receiver.wait_for(1, DEADLINE).await;
    let mut admin = planes.control.admin();
    let reply = admin
        .post(
            POLICIES,
            &json!({"name": "inside", "deny": ["127.0.0.0/8"]}),
        )
        .await;
    let (path, version) = (format!("{POLICIES}/{}", reply.uid()), revision(&reply));
    until_version(|| egress.admin_page("/metrics"), version).await;
    until_version(|| data.admin_page("/metrics"), version).await;
    publish(&data, 2).await;
    until_blocked(&data, 2.0).await;
    assert_eq!((receiver.connections(), receiver.received().len()), (1, 1));
    let log = data.process.stderr();
    let said = "policy_denied by the egress policy `inside`";
    assert!(log.contains(said), "{log}");
    admin.delete(&path).await.data(200);
    receiver.wait_for(2, DEADLINE).await;
    assert_eq!(receiver.connections(), 2);
}
