//! A data plane at work: its listener, its dispatcher, and what runs beside them, until the drain.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::State;
use crate::alerts::Judge;
use crate::forward::ForwardListener;
use crate::ingest::{Intake, PublicListener, Ways};
use crate::table::RoutingTable;
use crate::{DataPlane, StartError, disabled, made, queue, retention};

/// A data plane that serves.
pub struct Serving {
    plane: DataPlane,
    listener: PublicListener,
    forward: Option<ForwardListener>,
    stop_delivery: CancellationToken,
    delivery: JoinHandle<()>,
    /// What ends when delivery is told to, by name.
    workers: Vec<(&'static str, JoinHandle<()>)>,
    /// Ends cancelled deliveries that workers give back, until the last of those is done.
    ending: JoinHandle<()>,
    stop_ending: CancellationToken,
}

impl DataPlane {
    /// Waits for the first configuration, then opens the public listener and starts delivering.
    ///
    /// # Errors
    /// [`StartError::Public`] when the address cannot be had.
    pub async fn serve(mut self) -> Result<Serving, StartError> {
        let mut version = self.table.watch();
        // The sender lives in the table, so waiting can only end with a version.
        let _ = version.wait_for(Option::is_some).await;
        let made = &self.settings.intake.made;
        made::restore(made, &self.log, &self.unsettled, &self.table.load()).await;
        let disabled = std::mem::take(&mut self.disabled);
        self.deliverer.disabling.restore(disabled).await;
        let forward = self.forward()?;
        let listener = self.listen().await?;
        let stop_delivery = CancellationToken::new();
        let run = Arc::clone(&self.deliverer).run(
            self.settings.in_flight_max,
            stop_delivery.clone(),
            self.settings.drain_grace,
        );
        let delivery = tokio::spawn(run);
        let workers = self.workers(&stop_delivery);
        let stop_ending = CancellationToken::new();
        let ending = Arc::clone(&self.executor).end_cancelled(stop_ending.clone());
        let ending = tokio::spawn(ending);
        self.state.send_replace(State::Live);
        Ok(Serving {
            plane: self,
            listener,
            forward,
            stop_delivery,
            delivery,
            workers,
            ending,
            stop_ending,
        })
    }

    async fn listen(&self) -> Result<PublicListener, StartError> {
        let intake = Intake::new(
            self.table.clone(),
            Ways {
                log: self.log.clone(),
                egress: self.deliverer.egress.clone(),
            },
            Arc::clone(&self.clock),
            Arc::clone(&self.metrics),
            self.settings.intake.clone(),
        );
        let started = PublicListener::start(
            self.settings.public_listen,
            intake,
            self.settings.threads,
            self.certificates.clone(),
        );
        Ok(started.await?)
    }

    /// The forward proxy, where there is one.
    fn forward(&mut self) -> Result<Option<ForwardListener>, StartError> {
        let Some(settings) = self.forward.take() else {
            return Ok(None);
        };
        let (address, metrics) = (settings.listen, self.metrics.forward()?);
        let egress = self.deliverer.egress.clone();
        let started = ForwardListener::start(settings, self.table.clone(), egress, metrics);
        started
            .map(Some)
            .map_err(|source| StartError::Forward { address, source })
    }

    /// What runs beside delivery.
    fn workers(&mut self, stop: &CancellationToken) -> Vec<(&'static str, JoinHandle<()>)> {
        let retention = retention::run(self.log.clone(), Arc::clone(&self.clock), stop.clone());
        let judge = Judge {
            alerts: self.settings.intake.alerts.clone(),
            table: self.table.clone(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
        };
        let desk = made::Desk {
            made: self.settings.intake.made.clone(),
            table: self.table.clone(),
            log: self.log.clone(),
            clock: Arc::clone(&self.clock),
            offers: self.offers.clone(),
        };
        let switched_off = disabled::Desk {
            disabling: self.deliverer.disabling.clone(),
            offers: self.offers.clone(),
        };
        let batches = Arc::clone(&self.executor).run_batches(stop.clone());
        let (egress, table, stop_sources) = (
            self.deliverer.egress.clone(),
            self.table.clone(),
            stop.clone(),
        );
        let sources = async move {
            let pools = move || table.load().egress_pools().cloned().collect();
            egress.watch_sources(pools, stop_sources).await;
        };
        let mut workers = vec![
            ("the task of batches", tokio::spawn(batches)),
            ("the retention task", tokio::spawn(retention)),
            ("the task of source addresses", tokio::spawn(sources)),
            (
                "the task that judges sources",
                tokio::spawn(judge.run(stop.clone())),
            ),
            (
                "the task of made endpoints",
                tokio::spawn(desk.run(stop.clone())),
            ),
            (
                "the task of endpoints that were switched off",
                tokio::spawn(switched_off.run(stop.clone())),
            ),
        ];
        if let Some(bell) = self.bell.take() {
            let bell = tokio::spawn(bell.run(stop.clone()));
            workers.push(("the task of notifications", bell));
        }
        if let Some(mailer) = self.mailer.take() {
            let mailer = tokio::spawn(mailer.run(stop.clone()));
            workers.push(("the task of mails", mailer));
        }
        workers
    }
}

impl Serving {
    /// Fires when the public listener has ended unasked: the process is expected to drain and
    /// end, since nobody reaches it any more.
    #[must_use]
    pub fn is_listener_lost(&self) -> CancellationToken {
        self.listener.is_lost()
    }

    /// What is queued right now.
    #[must_use]
    pub fn depth(&self) -> queue::Depth {
        self.plane.queue.depth()
    }

    /// The table in force.
    #[must_use]
    pub fn table(&self) -> &RoutingTable {
        &self.plane.table
    }

    /// Finishes what is in flight, takes nothing new, and closes the log. What was accepted and
    /// not delivered stays open in the log.
    ///
    /// # Errors
    /// When the log could not be closed cleanly; nothing acknowledged is lost by that.
    pub async fn drain(self) -> Result<(), outrider_store::CloseError> {
        let plane = self.plane;
        plane.state.send_replace(State::Draining);
        let grace = plane.settings.drain_grace;
        let forward = self
            .forward
            .map(|forward| tokio::spawn(drain_forward(forward, grace)));
        self.listener.stop().await; // intake first: what it accepts now may still be delivered
        self.stop_delivery.cancel();
        ended("the dispatcher", self.delivery).await;
        for (name, worker) in self.workers {
            ended(name, worker).await;
        }
        if let Some(forward) = forward {
            ended("the forward proxy", forward).await;
        }
        self.stop_ending.cancel();
        ended("the task of cancelled deliveries", self.ending).await;
        plane.deliverer.egress.shutdown().await;
        drop(plane.deliverer);
        plane.index.close().await;
        let closed = plane.log.close().await;
        plane.stop_admin.cancel();
        ended("the admin listener", plane.admin).await;
        closed
    }
}

/// What goes through the proxy has as much time as the deliveries.
async fn drain_forward(forward: ForwardListener, grace: Duration) {
    let cut = CancellationToken::new();
    let late = async {
        tokio::time::sleep(grace).await;
        cut.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = forward.drain(cut.clone()) => {}
        () = late => {}
    }
}

/// A panic in a task is a bug that must not keep the others from their end.
async fn ended(name: &str, task: JoinHandle<()>) {
    if task.await.is_err() {
        tracing::error!("{name} ended with a panic");
    }
}
