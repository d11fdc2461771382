use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use time::OffsetDateTime;

use outrider_webhook::address::{Closing, Closings, Policy, PolicyPlace};
use outrider_webhook::id::Uid;

use super::*;

const NOW_MS: i64 = 1_760_000_000_000;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "test root");
    let certificate = params.self_signed(&key).unwrap();
    Authority {
        der: certificate.der().clone(),
        pem: certificate.pem(),
        issuer: Issuer::new(params, key),
    }
}

/// A certificate for a name that holds for an hour around now.
fn leaf(name: &str, by: &Authority) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    let now = OffsetDateTime::from_unix_timestamp(NOW_MS / 1000).unwrap();
    params.not_before = now - Duration::from_secs(3600);
    params.not_after = now + Duration::from_secs(3600);
    params.signed_by(&key, &by.issuer).unwrap().pem()
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    roots
}

fn need(path: &str, trust: TrustSpec, names: &'static [Box<str>]) -> CertificateNeed<'static> {
    CertificateNeed {
        url: TargetUrl::parse(&format!("https://certs.example/{path}")).unwrap(),
        trust,
        names,
    }
}

fn project(number: u128) -> ProjectId {
    ProjectId::new(Uid::from_bits(number))
}

fn names(names: &[&str]) -> &'static [Box<str>] {
    let names: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
    Vec::leak(names)
}

#[test]
fn documents_that_are_not_a_few_certificates_are_refused() {
    let ours = authority();
    let one = leaf("a.example", &ours);
    for document in [
        "",
        "x",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        &one.repeat(9),
    ] {
        let need = need("", TrustSpec::Host, &[]);
        let refused = check(document.as_bytes(), &need, &roots(&ours), NOW_MS).unwrap_err();
        assert!(matches!(refused, Unavailable::Document), "{refused}");
    }
}

#[test]
fn a_chain_must_end_in_a_root_and_hold_now() {
    let (ours, other) = (authority(), authority());
    let one = leaf("a.example", &ours);
    let need = need("", TrustSpec::Chain, &[]);
    let is_trusted = |document: &str, roots: &RootCertStore, now_ms: i64| {
        check(document.as_bytes(), &need, roots, now_ms).is_ok()
    };
    assert!(is_trusted(&one, &roots(&ours), NOW_MS));
    assert!(is_trusted(
        &format!("{one}{}", ours.pem),
        &roots(&ours),
        NOW_MS
    ));
    assert!(!is_trusted(&one, &roots(&other), NOW_MS));
    assert!(!is_trusted(
        &format!("{one}{}", ours.pem),
        &roots(&other),
        NOW_MS
    ));
    for off_ms in [-7_200_000, 7_200_000] {
        assert!(!is_trusted(&one, &roots(&ours), NOW_MS + off_ms));
    }
    assert!(!is_trusted(&one, &RootCertStore::empty(), NOW_MS));
}

#[test]
fn a_certificate_for_others_is_refused_whatever_vouches_for_it() {
    let ours = authority();
    let one = leaf("certs.example.com", &ours);
    for trust in [TrustSpec::Chain, TrustSpec::Host] {
        for (allowed, expected) in [
            (names(&["*.paypal.com"]), false),
            (names(&["*.example.com"]), true),
            (&[][..], true),
        ] {
            let need = need("", trust, allowed);
            let outcome = check(one.as_bytes(), &need, &roots(&ours), NOW_MS);
            assert_eq!(outcome.is_ok(), expected, "{trust:?} {allowed:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_want_one_wait_for_one_fetch_and_it_is_kept_until_it_ends() {
    let ours = authority();
    let pem = leaf("a.example", &ours);
    let (kept, fetched) = (Certificates::new(), AtomicUsize::new(0));
    let need = need("a", TrustSpec::Host, &[]);
    let get = |now_ms: i64| {
        kept.get(&need, project(1), now_ms, || async {
            fetched.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            check(pem.as_bytes(), &need, &RootCertStore::empty(), NOW_MS)
        })
    };
    let all = futures_util::future::join_all((0..50).map(|_| get(NOW_MS))).await;
    assert!(all.iter().all(Option::is_some));
    assert!(get(NOW_MS + 3_600_000).await.is_some());
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
    get(NOW_MS + 3_601_000).await;
    assert_eq!(fetched.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn what_one_project_may_not_fetch_another_one_does() {
    let ours = authority();
    let pem = leaf("a.example", &ours);
    let (kept, asked) = (Certificates::new(), AtomicUsize::new(0));
    let need = need("a", TrustSpec::Host, &[]);
    let denied = || {
        kept.get(&need, project(1), NOW_MS, || async {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err(Unavailable::Denied("closed".to_owned()))
        })
    };
    let allowed = || {
        kept.get(&need, project(2), NOW_MS, || async {
            check(pem.as_bytes(), &need, &RootCertStore::empty(), NOW_MS)
        })
    };
    // Who waits with it is asked for himself, and it is not asked again for a while.
    let first = futures_util::future::join_all((0..50).map(|_| denied()));
    let (first, second) = tokio::join!(first, allowed());
    assert!(first.iter().all(Option::is_none));
    assert!(second.is_some());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let kept = Certificates::new();
    let denied = async |now_ms: i64| {
        let got = kept.get(&need, project(1), now_ms, || async {
            asked.fetch_add(1, Ordering::Relaxed);
            Err(Unavailable::Denied("closed".to_owned()))
        });
        assert!(got.await.is_none());
        asked.load(Ordering::Relaxed)
    };
    assert_eq!(denied(NOW_MS).await, 2);
    assert_eq!(denied(NOW_MS + FAILED_FOR_MS - 1).await, 2);
    assert_eq!(denied(NOW_MS + FAILED_FOR_MS).await, 3);
}

#[tokio::test]
async fn what_a_policy_of_the_configuration_closes_is_refused_to_its_project() {
    let settings = crate::egress::Settings::new(Policy::default());
    let egress = Egress::new(settings).unwrap();
    let deny = [PolicyPlace::parse("certs.example").unwrap()];
    let mut closings = Closings::default();
    let closing = Closing::new("strict".into(), &deny, None, None);
    closings.add(5, closing, &[project(1)]);
    egress.set_closings(&Arc::new(closings));
    let need = need("a", TrustSpec::Host, &[]);
    let by = ProjectRef {
        id: project(1),
        name: "shop",
    };
    let fetched = fetch(&egress, (&by, Leave::default()), &need, NOW_MS).await;
    let refused = fetched.unwrap_err();
    assert!(matches!(refused, Unavailable::Denied(_)), "{refused}");
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_while_and_no_more_than_some_are_kept() {
    let (kept, tried) = (Certificates::new(), AtomicUsize::new(0));
    let fail = async |path: &str, now_ms: i64| {
        let need = need(path, TrustSpec::Host, &[]);
        let got = kept.get(&need, project(1), now_ms, || async {
            tried.fetch_add(1, Ordering::Relaxed);
            Err(Unavailable::Document)
        });
        assert!(got.await.is_none());
    };
    fail("a", NOW_MS).await;
    fail("a", NOW_MS + FAILED_FOR_MS - 1).await;
    assert_eq!(tried.load(Ordering::Relaxed), 1);
    fail("a", NOW_MS + FAILED_FOR_MS).await;
    assert_eq!(tried.load(Ordering::Relaxed), 2);
    for number in 0..2 * KEPT_MAX {
        fail(&number.to_string(), NOW_MS).await;
        assert!(kept.kept.lock().unwrap().len() <= KEPT_MAX);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_addresses_is_no_flood_of_fetches() {
    let (kept, under_way) = (Certificates::new(), AtomicUsize::new(0));
    let needs: Vec<_> = (0..100)
        .map(|number| need(&number.to_string(), TrustSpec::Host, &[]))
        .collect();
    let all = (0..).zip(&needs).map(|(number, need)| {
        kept.get(need, project(number), NOW_MS, || async {
            assert!(under_way.fetch_add(1, Ordering::Relaxed) < FETCHES_MAX);
            tokio::time::sleep(Duration::from_secs(1)).await;
            under_way.fetch_sub(1, Ordering::Relaxed);
            Err(Unavailable::Document)
        })
    });
    assert!(
        futures_util::future::join_all(all)
            .await
            .iter()
            .all(Option::is_none)
    );
}

#[tokio::test(start_paused = true)]
async fn a_project_with_slow_hosts_leaves_room_for_the_others() {
    let ours = authority();
    let pem = leaf("a.example", &ours);
    let kept = Certificates::new();
    let slow: Vec<_> = (0..FETCHES_MAX)
        .map(|number| need(&format!("slow{number}"), TrustSpec::Host, &[]))
        .collect();
    let stuck = slow.iter().map(|need| {
        kept.get(need, project(1), NOW_MS, || async {
            tokio::time::sleep(FETCH_TIMEOUT).await;
            Err(Unavailable::Fetch("timed out".to_owned()))
        })
    });
    let good = need("good", TrustSpec::Host, &[]);
    let other = kept.get(&good, project(2), NOW_MS, || async {
        check(pem.as_bytes(), &good, &RootCertStore::empty(), NOW_MS)
    });
    let (_, other) = tokio::join!(futures_util::future::join_all(stuck), other);
    assert!(other.is_some());
}

#[tokio::test]
async fn the_certificates_of_a_project_that_has_many_make_room() {
    let ours = authority();
    let pem = leaf("a.example", &ours);
    let kept = Certificates::new();
    let get = async |path: &str, by: u128| {
        let need = need(path, TrustSpec::Host, &[]);
        let got = kept.get(&need, project(by), NOW_MS, || async {
            check(pem.as_bytes(), &need, &RootCertStore::empty(), NOW_MS)
        });
        assert!(got.await.is_some());
    };
    get("ours", 2).await;
    for number in 0..2 * KEPT_MAX {
        get(&number.to_string(), 1).await;
    }
    let all = kept.kept.lock().unwrap();
    assert_eq!(all.len(), KEPT_MAX);
    assert!(all.values().any(|kept| kept.by == project(2)));
}
