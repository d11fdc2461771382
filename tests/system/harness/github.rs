//! GitHub's own example payloads, as their package publishes them.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// One body as GitHub sends it, and the kind that goes into `X-GitHub-Event`.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    pub(crate) kind: String,
    pub(crate) body: Bytes,
}

#[derive(Deserialize)]
struct Kind {
    name: String,
    examples: Vec<Box<RawValue>>,
}

/// All payloads, with the very bytes of the package (spaces and line ends included, so that a
/// body that was parsed and written again cannot pass for untouched).
pub(crate) fn payloads() -> Vec<Payload> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/.cache/webhooks-examples-7.6.1/package/api.github.com/index.json");
    let text = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}. `make payloads` fetches it", path.display()));
    let kinds: Vec<Kind> = serde_json::from_slice(&text).unwrap();
    let found: Vec<Payload> = kinds
        .into_iter()
        .flat_map(|kind| {
            let Kind { name, examples } = kind;
            examples.into_iter().map(move |raw| Payload {
                kind: name.clone(),
                body: Bytes::from(raw.get().to_owned().into_bytes()),
            })
        })
        .collect();
    let names: BTreeSet<&str> = found.iter().map(|payload| payload.kind.as_str()).collect();
    assert!(
        found.len() >= 20 && names.len() >= 10,
        "{} payloads of {} kinds",
        found.len(),
        names.len()
    );
    found
}
