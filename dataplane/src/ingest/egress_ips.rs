//! `GET /v1/egress-ips`: the addresses that deliveries come from, for those who let them in.
//!
//! Anybody may ask, at any rate, so what everybody gets is made once for a configuration. Who
//! brings the key of a project gets what its deliveries come from, and a shared cache does not.

mod negotiation;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use outrider_config::published::Published;
use outrider_config::snapshot::{Snapshot, Version};
use pingora::protocols::http::ServerSession;
use ring::digest::{SHA256, digest};

use self::negotiation::{Form, is_known};
use super::Intake;
use super::bearer;
use super::reply::Reply;
use crate::table::Missing;

/// How long a copy is good, of which the announcement of a week is a long multiple.
const PUBLIC: HeaderValue = HeaderValue::from_static("public, max-age=3600");
const PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=3600");
/// What of a request decides what it gets.
const VARY: HeaderValue = HeaderValue::from_static("Accept, Authorization");

/// The list for everybody, as it was made last.
#[derive(Default)]
pub(super) struct EgressIps {
    last: Mutex<Option<Arc<Pages>>>,
}

/// A list in all forms.
struct Pages {
    version: Option<Version>,
    ends_ms: Option<i64>,
    json: Page,
    text: Page,
    zone: Page,
}

/// A list as it is sent.
#[derive(Clone)]
struct Page {
    body: Bytes,
    /// From the content, so that data planes that say the same say so.
    tag: String,
}

impl EgressIps {
    /// The list of this snapshot, which is made when it is another one than last.
    fn pages(&self, snapshot: &Snapshot, now_ms: i64) -> Arc<Pages> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = |pages: &&Arc<Pages>| {
            let is_over = pages.ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms);
            pages.version == snapshot.version() && !is_over
        };
        if let Some(pages) = last.as_ref().filter(is_good) {
            return Arc::clone(pages);
        }
        let list = snapshot.published(now_ms);
        let pages = Arc::new(Pages {
            version: snapshot.version(),
            ends_ms: list.ends_ms(),
            json: Page::of(&list, Form::Json),
            text: Page::of(&list, Form::Text),
            zone: Page::of(&list, Form::Zone),
        });
        *last = Some(Arc::clone(&pages));
        pages
    }
}

impl Page {
    fn of(list: &Published, form: Form) -> Self {
        let text = match form {
            Form::Json => list.to_json().to_string(),
            Form::Text => list.to_text(),
            Form::Zone => list.to_zone(),
        };
        let hash = digest(&SHA256, text.as_bytes());
        let short: Vec<u8> = hash.as_ref().iter().take(16).copied().collect();
        Self {
            tag: format!("\"{}\"", hex::encode(short)),
            body: text.into(),
        }
    }

    fn reply(self, form: Form, headers: &HeaderMap, cache: HeaderValue) -> (&'static str, Reply) {
        let is_same = is_known(headers, &self.tag);
        let (label, status) = match is_same {
            true => ("not_modified", StatusCode::NOT_MODIFIED),
            false => ("listed", StatusCode::OK),
        };
        let mut own = vec![(header::CACHE_CONTROL, cache), (header::VARY, VARY)];
        let tag = HeaderValue::try_from(self.tag).ok(); // hex between quotes always is one
        own.extend(tag.map(|tag| (header::ETAG, tag)));
        let reply = Reply {
            content_type: form.content_type(),
            body: if is_same { Bytes::new() } else { self.body },
            headers: own.into(),
            ..Reply::empty(status)
        };
        (label, reply)
    }
}

/// Answers with the list: the metric label and the reply, or a refusal.
pub(super) async fn answer(
    intake: &Intake,
    http: &ServerSession,
) -> Result<(&'static str, Reply), Reply> {
    let head = http.req_header();
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(Reply::wrong_method("GET, HEAD"));
    }
    let form = Form::of(head.uri.query().unwrap_or_default(), &head.headers)?;
    let now_ms = intake.clock.now_ms();
    if head.headers.contains_key(header::AUTHORIZATION) {
        let page = of_project(intake, http, (form, now_ms)).await?;
        return Ok(page.reply(form, &head.headers, PRIVATE));
    }
    let pages = intake.egress_ips.pages(&intake.table.load(), now_ms);
    let page = match form {
        Form::Json => &pages.json,
        Form::Text => &pages.text,
        Form::Zone => &pages.zone,
    };
    Ok(page.clone().reply(form, &head.headers, PUBLIC))
}

/// The list for the project of the key. One that is not there may be a moment late (RULINGS 14).
async fn of_project(
    intake: &Intake,
    http: &ServerSession,
    (form, now_ms): (Form, i64),
) -> Result<Page, Reply> {
    let presented = bearer::presented(http)?;
    let page = |snapshot: &Snapshot| {
        let key = bearer::live(snapshot, &presented, now_ms.div_euclid(1000))?;
        key.digest().prove(&presented)?;
        let table = snapshot.project(key.project())?;
        Some(Page::of(&snapshot.published_for(table, now_ms), form))
    };
    let known = intake.table.load();
    if let Some(page) = page(&known) {
        return Ok(page);
    }
    // A key that is known is refused for what it is, and not because it is late.
    let later = match known.api_key(&presented) {
        Some(_) => None,
        None => {
            let missing = Missing::Key(&presented);
            intake.table.catch_up(&known, missing).await
        }
    };
    let found = later.and_then(|later| page(&later));
    found.ok_or_else(bearer::unknown_key)
}
