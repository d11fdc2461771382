//! The configuration of a run: one incoming and one outgoing project, both delivering to the sink.

use std::net::SocketAddr;

use crate::payload::{Mode, Target};

const INCOMING_PROJECT: &str = "01BENCH0PR0JECT0NC0M1NG000";
const OUTGOING_PROJECT: &str = "01BENCH0PR0JECT00TG01NG000";
const ENDPOINT: &str = "01BENCH0ENDP01NT00TG01NG00";
const MASK: &str = "bench-source-mask";
const QUIET_MASK: &str = "bench-quiet-source-mask";
const SECRET: &str = "bench-github-secret";
const ENDPOINT_SECRET: &str = "bench-endpoint-secret";
const KEY: &str = "bench-key-0123456789abcdefghijklmnopqrstuvwxyz";

/// The resource file, as a person would write it.
pub(crate) fn file(sink: SocketAddr) -> String {
    format!(
        r#"projects:
  - name: bench incoming
    type: incoming
    uid: {INCOMING_PROJECT}
    sources:
      - name: github
        type: http
        provider: github
        mask_id: {MASK}
        verifier:
          type: hmac
          hmac:
            secret: {SECRET}
      - name: quiet
        type: http
        provider: github
        mask_id: {QUIET_MASK}
        verifier:
          type: hmac
          hmac:
            secret: {SECRET}
    endpoints:
      - name: backend
        url: http://{sink}/
        secret: {ENDPOINT_SECRET}
    subscriptions:
      - name: everything
        source_id: github
        endpoint_id: backend
        filter_config:
          event_types: ["*"]
  - name: bench outgoing
    type: outgoing
    uid: {OUTGOING_PROJECT}
    endpoints:
      - name: customer
        uid: {ENDPOINT}
        url: http://{sink}/
        secret: {ENDPOINT_SECRET}
    subscriptions:
      - name: everything
        endpoint_id: customer
        filter_config:
          event_types: ["*"]
    api_keys:
      - name: bench
        key: {KEY}
"#
    )
}

/// How the generator reaches these projects.
pub(crate) fn target(mode: Mode) -> Target {
    match mode {
        Mode::Plain => Target::Plain,
        Mode::Ingest => Target::Ingest {
            mask: MASK.to_owned(),
            secret: SECRET.to_owned(),
        },
        Mode::Intake => Target::Ingest {
            mask: QUIET_MASK.to_owned(),
            secret: SECRET.to_owned(),
        },
        Mode::Events => Target::Events {
            project: OUTGOING_PROJECT.to_owned(),
            endpoint: ENDPOINT.to_owned(),
            key: KEY.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_one_that_the_gateway_takes() {
        let problems = outrider_config::check(&file("127.0.0.1:9".parse().unwrap()));
        assert!(problems.is_empty(), "{problems:?}");
    }
}
