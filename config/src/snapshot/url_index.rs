//! The endpoints of a project by their URL, for events that name one so.

use outrider_webhook::dynamic::UrlKey;
use outrider_webhook::id::EndpointId;

use super::small_map::SmallMap;
use crate::resource::Endpoint;

/// Which endpoints have a URL; by its key, which is shorter than a URL.
#[derive(Clone, Default)]
pub(super) struct UrlIndex(imbl::OrdMap<UrlKey, SmallMap<EndpointId, ()>>);

impl UrlIndex {
    /// The first endpoint with this URL, by id.
    pub(super) fn first(&self, url: UrlKey) -> Option<EndpointId> {
        let endpoints = self.0.get(&url)?;
        endpoints.iter().next().map(|(id, ())| *id)
    }

    /// An endpoint takes the place of what it was before.
    pub(super) fn replace(&mut self, old: Option<&Endpoint>, new: Option<&Endpoint>) {
        let key = |endpoint: &Endpoint| (UrlKey::of(endpoint.url()), endpoint.id());
        let (old, new) = (old.map(key), new.map(key));
        if old == new {
            return;
        }
        if let Some((url, id)) = new {
            self.0.entry(url).or_default().insert(id, ());
        }
        if let Some((url, id)) = old {
            let is_empty = self.0.get_mut(&url).is_some_and(|endpoints| {
                endpoints.remove(&id);
                endpoints.is_empty()
            });
            if is_empty {
                self.0.remove(&url);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use outrider_webhook::address::TargetUrl;
    use outrider_webhook::id::{ProjectId, Uid};
    use proptest::prelude::*;

    use super::*;
    use crate::resource::{EndpointSpec, Project, ProjectSpec};

    const URLS: [&str; 3] = [
        "http://a.example/",
        "https://a.example/",
        "https://a.example/x",
    ];

    fn endpoint(project: &Project, number: u8, url: usize) -> Endpoint {
        let mut spec = EndpointSpec::default();
        spec.name = Some("e".to_owned());
        spec.url = Some(URLS[url % URLS.len()].to_owned());
        spec.secret = Some(outrider_webhook::secret::Secret::new("s".to_owned()));
        let id = EndpointId::new(Uid::from_bits(number.into()));
        Endpoint::compile(id, 1, project, &spec).unwrap()
    }

    proptest! {
        #[test]
        fn the_first_endpoint_of_a_url_is_found_after_any_edits(
            edits in prop::collection::vec((0_u8..4, prop::option::of(0_usize..3)), 0..40),
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
            for (url, text) in URLS.iter().enumerate() {
                let expected = model.iter().find(|(_, has)| **has == url);
                let expected = expected.map(|(number, _)| EndpointId::new(Uid::from_bits((*number).into())));
                let key = UrlKey::of(&TargetUrl::parse(text).unwrap());
                prop_assert_eq!(index.first(key), expected);
            }
        }
    }
}
