//! An endpoint that gets each event twice: a gap names the one of the two that is missing.

use super::super::harness::{DEADLINE, Fault, Received, Receiver};
use super::{KEYS, field, publish, start_with};

#[tokio::test]
async fn a_gap_names_the_delivery_by_its_own_webhook_id() {
    let receiver = Receiver::with(|request| {
        let is_second = request.webhook_id().ends_with("-1");
        match is_second && field(request, "n") == 0 {
            true => Fault::Status(413),
            false => Fault::None,
        }
    })
    .await;
    let (mut outrider, mut project, endpoint) = start_with(&receiver, 3600, 2).await;
    publish(&mut project, &endpoint, 0..1).await;
    let both = receiver.wait_for(2, DEADLINE).await;
    let dead = both.iter().find(|one| !one.is_success()).unwrap();
    let dead = dead.webhook_id().to_owned();
    super::super::harness::until("it is a dead letter", DEADLINE, async || {
        let rows = project.rows("/deadletters").await;
        (rows.len() == 1).then_some(())
    })
    .await;
    outrider.kill(); // known after a start as well
    outrider.start().await;
    publish(&mut project, &endpoint, KEYS..KEYS + 1).await;
    let received = receiver
        .wait_until("the next one came twice", DEADLINE, |received| {
            let next = |one: &&Received| field(one, "n") == KEYS && one.is_success();
            received.iter().filter(next).count() >= 2
        })
        .await;
    for next in received.iter().filter(|one| field(one, "n") == KEYS) {
        // Each subscription has lines of its own.
        let gap = match next.webhook_id().ends_with("-1") {
            true => &*dead,
            false => "",
        };
        assert_eq!(next.header("outrider-order-gap"), gap);
    }
}
