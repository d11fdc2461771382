//! Resource files: every problem with its place, and what a good file plans.

mod egress_policies;
mod egress_pools;
mod event_types;
mod url_templates;

use outrider_webhook::id::ProjectId;
use proptest::prelude::*;

use super::*;
use crate::document::{Document, Kind, Transaction, Version};
use crate::snapshot::Snapshot;

const GOOD: &str = r#"
projects:
  - name: github-in
    type: incoming
    config:
      strategy: {type: exponential, duration: 2, retry_count: 5, jitter: full}
    sources:
      - name: github
        type: http
        provider: github
        verifier: {type: hmac, hmac: {secret: 0012e5}}
      - name: generic
        mask_id: generic-1
        verifier: {type: hmac, hmac: {header: X-Sig, hash: SHA512, encoding: base64, secret: s, prefix: "v0="}}
        event_type_location: request.header.X-Event
        custom_response: {body: thanks, content_type: text/plain}
        deny_headers: [X-Internal]
      - {name: basic, mask_id: basic-1, verifier: {type: basic_auth, basic_auth: {username: u, password: p}}}
      - {name: token, mask_id: token-1, verifier: {type: api_key, api_key: {header_name: X-Key, header_value: v}}}
      - {name: bearer, mask_id: bearer-1, verifier: {type: api_key, api_key: {header_name: "", header_value: v}}}
      - {name: open, mask_id: open-1, verifier: {type: noop}}
      - {name: native, mask_id: native-1, preset: github, secrets: [old, new]}
    endpoints:
      - {name: backend, url: "http://10.0.0.1:8080/hooks", secret: s3cret}
    subscriptions:
      - {name: pushes, source_id: github, endpoint_id: backend, filter_config: {event_types: [push]}, filters: [{event_type: 'pu*', body: {ref: null, n: {$in: [1, yes]}}}]}
      - {name: rest, source_id: generic, endpoint_id: backend}
  - name: invoices
    type: outgoing
    uid: 01JD4N3T8Q2W5X6Y7Z8A9B0C1D
    config: {ssl: {enforce_secure_endpoints: true}, signature: {format: both, versions: [{hash: SHA512, encoding: base64}]}}
    endpoints:
      - name: customer
        uid: 01JD4N3T8Q2W5X6Y7Z8A9B0C1E
        url: https://example.com/hooks
        owner_id: 4711
        secrets:
          - {value: whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz, expires_at: "2027-01-01T00:00:00Z"}
          - {value: whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI0}
        advanced_signatures: false
        http_timeout: 30
    subscriptions:
      - {name: all, endpoint_id: 01JD4N3T8Q2W5X6Y7Z8A9B0C1E, filter_config: {event_types: []}}
    api_keys:
      - {name: billing, key: CO.0123456789abcdef.0123456789abcdef0123456789abcdef}
"#;

/// The key pair of the seed 40..5f.
const PRIVATE: &str =
    "whsk_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8lQ7kv8QlVEUdq3INp223ckzZloRl43aFATuEGbKlVnQ==";

/// Numbers ids, so that they are the same in every run.
#[derive(Default)]
struct Counting(u128);

impl Naming for Counting {
    fn uid(&mut self, _: Kind, _: Option<ProjectId>, _: &str) -> Uid {
        self.0 += 1;
        Uid::from_bits(self.0)
    }

    fn mask(&mut self, source: Uid) -> String {
        format!("made-{}", source.bits())
    }
}

fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    }
}

/// The problems are exactly these: each starts and goes on as given.
#[track_caller]
fn expect(text: &str, expected: &[(&str, &str)]) {
    let found = problems(text);
    for (start, part) in expected {
        let is_there = found
            .iter()
            .any(|problem| problem.starts_with(start) && problem.contains(part));
        assert!(is_there, "no `{start}` with `{part}` in {found:?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(
        found.iter().all(|problem| !problem.contains("hunter2")),
        "{found:#?}"
    );
}

#[test]
fn all_problems_of_a_file_are_reported_with_path_and_line() {
    let text = "\
projects:
  - name: a
    type: sideways
    confg: {}
    endpoints:
      - name: one
        url: ftp://example.com
        secret: hunter2
        http_timout: 5
      - name: one
        url: https://example.com
        secret: [hunter2]
        http_timeout: 500
        rate_limit: 100
    subscriptions:
      - {name: s, endpoint_id: oen, filter_config: {filter: {body: {a: {$foo: 1}}}}}
  - name: a
    type: incoming
    uid: nope
    sources:
      - {name: x, provider: gitlab, verifier: {hmac: {secret: hunter2}}}
      - {name: y, mask_id: 'a/b'}
    endpoints: {name: z}
    api_keys:
      - {name: k, key: hunter2}
extra: 1
";
    expect(
        text,
        &[
            ("line 3: projects[0].type: ", "`incoming` or `outgoing`"),
            ("line 4: projects[0].confg: ", "did you mean `config`"),
            ("line 7: projects[0].endpoints[0].url: ", ""),
            (
                "line 9: projects[0].endpoints[0].http_timout: ",
                "did you mean `http_timeout`",
            ),
            (
                "line 10: projects[0].endpoints[1].name: ",
                "already used on line 6",
            ),
            (
                "line 12: projects[0].endpoints[1].secret: ",
                "a text is expected",
            ),
            (
                "line 13: projects[0].endpoints[1].http_timeout: ",
                "from 1 to 120 seconds",
            ),
            (
                "line 10: projects[0].endpoints[1].rate_limit_duration: ",
                "is missing",
            ),
            (
                "line 16: projects[0].subscriptions[0].endpoint_id: ",
                "did you mean `one`",
            ),
            (
                "line 16: projects[0].subscriptions[0].filter_config.filter.body.a.$foo: ",
                "is no operator",
            ),
            ("line 17: projects[1].name: ", "already used on line 2"),
            ("line 19: projects[1].uid: ", "26 characters"),
            ("line 21: projects[1].sources[0].provider: ", "`github`"),
            ("line 22: projects[1].sources[1].mask_id: ", "letters"),
            ("line 22: projects[1].sources[1].verifier: ", "noop"),
            ("line 23: projects[1].endpoints: ", "a list is expected"),
            ("line 25: projects[1].api_keys[0].key: ", "32 to 512"),
            ("line 26: extra: ", "`projects` only"),
        ],
    );
}

#[test]
fn a_file_that_is_something_else_is_one_problem() {
    expect("", &[("line 1: projects: ", "missing")]);
    expect("[1, 2]", &[("line 1: a resource file is a map", "")]);
    expect(
        "projects: {a: 1}",
        &[("line 1: projects: ", "a list is expected")],
    );
    expect(
        "projects: [1]",
        &[("line 1: projects[0]: ", "a map of fields is expected")],
    );
    expect("a: 'hunter2", &[("line 1: this is no valid YAML", "")]);
    assert!(problems("projects: []").is_empty());
}

#[test]
fn a_project_setting_out_of_bounds_is_refused() {
    let config =
        |config: &str| format!("projects: [{{name: a, type: outgoing, config: {config}}}]");
    for (text, path) in [
        ("{max_payload_read_size: 33554433}", "max_payload_read_size"),
        ("{max_payload_read_size: -1}", "max_payload_read_size"),
        ("{strategy: {type: quadratic}}", "strategy.type"),
        ("{strategy: {duration: 604801}}", "strategy.duration"),
        (
            "{strategy: {type: exponential, duration: 7201}}",
            "strategy.duration",
        ),
        ("{strategy: {retry_count: 1001}}", "strategy.retry_count"),
        ("{strategy: {jitter: some}}", "strategy.jitter"),
        ("{signature: {header: 'a b'}}", "signature.header"),
        ("{signature: {header: Host}}", "signature.header"),
        ("{signature: {format: v2}}", "signature.format"),
        ("{signature: {input: raw}}", "signature.input"),
        (
            "{signature: {versions: [{hash: MD5, encoding: hex}]}}",
            "signature.versions[0].hash",
        ),
        (
            "{signature: {versions: [{hash: SHA256}]}}",
            "signature.versions[0].encoding",
        ),
        ("{request_id_header: ''''}", "request_id_header"),
        ("{request_id_header: webhook-id}", "request_id_header"),
        (
            "{request_id_header: X-Convoy-Signature}",
            "request_id_header",
        ),
        ("{circuit_breaker: {probes: 101}}", "circuit_breaker.probes"),
        (
            "{failure_rate_alert: {failure_threshold: 101}}",
            "failure_rate_alert.failure_threshold",
        ),
        (
            "{meta_event: {is_enabled: true, url: 'http://a/', secret: s}}",
            "meta_event.event_type",
        ),
        ("{search_policy: 24h}", "search_policy"),
    ] {
        let text = config(text).replace("''''", "'a b'");
        expect(
            &text,
            &[(&format!("line 1: projects[0].config.{path}: "), "")],
        );
    }
    let defaults = "{disable_endpoint: false, ratelimit: {count: 5, duration: 60}, meta_event: {is_enabled: false, url: x}, \
        search_policy: '', max_payload_read_size: 0, strategy: {duration: 0, retry_count: 0, type: ''}, circuit_breaker: {}}";
    assert_eq!(problems(&config(defaults)), [""; 0]);
}

#[test]
fn a_source_setting_that_makes_no_sense_is_refused() {
    let source = |fields: &str| {
        format!("projects: [{{name: a, type: incoming, sources: [{{name: s, {fields}}}]}}]")
    };
    let hmac = "header: X, hash: SHA256, encoding: hex, secret: hunter2";
    for (text, path) in [
        ("type: pub_sub, verifier: {type: noop}".to_owned(), "type"),
        ("verifier: {type: magic}".to_owned(), "verifier.type"),
        (
            "verifier: {hmac: {secret: hunter2}}".to_owned(),
            "verifier.type",
        ),
        ("verifier: {type: hmac}".to_owned(), "verifier.hmac"),
        (
            format!(
                "verifier: {{type: hmac, hmac: {{{}}}}}",
                hmac.replace("SHA256", "MD5")
            ),
            "verifier.hmac.hash",
        ),
        (
            format!(
                "verifier: {{type: hmac, hmac: {{{}}}}}",
                hmac.replace(": X", ": a b")
            ),
            "verifier.hmac.header",
        ),
        (
            format!(
                "verifier: {{type: hmac, hmac: {{{}}}}}",
                hmac.replace("hunter2", "''")
            ),
            "verifier.hmac.secret",
        ),
        (
            format!("verifier: {{type: noop, hmac: {{{hmac}}}}}"),
            "verifier.hmac",
        ),
        (
            format!("provider: github, verifier: {{type: hmac, hmac: {{{hmac}}}}}"),
            "verifier.hmac.header",
        ),
        ("provider: github".to_owned(), "verifier.hmac.secret"),
        (
            "verifier: {type: basic_auth, basic_auth: {username: 'a:b', password: p}}".to_owned(),
            "verifier.basic_auth.username",
        ),
        (
            "verifier: {type: api_key, api_key: {header_name: X}}".to_owned(),
            "verifier.api_key.header_value",
        ),
        ("preset: nope, secrets: [hunter2]".to_owned(), "preset"),
        ("preset: github".to_owned(), "preset"),
        ("preset: 7, secrets: [hunter2]".to_owned(), "preset"),
        ("preset: {}, secrets: [hunter2]".to_owned(), "preset"),
        ("preset: {signature: null}, secrets: [hunter2]".to_owned(), "preset"),
        (
            "preset: {signature: {source: {in: header, name: X}, format: plain, schemes: [{algorithm: md5, encoding: hex, key: utf8}]}, signed: '{body}'}, secrets: [hunter2]".to_owned(),
            "preset",
        ),
        (
            format!("preset: {{signature: null, description: '{}'}}", "x".repeat(64 * 1024)),
            "preset",
        ),
        (
            "preset: aws_sns, params: {topic_arns: {a: b}}".to_owned(),
            "params.topic_arns",
        ),
        ("preset: aws_sns, params: {topic_arns: []}".to_owned(), "preset"),
        ("preset: aws_sns, secrets: [hunter2], params: {topic_arns: a}".to_owned(), "preset"),
        (
            format!("preset: aws_sns, params: {{topic_arns: [a, {}]}}", "x".repeat(2049)),
            "params.topic_arns",
        ),
        (
            "preset: github, secrets: [hunter2], params: {x: y}".to_owned(),
            "preset",
        ),
        (
            "preset: github, secrets: [hunter2], verifier: {type: noop}".to_owned(),
            "preset",
        ),
        (
            "secrets: [hunter2], verifier: {type: noop}".to_owned(),
            "secrets",
        ),
        (
            "verifier: {type: noop}, event_type_location: request.cookie.type".to_owned(),
            "event_type_location",
        ),
        (
            "verifier: {type: noop}, deny_headers: [a, 'b c']".to_owned(),
            "deny_headers[1]",
        ),
        (
            "verifier: {type: noop}, idempotency_keys: [request.header.X, body.id]".to_owned(),
            "idempotency_keys[1]",
        ),
        (
            format!(
                "verifier: {{type: noop}}, idempotency_keys: [{}]",
                vec!["req.body.a"; 17].join(", ")
            ),
            "idempotency_keys",
        ),
        (
            "verifier: {type: noop}, idempotency_window_s: 2592001".to_owned(),
            "idempotency_window_s",
        ),
        (
            "verifier: {type: noop}, custom_response: {body: a, content_type: \"a\\nb\"}"
                .to_owned(),
            "custom_response.content_type",
        ),
    ] {
        let found = problems(&source(&text));
        let start = format!("line 1: projects[0].sources[0].{path}: ");
        assert!(
            found.iter().any(|problem| problem.starts_with(&start)),
            "{text}: {found:#?}"
        );
        assert!(
            found.iter().all(|problem| !problem.contains("hunter2")),
            "{found:#?}"
        );
    }
    let outgoing =
        "projects: [{name: a, type: outgoing, sources: [{name: s, verifier: {type: noop}}]}]";
    expect(
        outgoing,
        &[("line 1: projects[0].sources[0]: ", "outgoing project")],
    );
}

#[test]
fn an_endpoint_setting_that_makes_no_sense_is_refused() {
    let file = |config: &str, fields: &str| {
        format!(
            "projects: [{{name: a, type: outgoing, config: {config}, endpoints: [{{name: e, {fields}}}]}}]"
        )
    };
    let url = "url: 'https://example.com'";
    for (config, text, path) in [
        ("{}", "secret: hunter2".to_owned(), "url"),
        ("{}", url.to_owned(), "secret"),
        (
            "{}",
            format!("{url}, secret: hunter2, secrets: [{{value: hunter2}}]"),
            "secret",
        ),
        (
            "{}",
            format!("{url}, secrets: [{{expires_at: '2027-01-01T00:00:00Z'}}]"),
            "secrets[0].value",
        ),
        (
            "{}",
            format!("{url}, secrets: [{{value: hunter2, expires_at: tomorrow}}]"),
            "secrets[0].expires_at",
        ),
        (
            "{}",
            format!("{url}, secret: hunter2, status: asleep"),
            "status",
        ),
        (
            "{}",
            format!("{url}, secret: hunter2, status: active, is_disabled: true"),
            "is_disabled",
        ),
        (
            "{}",
            format!("{url}, secret: hunter2, content_type: text/plain"),
            "content_type",
        ),
        (
            "{}",
            format!("{url}, secret: hunter2, http_timeout: 121"),
            "http_timeout",
        ),
        (
            "{}",
            format!("{url}, secret: hunter2, authentication: {{type: basic_auth}}"),
            "authentication.basic_auth",
        ),
        (
            "{}",
            format!("{url}, secret: hunter2, owner_id: \"a\\nb\""),
            "owner_id",
        ),
        (
            "{SSL: {enforce_secure_endpoints: true}}",
            "url: 'http://example.com', secret: hunter2".to_owned(),
            "url",
        ),
        (
            "{signature: {format: standard_webhooks}}",
            format!("{url}, secret: hunter2"),
            "secret",
        ),
        (
            "{signature: {format: custom, headers: [{name: X-A, value: '{signature}', key: whsec}]}}",
            format!("{url}, secret: hunter2"),
            "secret",
        ),
        (
            "{signature: {message_signature: {}}}",
            format!("{url}, secrets: [{{value: {PRIVATE}, uid: 'Schlüssel'}}, {{value: hunter2}}]"),
            "secret",
        ),
        (
            "{signature: {format: custom, message_signature: {}}}",
            format!("{url}, secrets: [{{value: {PRIVATE}, uid: 'Schlüssel'}}]"),
            "secret",
        ),
        // A private key is for Standard Webhooks, and is one; a public one signs nothing.
        ("{}", format!("{url}, secret: {PRIVATE}"), "secret"),
        (
            "{signature: {format: both}}",
            format!("{url}, secrets: [{{value: {PRIVATE}}}]"),
            "secret",
        ),
        (
            "{signature: {format: standard_webhooks}}",
            format!("{url}, secret: whsk_hunter2"),
            "secret",
        ),
        (
            "{}",
            format!(
                "{url}, secrets: [{{value: whpk_JUO5L/EJVRFHatyDadtt3JM2ZaEZeN2hQE7hBmypVZ0=}}]"
            ),
            "secrets[0].value",
        ),
    ] {
        let start = format!("line 1: projects[0].endpoints[0].{path}: ");
        expect(&file(config, &text), &[(&start, "")]);
    }
}

#[test]
fn a_text_that_is_only_kept_has_a_limit_too() {
    let x = |bytes: usize| "x".repeat(bytes);
    let text = |over: usize| {
        let headers = vec!["X-A"; 64 + over].join(", ");
        format!(
            "
projects:
  - name: a
    type: incoming
    logo_url: 'https://a.example/{logo}'
    config: {{signature: {{versions: [{{hash: SHA256, encoding: hex, uid: {note}, created_at: {note}}}]}}}}
    sources:
      - {{name: s, verifier: {{type: noop}}, forward_headers: [{headers}]}}
      - {{name: t, verifier: {{type: hmac, hmac: {{header: X, hash: SHA256, encoding: hex, secret: s, prefix: {note}}}}}}}
    endpoints:
      - name: e
        url: https://a.example
        description: {description}
        support_email: ops@{email}
        secrets: [{{value: s, uid: {note}, created_at: {note}}}]
",
            logo = x(2048 - 18 + over),
            note = x(255 + over),
            description = x(4096 + over),
            email = x(316 + over),
        )
    };
    expect(&text(0), &[]);
    let expected = [
        ("line 5: projects[0].logo_url", "2048 bytes"),
        (
            "line 6: projects[0].config.signature.versions[0].uid",
            "255 bytes",
        ),
        (
            "line 6: projects[0].config.signature.versions[0].created_at",
            "255 bytes",
        ),
        (
            "line 8: projects[0].sources[0].forward_headers",
            "64 headers",
        ),
        (
            "line 9: projects[0].sources[1].verifier.hmac.prefix",
            "255 bytes",
        ),
        (
            "line 13: projects[0].endpoints[0].description",
            "4096 bytes",
        ),
        (
            "line 14: projects[0].endpoints[0].support_email",
            "320 bytes",
        ),
        (
            "line 15: projects[0].endpoints[0].secrets[0].uid",
            "255 bytes",
        ),
        (
            "line 15: projects[0].endpoints[0].secrets[0].created_at",
            "255 bytes",
        ),
    ];
    expect(&text(1), &expected);
    for logo in [
        "javascript:alert(1)",
        "data:image/png;base64,",
        "/logo.png",
        "x",
    ] {
        let text = format!("projects: [{{name: a, type: outgoing, logo_url: '{logo}'}}]");
        expect(
            &text,
            &[(
                "line 1: projects[0].logo_url",
                "must be an http or https URL",
            )],
        );
    }
}

#[test]
fn a_delivery_mode_that_is_none_is_refused() {
    let text = "projects: [{name: a, type: outgoing, endpoints: [{name: e, url: 'https://a.example', secret: s}],
               subscriptions: [{name: b, endpoint_id: e, delivery_mode: sometimes}]}]";
    let part = "`at_least_once` or `at_most_once`";
    expect(
        text,
        &[("line 2: projects[0].subscriptions[0].delivery_mode: ", part)],
    );
}

#[test]
fn references_and_keys_that_clash_are_refused() {
    let text = "\
projects:
  - name: out
    type: outgoing
    endpoints: [{name: e, uid: 01JD4N3T8Q2W5X6Y7Z8A9B0C1E, url: 'https://a.example', secret: s}]
    subscriptions:
      - {name: one, endpoint_id: e}
      - {name: two, endpoint_id: 01JD4N3T8Q2W5X6Y7Z8A9B0C1E}
      - {name: three, endpoint_id: 01JD4N3T8Q2W5X6Y7Z8A9B0C1F}
    api_keys:
      - {name: a, key_sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}
      - {name: b, key_sha256: E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855}
  - name: in
    type: incoming
    uid: 01JD4N3T8Q2W5X6Y7Z8A9B0C1E
    sources:
      - {name: s, mask_id: m, verifier: {type: noop}}
      - {name: t, mask_id: m, verifier: {type: noop}}
    endpoints: [{name: e2, url: 'https://a.example', secret: s}]
    subscriptions: [{name: no source, endpoint_id: e2}, {name: other project, endpoint_id: e, source_id: s}]
";
    expect(
        text,
        &[
            (
                "line 7: projects[0].subscriptions[1].endpoint_id: ",
                "multiple_endpoint_subscriptions",
            ),
            (
                "line 8: projects[0].subscriptions[2].endpoint_id: ",
                "no endpoint",
            ),
            (
                "line 11: projects[0].api_keys[1].key_sha256: ",
                "already used on line 10",
            ),
            ("line 14: projects[1].uid: ", "already used on line 4"),
            (
                "line 17: projects[1].sources[1].mask_id: ",
                "already used on line 16",
            ),
            (
                "line 19: projects[1].subscriptions[0].source_id: ",
                "missing",
            ),
            (
                "line 19: projects[1].subscriptions[1].endpoint_id: ",
                "no endpoint",
            ),
        ],
    );
}

#[test]
fn a_good_file_plans_documents_that_a_snapshot_takes() {
    let file = parse(GOOD).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let planned = file.plan(&mut Counting::default()).unwrap();
    let count = |kind| planned.iter().filter(|one| one.kind == kind).count();
    assert_eq!(Kind::ALL.map(count), [0, 0, 2, 0, 7, 2, 3, 1]);
    let customer = planned.iter().find(|one| one.name == "customer").unwrap();
    assert_eq!(
        (customer.uid.to_string().as_str(), customer.owner.as_deref()),
        ("01JD4N3T8Q2W5X6Y7Z8A9B0C1E", Some("4711"))
    );
    let key = planned.iter().find(|one| one.kind == Kind::ApiKey).unwrap();
    assert!(
        !String::from_utf8_lossy(&key.spec).contains("0123456789abcdef0123"),
        "a token is never kept"
    );
    let document = |one: Planned| {
        let Planned {
            kind,
            uid,
            project,
            spec,
            ..
        } = one;
        Document {
            kind,
            uid,
            project,
            revision: 1,
            spec,
        }
    };
    let version = Version {
        journal: Uid::from_bits(1),
        revision: 1,
    };
    let upserts = planned.into_iter().map(document).collect();
    let (snapshot, quarantined) = Snapshot::empty().apply(&Transaction {
        version,
        is_full: true,
        upserts,
        removals: Vec::new(),
    });
    assert_eq!(quarantined, []);
    for mask in [
        "generic-1",
        "basic-1",
        "token-1",
        "bearer-1",
        "open-1",
        "native-1",
    ] {
        assert!(snapshot.source_by_mask(mask).is_some(), "{mask}");
    }
    let (table, github) = snapshot.source_by_mask("made-2").unwrap();
    assert_eq!(github.name(), "github");
    assert_eq!(
        github.body_bytes_max(table.project()),
        crate::resource::GITHUB_BODY_BYTES_DEFAULT
    );
    assert_eq!(
        table
            .subscriptions_of_source(github.id())
            .matching("push")
            .count(),
        1
    );
    assert_eq!(
        table
            .subscriptions_of_source(github.id())
            .matching("issues")
            .count(),
        0
    );
    let invoices = snapshot
        .project("01JD4N3T8Q2W5X6Y7Z8A9B0C1D".parse().unwrap())
        .unwrap();
    assert_eq!(invoices.endpoints_of_owner("4711").count(), 1);
}

#[test]
fn the_same_file_gives_the_same_documents() {
    let plan = || {
        parse(GOOD)
            .ok()
            .unwrap()
            .plan(&mut Counting::default())
            .unwrap()
    };
    let same = |(a, b): (Planned, Planned)| a.uid == b.uid && a.spec == b.spec;
    assert!(plan().into_iter().zip(plan()).all(same));
}

#[test]
fn check_tells_the_two_kinds_of_files_apart() {
    assert_eq!(crate::check(GOOD), []);
    assert_eq!(crate::check("public: {listen: 127.0.0.1:1}"), []);
    assert_eq!(crate::check("project: []")[0].path, "projects");
    assert_eq!(
        crate::check("public: {listn: 127.0.0.1:1}")[0].path,
        "public.listn"
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = crate::check(&text);
    }

    #[test]
    fn no_cut_of_a_good_file_makes_the_parser_panic(cut in 0_usize..GOOD.len(), insert in "[\\[\\]{}:,'\"a\\n -]{0,5}") {
        let text = format!("{}{insert}{}", &GOOD[..cut], &GOOD[cut..]);
        let _ = crate::check(&text);
        let _ = crate::check(&GOOD[..cut]);
    }
}
