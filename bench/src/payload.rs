//! What the generator sends: requests of about the wanted size, prepared as far as possible.
//!
//! Every event carries its number and the time it was meant to be sent, in headers that come out
//! at the receiver: as request headers of an incoming event, as `custom_headers` of an outgoing one.

use anyhow::Context;
use bytes::Bytes;
use clap::ValueEnum;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use sha2::Sha256;

/// When the event was meant to be sent, Unix microseconds.
pub(crate) const SENT_HEADER: &str = "x-bench-sent-us";
/// The number of the event.
pub(crate) const SEQUENCE_HEADER: &str = "x-bench-seq";

/// Different bodies prepared and signed before the run.
const VARIANTS: usize = 64;

/// What kind of traffic is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// A provider's webhooks, signed as GitHub does, to `/ingest/{mask}`
    Ingest,
    /// The same to a source nobody subscribed to: intake alone, nothing is delivered
    Intake,
    /// A backend's events, with an API key, to `/api/v1/projects/{id}/events`
    Events,
    /// The bodies alone, to `/`: what the generator and the sink can do without a gateway
    Plain,
}

impl Mode {
    /// Whether events of this kind reach the sink.
    pub(crate) const fn is_delivered(self) -> bool {
        !matches!(self, Self::Intake)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Intake => "intake",
            Self::Events => "events",
            Self::Plain => "plain",
        }
    }
}

/// Where events go and how they are authenticated.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Ingest {
        mask: String,
        secret: String,
    },
    Events {
        project: String,
        endpoint: String,
        key: String,
    },
    /// To all endpoints of an owner.
    Fanout {
        project: String,
        owner: String,
        key: String,
    },
    Plain,
}

/// What makes the requests of a run.
pub(crate) trait Requests: Send + Sync {
    /// The request of event `number`, meant to be sent at `sent_us`.
    fn request(&self, number: u64, sent_us: u64) -> anyhow::Result<Request<Full<Bytes>>>;

    /// Whether a connection takes more than one of them.
    fn keeps_connections(&self) -> bool {
        true
    }

    /// Event `number` was answered with 2xx and this body.
    fn accepted(&self, _number: u64, _answer: &Bytes) {}
}

/// Requests of one kind to one place.
#[derive(Debug)]
pub(crate) struct Payloads {
    path: String,
    host: HeaderValue,
    variants: Vec<Variant>,
    kind: Kind,
}

#[derive(Debug)]
struct Variant {
    body: Bytes,
    /// For ingest.
    signature: Option<HeaderValue>,
}

#[derive(Debug)]
enum Kind {
    /// The variants are whole bodies.
    Whole,
    /// The variants are the `data`; the rest is written around it.
    Events {
        authorization: HeaderValue,
        opening: String,
    },
}

impl Kind {
    fn events(key: &str, for_whom: &str) -> anyhow::Result<Self> {
        Ok(Self::Events {
            authorization: HeaderValue::from_str(&format!("Bearer {key}"))
                .context("the key is no header value")?,
            opening: format!("{{{for_whom},\"event_type\":\"bench.event\",\"data\":"),
        })
    }
}

impl Payloads {
    /// Prepares requests whose JSON is about `body_bytes` long (at least 64).
    pub(crate) fn new(target: &Target, host: &str, body_bytes: usize) -> anyhow::Result<Self> {
        let bodies = (0..VARIANTS).map(|number| json_of(number, body_bytes));
        let host = HeaderValue::from_str(host).context("the host is no header value")?;
        let unsigned = |body| Variant {
            body,
            signature: None,
        };
        let (path, variants, kind) = match target {
            Target::Plain => ("/".to_owned(), bodies.map(unsigned).collect(), Kind::Whole),
            Target::Ingest { mask, secret } => {
                let signed = bodies.map(|body| sign(body, secret));
                let variants = signed.collect::<anyhow::Result<_>>()?;
                (format!("/ingest/{mask}"), variants, Kind::Whole)
            }
            Target::Events {
                project,
                endpoint,
                key,
            } => {
                let path = format!("/api/v1/projects/{project}/events");
                let kind = Kind::events(key, &format!("\"endpoint_id\":\"{endpoint}\""))?;
                (path, bodies.map(unsigned).collect(), kind)
            }
            Target::Fanout {
                project,
                owner,
                key,
            } => {
                let path = format!("/api/v1/projects/{project}/events/fanout");
                let kind = Kind::events(key, &format!("\"owner_id\":\"{owner}\""))?;
                (path, bodies.map(unsigned).collect(), kind)
            }
        };
        Ok(Self {
            path,
            host,
            variants,
            kind,
        })
    }
}

impl Requests for Payloads {
    fn request(&self, number: u64, sent_us: u64) -> anyhow::Result<Request<Full<Bytes>>> {
        let index = usize::try_from(number).unwrap_or(0) % VARIANTS;
        let variant = self.variants.get(index).context("no variant")?;
        let request = Request::post(self.path.as_str())
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json");
        let request = match &self.kind {
            Kind::Whole => {
                let mut request = request
                    .header(SENT_HEADER, sent_us)
                    .header(SEQUENCE_HEADER, number);
                if let Some(signature) = &variant.signature {
                    request = request
                        .header("x-github-event", "push")
                        .header("x-github-delivery", format!("bench-{number}"))
                        .header("x-hub-signature-256", signature);
                }
                request.body(Full::new(variant.body.clone()))?
            }
            Kind::Events {
                authorization,
                opening,
            } => {
                let mut body = Vec::with_capacity(opening.len() + variant.body.len() + 128);
                body.extend_from_slice(opening.as_bytes());
                body.extend_from_slice(&variant.body);
                let closing = format!(
                    ",\"custom_headers\":{{\"{SENT_HEADER}\":\"{sent_us}\",\"{SEQUENCE_HEADER}\":\"{number}\"}}}}"
                );
                body.extend_from_slice(closing.as_bytes());
                request
                    .header(header::AUTHORIZATION, authorization)
                    .body(Full::new(body.into()))?
            }
        };
        Ok(request)
    }
}

/// A JSON object with a few fields and filling, about `bytes` long.
fn json_of(number: usize, bytes: usize) -> Bytes {
    let head = format!(
        "{{\"action\":\"opened\",\"number\":{number},\"repository\":{{\"id\":{number}}},\"text\":\""
    );
    let filling = bytes.saturating_sub(head.len() + 2);
    let mut body = head.into_bytes();
    body.extend(b"webhooks ".iter().cycle().take(filling));
    body.extend_from_slice(b"\"}");
    body.into()
}

fn sign(body: Bytes, secret: &str) -> anyhow::Result<Variant> {
    let signature = Some(signature(&body, secret)?);
    Ok(Variant { body, signature })
}

/// GitHub's signature of a body.
pub(crate) fn signature(body: &[u8], secret: &str) -> anyhow::Result<HeaderValue> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(body);
    let text = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    Ok(HeaderValue::from_str(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[test]
    fn bodies_have_the_wanted_size_and_are_json() {
        for bytes in [64, 1_000, 1_024, 50_000] {
            let body = json_of(7, bytes);
            assert!(body.len().abs_diff(bytes) < 64, "{}", body.len());
            serde_json::from_slice::<serde_json::Value>(&body).unwrap();
        }
    }

    #[test]
    fn the_signature_is_the_one_of_githubs_documentation() {
        let body = Bytes::from_static(b"Hello, World!");
        let variant = sign(body, "It's a Secret to Everybody").unwrap();
        assert_eq!(
            variant.signature.unwrap(),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }

    #[tokio::test]
    async fn a_fan_out_names_its_owner() {
        let target = Target::Fanout {
            project: "p".into(),
            owner: "o".into(),
            key: "k".into(),
        };
        let request = Payloads::new(&target, "localhost", 64).unwrap();
        let request = request.request(1, 2).unwrap();
        assert_eq!(request.uri().path(), "/api/v1/projects/p/events/fanout");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["owner_id"], "o");
    }

    #[tokio::test]
    async fn an_event_of_the_api_is_valid_json_with_its_number() {
        let target = Target::Events {
            project: "p".into(),
            endpoint: "e".into(),
            key: "k".into(),
        };
        let payloads = Payloads::new(&target, "localhost", 1_000).unwrap();
        let request = payloads.request(42, 77).unwrap();
        assert_eq!(request.uri().path(), "/api/v1/projects/p/events");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["custom_headers"][SEQUENCE_HEADER], "42");
        assert_eq!(json["custom_headers"][SENT_HEADER], "77");
        assert_eq!(json["data"]["action"], "opened");
    }
}
