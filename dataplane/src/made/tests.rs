use outrider_config::snapshot::{Document, Kind, Transaction};
use outrider_webhook::address::TargetUrl;
use outrider_webhook::dynamic::{UrlKey, endpoint_id};
use outrider_webhook::id::Uid;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn key(digit: char) -> StateKey {
    StateKey::from_hex(&digit.to_string().repeat(64)).unwrap()
}

fn made() -> MadeEndpoints {
    MadeEndpoints::new(&key('7'), Policy::default())
}

fn version(revision: u64) -> Version {
    Version {
        journal: Uid::from_bits(9),
        revision,
    }
}

fn project_id() -> ProjectId {
    ProjectId::new(Uid::from_bits(1))
}

fn document(kind: Kind, uid: Uid, spec: &serde_json::Value) -> Document {
    Document {
        kind,
        uid,
        project: project_id(),
        revision: 1,
        spec: spec.to_string().into(),
    }
}

/// The project, with the endpoint of this URL when there is one.
fn snapshot(revision: u64, url: Option<&str>) -> Snapshot {
    let mut upserts = vec![document(
        Kind::Project,
        project_id().uid(),
        &json!({"name": "shop", "type": "outgoing"}),
    )];
    if let Some(url) = url {
        let spec = json!({"name": "e", "url": url, "secret": "s"});
        upserts.push(document(Kind::Endpoint, id(url).uid(), &spec));
    }
    let (snapshot, refused) = Snapshot::empty().apply(&Transaction {
        version: version(revision),
        is_full: true,
        upserts,
        removals: Vec::new(),
    });
    assert_eq!(refused, []);
    snapshot
}

fn id(url: &str) -> EndpointId {
    let key = UrlKey::of(&TargetUrl::parse(url).unwrap());
    endpoint_id(project_id(), key, 0)
}

fn wish(url: &str) -> Wish {
    Wish {
        endpoint: id(url),
        url: url.to_owned(),
        secret: Some(Secret::new("hunter2")),
        event_types: vec!["a".to_owned()],
    }
}

fn claim(made: &MadeEndpoints, wish: Wish) -> Result<Claim, NotMade> {
    claim_in(made, &snapshot(1, None), wish)
}

fn claim_in(made: &MadeEndpoints, snapshot: &Snapshot, wish: Wish) -> Result<Claim, NotMade> {
    let table = snapshot.project(project_id()).unwrap();
    made.claim((table.project(), snapshot.closings()), wish)
}

const URL: &str = "https://customer.example/in";

/// Logs of builds before URL templates have such URLs.
#[test]
fn braces_in_what_an_event_named_are_literal() {
    let made = made();
    let claimed = claim(&made, wish("https://customer.example/{in}")).unwrap();
    let Some(Found::Made(endpoint)) = made.find(claimed.endpoint) else {
        panic!("it is not made");
    };
    let url = endpoint.url().resolve(None).map(|url| url.to_string());
    assert_eq!(url.as_deref(), Some("https://customer.example/%7Bin%7D"));
}

#[test]
fn what_cannot_be_an_endpoint_is_refused_and_leaves_nothing() {
    let made = made();
    let private = "http://10.0.0.1/";
    assert!(matches!(
        claim(&made, wish(private)),
        Err(NotMade::Denied(_))
    ));
    let long = Wish {
        secret: Some(Secret::new("s".repeat(2000))),
        event_types: vec![" a".to_owned()],
        ..wish(URL)
    };
    let error = claim(&made, long).err().unwrap().to_string();
    assert!(error.contains("`secret`"), "{error}");
    assert!(error.contains("`event_types[0]`"), "{error}");
    assert_eq!(made.waiting(), 0);
    assert!(made.find(id(URL)).is_none());
}

#[test]
fn a_claim_that_is_not_kept_leaves_nothing_once_all_are_gone() {
    let made = made();
    let (one, two) = (claim(&made, wish(URL)).ok(), claim(&made, wish(URL)).ok());
    assert!(matches!(made.find(id(URL)), Some(Found::Made(_))));
    assert!(made.wanted(&[], 9).is_empty(), "nothing is in the log yet");
    drop(one);
    assert_eq!(made.waiting(), 1);
    drop(two);
    assert_eq!(made.waiting(), 0);
}

#[test]
fn a_kept_one_is_wanted_and_the_first_wish_decides() {
    let made = made();
    let first = claim(&made, wish(URL)).ok().unwrap();
    let other = Wish {
        secret: Some(Secret::new("another")),
        ..wish(URL)
    };
    let second = claim(&made, other).ok().unwrap();
    assert_eq!(first.audience(), second.audience());
    first.keep();
    drop(second);
    let wanted = made.wanted(&[], 9);
    assert_eq!(wanted.len(), 1);
    assert_eq!(wanted[0].secret.expose(), "hunter2");
    assert!(made.wanted(&[id(URL)], 9).is_empty(), "it is under way");
}

#[test]
fn a_table_that_has_it_settles_it_and_so_does_one_that_lost_it_again() {
    let made = made();
    claim(&made, wish(URL)).ok().unwrap().keep();
    assert_eq!(made.settled_by(&snapshot(5, None)), []);
    let late = claim(&made, wish(URL)).ok();
    assert_eq!(made.settled_by(&snapshot(5, Some(URL))), []);
    let mut changes = made.inner.changes.subscribe();
    drop(late);
    assert!(changes.has_changed().unwrap(), "the desk has to look again");
    changes.mark_unchanged();
    assert_eq!(made.settled_by(&snapshot(5, Some(URL))), [id(URL)]);
    assert_eq!(made.waiting(), 0);
    claim(&made, wish(URL)).ok().unwrap().keep();
    made.set_state(id(URL), State::Taken(version(7)));
    assert_eq!(made.settled_by(&snapshot(6, None)), []);
    assert_eq!(made.settled_by(&snapshot(7, None)), [id(URL)]);
}

#[test]
fn a_refused_one_says_so_until_an_event_makes_it_again() {
    let made = made();
    claim(&made, wish(URL)).ok().unwrap().keep();
    made.refuse(id(URL), Reason::EndpointRefused, "no room");
    assert!(matches!(
        made.find(id(URL)),
        Some(Found::Refused(Reason::EndpointRefused))
    ));
    assert_eq!(made.waiting(), 0);
    let _again = claim(&made, wish(URL)).ok().unwrap();
    assert!(matches!(made.find(id(URL)), Some(Found::Made(_))));
}

#[test]
fn there_is_a_bound_on_those_that_wait_and_on_those_that_are_remembered() {
    let made = made();
    let url = |n: usize| format!("https://customer.example/{n}");
    let snapshot = snapshot(1, None);
    let claim = |wish| claim_in(&made, &snapshot, wish);
    // A project may take as much as it leaves to others.
    for n in 0..WAITING_MAX / 2 {
        claim(wish(&url(n))).ok().unwrap().keep();
    }
    let full = claim(wish(URL));
    assert!(matches!(full, Err(NotMade::Full)));
    let kept = made.kept();
    assert!(kept.has_room(ProjectId::new(Uid::from_bits(2))));
    drop(kept);
    // One that waits already takes no more room.
    claim(wish(&url(0))).ok().unwrap().keep();
    for n in 0..=REFUSED_MAX {
        made.refuse(id(&url(n)), Reason::EndpointRefused, "");
    }
    assert!(made.find(id(&url(0))).is_none());
    assert!(made.find(id(&url(1))).is_some());
    assert_eq!(made.waiting(), WAITING_MAX / 2 - REFUSED_MAX - 1);
}

#[test]
fn a_made_up_secret_is_what_the_signatures_need() {
    let made = made();
    let none = Wish {
        secret: None,
        ..wish(URL)
    };
    claim(&made, none).ok().unwrap().keep();
    let offered = made.wanted(&[], 1).remove(0);
    let secret = offered.secret.expose();
    assert_eq!(secret.len(), SECRET_CHARACTERS);
    assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
}

proptest! {
    #[test]
    fn only_the_same_key_project_and_endpoint_open_what_was_sealed(
        text in ".{0,60}", project: u128, endpoint: u128, at: prop::sample::Index, bit in 0_u32..8,
    ) {
        let (project, endpoint) = (ProjectId::new(Uid::from_bits(project)), EndpointId::new(Uid::from_bits(endpoint)));
        let other = EndpointId::new(Uid::from_bits(endpoint.uid().bits() ^ 1));
        let seal = Seal::new(&key('7'));
        let mut sealed = seal.seal(project, endpoint, &text).unwrap();
        let opened: Option<String> = seal.open(project, endpoint, &sealed);
        prop_assert_eq!(opened, Some(text));
        prop_assert_eq!(seal.open::<String>(project, other, &sealed), None);
        prop_assert_eq!(Seal::new(&key('8')).open::<String>(project, endpoint, &sealed), None);
        sealed[at.index(sealed.len())] ^= 1 << bit;
        prop_assert_eq!(seal.open::<String>(project, endpoint, &sealed), None);
    }

    #[test]
    fn no_bytes_make_the_opener_panic(bytes: Vec<u8>) {
        let seal = Seal::new(&key('7'));
        prop_assert_eq!(seal.open::<String>(project_id(), id(URL), &bytes), None);
    }
}
