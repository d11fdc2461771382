//! The published list as DNS records, as a name server loads it.

use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::txt::Parser;
use http::Method;
use serde_json::json;

use super::harness::{Api, Outrider, Reply, Resources, Setup};

const ZONE: &str = "/v1/egress-ips?format=zone";

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    let value = reply.headers.get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

async fn ask(outrider: &Outrider, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut nobody = Api::new(outrider.public(), "");
    nobody.call_with(method, path, headers, None).await
}

/// The addresses of each name, and how many texts it has.
fn loaded(zone: &str) -> Vec<(String, Vec<String>, usize)> {
    let origin = Name::from_ascii("egress.example.com.").unwrap();
    let parsed = Parser::new(zone.to_owned(), None, Some(origin)).parse();
    let (_, sets) = parsed.unwrap_or_else(|error| panic!("{error}: {zone}"));
    let mut names: Vec<(String, Vec<String>, usize)> = Vec::new();
    for (key, set) in sets {
        let name = Name::from(key.name).to_ascii();
        let at = names.iter().position(|(own, ..)| *own == name);
        let at = at.unwrap_or_else(|| {
            names.push((name, Vec::new(), 0));
            names.len() - 1
        });
        for record in set.records_without_rrsigs() {
            match key.record_type {
                RecordType::TXT => names[at].2 += 1,
                _ => names[at].1.push(record.data.ip_addr().unwrap().to_string()),
            }
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn the_list_is_a_part_of_a_zone_too() {
    let resources = Resources::outgoing(&[])
        .and_egress_pool("default", &["127.0.0.7", "2001:db8::7"], &json!({"region": "eu-1"}))
        .and_egress_pool("spare", &["127.0.0.8"], &json!({"addresses": [
            {"address": "127.0.0.8", "state": "warming", "effective_at": "2030-01-01T00:00:00Z"},
            {"address": "127.0.0.10", "state": "down"},
        ]}));
    let outrider = Setup::new(&resources).start().await;
    let row = |name: &str, addresses: &[&str], texts| {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        (format!("{name}egress.example.com."), addresses, texts)
    };
    let expected = [
        row("default.", &["127.0.0.7", "2001:db8::7"], 2),
        row("", &["127.0.0.7", "127.0.0.8", "2001:db8::7"], 1),
        row("spare.", &["127.0.0.8"], 2),
    ];
    for path in [ZONE, "/api/v1/egress-ips?format=zone"] {
        let reply = ask(&outrider, Method::GET, path, &[]).await;
        assert_eq!(
            (reply.status.as_u16(), header(&reply, "content-type")),
            (200, "text/dns")
        );
        assert_eq!(loaded(&reply.text()), expected, "{}", reply.text());
    }
    let accept = [("accept", "text/dns")];
    let accepted = ask(&outrider, Method::GET, "/v1/egress-ips", &accept).await;
    assert_eq!(header(&accepted, "content-type"), "text/dns");
    assert_eq!(header(&accepted, "vary"), "Accept, Authorization");
    // It has a tag of its own, which is good for it alone.
    let tag = header(&accepted, "etag").to_owned();
    for (path, status) in [
        (ZONE, 304),
        ("/v1/egress-ips", 200),
        ("/v1/egress-ips?format=text", 200),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let reply = ask(&outrider, method.clone(), path, &[("if-none-match", &tag)]).await;
            assert_eq!(reply.status.as_u16(), status, "{method} {path}");
            let has_body = status == 200 && method == Method::GET;
            assert_eq!(!reply.body.is_empty(), has_body, "{method} {path}");
        }
    }
    let head = ask(&outrider, Method::HEAD, ZONE, &[]).await;
    assert_eq!(
        header(&head, "content-length"),
        accepted.body.len().to_string()
    );
}

#[tokio::test]
async fn a_project_has_records_of_its_own_list() {
    let outrider = Setup::through_api_alone().start().await;
    let mut admin = outrider.admin_api();
    let acme = admin.make_project("acme", "outgoing", &json!({})).await;
    let pool = json!({
        "name": "acme-1", "mode": "dedicated", "projects": [acme.project()],
        "addresses": [{"address": "127.0.0.8"}],
    });
    admin.post("/api/v1/egress-pools", &pool).await.data(201);
    let mut own = Api::new(outrider.public(), acme.key());
    let chosen = json!({"name": "acme", "egress_pool": "acme-1"});
    own.put(&format!("/api/v1/projects/{}", acme.project()), &chosen)
        .await
        .data(202);
    let everybody = loaded(&ask(&outrider, Method::GET, ZONE, &[]).await.text());
    let addresses = everybody.iter().flat_map(|(_, addresses, _)| addresses);
    assert_eq!(addresses.count(), 0, "{everybody:?}");
    super::harness::until("its list has it", super::harness::DEADLINE, async || {
        let reply = own.get(ZONE).await;
        assert_eq!(header(&reply, "cache-control"), "private, max-age=3600");
        let names = loaded(&reply.text());
        let name = "acme-1.egress.example.com.".to_owned();
        let address = vec!["127.0.0.8".to_owned()];
        names.contains(&(name, address, 2)).then_some(())
    })
    .await;
}
