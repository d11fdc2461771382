//! One GET of the API: a fresh connection, bounded in time and size.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Largest answer, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The API of a gateway, and a key of it.
pub(super) struct Api {
    authority: String,
    key: String,
}

impl Api {
    pub(super) fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            bail!("`{url}` must be like http://127.0.0.1:5010");
        };
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            authority: format!("{}:{port}", authority.host()),
            key: key.to_owned(),
        })
    }

    /// The payload of an answer; `None` when there is nothing there.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let asked = tokio::time::timeout(LIMIT, self.ask(path)).await;
        let (status, mut answer) = asked.map_err(|_| anyhow!("no answer within {LIMIT:?}"))??;
        match status {
            StatusCode::OK => Ok(Some(answer["data"].take())),
            StatusCode::NOT_FOUND => Ok(None),
            status => {
                let message = answer["message"].as_str().unwrap_or("no reason given");
                Err(anyhow!("the API answered {status}: {message}"))
            }
        }
    }

    async fn ask(&self, path: &str) -> anyhow::Result<(StatusCode, Value)> {
        let stream = TcpStream::connect(&self.authority)
            .await
            .with_context(|| format!("cannot reach the API at {}", self.authority))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::get(path)
            .header(header::HOST, &self.authority)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let body = body.await.map_err(|error| anyhow!(error))?.to_bytes();
        drop(sender);
        connection.await??;
        let answer = serde_json::from_slice(&body).context("the answer is no JSON")?;
        Ok((status, answer))
    }
}
