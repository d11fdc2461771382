//! What is fuzzed: each function takes any bytes and must return. It is run by a fuzzer (`make fuzz`),
//! and on the kept inputs of `fuzz/corpus` by the tests.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use outrider_webhook::address::{Authority, Denied, Host, Policy, ProjectRef, TargetUrl};
use outrider_webhook::event::RawEvent;
use outrider_webhook::filter::{Budget, Demand, Filter, Mode, Scope, Sighting, Verdict, Views};
use outrider_webhook::http1::{
    AnswerLimits, ChunkGuard, Consumed, HeadLimits, HeadScanner, answer_head,
};
use outrider_webhook::id::{ProjectId, Uid};
use outrider_webhook::proxy_protocol::{self, Parsed};
use outrider_webhook::schema::Schema;
use outrider_webhook::secret::Secret;
use outrider_webhook::sign::{
    self, HeaderRule, Outgoing, Scheme, Settings, SignatureHeader, SigningKey,
};
use outrider_webhook::url_template::{Concrete, EndpointUrl};
use outrider_webhook::verify::{ParamSpec, PresetSpec, Verifier, builtin, builtin_names};
use outrider_webhook::{cloudevents, decode, view};
use serde_json::Value;

#[path = "../webhook/src/proxy_protocol/writer.rs"]
mod writer;

/// Takes any bytes, and returns.
pub type Target = fn(&[u8]);

/// All of them, by the name of their corpus.
pub const TARGETS: [(&str, Target); 11] = [
    ("authority", authority),
    ("proxy_protocol", proxy_protocol),
    ("http1", http1),
    ("preset", preset),
    ("headers", headers),
    ("body", body),
    ("cloudevents", cloudevents),
    ("filter", filter),
    ("schema", schema),
    ("url_template", url_template),
    ("signature_header", signature_header),
];

const NOW_S: i64 = 1_760_000_000;
const PUBLIC_URL: &str = "https://hooks.example.com/in/fuzz?a=1";

/// A destination, as the authority of a CONNECT and as a URL. What is taken prints in a form that
/// means the same again, and both forms of the forward proxy get one verdict.
pub fn authority(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(target) = TargetUrl::parse(&text) {
        assert_eq!(TargetUrl::parse(&target.to_string()).as_ref(), Ok(&target));
        assert_same(&target, &connect_to(target.host(), target.port()));
    }
    let authority = Authority::parse(&text);
    let url = TargetUrl::parse(&format!("http://{text}/"));
    match (&authority, &url) {
        (Ok(authority), Ok(url)) => {
            assert_eq!(
                Authority::parse(&authority.to_string()).as_ref(),
                Ok(authority)
            );
            assert_same(url, authority);
        }
        (Ok(_), Err(denied)) => panic!("a CONNECT may go where a URL may not: {denied}"),
        // Only what is more than an authority: a path, or no port.
        (Err(denied), Ok(url)) => {
            let is_bare = !text.contains(['/', '?', '#']) && !text.ends_with(':');
            let has_port = text.ends_with(&format!(":{}", url.port()));
            assert!(
                !(is_bare && has_port),
                "a URL may go where no CONNECT may: {denied}"
            );
        }
        (Err(_), Err(_)) => {}
    }
}

fn connect_to(host: &Host, port: u16) -> Authority {
    Authority::parse(&format!("{host}:{port}")).expect("what a URL names can be connected to")
}

/// Host, port and verdict, by a policy that refuses all it can and by one that opens some of it.
fn assert_same(url: &TargetUrl, authority: &Authority) {
    static POLICIES: LazyLock<[Policy; 2]> = LazyLock::new(|| {
        let mut open = Policy::default();
        for range in ["10.0.0.0/8", "64:ff9b::/96", "2002::/16"] {
            open.allow(range.parse().expect("a range"));
        }
        open.allow_name("hooks.internal");
        open.ports(vec![80, 443, 25]);
        [Policy::default(), open]
    });
    assert_eq!((url.host(), url.port()), (&authority.host, authority.port));
    let project = ProjectRef {
        id: ProjectId::new(Uid::from_bits(7)),
        name: "fuzz",
    };
    for policy in POLICIES.iter() {
        let forward = policy.check_target(&project, url);
        let connect = policy.check_authority(&project, authority);
        assert_eq!(connect, forward);
        // An address as a literal gets the verdict that it gets as the answer for a name.
        if let Host::Ip(ip) = authority.host {
            let answers = policy.check_answers(&project, authority.port, &[ip]);
            let answers = answers.map(|_| ());
            let is_port = matches!(connect, Err(Denied::PortNotAllowed(_)));
            assert!(is_port || connect == answers, "{connect:?}, {answers:?}");
        }
    }
}

/// The start of a connection behind a balancer: however the bytes are cut, the verdict is the
/// same, and a header that is taken stands alone.
pub fn proxy_protocol(data: &[u8]) {
    let whole = proxy_protocol::parse(data);
    for length in 0..data.len().min(proxy_protocol::BYTES_MAX + 1) {
        let part = proxy_protocol::parse(&data[..length]);
        assert!(
            part == Parsed::NeedMore || part == whole,
            "{part:?}, {whole:?}"
        );
    }
    match whole {
        Parsed::NeedMore => assert!(data.len() < proxy_protocol::BYTES_MAX),
        Parsed::Done {
            consumed,
            source,
            destination,
        } => {
            assert!(consumed <= data.len().min(proxy_protocol::BYTES_MAX));
            assert_eq!(proxy_protocol::parse(&data[..consumed]), whole);
            assert_eq!(
                proxy_protocol::parse(&data[..consumed - 1]),
                Parsed::NeedMore
            );
            if let (Some(source), Some(destination)) = (source, destination) {
                for written in [
                    writer::v1(source, destination),
                    writer::v2(
                        source,
                        destination,
                        &[(4, data.get(..32).unwrap_or_default())],
                    ),
                ] {
                    let consumed = written.len();
                    let again = Parsed::Done {
                        consumed,
                        source: Some(source),
                        destination: Some(destination),
                    };
                    assert_eq!(proxy_protocol::parse(&written), again);
                }
            }
        }
        Parsed::Invalid(invalid) => assert!(!invalid.to_string().is_empty(), "says nothing"),
    }
}

/// A head, of a request to us, of one to a proxy or of an answer, and the chunks behind it: the
/// verdict is the same wherever the bytes are cut, which the first one says.
pub fn http1(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let limits = HeadLimits {
        line_bytes_max: 256,
        bytes_max: 1024,
        headers_max: 16,
    };
    let start = &bytes[..bytes.len().min(usize::from(*cut) * 4)];
    let scan = |new: fn() -> HeadScanner| {
        let at_once = new().advance(bytes, &limits);
        let mut scanner = new();
        let in_parts = match scanner.advance(start, &limits) {
            Ok(None) => scanner.advance(bytes, &limits),
            found => found,
        };
        if bytes.len() <= limits.bytes_max {
            assert_eq!(in_parts, at_once); // beyond it, which limit is met first depends on the cut
        }
        at_once
    };
    let at_once = scan(HeadScanner::default);
    let for_proxy = scan(HeadScanner::of_proxy);
    assert!(
        at_once.is_err() || at_once == for_proxy,
        "{at_once:?}, {for_proxy:?}"
    );
    answer(start, bytes, cut % 2 == 1);
    let body = match at_once {
        Ok(Some(head)) => &bytes[head.bytes..],
        _ => bytes,
    };
    let (first, second) = body.split_at(body.len().min(usize::from(*cut)));
    let (mut whole, mut parts) = (ChunkGuard::default(), ChunkGuard::default());
    let counts = |consumed: Consumed| (consumed.bytes, consumed.chunks);
    let at_once = whole.consume(body).map(counts);
    let in_parts = parts.consume(first).and_then(|first| {
        let second = parts.consume(second)?;
        Ok((first.bytes + second.bytes, first.chunks + second.chunks))
    });
    assert_eq!(in_parts, at_once);
    assert_eq!(parts.is_done(), whole.is_done());
}

/// The head of an answer, and its beginning.
fn answer(start: &[u8], bytes: &[u8], is_head: bool) {
    let limits = AnswerLimits {
        bytes_max: 1024,
        headers_max: 16,
    };
    let whole = answer_head(bytes, &limits, is_head);
    let part = answer_head(start, &limits, is_head);
    assert!(part == Ok(None) || part == whole, "{part:?}, {whole:?}");
    if let Ok(Some(head)) = whole {
        let alone = answer_head(&bytes[..head.bytes], &limits, is_head);
        assert_eq!(alone, whole);
    }
}

/// A preset as users write it, compiled, and a request judged by it.
pub fn preset(data: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<PresetSpec>(data) else {
        return;
    };
    let Ok(verifier) = compile(&spec) else {
        return;
    };
    judge(
        &verifier,
        &request(b"POST\nx-signature: t=1760000000,v1=00\n\n{\"a\":1}"),
    );
}

/// A request with any headers, query and body, judged by every preset there is.
pub fn headers(data: &[u8]) {
    static BUILTIN: LazyLock<Vec<Verifier>> = LazyLock::new(|| {
        builtin_names()
            .filter_map(builtin)
            .filter_map(|spec| compile(spec).ok())
            .collect()
    });
    let request = request(data);
    for verifier in BUILTIN.iter() {
        judge(verifier, &request);
    }
}

/// All that a verifier can be asked of a request.
fn judge(verifier: &Verifier, request: &RawEvent) {
    let reading = verifier.read(request);
    let _ = verifier.certificate_need(&reading, NOW_S);
    let _ = verifier.check(&reading, NOW_S, None);
    let _ = verifier
        .handshake(&reading)
        .map(|handshake| handshake.answer(&reading));
    let _ = (
        verifier.event_type_of(&reading),
        verifier.delivery_id(&reading),
    );
}

/// A body of any content type and coding: decoded within its bounds, and its JSON view.
pub fn body(data: &[u8]) {
    const BYTES_MAX: usize = 1 << 20;
    let request = request(data);
    if let Ok(decoded) = decode::body(&request.headers, &request.body, BYTES_MAX) {
        assert!(decoded.len() <= BYTES_MAX, "longer than its bound");
        let _ = view::of_decoded(&request.headers, &request.query, &decoded);
    }
    let _ = view::of_request(&request.headers, &request.query, &request.body);
}

/// CloudEvents in all three modes.
pub fn cloudevents(data: &[u8]) {
    let request = request(data);
    let _ = cloudevents::mode(&request.headers);
    if let Ok(event) = cloudevents::binary(&request.headers) {
        assert!(event.idempotency_key().len() <= 255, "no key");
    }
    let _ = cloudevents::structured(&request.body);
    for item in cloudevents::batch(&request.body).unwrap_or_default() {
        let _ = cloudevents::structured(item.get().as_bytes());
    }
}

/// A filter of the body and what it is asked about, as two lines of JSON, in both modes. Where it
/// matches, an index of filters finds it by each of its demands.
pub fn filter(data: &[u8]) {
    let (written, asked) = split(data, b"\n");
    let (Ok(written), Ok(asked)) = (
        serde_json::from_slice(written),
        serde_json::from_slice(asked),
    ) else {
        return;
    };
    let written: Value = written;
    let Ok(filter) = Filter::compile(Scope::ALL.map(|scope| (scope, &written))) else {
        return;
    };
    let views = Views::given(Scope::ALL.map(|scope| (scope, Value::clone(&asked))));
    for mode in [Mode::Strict, Mode::Convoy] {
        if filter.evaluate(&views, mode, &mut Budget::for_event()) == Verdict::Match {
            let mut demands = filter.demands();
            assert!(
                demands.all(|demand| is_met(&demand, &views, mode)),
                "{mode:?}"
            );
        }
    }
}

fn is_met(demand: &Demand, views: &Views<'_>, mode: Mode) -> bool {
    demand.any_of().any(|(place, wanted)| {
        let mut is_there = false;
        let mut budget = Budget::for_event();
        match place.look(views, mode, &mut budget, |key| is_there |= key == wanted) {
            Sighting::Values => is_there,
            Sighting::Nothing => mode == Mode::Convoy,
            Sighting::Unknown => true,
        }
    })
}

/// A JSON Schema, an empty line, and a value that is held against it.
pub fn schema(data: &[u8]) {
    let (schema, value) = split(data, b"\n\n");
    let Ok(schema) = serde_json::from_slice(schema) else {
        return;
    };
    let Ok(schema) = Schema::compile(&schema) else {
        return;
    };
    let value = serde_json::from_slice(value).unwrap_or_default();
    if let Err(mismatch) = schema.check(&value) {
        assert!(!mismatch.to_string().is_empty(), "says nothing");
    }
}

/// The URL of an endpoint, and on the next line one that an event names: what is sent there is
/// signed with the endpoint's secret, so it has to be on the same site.
pub fn url_template(data: &[u8]) {
    let (template, named) = split(data, b"\n");
    let (template, named) = (
        String::from_utf8_lossy(template),
        String::from_utf8_lossy(named),
    );
    let Ok(EndpointUrl::Template(template)) = EndpointUrl::parse(&template) else {
        return;
    };
    let Ok(named) = TargetUrl::parse(&named) else {
        return;
    };
    if template.matches(&Concrete::of(&named)) {
        assert!(named.to_string().starts_with(&template.site().to_string()));
        let resolved = EndpointUrl::Template(template).resolve(Some(&named.to_string()));
        assert_eq!(resolved.as_deref(), Some(&named));
    }
}

/// The four templates of a signature header, a line each: what is taken can be filled in.
pub fn signature_header(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(4, '\n');
    let name = HeaderName::from_static("x-signature");
    let header = SignatureHeader::compile(HeaderRule {
        name: name.clone(),
        value: lines.next().unwrap_or_default(),
        signed: lines.next().filter(|line| !line.is_empty()),
        entry: lines.next().filter(|line| !line.is_empty()),
        separator: lines.next(),
        hash: None,
        encoding: None,
        key: None,
    });
    let Ok(header) = header else {
        return;
    };
    let settings = Settings {
        headers: vec![header],
        ..Settings::default()
    };
    let scheme = Scheme::try_from(settings).expect("the name is free");
    let keys = ["old", "new"].map(|secret| SigningKey::new(Secret::new(secret), None));
    let keys = keys.map(|key| key.expect("any text is a key"));
    let target = Arc::new(TargetUrl::parse(PUBLIC_URL).expect("a URL"));
    let outgoing = Outgoing {
        event_uid: Uid::from_bits(1),
        delivery_uid: Uid::from_bits(2),
        ordinal: 0,
        repeat: false,
        replay: None,
        target: &target,
        query: "",
        event_headers: &Vec::new(),
        content_type: HeaderValue::from_static("application/json"),
        body: &Bytes::from_static(b"{}"),
        json: None,
        authentication: None,
        idempotency: None,
        more: &[],
    };
    let signed = sign::sign(&outgoing, &scheme, sign::Mode::Advanced, &keys, NOW_S);
    let signed = signed.expect("what was compiled can be filled in");
    assert!(signed.headers().contains_key(name));
}

fn compile(spec: &PresetSpec) -> Result<Verifier, impl std::error::Error> {
    // One for each form of a key: text, hex and base64.
    let secrets = [
        "secret",
        "00112233",
        "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    ];
    let required = spec.params.iter().filter(|(_, default)| default.is_none());
    let params: BTreeMap<_, _> = required
        .map(|(name, _)| (name.clone(), ParamSpec::Text("x-given".to_owned())))
        .collect();
    let is_keyless = ["aws_sns", "paypal", "none"].contains(&spec.name.as_str());
    let secrets = if is_keyless {
        &[][..]
    } else {
        &secrets.map(Secret::new)[..]
    };
    Verifier::compile(spec, secrets, &params, Some(PUBLIC_URL))
}

/// A request from its text: a line with method and query, lines with headers, an empty line, a body.
fn request(text: &[u8]) -> RawEvent {
    let (head, body) = split(text, b"\n\n");
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, query) = split(lines.next().unwrap_or_default(), b"?");
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = split(line, b": ");
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    RawEvent {
        method: Method::from_bytes(method).unwrap_or(Method::POST),
        path: "/ingest/fuzz".to_owned(),
        query: String::from_utf8_lossy(query).into_owned(),
        headers,
        body: body.to_vec().into(),
        received_ms: NOW_S * 1000,
    }
}

/// What stands before and behind the first mark; all before it when there is none.
fn split<'t>(text: &'t [u8], mark: &[u8]) -> (&'t [u8], &'t [u8]) {
    let at = text.windows(mark.len()).position(|window| window == mark);
    at.map_or((text, &[]), |at| (&text[..at], &text[at + mark.len()..]))
}
