//! What proves that the power cut cuts: without syncs all is lost, and the same look finds it.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::time::sleep;

use super::super::harness::{
    Cut, DEADLINE, Disk, Faults, Producer, Receiver, Resources, Setup, Undone,
};
use super::SECRET;
use super::ledger::Ledger;
use super::reads;

/// Events that have to be acknowledged before the cut.
const EVENTS: usize = 100;
/// Directories whose first start is interrupted.
const FIRST_STARTS: usize = 8;
/// Longest that such a start goes on, milliseconds.
const FIRST_START_MS: u64 = 120;

/// Load, a cut that loses all that was not synced, and a start. How many events were
/// acknowledged, how many of them are lost, and what the cut undid.
async fn cut_under_load(disk: impl FnOnce(Setup) -> (Disk, Setup)) -> (usize, usize, Undone) {
    let faults = Faults::new();
    let ledger = Arc::new(Ledger::default());
    let receiver = ledger.receiver(faults).await;
    let setup = Setup::new(&Resources::outgoing_to(&receiver, SECRET)).small_segments();
    let (mut disk, setup) = disk(setup);
    let mut outrider = setup.start().await;
    let producer = Producer::to_endpoints(1);
    let mut load = producer.start(&outrider);
    load.wait_for(EVENTS).await;
    outrider.kill();
    load.finish().await;
    let undone = disk.cut(Cut::LosesAll, &mut faults.rng());
    outrider.start().await;
    let acknowledged = producer.acknowledged();
    let lost = reads::lost(&mut reads::project(&outrider), &acknowledged).await;
    (acknowledged.len(), lost.len(), undone)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_what_a_disk_that_never_syncs_acknowledged() {
    let (acknowledged, lost, undone) = cut_under_load(Disk::that_never_syncs).await;
    eprintln!("without syncs {lost} of {acknowledged} are lost; undone: {undone:?}");
    assert_eq!(lost, acknowledged);
    assert!(undone.writes > 0 && undone.names > 0, "{undone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let (acknowledged, lost, undone) = cut_under_load(Disk::below).await;
    eprintln!("{lost} of {acknowledged} are lost; undone: {undone:?}");
    assert_eq!(lost, 0);
}

/// The first start makes everything there is: keys, journal, log, index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_whose_power_is_cut_again_and_again_is_made_good_by_the_next() {
    let faults = Faults::new();
    let receiver = Receiver::start().await;
    for round in 0..FIRST_STARTS {
        let rng = &mut faults.rng_of_round(round);
        let setup = Setup::new(&Resources::outgoing_to(&receiver, SECRET)).small_segments();
        let (mut disk, setup) = Disk::below(setup);
        let mut outrider = setup.not_started();
        for cut in [Cut::Tears, Cut::LosesAll, Cut::Tears] {
            outrider.launch();
            sleep(Duration::from_millis(rng.random_range(0..FIRST_START_MS))).await;
            assert_eq!(outrider.has_ended(), None, "{}", outrider.stderr());
            outrider.kill();
            disk.cut(cut, rng);
        }
        outrider.start().await;
        let producer = Producer::to_endpoints(1);
        producer.repeat(&mut outrider.client(), 0).await;
        receiver.wait_for(round + 1, DEADLINE).await;
    }
}
