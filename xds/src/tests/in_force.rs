//! Waiting until a revision is in force at every data plane that is in sync.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fake::{ControlPlane, DataPlane, Journal, endpoint, endpoints, soon};
use crate::{ClientSettings, ServerSettings};
use outrider_config::Version;
use outrider_webhook::id::Uid;

const LIMIT: Duration = Duration::from_millis(250);

/// A data plane that rejects every transaction of more than 10,000 bytes.
fn picky(control: &ControlPlane) -> DataPlane {
    let settings = ClientSettings {
        transaction_bytes_max: 10_000,
        ..ClientSettings::default()
    };
    DataPlane::start_with(&control.channel, Arc::default(), settings)
}

async fn acked(control: &ControlPlane, count: usize, version: Version) {
    control
        .dataplanes("all are at the version", |all| {
            let all_acked = all.iter().all(|one| one.acked == Some(version));
            (all.len() == count && all_acked).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_connected_or_nobody_behind_returns_at_once() {
    let journal = Journal::new(endpoints(3));
    let control = ControlPlane::start(&journal);
    let begun = Instant::now();
    assert_eq!(control.server.in_force(journal.version(), LIMIT).await, 0);
    assert_eq!(begun.elapsed(), Duration::ZERO);

    let mut data = DataPlane::start(&control.channel);
    data.reaches(journal.version()).await;
    acked(&control, 1, journal.version()).await;
    let begun = Instant::now();
    assert_eq!(control.server.in_force(journal.version(), LIMIT).await, 0);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    data.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_laggard_is_counted_at_the_limit() {
    let journal = Journal::new(endpoints(3));
    let control = ControlPlane::start(&journal);
    let mut good = DataPlane::start(&control.channel);
    let mut laggard = picky(&control);
    good.reaches(journal.version()).await;
    laggard.reaches(journal.version()).await;
    acked(&control, 2, journal.version()).await;

    let version = journal.commit(vec![endpoint(1, vec![b' '; 20_000])], &[]);
    let begun = Instant::now();
    assert_eq!(control.server.in_force(version, LIMIT).await, 1);
    assert!(begun.elapsed() >= LIMIT);
    good.stop().await;
    laggard.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_ends_the_wait() {
    let journal = Journal::new(endpoints(3));
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start(&control.channel);
    data.reaches(journal.version()).await;
    acked(&control, 1, journal.version()).await;

    for number in 0..20 {
        let version = journal.commit(vec![endpoint(number, "{}")], &[]);
        let begun = Instant::now();
        let limit = Duration::from_secs(3_600);
        assert_eq!(soon(control.server.in_force(version, limit)).await, 0);
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    }
    data.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_goes_ends_the_wait() {
    let journal = Journal::new(endpoints(3));
    let settings = ServerSettings {
        rejected_wait_min: Duration::from_secs(3_600),
        ..ServerSettings::default()
    };
    let control = ControlPlane::start_with(&journal, settings);
    let mut laggard = picky(&control);
    laggard.reaches(journal.version()).await;
    acked(&control, 1, journal.version()).await;
    let version = journal.commit(vec![endpoint(1, vec![b' '; 20_000])], &[]);
    let server = control.server.clone();
    let waiting =
        tokio::spawn(async move { server.in_force(version, Duration::from_secs(3_600)).await });
    laggard.until(|status| status.rejected > 0).await;
    assert!(!waiting.is_finished());
    laggard.stop().await;
    assert_eq!(soon(waiting).await.unwrap(), 0);
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_data_plane_of_another_journal_or_without_a_version_does_not_count() {
    let journal = Journal::new(vec![endpoint(1, vec![b' '; 20_000])]);
    let control = ControlPlane::start(&journal);
    // Never gets through its first sync.
    let mut stuck = picky(&control);
    stuck.until(|status| status.rejected > 0).await;
    assert_eq!(control.server.in_force(journal.version(), LIMIT).await, 0);
    stuck.stop().await;

    let mut data = DataPlane::start(&control.channel);
    data.reaches(journal.version()).await;
    let other = Version {
        journal: Uid::from_bits(5),
        revision: 99,
    };
    assert_eq!(control.server.in_force(other, LIMIT).await, 0);
    data.stop().await;
    control.stop().await;
}
