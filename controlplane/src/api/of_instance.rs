//! Resources of the instance, of no project: native routes, for the instance admin alone. Each is
//! its own home. There are few, so they are listed without pages.

use std::marker::PhantomData;

use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::routing::get;
use outrider_config::Kind;
use outrider_config::resource::{FieldError, Reason};
use outrider_webhook::id::{ProjectId, Uid};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Api;
use super::body::JsonBody;
use super::call::{AdminCall, missing};
use super::error::{Answer, ApiError};
use super::reply::Reply;
use super::write::Writing;
use crate::{Edit, JournalError, Stored, View, random};

/// Messages of replies, and words in them.
pub(super) struct Says {
    pub(super) listed: &'static str,
    pub(super) fetched: &'static str,
    pub(super) created: &'static str,
    pub(super) updated: &'static str,
    pub(super) deleted: &'static str,
    /// One of them, with its article.
    pub(super) one: &'static str,
    pub(super) several: &'static str,
}

/// A kind of resource, and the rules of its own.
pub(super) trait OfInstance: Sized + 'static {
    /// Clients say what they want, and the journal keeps it, as this.
    type Spec: DeserializeOwned + Serialize + Default + Clone + Send + 'static;

    const KIND: Kind;
    /// What replies say.
    const SAYS: Says;
    /// Most of an installation.
    const MAX: usize;
    /// Fields of a reply that a client may send back, beside those of every resource.
    const REPLIED: &[&str] = &[];

    fn all(view: &View<'_>) -> Result<Vec<Stored>, JournalError>;

    fn shown(one: &Stored) -> Result<Value, ApiError>;

    /// What there was, with what is given of it.
    fn merged(old: Self::Spec, given: Self::Spec) -> Result<Self::Spec, ApiError>;

    /// Notes the time of a change in it.
    fn follow(_spec: &mut Self::Spec, _old: Option<&Self::Spec>, _now_ms: i64) {}

    /// The rules, alone and beside the others: of a new one, or of a changed one.
    fn check(
        writing: &Writing<'_>,
        uid: Uid,
        change: (Option<&Self::Spec>, &Self::Spec),
    ) -> Result<(), ApiError>;

    /// Whether it may be gone.
    fn refuse_removal(_writing: &Writing<'_>, _before: &Stored) -> Result<(), ApiError> {
        Ok(())
    }
}

/// Its routes, below this path.
pub(super) fn routes<T: OfInstance>(path: &str) -> Router<Api> {
    let one = format!("{path}/{{uid}}");
    Router::new()
        .route(path, get(list::<T>).post(create::<T>))
        .route(&one, get(show::<T>).put(update::<T>).delete(remove::<T>))
}

async fn list<T: OfInstance>(AdminCall(call): AdminCall) -> Answer {
    let look = |view: &View<'_>| -> Result<Reply, ApiError> {
        let shown: Result<Vec<Value>, ApiError> = T::all(view)?.iter().map(T::shown).collect();
        Reply::of(T::SAYS.listed, &shown?)
    };
    call.api.control().read(look).await
}

async fn show<T: OfInstance>(AdminCall(call): AdminCall, OneOf { uid, .. }: OneOf<T>) -> Answer {
    let look = move |view: &View<'_>| {
        let found = view.get(T::KIND, ProjectId::new(uid), uid)?;
        T::shown(&found.ok_or_else(|| missing(T::KIND))?)
    };
    let shown = call.api.control().read(look).await?;
    Ok(Reply::ok(T::SAYS.fetched, shown))
}

async fn create<T: OfInstance>(AdminCall(call): AdminCall, body: JsonBody) -> Answer {
    let (mut spec, ignored) = given::<T>(body)?;
    T::follow(&mut spec, None, call.api.now_ms());
    let uid = random::uid(call.api.now_ms());
    let create = move |writing: &Writing<'_>| {
        T::check(writing, uid, (None, &spec))?;
        if T::all(writing.view)?.len() >= T::MAX {
            let says = format!("an installation has at most {} {}", T::MAX, T::SAYS.several);
            return Err(ApiError::Fields(vec![FieldError {
                field: "name".to_owned(),
                reason: Reason::Rule(says),
            }]));
        }
        let created = writing.made(T::KIND, uid, &spec)?;
        let reply = T::shown(&created)?;
        Ok((vec![Edit::create(created)], reply))
    };
    let home = ProjectId::new(uid);
    let done = call.api.change(call.caller, home, create).await?;
    Ok(Reply::created(T::SAYS.created, done.value)
        .in_force(done.in_force)
        .ignoring(ignored))
}

async fn update<T: OfInstance>(
    AdminCall(call): AdminCall,
    OneOf { uid, .. }: OneOf<T>,
    body: JsonBody,
) -> Answer {
    let (given, ignored) = given::<T>(body)?;
    let update = move |writing: &Writing<'_>| {
        let before = writing.editable(T::KIND, uid)?;
        let old: T::Spec = before.spec()?;
        let mut spec = T::merged(old.clone(), given)?;
        T::follow(&mut spec, Some(&old), writing.now_ms());
        T::check(writing, uid, (Some(&old), &spec))?;
        let after = writing.changed(&before, &spec)?;
        let reply = T::shown(&after)?;
        Ok((vec![Edit::update(before, after)], reply))
    };
    let home = ProjectId::new(uid);
    let done = call.api.change(call.caller, home, update).await?;
    Ok(Reply::accepted(T::SAYS.updated, done.value)
        .in_force(done.in_force)
        .ignoring(ignored))
}

async fn remove<T: OfInstance>(AdminCall(call): AdminCall, OneOf { uid, .. }: OneOf<T>) -> Answer {
    let delete = move |writing: &Writing<'_>| {
        let before = writing.editable(T::KIND, uid)?;
        T::refuse_removal(writing, &before)?;
        Ok((vec![Edit::delete(before)], ()))
    };
    let home = ProjectId::new(uid);
    let done = call.api.change(call.caller, home, delete).await?;
    Ok(Reply::ok(T::SAYS.deleted, Value::Null).in_force(done.in_force))
}

fn given<T: OfInstance>(body: JsonBody) -> Result<(T::Spec, super::ignored::Ignored), ApiError> {
    let body = T::REPLIED
        .iter()
        .fold(body, |body, field| body.ignore(field));
    body.read::<T::Spec>()
}

/// The one in the path. What is no uid belongs to nothing.
struct OneOf<T> {
    uid: Uid,
    kind: PhantomData<fn() -> T>,
}

impl<T: OfInstance> FromRequestParts<Api> for OneOf<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, api).await;
        let params = params.map_err(|_| missing(T::KIND))?;
        let uid = params.iter().find(|(key, _)| *key == "uid");
        let uid = uid.and_then(|(_, text)| text.parse().ok());
        let uid = uid.ok_or_else(|| missing(T::KIND))?;
        let kind = PhantomData;
        Ok(Self { uid, kind })
    }
}

/// Refuses a name that another one has.
pub(super) fn refuse_taken<T: OfInstance>(
    writing: &Writing<'_>,
    uid: Uid,
    name: &str,
) -> Result<(), ApiError> {
    let named = writing.view.named(T::KIND, writing.project, name)?;
    if named.is_none_or(|named| named.uid() == uid) {
        return Ok(());
    }
    let says = format!("{} with the name `{name}` already exists", T::SAYS.one);
    Err(ApiError::Exists(says))
}
