//! The endpoints of a project by their URL, for events that name one so: those with the very URL,
//! and those with a template that it matches.

use std::sync::Arc;

use outrider_webhook::address::TargetUrl;
use outrider_webhook::dynamic::UrlKey;
use outrider_webhook::id::EndpointId;
use outrider_webhook::url_template::{EndpointUrl, UrlTemplate};

use super::small_map::SmallMap;
use crate::resource::Endpoint;

/// Templates with the same scheme, host and port in a project. An event looks at all of them.
const TEMPLATES_OF_SITE_MAX: usize = 1000;

/// Why an endpoint with a template has no place.
#[derive(Debug, thiserror::Error)]
#[error(
    "at most {TEMPLATES_OF_SITE_MAX} endpoints of a project may have a URL template of the same scheme, host and port"
)]
pub(super) struct TooManyTemplates;

/// Which endpoints have a URL, by its key, which is shorter than a URL; and which have a
/// template, by the key of its site.
#[derive(Clone, Default)]
pub(super) struct UrlIndex {
    plain: imbl::OrdMap<UrlKey, SmallMap<EndpointId, ()>>,
    templates: imbl::OrdMap<UrlKey, SmallMap<EndpointId, Arc<UrlTemplate>>>,
}

impl UrlIndex {
    /// The first endpoint with this URL, by id.
    pub(super) fn first(&self, url: UrlKey) -> Option<EndpointId> {
        let endpoints = self.plain.get(&url)?;
        endpoints.iter().next().map(|(id, ())| *id)
    }

    pub(super) fn has_templates(&self) -> bool {
        !self.templates.is_empty()
    }

    /// The endpoints with a template that this URL matches, in the order of their ids.
    pub(super) fn matching(&self, url: &TargetUrl) -> impl Iterator<Item = EndpointId> {
        let of_site = match self.has_templates() {
            true => self.templates.get(&UrlKey::of_site(url)),
            false => None, // the usual case, without a hash
        };
        of_site
            .into_iter()
            .flat_map(SmallMap::iter)
            .filter(|(_, template)| template.matches(url))
            .map(|(id, _)| *id)
    }

    /// Whether an endpoint has a place, in which there is `old` so far.
    pub(super) fn check_room(
        &self,
        old: Option<&Endpoint>,
        new: &Endpoint,
    ) -> Result<(), TooManyTemplates> {
        let Place::Template(site, _) = Place::of(new) else {
            return Ok(());
        };
        let is_there = old.is_some_and(
            |old| matches!(Place::of(old), Place::Template(old_site, _) if old_site == site),
        );
        match self.templates.get(&site).map_or(0, SmallMap::len) {
            TEMPLATES_OF_SITE_MAX.. if !is_there => Err(TooManyTemplates),
            _ => Ok(()),
        }
    }

    /// An endpoint takes the place of what it was before.
    pub(super) fn replace(&mut self, old: Option<&Endpoint>, new: Option<&Endpoint>) {
        if old.map(Place::of) == new.map(Place::of) {
            return;
        }
        if let Some(old) = old {
            match Place::of(old) {
                Place::Plain(url) => remove(&mut self.plain, url, old.id()),
                Place::Template(site, _) => remove(&mut self.templates, site, old.id()),
            }
        }
        if let Some(new) = new {
            match Place::of(new) {
                Place::Plain(url) => self.plain.entry(url).or_default().insert(new.id(), ()),
                Place::Template(site, template) => {
                    let of_site = self.templates.entry(site).or_default();
                    of_site.insert(new.id(), Arc::clone(template));
                }
            }
        }
    }
}

/// Where an endpoint stands in the index.
#[derive(PartialEq)]
enum Place<'e> {
    Plain(UrlKey),
    Template(UrlKey, &'e Arc<UrlTemplate>),
}

impl<'e> Place<'e> {
    fn of(endpoint: &'e Endpoint) -> Self {
        match endpoint.url() {
            EndpointUrl::Plain(url) => Self::Plain(UrlKey::of(url)),
            EndpointUrl::Template(template) => {
                Self::Template(UrlKey::of_site(template.site()), template)
            }
        }
    }
}

/// Takes an endpoint out, and its key away when it was the last with it.
fn remove<V: Clone>(
    index: &mut imbl::OrdMap<UrlKey, SmallMap<EndpointId, V>>,
    key: UrlKey,
    id: EndpointId,
) {
    let is_empty = index.get_mut(&key).is_some_and(|endpoints| {
        endpoints.remove(&id);
        endpoints.is_empty()
    });
    if is_empty {
        index.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use outrider_webhook::id::{ProjectId, Uid};
    use proptest::prelude::*;

    use super::*;
    use crate::resource::{EndpointSpec, Project, ProjectSpec};

    const URLS: [&str; 7] = [
        "http://a.example/",
        "https://a.example/",
        "https://a.example/x",
        "https://a.example/{a}",
        "https://A.example:443/x{a}",
        "https://a.example/{a}/x",
        "http://b.example/{a}",
    ];

    /// URLs that an event may name.
    const NAMED: [&str; 6] = [
        "http://a.example/",
        "https://a.example/x",
        "https://a.example/xy",
        "https://a.example/y/x",
        "http://b.example/x",
        "http://c.example/x",
    ];

    fn endpoint(project: &Project, number: u8, url: usize) -> Endpoint {
        let mut spec = EndpointSpec::default();
        spec.name = Some("e".to_owned());
        spec.url = Some(URLS[url % URLS.len()].to_owned());
        spec.secret = Some(outrider_webhook::secret::Secret::new("s".to_owned()));
        Endpoint::compile(id(number), 1, project, &spec).unwrap()
    }

    fn id(number: u8) -> EndpointId {
        EndpointId::new(Uid::from_bits(number.into()))
    }

    proptest! {
        #[test]
        fn endpoints_are_found_by_their_url_and_by_their_template_after_any_edits(
            edits in prop::collection::vec((0_u8..5, prop::option::of(0_usize..URLS.len())), 0..40),
        ) {
            let spec: ProjectSpec = serde_json::from_str(r#"{"name":"p","type":"outgoing"}"#).unwrap();
            let project = Project::compile(ProjectId::new(Uid::from_bits(1)), 1, &spec).unwrap();
            let (mut index, mut model) = (UrlIndex::default(), std::collections::BTreeMap::new());
            for (number, url) in edits {
                let new = url.map(|url| endpoint(&project, number, url));
                let old = match url {
                    Some(url) => model.insert(number, url),
                    None => model.remove(&number),
                };
                let old = old.map(|url| endpoint(&project, number, url));
                index.replace(old.as_ref(), new.as_ref());
            }
            for named in NAMED {
                let url = TargetUrl::parse(named).unwrap();
                let (mut first, mut matching) = (None, Vec::new());
                for (number, has) in &model {
                    match EndpointUrl::parse(URLS[*has]).unwrap() {
                        EndpointUrl::Plain(own) if *own == url => first = first.or(Some(id(*number))),
                        EndpointUrl::Template(template) if template.matches(&url) => matching.push(id(*number)),
                        _ => {}
                    }
                }
                prop_assert_eq!(index.first(UrlKey::of(&url)), first);
                prop_assert_eq!(index.matching(&url).collect::<Vec<_>>(), matching);
            }
            let has_templates = model.values().any(|url| URLS[*url].contains('{'));
            prop_assert_eq!(index.has_templates(), has_templates);
            if model.is_empty() {
                prop_assert!(index.plain.is_empty());
            }
        }
    }
}
