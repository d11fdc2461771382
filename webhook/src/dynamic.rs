//! Endpoints that an event names by their URL alone, and that need not be there yet (RULINGS 15).
//!
//! Their ids follow from project and URL, so that every data plane makes up the same ones and
//! the control plane makes an endpoint once, however often and by whom it is asked.

use sha2::{Digest, Sha256};

use crate::address::TargetUrl;
use crate::id::{EndpointId, ProjectId, SubscriptionId, Uid};

/// How many ids a URL has in a project. The first is the one: the others are for when a person
/// gave the endpoint with that id another URL, which is then not ours to take back.
pub const GENERATIONS: u32 = 8;

/// What tells a URL from another: those that mean the same request are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UrlKey(u128);

impl UrlKey {
    /// The key of a URL.
    #[must_use]
    pub fn of(url: &TargetUrl) -> Self {
        let parts = [
            url.scheme().as_str(),
            url.authority(),
            url.path_and_query().as_str(),
        ];
        Self(hash("url", &parts.map(str::as_bytes)))
    }

    /// The key of all URLs with the same scheme, host and port.
    #[must_use]
    pub fn of_site(url: &TargetUrl) -> Self {
        let parts = [url.scheme().as_str(), url.authority()];
        Self(hash("site", &parts.map(str::as_bytes)))
    }
}

/// The id of the endpoint that an event makes of a URL.
#[must_use]
pub fn endpoint_id(project: ProjectId, url: UrlKey, generation: u32) -> EndpointId {
    let parts: [&[u8]; 3] = [
        &project.uid().bits().to_be_bytes(),
        &url.0.to_be_bytes(),
        &generation.to_be_bytes(),
    ];
    EndpointId::new(Uid::from_bits(hash("endpoint", &parts)))
}

/// The id of the subscription that is made with it.
#[must_use]
pub fn subscription_id(endpoint: EndpointId) -> SubscriptionId {
    let bits = hash("subscription", &[&endpoint.uid().bits().to_be_bytes()]);
    SubscriptionId::new(Uid::from_bits(bits))
}

/// 128 bits of a SHA-256. A length stands before each part: without it two lists could be one.
fn hash(what: &str, parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for part in [b"outrider dynamic".as_slice(), what.as_bytes()]
        .iter()
        .chain(parts)
    {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest
        .first_chunk()
        .map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(url: &str) -> UrlKey {
        UrlKey::of(&TargetUrl::parse(url).unwrap())
    }

    fn project(number: u128) -> ProjectId {
        ProjectId::new(Uid::from_bits(number))
    }

    #[test]
    fn urls_that_mean_one_request_have_one_key() {
        let one = key("https://Example.com:443/a?b=c#part");
        assert_eq!(one, key("https://example.com/a?b=c"));
        for other in [
            "http://example.com/a?b=c",
            "https://example.com:444/a?b=c",
            "https://example.com/a",
            "https://example.com/a?b=d",
            "https://example.com/A?b=c",
        ] {
            assert_ne!(one, key(other), "{other}");
        }
    }

    /// Stored in logs and journals: these may never change.
    #[test]
    fn ids_are_the_same_for_ever() {
        let url = key("https://example.com/hook");
        let first = endpoint_id(project(1), url, 0);
        assert_eq!(first.to_string(), "4NP0WGCT6R8ENFEYGX19TD3TV9");
        assert_eq!(
            subscription_id(first).to_string(),
            "7A2CRTRVGQAFTNTXC3JXTSNKAC"
        );
        assert_eq!(first.to_string().parse(), Ok(first));
    }

    #[test]
    fn ids_differ_by_project_url_and_generation() {
        let url = key("https://example.com/hook");
        let all = [
            endpoint_id(project(1), url, 0),
            endpoint_id(project(2), url, 0),
            endpoint_id(project(1), key("https://example.com/other"), 0),
            endpoint_id(project(1), url, 1),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
