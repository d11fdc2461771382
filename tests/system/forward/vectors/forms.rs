//! A case as a request for a tunnel, as a request for a whole URL, and as a delivery; and what
//! each form makes of it.

use http::Method;
use serde_json::{Value, json};

use super::super::super::harness::{Api, DEADLINE, Outrider, until};
use super::super::support::{Answer, Proxy, Wire};
use super::Case;

/// Whether the case can be asked as `host:port`: of its reasons, those of a URL's other parts
/// cannot.
pub(super) fn has_authority(case: &Case) -> bool {
    let of_urls = ["invalid_url", "scheme_not_allowed", "userinfo_not_allowed"];
    case.kind == "connect" || (case.input.contains("//") && !of_urls.contains(&&case.reason[..]))
}

/// Whether the case can be asked as a URL: without a port, or with a path, it is one of another
/// kind.
pub(super) fn has_url(case: &Case) -> bool {
    case.reason != "invalid_authority"
}

/// The host and port of a case, with the port that its scheme stands for.
fn authority(case: &Case) -> String {
    if case.kind == "connect" {
        return case.input.clone();
    }
    let (scheme, rest) = case.input.split_once("//").unwrap();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest[..end].trim_end_matches(':');
    let default = if scheme == "https:" { 443 } else { 80 };
    // What is behind the last colon is a port, unless that is inside of an address.
    let has_port = match authority.rsplit_once(':') {
        Some((_, port)) => !port.contains(']') && !authority.starts_with("::"),
        None => false,
    };
    match has_port {
        true => authority.to_owned(),
        false => format!("{authority}:{default}"),
    }
}

/// `ok` or the reason, as clients read it.
fn verdict(answer: &Answer) -> String {
    match answer.error() {
        "" => {
            assert!(answer.header("x-outrider-dest-ip").is_some(), "{answer:?}");
            "ok".to_owned()
        }
        "dns_failure" => "dns_no_address".to_owned(),
        error => error.trim_start_matches("denied:").to_owned(),
    }
}

pub(super) async fn connect(proxy: &Proxy, case: &Case) -> String {
    let mut client: Wire = proxy.connect().await;
    let authority = authority(case);
    client
        .write(format!("CONNECT {authority} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    let head = client.head().await;
    let body = Vec::new();
    let verdict = verdict(&Answer { head, body });
    if verdict == "ok" {
        // There is somebody at its end.
        client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.answer().await;
    }
    verdict
}

pub(super) async fn absolute(proxy: &Proxy, case: &Case) -> String {
    let url = match &case.kind[..] {
        "connect" => format!("http://{}/", case.input),
        _ => case.input.clone(),
    };
    let tls = match url.starts_with("https:") {
        true => "x-outrider-tls: 1\r\n",
        false => "",
    };
    let head = format!("GET {url} HTTP/1.1\r\nHost: a\r\n{tls}Connection: close\r\n\r\n");
    let mut client = proxy.connect().await;
    client.write(head).await;
    let answer = client.answer().await;
    if let Some(redirect) = &case.response {
        assert_eq!(answer.status(), redirect.status);
        assert_eq!(answer.header("location"), Some(&redirect.location[..]));
    }
    verdict(&answer)
}

/// More colons than one outside of brackets are no host with a wrong name, but no `host:port`.
pub(super) fn expected_of_connect(case: &Case) -> &str {
    match &case.reason[..] {
        "invalid_host" if !case.input.contains('[') && authority(case).matches(':').count() > 1 => {
            "invalid_authority"
        }
        _ => case.verdict(),
    }
}

/// What cannot stand in a request line is a bad request, and so is what is no whole URL but looks
/// like a path.
pub(super) fn expected_of_absolute(case: &Case) -> &str {
    let input = &case.input;
    match &case.reason[..] {
        _ if input.is_empty() || input.contains('\n') || input.starts_with('/') => "bad_request",
        "invalid_host" if input.contains('@') => "userinfo_not_allowed",
        _ => case.verdict(),
    }
}

/// How a delivery ended.
#[derive(Debug)]
pub(super) enum Delivered {
    /// The endpoint was not saved: the words.
    Refused(String),
    /// Its first attempt, and the reasons that were counted meanwhile.
    Attempted(Value, Vec<&'static str>),
}

/// The metric that counts refusals, and its label of the reason.
pub(super) const DENIED: (&str, &str) = ("outrider_egress_denied_total", "reason");

/// What the API says instead of a code.
pub(super) const WORDS: [(&str, &str); 12] = [
    ("invalid_url", "not an absolute http(s) URL"),
    ("invalid_url", "`url`: is missing"),
    ("scheme_not_allowed", "only http and https are delivered to"),
    (
        "userinfo_not_allowed",
        "credentials do not belong into the URL",
    ),
    ("invalid_host", "the host is not a valid name or address"),
    ("noncanonical_ip", "ambiguous spelling"),
    ("invalid_port", "the port must be 1 to 65535"),
    (
        "port_not_allowed",
        "is not delivered to (setting `egress.ports`)",
    ),
    ("name_denied", "is a name of internal networks"),
    ("address_denied", "is an internal or reserved address"),
    ("self_address", "is an address of the gateway itself"),
    ("dns_no_address", "the name has no address"),
];

impl Delivered {
    pub(super) fn verdict(&self, case: &Case) -> String {
        match self {
            Self::Refused(words) => {
                let found = WORDS.iter().find(|(_, part)| words.contains(part));
                found.map_or(&words[..], |(reason, _)| reason).to_owned()
            }
            Self::Attempted(attempt, reasons) => {
                if let Some(redirect) = &case.response {
                    let status = attempt["http_status"].as_str().unwrap_or_default();
                    let expected = redirect.status.to_string();
                    assert!(status.starts_with(&expected), "{attempt}");
                    assert_eq!(attempt["status"], false, "{attempt}");
                    return "ok".to_owned();
                }
                match attempt["error_class"].as_str().unwrap_or_default() {
                    "" if attempt["status"] == true => "ok".to_owned(),
                    "dns_failure" => "dns_no_address".to_owned(),
                    "egress_denied" => reasons.join(" and "),
                    _ => attempt.to_string(),
                }
            }
        }
    }
}

/// How often each reason was counted.
async fn counted(outrider: &Outrider) -> Vec<f64> {
    let mut counts = Vec::new();
    let (metric, label) = DENIED;
    for (reason, _) in WORDS {
        let label = format!("{label}=\"{reason}\"");
        counts.push(outrider.metric(metric, &[&label]).await);
    }
    counts
}

/// A new endpoint at the URL of the case, or why there is none.
pub(super) async fn endpoint(project: &mut Api, case: &Case) -> Result<String, String> {
    let body = json!({"name": case.id, "url": case.input, "http_timeout": 10});
    let reply = project.post("/endpoints", &body).await;
    match reply.status.is_success() {
        true => Ok(reply.uid()),
        false => Err(reply.refusal(400)),
    }
}

/// The first attempt of a new event for the endpoint.
pub(super) async fn deliver(outrider: &Outrider, project: &mut Api, endpoint: &str) -> Delivered {
    let before = counted(outrider).await;
    let event = project.publish(endpoint, "a", &json!(1)).await;
    let path = format!("/eventdeliveries?eventId={event}");
    let attempt = until(&format!("{event} is attempted"), DEADLINE, async || {
        let delivery = project.rows(&path).await.pop()?;
        let uid = delivery["uid"].as_str().unwrap().to_owned();
        let path = format!("/eventdeliveries/{uid}/deliveryattempts");
        let attempts = project.call(Method::GET, &path, None).await.data(200);
        attempts.as_array().unwrap().first().cloned()
    })
    .await;
    let after = counted(outrider).await;
    let reasons = WORDS.iter().zip(before.iter().zip(after));
    let reasons = reasons.filter(|(_, (before, after))| *before < after);
    let mut reasons: Vec<_> = reasons.map(|((reason, _), _)| *reason).collect();
    reasons.dedup();
    Delivered::Attempted(attempt, reasons)
}
