//! Who asks for what: the caller's key and the project in the path, as handlers take them.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use outrider_config::{Kind, Snapshot};
use outrider_webhook::id::{ApiKeyId, ProjectId, Uid};
use outrider_webhook::verify::ApiKeyDigest;

use super::Api;
use super::error::ApiError;
use super::query::Query;
use super::shares::Share;
use super::version::ApiVersion;

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// The instance-admin key: everything.
    Admin,
    /// A key of a project: that project.
    Key {
        /// The key.
        key: ApiKeyId,
        /// Its project.
        project: ProjectId,
    },
}

impl Caller {
    /// As the history calls it.
    pub(super) fn actor(self) -> String {
        match self {
            Self::Admin => "admin key".to_owned(),
            Self::Key { key, .. } => format!("api key {key}"),
        }
    }

    /// Refuses all but the instance admin.
    fn admin_only(self) -> Result<(), ApiError> {
        match self {
            Self::Admin => Ok(()),
            Self::Key { .. } => Err(ApiError::Forbidden),
        }
    }

    fn may_see(self, project: ProjectId) -> bool {
        match self {
            Self::Admin => true,
            Self::Key { project: own, .. } => own == project,
        }
    }
}

/// A call by somebody we know.
pub(super) struct Call {
    pub(super) api: Api,
    pub(super) caller: Caller,
    /// Of the project whose key it is made with.
    _share: Option<Share>,
}

/// A call that only the instance admin may make.
pub(super) struct AdminCall(pub(super) Call);

/// A call about a project that is there and that the caller may see.
pub(super) struct ProjectCall {
    pub(super) api: Api,
    pub(super) caller: Caller,
    pub(super) project: ProjectId,
    pub(super) query: Query,
    pub(super) version: ApiVersion,
    id: Option<String>,
    attempt: Option<String>,
    filter: Option<String>,
    event_type: Option<String>,
    /// Of the project: freed with the call, when its reply is built or nobody waits for it.
    _share: Share,
}

/// A call about a project that only the instance admin may make.
pub(super) struct AdminProjectCall(pub(super) ProjectCall);

impl ProjectCall {
    /// The id in the path, whatever it is.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The id of an attempt in the path.
    pub(super) fn attempt(&self) -> Option<&str> {
        self.attempt.as_deref()
    }

    /// The id of a subscription's filter in the path.
    pub(super) fn filter(&self) -> Option<&str> {
        self.filter.as_deref()
    }

    /// An event type in the path.
    pub(super) fn event_type(&self) -> Option<&str> {
        self.event_type.as_deref()
    }

    /// The id of the resource in the path. One that is none belongs to nothing.
    pub(super) fn uid(&self, kind: Kind) -> Result<Uid, ApiError> {
        let uid = self.id.as_deref().and_then(|text| text.parse().ok());
        uid.ok_or_else(|| missing(kind))
    }
}

/// There is no such resource, in Convoy's words where clients know them.
pub(super) fn missing(kind: Kind) -> ApiError {
    match kind {
        Kind::Endpoint => ApiError::NotFound("Resource not found".to_owned()),
        Kind::ApiKey => ApiError::not_found("api key"),
        Kind::EventType => ApiError::not_found("event type"),
        Kind::EgressPolicy => ApiError::not_found("egress policy"),
        Kind::EgressPool => ApiError::not_found("egress pool"),
        Kind::Project | Kind::Source | Kind::Subscription => ApiError::not_found(kind),
    }
}

impl FromRequestParts<Api> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let caller = {
            let snapshot = api.control().journal().snapshot();
            caller(&parts.headers, api, &snapshot)?
        };
        let share = match caller {
            Caller::Admin => None,
            Caller::Key { project, .. } => Some(api.shares().take_in_time(project).await?),
        };
        Ok(Self {
            caller,
            api: api.clone(),
            _share: share,
        })
    }
}

impl FromRequestParts<Api> for AdminCall {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let call = Call::from_request_parts(parts, api).await?;
        call.caller.admin_only()?;
        Ok(Self(call))
    }
}

impl FromRequestParts<Api> for AdminProjectCall {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let call = ProjectCall::from_request_parts(parts, api).await?;
        call.caller.admin_only()?;
        Ok(Self(call))
    }
}

impl FromRequestParts<Api> for ProjectCall {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let snapshot = api.control().journal().snapshot();
        let caller = caller(&parts.headers, api, &snapshot)?;
        let params = RawPathParams::from_request_parts(parts, api).await;
        let param = |name: &str| {
            let params = params.as_ref().ok()?;
            let (_, value) = params.iter().find(|(key, _)| *key == name)?;
            Some(value.to_owned())
        };
        let project = param("project").and_then(|text| text.parse().ok());
        let project = project.filter(|id| caller.may_see(*id) && exists(&snapshot, *id));
        let project = project.ok_or_else(|| missing(Kind::Project))?;
        drop(snapshot); // nothing old is kept while the call waits
        let version = parts.extensions.get::<ApiVersion>().copied();
        Ok(Self {
            caller,
            project,
            query: Query::of(&parts.uri),
            _share: api.shares().take_in_time(project).await?,
            version: version.ok_or(ApiError::Version)?,
            id: param("id"),
            attempt: param("attempt"),
            filter: param("filter"),
            event_type: param("event_type"),
            api: api.clone(),
        })
    }
}

fn exists(snapshot: &Snapshot, project: ProjectId) -> bool {
    snapshot.project(project).is_some() || snapshot.is_held(Kind::Project, project.uid())
}

/// Whose key the request carries.
fn caller(headers: &HeaderMap, api: &Api, snapshot: &Arc<Snapshot>) -> Result<Caller, ApiError> {
    let token = bearer(headers).ok_or(ApiError::Unauthenticated)?;
    let presented = ApiKeyDigest::of(token);
    if api.admin_key().is(&presented) {
        return Ok(Caller::Admin);
    }
    let key = snapshot.api_key(&presented);
    let key = key.filter(|key| {
        let is_live = |end_s: i64| api.now_ms().div_euclid(1000) < end_s;
        key.digest().prove(&presented).is_some() && key.expires_at_s().is_none_or(is_live)
    });
    let key = key.ok_or(ApiError::UnknownKey)?;
    Ok(Caller::Key {
        key: key.id(),
        project: key.project(),
    })
}

/// The token of the one `Authorization: Bearer <token>`: the scheme in either case, one space.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_after_one_space_counts() {
        for (value, token) in [
            ("Bearer x.y", Some("x.y")),
            ("bEARER x", Some("x")),
            ("Bearer  x", None),
            ("Bearer x y", None),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic eDp5", None),
            ("x", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(bearer(&headers), token, "{value}");
        }
        let mut two = HeaderMap::new();
        two.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        two.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert_eq!(bearer(&two), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
