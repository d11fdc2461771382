//! One project's resources and the indexes over them.

use std::sync::{Arc, LazyLock};

use outrider_webhook::dynamic::UrlKey;
use outrider_webhook::id::{ApiKeyId, EndpointId, EventTypeId, SourceId, SubscriptionId};

use super::small_map::SmallMap;
use super::type_index::TypeIndex;
use super::url_index::UrlIndex;
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
    owners: imbl::OrdMap<Arc<str>, SmallMap<EndpointId, ()>>,
    urls: UrlIndex,
    subscriptions: imbl::OrdMap<SubscriptionId, Arc<Subscription>>,
    by_endpoint: imbl::OrdMap<EndpointId, SmallMap<SubscriptionId, Arc<Subscription>>>,
    by_source: imbl::OrdMap<SourceId, TypeIndex>,
    all_subscriptions: TypeIndex,
    api_keys: imbl::OrdMap<ApiKeyId, Arc<ApiKey>>,
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
            .flat_map(SmallMap::iter)
            .map(|(id, ())| *id)
    }

    /// The first endpoint with this URL, by id.
    #[must_use]
    pub fn endpoint_of_url(&self, url: UrlKey) -> Option<EndpointId> {
        self.urls.first(url)
    }

    /// All subscriptions of an endpoint, whatever they want; in the order of their ids.
    pub fn subscriptions_of_endpoint(
        &self,
        endpoint: EndpointId,
    ) -> impl Iterator<Item = &Arc<Subscription>> {
        self.by_endpoint
            .get(&endpoint)
            .into_iter()
            .flat_map(SmallMap::iter)
            .map(|(_, subscription)| subscription)
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

    pub(super) fn subscription(&self, id: SubscriptionId) -> Option<&Arc<Subscription>> {
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
        if let Some(owner) = endpoint.shared_owner_id() {
            self.owners
                .entry(Arc::clone(owner))
                .or_default()
                .insert(id, ());
        }
        let old = self.endpoints.insert(id, Arc::clone(&endpoint));
        self.urls.replace(old.as_deref(), Some(&endpoint));
        if let Some(owner) = old.as_deref().and_then(Endpoint::owner_id)
            && endpoint.owner_id() != Some(owner)
        {
            self.disown(owner, id);
        }
    }

    pub(super) fn remove_endpoint(&mut self, id: EndpointId) -> Option<Arc<Endpoint>> {
        let old = self.endpoints.remove(&id)?;
        self.urls.replace(Some(&old), None);
        if let Some(owner) = old.owner_id() {
            self.disown(owner, id);
        }
        Some(old)
    }

    fn disown(&mut self, owner: &str, id: EndpointId) {
        let is_empty = self.owners.get_mut(owner).is_some_and(|endpoints| {
            endpoints.remove(&id);
            endpoints.is_empty()
        });
        if is_empty {
            self.owners.remove(owner);
        }
    }

    pub(super) fn set_subscription(&mut self, subscription: Arc<Subscription>) {
        self.remove_subscription(subscription.id());
        let of_endpoint = self.by_endpoint.entry(subscription.endpoint()).or_default();
        of_endpoint.insert(subscription.id(), Arc::clone(&subscription));
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
        let is_empty = self
            .by_endpoint
            .get_mut(&endpoint)
            .is_some_and(|of_endpoint| {
                of_endpoint.remove(&id);
                of_endpoint.is_empty()
            });
        if is_empty {
            self.by_endpoint.remove(&endpoint);
        }
        if let Some(source) = old.source() {
            let is_empty = self.by_source.get_mut(&source).is_some_and(|index| {
                index.remove(&old);
                index.is_empty()
            });
            if is_empty {
                self.by_source.remove(&source);
            }
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
