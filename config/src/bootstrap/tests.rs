use super::*;

fn load(text: &str, env: &[(&str, &str)]) -> Result<Bootstrap, Vec<Problem>> {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Bootstrap::load(Some(text), env)
}

fn texts(result: Result<Bootstrap, Vec<Problem>>) -> Vec<String> {
    result.unwrap_err().iter().map(Problem::to_string).collect()
}

#[test]
fn all_problems_of_file_and_environment_are_reported_at_once() {
    let text = "\
public: {listen: nowhere}
admin:
  lisen: 127.0.0.1:1
store:
  node: 1024
  sync: sometimes
egress:
  internal:
    - {projects: [a], cidr: 10.0.0.0/33}
    - {projects: [], name_suffix: internal.example, cidr: 10.0.0.0/8}
  ports: [0]
  reflectors: ['192.0.2.300:80']
  name_servers: ['192.0.2.53', '192.0.2.53:0']
  new_connections_per_destination: 99
log: {level: loud}
";
    let found = texts(load(
        text,
        &[
            ("OUTRIDER__DELIVERY__LANE_CONCURRENCY", "0.5"),
            ("OUTRIDER__STROE__NODE", "1"),
        ],
    ));
    let expected = [
        ("line 1: public.listen: ", "address"),
        ("line 3: admin.lisen: ", "`listen`"),
        ("line 5: store.node: ", "1023"),
        ("line 6: store.sync: ", "`always`"),
        ("line 9: egress.internal[0].cidr: ", "range"),
        ("line 10: egress.internal[1].projects: ", "project"),
        ("line 10: egress.internal[1]: ", "exactly one"),
        ("line 11: egress.ports[0]: ", "65535"),
        ("line 12: egress.reflectors: ", "2 to 8"),
        ("line 12: egress.reflectors[0]: ", "and a port"),
        ("line 13: egress.name_servers[0]: ", "and a port"),
        ("line 13: egress.name_servers[1]: ", "and a port"),
        (
            "line 14: egress.new_connections_per_destination: ",
            "from 100 to 1000000",
        ),
        ("line 15: log.level: ", "level"),
        ("OUTRIDER__DELIVERY__LANE_CONCURRENCY: ", "whole number"),
        ("OUTRIDER__STROE__NODE: ", "`store`"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (start, part) in expected {
        assert!(
            found
                .iter()
                .any(|text| text.starts_with(start) && text.contains(part)),
            "{start} {found:#?}"
        );
    }
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    let found = texts(load("public: {listen: 127.0.0.1:9901}", &[]));
    assert!(
        found[0].contains("admin.listen") && found.len() == 1,
        "{found:?}"
    );
    let found = texts(load("public: {listen: 127.0.0.1:0}", &[]));
    assert!(found[0].contains("port"), "{found:?}");
    let found = texts(load("api: {listen: 127.0.0.1:5005}", &[]));
    assert_eq!(
        found,
        ["line 1: api.listen: 127.0.0.1:5005 is also `public.listen`"]
    );
    let text =
        "api: {listen: 127.0.0.1:1}\nadmin: {listen: 127.0.0.1:1}\nxds: {listen: 127.0.0.1:1}";
    let found = texts(load(text, &[]));
    assert!(
        found.len() == 2 && found.iter().all(|text| text.contains("`api.listen`")),
        "{found:?}"
    );
    let found = texts(load("api: {listen: 5010, url: x}", &[]));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn a_public_url_that_paths_cannot_be_put_behind_is_refused() {
    for url in [
        "hooks.example.com",
        "/hooks",
        "ftp://hooks.example.com",
        "http://",
        "https://hooks.example.com/",
        "https://hooks.example.com/a/",
        "https://hooks.example.com?a=b",
        "https://hooks.example.com#a",
        "https://user:word@hooks.example.com",
        "https:hooks.example.com",
        "https://hooks.example.com/a b",
        "https:\\\\hooks.example.com",
    ] {
        let found = texts(load(&format!("public: {{url: '{url}'}}"), &[]));
        assert!(
            found.len() == 1 && found[0].starts_with("line 1: public.url: must be"),
            "{url} {found:?}"
        );
    }
    for url in ["https://hooks.example.com", "http://[::1]:80/a/b"] {
        let bootstrap = load(&format!("public: {{url: '{url}'}}"), &[]).unwrap();
        assert_eq!(bootstrap.public_url, url);
    }
}

#[test]
fn the_public_url_follows_the_listener_unless_it_was_set() {
    let moved = "127.0.0.1:80".parse().unwrap();
    let mut bootstrap = load("public: {listen: '[::1]:8080'}", &[]).unwrap();
    assert_eq!(bootstrap.public_url, "http://[::1]:8080");
    bootstrap.listen_publicly_at(moved);
    assert_eq!(bootstrap.public_url, "http://127.0.0.1:80");
    let env = [("OUTRIDER__PUBLIC__URL", "https://hooks.example.com")];
    let mut bootstrap = load("", &env).unwrap();
    bootstrap.listen_publicly_at(moved);
    assert_eq!(
        (bootstrap.public_url.as_str(), bootstrap.public_listen),
        ("https://hooks.example.com", moved)
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = "store: {node: 3, sync: interval, sync_interval_ms: 50}\ndata_dir: /a\n";
    let env = [
        ("OUTRIDER__STORE__NODE", "7"),
        ("OUTRIDER__PUBLIC__LISTEN", "[::1]:8080"),
        ("OUTRIDER__EGRESS__ALLOW_CIDRS", "[10.0.0.0/8, fd00::/8]"),
        (
            "OUTRIDER__EGRESS__REFLECTORS",
            "['[::1]:80', Reflect.example:4000]",
        ),
        ("OUTRIDER__EGRESS__NEW_CONNECTIONS_PER_DESTINATION", "5000"),
        ("OUTRIDER__DATA_DIR", "0017"),
        ("OUTRIDER_OTHER", "x"),
        ("PATH", "/bin"),
    ];
    let bootstrap = load(text, &env).unwrap();
    assert_eq!(bootstrap.store.node.get(), 7);
    assert_eq!(
        bootstrap.store.sync,
        SyncMode::Interval(Duration::from_millis(50))
    );
    assert_eq!(bootstrap.public_listen, "[::1]:8080".parse().unwrap());
    assert_eq!(bootstrap.egress.allow_cidrs.len(), 2);
    let expected = [
        Reflector::At("[::1]:80".parse().unwrap()),
        Reflector::Named("reflect.example".to_owned(), 4000),
    ];
    assert_eq!(bootstrap.egress.reflectors, expected);
    let paced = bootstrap.egress.new_connections_per_destination;
    assert_eq!(paced, Some(5000));
    assert_eq!(bootstrap.data_dir, PathBuf::from("0017"));
}

#[test]
fn one_reflector_of_a_family_is_noticed() {
    for (reflectors, expected) in [
        ("[]", &[][..]),
        ("['192.0.2.1:80', '192.0.2.2:80']", &[]),
        ("['192.0.2.1:80', '[2001:db8::1]:80']", &["IPv4", "IPv6"]),
        (
            "['192.0.2.1:80', '192.0.2.2:80', '[2001:db8::1]:80']",
            &["IPv6"],
        ),
        ("['192.0.2.1:80', reflect.example:80]", &[]),
    ] {
        let text = format!("egress: {{reflectors: {reflectors}}}");
        let lone = load(&text, &[]).unwrap().egress.lone_reflectors();
        let families: Vec<_> = lone.iter().map(|(family, _)| *family).collect();
        assert_eq!(families, expected, "{reflectors}");
    }
}

#[test]
fn nothing_at_all_gives_the_documented_defaults() {
    let bootstrap = Bootstrap::load(None, std::iter::empty()).unwrap();
    assert_eq!(bootstrap.public_listen.to_string(), "127.0.0.1:5005");
    assert_eq!(bootstrap.public_url, "http://127.0.0.1:5005");
    assert_eq!(bootstrap.api_listen.to_string(), "127.0.0.1:5010");
    assert_eq!(bootstrap.admin_listen.to_string(), "127.0.0.1:9901");
    assert_eq!(bootstrap.xds.listen.to_string(), "127.0.0.1:18000");
    assert_eq!(
        bootstrap.delivery,
        DeliverySettings {
            in_flight_max: 1024,
            lane_concurrency: 16,
            batch_pause: Duration::from_millis(50),
            excerpt_bytes_max: 4096
        }
    );
    assert_eq!(bootstrap.store.sync, SyncMode::Always);
    assert!(load("", &[]).is_ok() && load("# nothing\n", &[]).is_ok());
}
