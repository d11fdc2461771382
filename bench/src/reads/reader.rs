//! One keep-alive connection that reads from the API.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

use crate::http1::Connection;

const LAG_HEADER: &str = "x-outrider-index-lag-ms";

/// A connection to the API, directly or through the public listener.
pub(super) struct Reader {
    connection: Connection,
    host: String,
    authorization: String,
}

/// An answer and how long it took to its last byte.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How far the index was behind, when the reply says so, milliseconds.
    pub(super) lag_ms: Option<u64>,
    pub(super) body: Bytes,
    pub(super) took: Duration,
}

impl Reader {
    pub(super) async fn open(address: SocketAddr, admin_key: &str) -> anyhow::Result<Self> {
        Ok(Self {
            connection: Connection::open(address).await?,
            host: address.to_string(),
            authorization: format!("Bearer {admin_key}"),
        })
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        let request = Request::get(path)
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, &self.authorization)
            .body(Full::default())?;
        let begin = Instant::now();
        let answer = self.connection.send(request).await?;
        let took = begin.elapsed();
        let lag = answer.headers().get(LAG_HEADER);
        Ok(Answer {
            status: answer.status(),
            lag_ms: lag.and_then(|lag| lag.to_str().ok()?.parse().ok()),
            body: answer.into_body(),
            took,
        })
    }

    /// The `data` of a reply that must be a success.
    pub(super) async fn data(&mut self, path: &str) -> anyhow::Result<Value> {
        let answer = self.get(path).await?;
        if answer.status != StatusCode::OK {
            let said = String::from_utf8_lossy(&answer.body);
            bail!("GET {path}: {}: {said}", answer.status);
        }
        data_of(&answer.body).with_context(|| format!("GET {path}"))
    }
}

/// The `data` of a reply.
pub(super) fn data_of(body: &[u8]) -> anyhow::Result<Value> {
    let mut reply: Value = serde_json::from_slice(body).context("the reply is no JSON")?;
    let data = reply.get_mut("data").map(Value::take);
    data.context("the reply has no data")
}

/// A text as a value of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' => {
                made.push(char::from(byte));
            }
            // Writing to a text cannot fail.
            _ => drop(write!(made, "%{byte:02X}")),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_query_is_encoded() {
        assert_eq!(encoded("a.b-1"), "a.b-1");
        assert_eq!(encoded("{\"a\": 1}&+é"), "%7B%22a%22%3A%201%7D%26%2B%C3%A9");
    }
}
