//! The requests of the load, and the ids that some of their answers carry.

use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::Value;

use super::mix::{self, Event, PLAIN_SOURCE, TYPES, To};
use super::world::{GITHUB_SECRET, Project, World, owner_name};
use crate::payload::{Requests, SENT_HEADER, SEQUENCE_HEADER, signature};

/// Events whose uid is kept.
pub(super) const KEPT: u64 = 2_000;

/// Makes the requests of a load that begins with the number `first`.
pub(super) struct Traffic {
    first: u64,
    keep_every: u64,
    host: String,
    projects: Vec<Way>,
    filling: String,
    /// Numbers, counted from `first`, and uids of some events that the API answered.
    kept: Mutex<Vec<(u64, String)>>,
}

/// How the events of one project are sent.
struct Way {
    events: String,
    authorization: String,
    endpoints: Vec<String>,
    masks: Vec<String>,
}

impl Traffic {
    pub(super) fn new(
        world: &World,
        host: &str,
        first: u64,
        events: u64,
        body_bytes: usize,
    ) -> Self {
        Self {
            first,
            keep_every: (events / KEPT).max(1),
            host: host.to_owned(),
            projects: world.projects.iter().map(Way::of).collect(),
            filling: "webhooks ".chars().cycle().take(body_bytes).collect(),
            kept: Mutex::default(),
        }
    }

    /// The ids that were kept, by number.
    pub(super) fn kept(&self) -> Vec<(u64, String)> {
        let mut kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        kept.sort_unstable();
        kept
    }

    /// The payload: about as long as wanted, with fields to search for.
    fn data(&self, number: u64, event: &Event) -> String {
        let head = format!(
            r#"{{"order":{{"id":{number},"region":"region-{}","customer":"customer-{}","paid":true}},"text":""#,
            event.region, event.customer,
        );
        let rest = self.filling.len().saturating_sub(head.len() + 2);
        let filling = self.filling.get(..rest).unwrap_or_default();
        format!("{head}{filling}\"}}")
    }

    fn to_source(
        &self,
        way: &Way,
        source: usize,
        event: &Event,
        sent: (u64, u64),
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let mask = way.masks.get(source).context("no such source")?;
        let data = self.data(sent.0, event);
        let mut request = Request::post(format!("/ingest/{mask}"))
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(SENT_HEADER, sent.1)
            .header(SEQUENCE_HEADER, sent.0 + self.first);
        if source != PLAIN_SOURCE {
            request = request
                .header("x-github-event", TYPES[event.kind].0)
                .header("x-github-delivery", format!("bench-{}", sent.0))
                .header(
                    "x-hub-signature-256",
                    signature(data.as_bytes(), GITHUB_SECRET)?,
                );
        }
        Ok(request.body(Full::new(data.into()))?)
    }

    fn to_api(
        &self,
        way: &Way,
        event: &Event,
        (number, sent_us): (u64, u64),
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let (path, audience) = match event.to {
            To::Owner(owner) => ("/fanout", format!(r#""owner_id":"{}""#, owner_name(owner))),
            To::Endpoint(endpoint) => {
                let uid = way.endpoints.get(endpoint).context("no such endpoint")?;
                ("", format!(r#""endpoint_id":"{uid}""#))
            }
            To::Source(_) => anyhow::bail!("sources are not in outgoing projects"),
        };
        let key = event
            .key
            .map(|key| format!(r#","idempotency_key":"{}""#, key_of(key + self.first)));
        let body = format!(
            r#"{{{audience},"event_type":"{}","data":{},"custom_headers":{{"{SENT_HEADER}":"{sent_us}","{SEQUENCE_HEADER}":"{}"}}{}}}"#,
            TYPES[event.kind].0,
            self.data(number, event),
            number + self.first,
            key.unwrap_or_default(),
        );
        let request = Request::post(format!("{}{path}", way.events))
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, &way.authorization);
        Ok(request.body(Full::new(body.into()))?)
    }
}

impl Way {
    fn of(project: &Project) -> Self {
        Self {
            events: project.path("events"),
            authorization: format!("Bearer {}", project.key),
            endpoints: project.endpoints.clone(),
            masks: project
                .sources
                .iter()
                .map(|source| source.mask.clone())
                .collect(),
        }
    }
}

/// The idempotency key of the event with this number, not counted from the first.
pub(super) fn key_of(number: u64) -> String {
    format!("key-{number}")
}

impl Requests for Traffic {
    fn request(&self, number: u64, sent_us: u64) -> anyhow::Result<Request<Full<Bytes>>> {
        let number = number - self.first;
        let event = mix::event(number);
        let way = self
            .projects
            .get(event.project)
            .context("no such project")?;
        match event.to {
            To::Source(source) => self.to_source(way, source, &event, (number, sent_us)),
            _ => self.to_api(way, &event, (number, sent_us)),
        }
    }

    fn accepted(&self, number: u64, answer: &Bytes) {
        let number = number - self.first;
        // A repeat is answered with the uid of the first.
        if !number.is_multiple_of(self.keep_every) || mix::is_repeat(number) {
            return;
        }
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        // A source does not say under which id it keeps an event.
        if let Some(uid) = answer.pointer("/data/uid").and_then(Value::as_str) {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push((number, uid.to_owned()));
        }
    }
}
