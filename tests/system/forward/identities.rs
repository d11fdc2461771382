//! Who may use the proxy, and for whom.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::harness::{DEADLINE, OUTGOING, Resources, Setup, until};
use super::support::{Origin, Proxy};

/// Another project.
const OTHER: &str = "01JQ0000000000000000000003";
const OLD: &str = "the-password-in-use-0";
const NEW: &str = "the-password-to-come-0";
const ALL: &str = "the-password-for-all-0";

fn basic(user: &str, password: &str) -> String {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    format!("Proxy-Authorization: Basic {encoded}\r\n")
}

fn tenant(name: &str) -> String {
    format!("x-outrider-tenant: {name}\r\n")
}

/// One with one project and two passwords, and one for all.
fn identities() -> Value {
    json!([
        {"name": "shop", "passwords": [OLD, NEW], "projects": [OUTGOING]},
        {"name": "dispatcher", "passwords": [ALL], "projects": ["*"]},
    ])
}

async fn start() -> (Proxy, Origin) {
    let key = "CO.otherotherotherX.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ";
    let resources = Resources::outgoing(&[]).and_project_with_key("other", OTHER, key);
    let identities = identities().to_string();
    let settings = [("IDENTITIES", &identities[..])];
    let proxy = Proxy::of(Setup::new(&resources), &settings).await;
    (proxy, Origin::start().await)
}

/// Both forms of a request with these lines.
fn both(origin: &Origin, lines: &str) -> [String; 2] {
    let (to, url) = (origin.address(), origin.url("/"));
    [
        format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{lines}\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: {to}\r\n{lines}\r\n"),
    ]
}

#[tokio::test]
async fn who_is_not_known_is_told_to_say_who_it_is() {
    let (proxy, origin) = start().await;
    let garbled = [
        "Proxy-Authorization: Basic !!!!\r\n",
        "Proxy-Authorization: Bearer the-password-in-use-0\r\n",
        "Proxy-Authorization: Basic\r\n",
        // Of the destination, not of the proxy.
        "Authorization: Basic c2hvcDp0aGUtcGFzc3dvcmQtaW4tdXNlLTA=\r\n",
    ];
    let wrong = [basic("shop", "the-password-in-use-1"), basic("shop", "")];
    let wrong = wrong.iter().map(String::as_str);
    for lines in [""].into_iter().chain(garbled).chain(wrong) {
        let [connect, _] = both(&origin, lines);
        let answer = proxy.ask(connect).await;
        answer.assert_refusal(lines, 407, "auth_required", "http_request_denied");
        let scheme = answer.header("proxy-authenticate").unwrap();
        assert!(scheme.starts_with("Basic realm="), "{scheme}");
    }
    let [_, forward] = both(&origin, "");
    let answer = proxy.ask(forward).await;
    answer.assert_refusal("forward", 407, "auth_required", "http_request_denied");
    origin.assert_nobody_came().await;
}

#[tokio::test]
async fn each_of_two_passwords_works_and_none_goes_further() {
    let (proxy, origin) = start().await;
    for password in [OLD, NEW] {
        let [connect, forward] = both(&origin, &basic("shop", password));
        let mut client = proxy.connect().await;
        client.write(&connect).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        drop(origin.accept().await);
        let mut client = proxy.connect().await;
        client.write(&forward).await;
        let mut server = origin.accept().await;
        let head = server.head().await;
        assert!(
            !head.to_ascii_lowercase().contains("authorization"),
            "{head}"
        );
        server.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    }
    let log = proxy.outrider.stderr();
    assert!(log.contains("shop"), "the identity is in the log");
    assert!(!log.contains(OLD) && !log.contains(NEW));
}

#[tokio::test]
async fn an_identity_acts_for_its_own_tenants_only() {
    let (proxy, origin) = start().await;
    let nowhere = "01JQ0000000000000000000009";
    let pool = |tenant: &str| format!("{tenant}.nowhere");
    let denied = [
        (
            "another's",
            basic("shop", OLD) + &tenant(OTHER),
            "tenant_not_allowed",
        ),
        (
            "another's, as user",
            basic(OTHER, OLD),
            "tenant_not_allowed",
        ),
        ("one that is not", basic(nowhere, ALL), "unknown_tenant"),
        ("no uid", basic("nobody", ALL), "unknown_tenant"),
        (
            "one that is not, not its own",
            basic(nowhere, OLD),
            "tenant_not_allowed",
        ),
        (
            "the header wins",
            basic(OUTGOING, ALL) + &tenant(nowhere),
            "unknown_tenant",
        ),
        ("none, of many", basic("dispatcher", ALL), "tenant_required"),
        ("none, of many", basic("", ALL), "tenant_required"),
        (
            "a pool that is not",
            basic(&pool(OUTGOING), ALL),
            "unknown_pool",
        ),
    ];
    for (what, lines, reason) in denied {
        for request in both(&origin, &lines) {
            let error = format!("denied:{reason}");
            let answer = proxy.ask(request).await;
            answer.assert_refusal(what, 403, &error, "http_request_denied");
        }
    }
    origin.assert_nobody_came().await;
    for lines in [
        basic("shop", OLD),
        basic("", OLD),
        basic(OUTGOING, OLD),
        basic("shop", OLD) + &tenant(OUTGOING),
        basic(OUTGOING, ALL),
        basic(OTHER, ALL),
        basic("dispatcher", ALL) + &tenant(OTHER),
    ] {
        let [connect, _] = both(&origin, &lines);
        let mut client = proxy.connect().await;
        client.write(connect).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{lines}: {head}");
    }
}

#[tokio::test]
async fn ten_wrong_passwords_a_minute_are_enough() {
    let (proxy, origin) = start().await;
    let [wrong, _] = both(&origin, &basic("shop", "the-password-in-use-1"));
    let [right, _] = both(&origin, &basic("shop", OLD));
    let mut guesses = 0;
    // One more is free every six seconds, which a slow machine may take.
    until("the right one is refused as well", DEADLINE, async || {
        let mut answer = proxy.ask(&wrong).await;
        while answer.status() == 407 {
            answer.assert_refusal("wrong", 407, "auth_required", "http_request_denied");
            guesses += 1;
            answer = proxy.ask(&wrong).await;
        }
        answer.assert_refusal("too many", 429, "limit", "connection_limit_reached");
        let mut client = proxy.connect().await;
        client.write(&right).await;
        let head = client.head().await;
        head.contains("x-outrider-egress-error: limit\r\n")
            .then_some(())
    })
    .await;
    assert!(guesses >= 10, "{guesses}");
    // Who shows nothing is not guessing.
    let [nothing, _] = both(&origin, "");
    let answer = proxy.ask(nothing).await;
    answer.assert_refusal("nothing", 407, "auth_required", "http_request_denied");
    let failures = "outrider_egress_auth_failures_total";
    proxy
        .outrider
        .wait_for_metric(failures, &[], 10.0, DEADLINE)
        .await;
}
