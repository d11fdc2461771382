//! A project's share of the turns: who works for one project at once is not so many that the
//! others find none left (decision 0005). The rest of its calls wait, for each other only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use outrider_webhook::id::ProjectId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;
use crate::Stopping;

/// Calls of one project at once: a quarter of the reads that are under way at a time.
const CALLS_MAX: usize = 4;
/// A call waits for its turn for so long: many pages of the slowest list.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The shares of all projects that have calls.
#[derive(Default)]
pub(super) struct Shares {
    /// Whoever has or waits for a permit keeps its semaphore alive, and nobody else does.
    of: Mutex<HashMap<ProjectId, Weak<Semaphore>>>,
}

/// One of the calls of its project, until it is dropped.
pub(super) struct Share {
    _permit: OwnedSemaphorePermit,
}

impl Shares {
    /// Waits until the project has a call left.
    pub(super) async fn take(&self, project: ProjectId) -> Result<Share, Stopping> {
        let permit = self.semaphore(project).acquire_owned().await;
        let permit = permit.map_err(|_| Stopping)?; // nobody closes it
        Ok(Share { _permit: permit })
    }

    /// As [`Self::take`], for [`WAIT_MAX`] at most: calls whose bodies come slowly keep their
    /// shares, and those behind them must not fill the listener.
    pub(super) async fn take_in_time(&self, project: ProjectId) -> Result<Share, ApiError> {
        match tokio::time::timeout(WAIT_MAX, self.take(project)).await {
            Ok(taken) => Ok(taken?),
            Err(_) => Err(ApiError::Busy),
        }
    }

    fn semaphore(&self, project: ProjectId) -> Arc<Semaphore> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = of.get(&project).and_then(Weak::upgrade) {
            return semaphore;
        }
        // Before there is one more: so there are never more than projects with calls, and one.
        of.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(CALLS_MAX));
        of.insert(project, Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::Uid;

    fn project(number: u128) -> ProjectId {
        ProjectId::new(Uid::from_bits(number))
    }

    #[tokio::test(start_paused = true)]
    async fn the_fifth_call_of_a_project_waits_and_those_of_others_do_not() {
        let shares = Shares::default();
        let mut taken = Vec::new();
        for _ in 0..CALLS_MAX {
            taken.push(shares.take(project(1)).await.unwrap());
        }
        let mut fifth = std::pin::pin!(shares.take(project(1)));
        let wait = std::time::Duration::from_secs(3600);
        assert!(tokio::time::timeout(wait, fifth.as_mut()).await.is_err());
        assert!(shares.take(project(2)).await.is_ok());
        taken.pop();
        assert!(fifth.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_gets_no_turn_in_time_is_refused_and_the_next_one_gets_it() {
        let shares = Shares::default();
        let mut taken = Vec::new();
        for _ in 0..CALLS_MAX {
            taken.push(shares.take_in_time(project(1)).await.unwrap());
        }
        let refused = shares.take_in_time(project(1)).await;
        assert_eq!(refused.err().map(|error| error.code()), Some("busy"));
        taken.pop();
        assert!(shares.take_in_time(project(1)).await.is_ok());
    }

    #[tokio::test]
    async fn projects_without_calls_are_forgotten() {
        let shares = Shares::default();
        let kept = shares.take(project(0)).await.unwrap();
        for number in 1..1000 {
            drop(shares.take(project(number)).await.unwrap());
        }
        assert_eq!(shares.of.lock().unwrap().len(), 2);
        drop(kept);
    }
}
