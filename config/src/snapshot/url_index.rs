//! The endpoints of a project by their URL, for events that name one so: those with the very URL,
//! and those with a template that it matches.

use std::sync::Arc;

use outrider_webhook::address::TargetUrl;
use outrider_webhook::dynamic::UrlKey;
use outrider_webhook::id::EndpointId;
use outrider_webhook::url_template::{Concrete, EndpointUrl, UrlTemplate};

use super::small_map::SmallMap;
use crate::resource::Endpoint;

/// Templates with the same scheme, host and port in a project. An event looks at all of them.
const TEMPLATES_OF_SITE_MAX: usize = 100;

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
        let of_site = of_site.map(|templates| (Concrete::of(url), templates));
        of_site.into_iter().flat_map(|(concrete, templates)| {
            let all = templates.iter();
            let matching = all.filter(move |(_, template)| template.matches(&concrete));
            matching.map(|(id, _)| *id)
        })
    }

    /// Whether an endpoint has a place, in which there is `old` so far.
    pub(super) fn check_room(
        &self,
        old: Option<&Endpoint>,
        new: &Endpoint,
    ) -> Result<(), TooManyTemplates> {
        let EndpointUrl::Template(template) = new.url() else {
            return Ok(());
        };
        let is_there = old.is_some_and(|old| match old.url() {
            EndpointUrl::Template(old) => old.site() == template.site(),
            EndpointUrl::Plain(_) => false,
        });
        let site = UrlKey::of_site(template.site());
        match self.templates.get(&site).map_or(0, SmallMap::len) {
            TEMPLATES_OF_SITE_MAX.. if !is_there => Err(TooManyTemplates),
            _ => Ok(()),
        }
    }

    /// An endpoint takes the place of what it was before.
    pub(super) fn replace(&mut self, old: Option<&Endpoint>, new: Option<&Endpoint>) {
        if let (Some(old), Some(new)) = (old, new)
            && is_same(old.url(), new.url())
        {
            return; // most changes, without a hash
        }
        if let Some(old) = old {
            match old.url() {
                EndpointUrl::Plain(url) => remove(&mut self.plain, UrlKey::of(url), old.id()),
                EndpointUrl::Template(template) => {
                    let site = UrlKey::of_site(template.site());
                    remove(&mut self.templates, site, old.id());
                }
            }
        }
        if let Some(new) = new {
            match new.url() {
                EndpointUrl::Plain(url) => {
                    let endpoints = self.plain.entry(UrlKey::of(url)).or_default();
                    endpoints.insert(new.id(), ());
                }
                EndpointUrl::Template(template) => {
                    let site = UrlKey::of_site(template.site());
                    let of_site = self.templates.entry(site).or_default();
                    of_site.insert(new.id(), Arc::clone(template));
                }
            }
        }
    }
}

/// Whether two endpoints have one place.
fn is_same(old: &EndpointUrl, new: &EndpointUrl) -> bool {
    match (old, new) {
        (EndpointUrl::Plain(old), EndpointUrl::Plain(new)) => old == new,
        (EndpointUrl::Template(old), EndpointUrl::Template(new)) => old == new,
        _ => false,
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
        let spec = EndpointSpec {
            name: Some("e".to_owned()),
            url: Some(URLS[url % URLS.len()].to_owned()),
            secret: Some(outrider_webhook::secret::Secret::new("s".to_owned())),
            ..EndpointSpec::default()
        };
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
                        EndpointUrl::Template(template) if template.matches(&Concrete::of(&url)) => matching.push(id(*number)),
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
