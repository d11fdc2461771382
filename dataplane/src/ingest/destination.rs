//! Where a request wants to go (RULINGS 34): by its method and its path alone.

use http::Method;

use super::events_api::{Call, Kind};

/// First segments of the paths that the control plane serves.
const CONTROL_PLANE: [&str; 5] = ["api", "portal-api", "portal", "ui", "metrics"];

/// First segments of those of them that are pages: what they link to hangs on a trailing slash.
const PAGES: [&str; 2] = ["portal", "ui"];

/// Where a request wants to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination<'a> {
    /// A source of an incoming project.
    Source {
        mask: &'a str,
    },
    /// Events are published.
    Events {
        project: &'a str,
        call: Call,
    },
    Health,
    /// The list of source addresses.
    EgressIps,
    /// Not ours: the control plane answers.
    ControlPlane,
}

impl<'a> Destination<'a> {
    /// `path` without doubled or trailing slashes, see [`collapse_slashes`].
    pub(super) fn of(method: &Method, path: &'a str) -> Option<Self> {
        if let Some(mask) = path.strip_prefix("/ingest/") {
            return (!mask.is_empty() && !mask.contains('/')).then_some(Self::Source { mask });
        }
        if path == "/healthz" {
            return Some(Self::Health);
        }
        if matches!(path, "/v1/egress-ips" | "/api/v1/egress-ips") {
            return Some(Self::EgressIps);
        }
        if *method == Method::POST
            && let Some(published) = Self::published(path)
        {
            return Some(published);
        }
        CONTROL_PLANE
            .contains(&first_segment(path))
            .then_some(Self::ControlPlane)
    }

    /// The calls that make events. Reading them is for the control plane.
    fn published(path: &'a str) -> Option<Self> {
        let (project, call) = path.strip_prefix("/api/v1/projects/")?.split_once('/')?;
        let call = match call {
            "events" => Call::One(Kind::Single),
            "events/fanout" => Call::One(Kind::Fanout),
            "events/broadcast" => Call::One(Kind::Broadcast),
            "events/dynamic" => Call::One(Kind::Dynamic),
            "events/batch" => Call::Batch,
            _ => return None,
        };
        Some(Self::Events { project, call })
    }
}

fn first_segment(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

/// Convoy's oldest client builds paths with doubled and trailing slashes (contract section 1).
pub(super) fn collapse_slashes(path: &str) -> String {
    let mut collapsed = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        collapsed.push('/');
        collapsed.push_str(part);
    }
    collapsed
}

/// The path as it is passed on: `collapsed`, with the slash that `path` had behind it on pages.
pub(super) fn passed_on(path: &str, mut collapsed: String) -> String {
    if path.ends_with('/') && PAGES.contains(&first_segment(&collapsed)) {
        collapsed.push('/');
    }
    collapsed
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: &str = "/api/v1/projects/P1";

    fn of<'a>(method: &Method, path: &'a str) -> Option<Destination<'a>> {
        Destination::of(method, path)
    }

    #[test]
    fn a_prefix_is_whole_segments() {
        for path in [
            "",
            "/",
            "/apis",
            "/apis/api",
            "/portal-apis",
            "/u",
            "/uis",
            "/metrics2",
            "/API",
            "/%61pi",
            "/x/api",
            "/healthz/",
            "/ingest",
            "/ingest/",
            "/ingest/a/b",
        ] {
            assert_eq!(of(&Method::GET, path), None, "{path}");
            assert_eq!(of(&Method::POST, path), None, "{path}");
        }
        for path in [
            "/api",
            "/api/v1/projects",
            "/portal-api/x",
            "/portal",
            "/ui/a/b",
            "/metrics",
        ] {
            assert_eq!(
                of(&Method::GET, path),
                Some(Destination::ControlPlane),
                "{path}"
            );
        }
    }

    #[test]
    fn only_posts_of_events_are_ours() {
        let control = Some(Destination::ControlPlane);
        for call in [
            "events",
            "events/fanout",
            "events/batch",
            "events/dynamic",
            "events/broadcast",
        ] {
            let path = format!("{P}/{call}");
            for method in [Method::GET, Method::PUT, Method::HEAD, Method::DELETE] {
                assert_eq!(of(&method, &path), control, "{method} {path}");
            }
        }
        for call in [
            "events/batchreplay",
            "events/E1/replay",
            "endpoints",
            "events/fanout/x",
        ] {
            let path = format!("{P}/{call}");
            assert_eq!(of(&Method::POST, &path), control, "{path}");
        }
        assert_eq!(of(&Method::POST, "/api/v1/projects/events"), control);
    }

    #[test]
    fn events_are_published_here() {
        for (name, call) in [
            ("events", Call::One(Kind::Single)),
            ("events/fanout", Call::One(Kind::Fanout)),
            ("events/broadcast", Call::One(Kind::Broadcast)),
            ("events/dynamic", Call::One(Kind::Dynamic)),
            ("events/batch", Call::Batch),
        ] {
            let project = "P1";
            let expected = Some(Destination::Events { project, call });
            assert_eq!(of(&Method::POST, &format!("{P}/{name}")), expected);
        }
        assert_eq!(
            of(&Method::PUT, "/ingest/mask"),
            Some(Destination::Source { mask: "mask" })
        );
        assert_eq!(of(&Method::POST, "/healthz"), Some(Destination::Health));
        for path in ["/v1/egress-ips", "/api/v1/egress-ips"] {
            assert_eq!(of(&Method::PUT, path), Some(Destination::EgressIps));
        }
        assert_eq!(of(&Method::GET, "/v1/egress-ips/x"), None);
    }

    #[test]
    fn slashes_are_collapsed_and_kept_behind_pages_alone() {
        for (path, expected) in [
            ("//api///v1/projects//", "/api/v1/projects"),
            ("/ui//", "/ui/"),
            ("//portal/x/", "/portal/x/"),
            ("/ui", "/ui"),
            ("/metrics/", "/metrics"),
        ] {
            assert_eq!(passed_on(path, collapse_slashes(path)), expected, "{path}");
        }
    }
}
