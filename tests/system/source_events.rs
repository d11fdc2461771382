//! What a source makes of a request: type, key against repeats, and bytes that nobody changed.

mod bodies;
mod cloud_events;
mod heads;
mod repeats;

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use super::harness::{Api, Client, Outrider, Receiver, Reply, Setup};

/// An incoming project whose events all go to one receiver.
struct World {
    outrider: Outrider,
    receiver: Receiver,
    api: Api,
    endpoint: String,
}

impl World {
    async fn start(config: &Value) -> Self {
        let receiver = Receiver::start().await;
        let outrider = Setup::through_api().start().await;
        let mut api = outrider
            .admin_api()
            .make_project("in", "incoming", config)
            .await;
        let endpoint = api
            .make_endpoint("all", &receiver.url("/all"), &json!({}))
            .await;
        Self {
            outrider,
            receiver,
            api,
            endpoint,
        }
    }

    /// A new source whose events the receiver gets; its mask and its uid.
    async fn source(&mut self, name: &str, more: &Value) -> (String, String) {
        let (source, mask) = self.api.make_source(name, more).await;
        self.api.subscribe_to(&self.endpoint, &source).await;
        (mask, source)
    }
}

/// Sends a request to a source.
async fn ingest(
    client: &mut Client,
    mask_and_query: &str,
    headers: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
) -> Reply {
    let mut request = Request::post(format!("/ingest/{mask_and_query}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    client.send(request).await.unwrap()
}
