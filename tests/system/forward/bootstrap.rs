//! A bootstrap with which the proxy cannot be what it says: told by name, before anything listens.

use serde_json::json;

use super::super::harness::{Resources, Setup};

#[tokio::test]
async fn a_bad_bootstrap_is_refused_by_name() {
    let resources = Resources::outgoing(&[]);
    let identity = json!([{"name": "a", "passwords": ["0123456789abcdef"], "projects": ["*"]}]);
    let same = json!([
        {"name": "a", "passwords": ["0123456789abcdef"], "projects": ["*"]},
        {"name": "b", "passwords": ["0123456789abcdef"], "projects": ["*"]},
    ]);
    let weak = json!([{"name": "a", "passwords": ["secret"], "projects": ["*"]}]);
    let nobody = json!([{"name": "a", "projects": ["*"]}]);
    for (settings, says) in [
        (
            vec![("LISTEN", "nowhere")],
            "OUTRIDER__EGRESS__LISTEN: must be an address",
        ),
        (
            vec![("LISTEN", "127.0.0.1:0")],
            "OUTRIDER__EGRESS__LISTEN: needs a port",
        ),
        (
            vec![("LISTEN", "0.0.0.0:3128")],
            "needs `egress.identities`",
        ),
        (
            vec![("IDENTITIES", &weak.to_string())],
            "[0].passwords[0]: must have 16 to 256",
        ),
        (
            vec![("IDENTITIES", &nobody.to_string())],
            "needs `passwords` or a `certificate`",
        ),
        (
            vec![("IDENTITIES", &same.to_string())],
            "is also a password of `egress.identities[0]`",
        ),
        (
            vec![("TLS", "{certificate: a.pem}")],
            "must be the path of a PEM file",
        ),
        (
            vec![
                ("LISTEN", "127.0.0.1:3128"),
                ("TLS", "{certificate: /none/a.pem, key: /none/a.key}"),
            ],
            "/none/a.pem",
        ),
        (
            vec![("PROXY_PROTOCOL", "[]")],
            "must name at least one range of balancers",
        ),
        (
            vec![("PROXY_PROTOCOL", "[10.0.0.0/33]")],
            "must be a range of addresses",
        ),
        (
            vec![("TUNNEL_IDLE_MS", "0")],
            "OUTRIDER__EGRESS__TUNNEL_IDLE_MS: ",
        ),
        (
            vec![("CONNECTIONS_MAX", "0")],
            "OUTRIDER__EGRESS__CONNECTIONS_MAX: ",
        ),
        (
            vec![("NAME_SERVERS", "[dns.example]")],
            "must be an address and a port",
        ),
        (
            vec![
                ("LISTEN", "127.0.0.1:3128"),
                ("VIA__PROXY", "http://127.0.0.1:3128"),
            ],
            "would go in a circle",
        ),
        (vec![("LISTENING", "127.0.0.1:3128")], "`listen`"),
        (
            vec![(
                "IDENTITIES",
                &identity.to_string().replace("passwords", "password"),
            )],
            "`passwords`",
        ),
    ] {
        let mut setup = Setup::new(&resources);
        for (name, value) in &settings {
            setup = setup.env(&format!("OUTRIDER__EGRESS__{name}"), value);
        }
        let ended = setup.run_to_end().await;
        assert_eq!(ended.code, Some(78), "{settings:?}: {}", ended.output);
        assert!(
            ended.output.contains(says),
            "{settings:?}: {}",
            ended.output
        );
        assert!(
            !ended.output.contains("0123456789abcdef"),
            "{}",
            ended.output
        );
    }
}
