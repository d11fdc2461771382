//! One project's resources and the indexes over them.

use std::sync::{Arc, LazyLock};

use outrider_webhook::address::TargetUrl;
use outrider_webhook::dynamic::UrlKey;
use outrider_webhook::id::{ApiKeyId, EndpointId, EventTypeId, SourceId, SubscriptionId};

use super::pool_use::PoolUse;
use super::small_map::SmallMap;
use super::type_index::TypeIndex;
use super::url_index::{TooManyTemplates, UrlIndex};
use crate::resource::{ApiKey, Endpoint, EventType, Project, Source, Subscription};

/// What a source without subscriptions has.
static NO_SUBSCRIPTIONS: LazyLock<TypeIndex> = LazyLock::new(TypeIndex::default);

/// A project and all in it. Cloning copies a few pointers.
///
/// Ordered maps, because a hash map of `imbl` takes more than twice the memory per entry, which
/// counts with a million endpoints; a look-up touches as few nodes in either.
#[derive(Clone)]
pub struct ProjectTable {
    project: Arc<Project>,
    event_types: imbl::OrdMap<EventTypeId, Arc<EventType>>,
    types_by_name: imbl::OrdMap<Arc<str>, Arc<EventType>>,
    sources: imbl::OrdMap<SourceId, Arc<Source>>,
    endpoints: imbl::OrdMap<EndpointId, Arc<Endpoint>>,
    owners: imbl::OrdMap<Arc<str>, Owned>,
    urls: UrlIndex,
    pools: PoolUse,
    subscriptions: imbl::OrdMap<SubscriptionId, Arc<Subscription>>,
    by_endpoint: imbl::OrdMap<EndpointId, TypeIndex>,
    by_source: imbl::OrdMap<SourceId, TypeIndex>,
    all_subscriptions: TypeIndex,
    api_keys: imbl::OrdMap<ApiKeyId, Arc<ApiKey>>,
}

/// What an owner has.
#[derive(Clone, Default)]
struct Owned {
    endpoints: SmallMap<EndpointId, ()>,
    /// Of those endpoints.
    subscriptions: TypeIndex,
}

impl ProjectTable {
    pub(super) fn new(project: Arc<Project>) -> Self {
        Self {
            project,
            event_types: imbl::OrdMap::new(),
            types_by_name: imbl::OrdMap::new(),
            sources: imbl::OrdMap::new(),
            endpoints: imbl::OrdMap::new(),
            owners: imbl::OrdMap::new(),
            urls: UrlIndex::default(),
            pools: PoolUse::default(),
            subscriptions: imbl::OrdMap::new(),
            by_endpoint: imbl::OrdMap::new(),
            by_source: imbl::OrdMap::new(),
            all_subscriptions: TypeIndex::default(),
            api_keys: imbl::OrdMap::new(),
        }
    }

    /// The project's own settings.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The event type of this name, if the catalogue has it.
    #[must_use]
    pub fn event_type(&self, name: &str) -> Option<&Arc<EventType>> {
        self.types_by_name.get(name)
    }

    /// Whether there is an event type of this name to speak of, for filters for example: `*` is
    /// one in every project (contract 3.7).
    #[must_use]
    pub fn has_event_type(&self, name: &str) -> bool {
        name == "*" || self.types_by_name.contains_key(name)
    }

    /// One of its endpoints.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(&id)
    }

    /// One of its sources.
    #[must_use]
    pub fn source(&self, id: SourceId) -> Option<&Arc<Source>> {
        self.sources.get(&id)
    }

    /// The endpoints of an owner, in the order of their ids.
    pub fn endpoints_of_owner(&self, owner: &str) -> impl Iterator<Item = EndpointId> {
        self.owners
            .get(owner)
            .into_iter()
            .flat_map(|owned| owned.endpoints.iter())
            .map(|(id, ())| *id)
    }

    /// The first endpoint with this URL, by id. What its template matches is not its URL.
    #[must_use]
    pub fn endpoint_of_url(&self, url: UrlKey) -> Option<EndpointId> {
        self.urls.first(url)
    }

    /// Whether any endpoint has a URL template.
    #[must_use]
    pub fn has_url_templates(&self) -> bool {
        self.urls.has_templates()
    }

    /// The endpoints whose URL template a URL matches, in the order of their ids.
    pub fn endpoints_matching(&self, url: &TargetUrl) -> impl Iterator<Item = EndpointId> {
        self.urls.matching(url)
    }

    /// What keeps an endpoint from being put in force here, apart from itself.
    pub(super) fn check_room(&self, endpoint: &Endpoint) -> Result<(), TooManyTemplates> {
        let old = self.endpoints.get(&endpoint.id());
        self.urls.check_room(old.map(|old| &**old), endpoint)
    }

    /// The subscriptions of an endpoint, by event type.
    #[must_use]
    pub fn subscriptions_of_endpoint(&self, endpoint: EndpointId) -> &TypeIndex {
        self.by_endpoint.get(&endpoint).unwrap_or(&NO_SUBSCRIPTIONS)
    }

    /// The subscriptions of all endpoints of an owner, by event type.
    #[must_use]
    pub fn subscriptions_of_owner(&self, owner: &str) -> &TypeIndex {
        let owned = self.owners.get(owner);
        owned.map_or(&NO_SUBSCRIPTIONS, |owned| &owned.subscriptions)
    }

    /// The subscriptions of a source, by event type.
    #[must_use]
    pub fn subscriptions_of_source(&self, source: SourceId) -> &TypeIndex {
        self.by_source.get(&source).unwrap_or(&NO_SUBSCRIPTIONS)
    }

    /// All subscriptions of the project, by event type.
    #[must_use]
    pub fn subscriptions_by_type(&self) -> &TypeIndex {
        &self.all_subscriptions
    }

    /// Who names the pool of this name: the project, and those of its endpoints.
    pub(super) fn users_of_pool(&self, name: &str) -> impl Iterator<Item = String> {
        let is_it = move |own: Option<&Arc<str>>| own.is_some_and(|own| **own == *name);
        let project = &self.project;
        let of_project =
            is_it(project.egress_pool()).then(|| format!("project `{}`", project.name()));
        let endpoints = self.pools.has(name).then(|| self.endpoints());
        let endpoints = endpoints.into_iter().flatten();
        let endpoints = endpoints.filter(move |endpoint| is_it(endpoint.egress_pool()));
        of_project.into_iter().chain(endpoints.map(move |endpoint| {
            format!(
                "endpoint `{}` of project `{}`",
                endpoint.name(),
                project.name()
            )
        }))
    }

    /// The pools that its endpoints name.
    pub(super) fn pools_of_endpoints(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pools.names()
    }

    pub(super) fn shared_project(&self) -> &Arc<Project> {
        &self.project
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.sources.values()
    }

    pub(super) fn subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.subscriptions.values()
    }

    pub(super) fn api_keys(&self) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.api_keys.values()
    }

    pub(super) fn event_types(&self) -> impl Iterator<Item = &Arc<EventType>> {
        self.event_types.values()
    }

    pub(super) fn event_type_by_id(&self, id: EventTypeId) -> Option<&Arc<EventType>> {
        self.event_types.get(&id)
    }

    /// One of its subscriptions.
    #[must_use]
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(&id)
    }

    pub(super) fn api_key(&self, id: ApiKeyId) -> Option<&Arc<ApiKey>> {
        self.api_keys.get(&id)
    }

    pub(super) fn set_project(&mut self, project: Arc<Project>) {
        self.project = project;
    }

    /// No other one has its name.
    pub(super) fn set_event_type(&mut self, event_type: Arc<EventType>) {
        self.remove_event_type(event_type.id());
        let name = Arc::clone(event_type.shared_name());
        self.types_by_name.insert(name, Arc::clone(&event_type));
        self.event_types.insert(event_type.id(), event_type);
    }

    pub(super) fn remove_event_type(&mut self, id: EventTypeId) {
        if let Some(old) = self.event_types.remove(&id)
            && self
                .types_by_name
                .get(old.name())
                .is_some_and(|named| named.id() == id)
        {
            self.types_by_name.remove(old.name());
        }
    }

    pub(super) fn set_source(&mut self, source: Arc<Source>) {
        self.sources.insert(source.id(), source);
    }

    pub(super) fn remove_source(&mut self, id: SourceId) -> Option<Arc<Source>> {
        self.sources.remove(&id)
    }

    pub(super) fn set_endpoint(&mut self, endpoint: Arc<Endpoint>) {
        let id = endpoint.id();
        let old = self.endpoints.insert(id, Arc::clone(&endpoint));
        self.urls.replace(old.as_deref(), Some(&endpoint));
        self.pools.replace(old.as_deref(), Some(&endpoint));
        let was_of = old.as_deref().and_then(Endpoint::owner_id);
        if was_of == endpoint.owner_id() && old.is_some() {
            return;
        }
        if let Some(owner) = was_of {
            self.disown(owner, id);
        }
        if let Some(owner) = endpoint.shared_owner_id() {
            let owned = self.owners.entry(Arc::clone(owner)).or_default();
            owned.endpoints.insert(id, ());
            for subscription in self
                .by_endpoint
                .get(&id)
                .into_iter()
                .flat_map(TypeIndex::all)
            {
                owned.subscriptions.insert(subscription);
            }
        }
    }

    pub(super) fn remove_endpoint(&mut self, id: EndpointId) -> Option<Arc<Endpoint>> {
        let old = self.endpoints.remove(&id)?;
        self.urls.replace(Some(&old), None);
        self.pools.replace(Some(&old), None);
        if let Some(owner) = old.owner_id() {
            self.disown(owner, id);
        }
        Some(old)
    }

    fn disown(&mut self, owner: &str, id: EndpointId) {
        let Some(owned) = self.owners.get_mut(owner) else {
            return;
        };
        owned.endpoints.remove(&id);
        for subscription in self
            .by_endpoint
            .get(&id)
            .into_iter()
            .flat_map(TypeIndex::all)
        {
            owned.subscriptions.remove(subscription);
        }
        if owned.endpoints.is_empty() {
            self.owners.remove(owner);
        }
    }

    /// What the owner of an endpoint has, if it has an owner.
    fn owned(&mut self, endpoint: EndpointId) -> Option<&mut Owned> {
        let owner = self.endpoints.get(&endpoint)?.owner_id()?;
        self.owners.get_mut(owner)
    }

    pub(super) fn set_subscription(&mut self, subscription: Arc<Subscription>) {
        self.remove_subscription(subscription.id());
        let of_endpoint = self.by_endpoint.entry(subscription.endpoint()).or_default();
        of_endpoint.insert(&subscription);
        if let Some(owned) = self.owned(subscription.endpoint()) {
            owned.subscriptions.insert(&subscription);
        }
        if let Some(source) = subscription.source() {
            self.by_source
                .entry(source)
                .or_default()
                .insert(&subscription);
        }
        self.all_subscriptions.insert(&subscription);
        self.subscriptions.insert(subscription.id(), subscription);
    }

    pub(super) fn remove_subscription(&mut self, id: SubscriptionId) -> Option<Arc<Subscription>> {
        let old = self.subscriptions.remove(&id)?;
        self.all_subscriptions.remove(&old);
        let endpoint = old.endpoint();
        if let Some(owned) = self.owned(endpoint) {
            owned.subscriptions.remove(&old);
        }
        remove(&mut self.by_endpoint, endpoint, &old);
        if let Some(source) = old.source() {
            remove(&mut self.by_source, source, &old);
        }
        Some(old)
    }

    pub(super) fn set_api_key(&mut self, key: Arc<ApiKey>) {
        self.api_keys.insert(key.id(), key);
    }

    pub(super) fn remove_api_key(&mut self, id: ApiKeyId) -> Option<Arc<ApiKey>> {
        self.api_keys.remove(&id)
    }
}

/// Takes a subscription out of one of the indexes, and the index away when it was the last.
fn remove<K: Ord + Clone>(
    indexes: &mut imbl::OrdMap<K, TypeIndex>,
    key: K,
    subscription: &Subscription,
) {
    let is_empty = indexes.get_mut(&key).is_some_and(|index| {
        index.remove(subscription);
        index.is_empty()
    });
    if is_empty {
        indexes.remove(&key);
    }
}
