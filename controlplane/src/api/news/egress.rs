//! What there is to tell of a pool of source addresses: to each project whose list has it, what
//! changed of what the list says.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use outrider_config::Version;
use outrider_config::published::Published;
use outrider_config::resource::{DEFAULT_POOL, EgressPool, EgressPoolSpec, from_document};
use outrider_config::snapshot::MetaKind;
use outrider_webhook::id::{EgressPoolId, ProjectId, Uid};
use outrider_xds::{News, TOLD_BYTES_MAX};
use serde_json::json;

use super::super::time::at;
use crate::{Change, View};

const KIND: MetaKind = MetaKind::EgressIpsUpdated;

/// A pool before and after a change, as far as it is there.
struct Both {
    before: Option<Arc<EgressPool>>,
    after: Option<Arc<EgressPool>>,
}

/// Nothing for those who do not want to know, and for those who never saw the pool.
pub(super) fn news(view: &View<'_>, change: &Change, journal: Uid) -> Vec<News> {
    let pool = |spec: &Option<Vec<u8>>| {
        // What an older version wrote need not be what this one takes; then nobody has it.
        let spec: EgressPoolSpec = from_document(spec.as_ref()?).ok()?;
        let id = EgressPoolId::new(change.uid);
        EgressPool::compile(id, change.revision, &spec)
            .ok()
            .map(Arc::new)
    };
    let both = Both {
        before: pool(&change.before),
        after: pool(&change.after),
    };
    let (revision, uid) = (change.revision, change.uid);
    let mut bodies: HashMap<_, Option<Bytes>> = HashMap::new();
    let mut news = Vec::new();
    for table in view.snapshot().tables() {
        let project = table.project();
        if !project.meta().is_some_and(|meta| meta.wants(KIND)) {
            continue;
        }
        let seen = both.seen_by(project.id());
        let names_none = project.egress_pool().is_none();
        let body = bodies
            .entry((seen, names_none))
            .or_insert_with(|| both.body(seen, names_none, change));
        let Some(body) = body else { continue };
        news.push(News {
            project: project.id(),
            kind: KIND.as_str().to_owned(),
            name: format!("{journal}/{revision}/{uid}"),
            version: Version { journal, revision },
            body: body.clone(),
        });
    }
    news
}

impl Both {
    /// Whether a project saw the pool before, and sees it after.
    fn seen_by(&self, project: ProjectId) -> (bool, bool) {
        let sees = |pool: &Option<Arc<EgressPool>>| {
            let pool = pool.as_ref();
            pool.is_some_and(|pool| pool.serves(project))
        };
        (sees(&self.before), sees(&self.after))
    }

    /// What is told to those who see it so; `None` when their list says the same as before.
    /// `names_none`: a project without a pool of its own, which leaves from where the host's route
    /// puts it while there is no pool for such.
    fn body(
        &self,
        (was_seen, is_seen): (bool, bool),
        names_none: bool,
        change: &Change,
    ) -> Option<Bytes> {
        let is_default = |pool: &Option<Arc<EgressPool>>| {
            let pool = pool.as_ref();
            pool.is_some_and(|pool| **pool.name() == *DEFAULT_POOL)
        };
        let is_about_default = is_default(&self.before) || is_default(&self.after);
        let list = |pool: &Option<Arc<EgressPool>>, is_seen: bool| {
            let is_dynamic = names_none && is_about_default && !is_default(pool);
            let pool = pool.as_ref().filter(|_| is_seen);
            Published::of(pool, is_dynamic, change.at_ms)
        };
        let (before, after) = (list(&self.before, was_seen), list(&self.after, is_seen));
        if before.rows() == after.rows() {
            return None;
        }
        let (old, new) = (before.to_text(), after.to_text());
        let [old, new] = [&old, &new].map(|text| text.lines().collect::<BTreeSet<&str>>());
        let shown = if is_seen { &self.after } else { &self.before };
        let data = json!({
            "name": shown.as_ref().map(|pool| pool.name().to_string()),
            "version": change.revision,
            "updated_at": at(change.at_ms),
            "added": new.difference(&old).collect::<Vec<_>>(),
            "removed": old.difference(&new).collect::<Vec<_>>(),
            "pools": after.rows(),
        });
        let body = json!({"event_type": KIND.as_str(), "data": data}).to_string();
        if body.len() > TOLD_BYTES_MAX {
            tracing::error!(uid = %change.uid, kind = KIND.as_str(), "a meta event is too long, and lost");
            return None;
        }
        Some(body.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;
    use outrider_config::Kind;
    use serde_json::Value;

    const PROJECT: &str = "01JD4N3T8Q2W5X6Y7Z8A9B0C1D";

    fn change(before: Option<Value>, after: Option<Value>) -> (Both, Change) {
        let uid = Uid::from_bits(5);
        let pool = |json: &Option<Value>, revision| {
            let spec: EgressPoolSpec =
                from_document(json.as_ref()?.to_string().as_bytes()).unwrap();
            let pool = EgressPool::compile(EgressPoolId::new(uid), revision, &spec);
            Some(Arc::new(pool.unwrap()))
        };
        let both = Both {
            before: pool(&before, 6),
            after: pool(&after, 7),
        };
        let change = Change {
            revision: 7,
            at_ms: 1_767_225_600_000,
            actor: "test".to_owned(),
            op: Op::Update,
            kind: Kind::EgressPool,
            uid,
            project: ProjectId::new(uid),
            before: None,
            after: None,
        };
        (both, change)
    }

    fn pool(addresses: &[(&str, &str)], more: &Value) -> Option<Value> {
        let addresses: Vec<Value> = addresses
            .iter()
            .map(|(address, state)| json!({"address": address, "state": state}))
            .collect();
        let mut pool = json!({"name": "eu", "addresses": addresses});
        for (field, value) in more.as_object().unwrap() {
            pool[field] = value.clone();
        }
        Some(pool)
    }

    /// What a project is told: what is new and what has gone.
    fn told(before: Option<Value>, after: Option<Value>) -> Option<(Value, Value)> {
        let (both, change) = change(before, after);
        let body = both.body(both.seen_by(PROJECT.parse().unwrap()), true, &change)?;
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["event_type"], "egress_ips.updated");
        let data = &mut body["data"];
        assert_eq!((&data["name"], &data["version"]), (&json!("eu"), &json!(7)));
        assert_eq!(data["updated_at"], "2026-01-01T00:00:00Z");
        Some((data["added"].take(), data["removed"].take()))
    }

    #[test]
    fn what_the_list_does_not_say_is_not_told() {
        let one = || pool(&[("192.0.2.1", "active")], &json!({}));
        let more = json!({"selection": "sticky", "max_connections": 5, "updated_at": "2026-01-01T00:00:00Z"});
        assert_eq!(told(one(), pool(&[("192.0.2.1", "active")], &more)), None);
        let other = json!({"mode": "dedicated", "projects": ["01JD4N3T8Q2W5X6Y7Z8A9B0C1E"]});
        let others = || pool(&[("192.0.2.1", "active")], &other);
        assert_eq!(told(None, others()), None, "somebody else's");
        assert_eq!(told(others(), None), None);
        assert_eq!(told(None, None), None);
    }

    #[test]
    fn what_comes_and_what_goes_is_told_by_its_ranges() {
        let one = || pool(&[("192.0.2.1", "active")], &json!({}));
        let two = || {
            pool(
                &[("192.0.2.1", "active"), ("2001:db8::1", "warming")],
                &json!({}),
            )
        };
        let own = |state| {
            let more = json!({"mode": "dedicated", "projects": [PROJECT]});
            pool(&[("192.0.2.1", state)], &more)
        };
        let other = json!({"mode": "dedicated", "projects": ["01JD4N3T8Q2W5X6Y7Z8A9B0C1E"]});
        let others = pool(&[("192.0.2.1", "active")], &other);
        let v4 = json!(["192.0.2.1/32"]);
        let none = json!([]);
        let both = |added: &Value, removed: &Value| Some((added.clone(), removed.clone()));
        assert_eq!(told(None, one()), both(&v4, &none));
        assert_eq!(told(one(), two()), both(&json!(["2001:db8::1/128"]), &none));
        assert_eq!(told(one(), None), both(&none, &v4));
        assert_eq!(
            told(one(), others),
            both(&none, &v4),
            "gone for this project"
        );
        assert_eq!(told(None, own("active")), both(&v4, &none));
        // Still let in, and something else is to be said of it.
        assert_eq!(told(own("active"), own("draining")), both(&none, &none));
        assert_eq!(told(own("active"), own("down")), both(&none, &v4));
    }

    /// The pools that are shown after a change of this pool's name, to who names none and to who does.
    fn shown(before: Option<&str>, after: Option<&str>) -> [Vec<String>; 2] {
        let named = |name: Option<&str>| {
            name.and_then(|name| pool(&[("192.0.2.1", "active")], &json!({"name": name})))
        };
        let (both, change) = change(named(before), named(after));
        let seen = both.seen_by(PROJECT.parse().unwrap());
        [true, false].map(|names_none| {
            let body = both.body(seen, names_none, &change).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let rows = body["data"]["pools"].as_array().unwrap().iter();
            rows.map(|row| row["name"].as_str().unwrap().to_owned())
                .collect()
        })
    }

    #[test]
    fn who_names_no_pool_hears_when_the_route_of_the_host_comes_or_goes() {
        let [default, eu] = ["default", "eu"].map(Some);
        assert_eq!(shown(default, None), [vec!["dynamic"], vec![]]);
        assert_eq!(shown(None, default), [["default"], ["default"]]);
        assert_eq!(shown(default, eu), [vec!["eu", "dynamic"], vec!["eu"]]);
        assert_eq!(shown(eu, default), [["default"], ["default"]]);
        assert_eq!(shown(eu, None), [Vec::<String>::new(), vec![]]);
    }
}
