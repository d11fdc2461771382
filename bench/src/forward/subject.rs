//! A proxy that is measured, or the direct way beside it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::ends::Ends;
use super::figures::{Figures, Latencies, Stretch};
use super::idle;
use super::server::Server;
use super::tunnel::{self, Way};
use crate::http1::Connection;
use crate::process::machine_time;
use crate::run::whole_rate;

/// How long a proxy may take until it forwards.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// Share of the capacity at which latencies are measured.
const PACED: f64 = 0.5;

/// One column of the table.
pub(super) struct Subject {
    pub(super) name: String,
    /// `None` is the direct way.
    server: Option<Server>,
    /// Whether a client's connection takes more than one request.
    keeps_connections: bool,
    pub(super) figures: Figures,
}

impl Subject {
    pub(super) fn direct() -> Self {
        Self {
            name: "direct".to_owned(),
            server: None,
            keeps_connections: true,
            figures: Figures::default(),
        }
    }

    /// A proxy, as soon as it forwards.
    pub(super) async fn ready(name: String, server: anyhow::Result<Server>, ends: &Ends) -> Self {
        let mut subject = Self {
            name,
            ..Self::direct()
        };
        let begun = async {
            let mut server = server?;
            let keeps_connections = until_ready(&mut server, ends).await?;
            subject.figures.processes = Some(server.processes()?);
            subject.figures.keeps_connections = Some(keeps_connections);
            subject.keeps_connections = keeps_connections;
            subject.server = Some(server);
            Ok(())
        };
        let begun = begun.await;
        subject.keep(begun);
        subject
    }

    /// Keeps the reason when something could not be measured, and ends the proxy.
    pub(super) fn keep(&mut self, measured: anyhow::Result<()>) {
        if let Err(error) = measured {
            self.server = None;
            self.figures.not_measured = Some(format!("{error:#}"));
        }
    }

    pub(super) const fn is_measured(&self) -> bool {
        self.figures.not_measured.is_none()
    }

    /// Memory of open tunnels; of one that has not been loaded yet.
    pub(super) async fn idle(&mut self, ends: &Ends, tunnels: u64) -> anyhow::Result<()> {
        if let Some(server) = &self.server {
            self.figures.idle = Some(idle::measure(server, &ends.echo, tunnels).await?);
        }
        Ok(())
    }

    /// One stretch of everything, as fast as it goes.
    pub(super) async fn at_capacity(&mut self, ends: &Ends) -> anyhow::Result<()> {
        let way = self.way();
        let (tunnels, cpu) = self.with_cpu(ends.tunnels(&way, None)).await?;
        let stretch = Stretch::new(tunnels.done, tunnels.elapsed, cpu);
        self.figures.tunnels.push(stretch);
        self.failed(tunnels.failed, &tunnels.errors);

        let sending = ends.requests(&way, None, self.keeps_connections);
        let ((outcome, missing), cpu) = self.with_cpu(Box::pin(sending)).await?;
        let stretch = Stretch::new(outcome.count(), outcome.elapsed, cpu);
        self.figures.requests.push(stretch);
        self.unanswered(&outcome, missing);

        let (streamed, cpu) = self.with_cpu(ends.streamed(&way)).await?;
        self.figures.streams.push((streamed, cpu));
        Ok(())
    }

    /// One stretch of tunnels and one of requests at half of what it can do, each behind one of the
    /// direct way at the same rate.
    pub(super) async fn at_half(&mut self, ends: &Ends) -> anyhow::Result<()> {
        let half = |per_s: f64| whole_rate(per_s * PACED);
        let rates = (
            half(self.figures.tunnels_per_s()),
            half(self.figures.requests_per_s()),
        );
        self.paced(ends, rates, |figures| &mut figures.half).await
    }

    /// The same at rates that are everybody's; nothing, where it cannot do as much at all.
    pub(super) async fn at_rates(
        &mut self,
        ends: &Ends,
        (tunnels, requests): (u32, u32),
    ) -> anyhow::Result<()> {
        let can = |capacity: f64, rate: u32| capacity > f64::from(rate);
        if can(self.figures.tunnels_per_s(), tunnels)
            && can(self.figures.requests_per_s(), requests)
        {
            let rates = (tunnels, requests);
            self.paced(ends, rates, |figures| &mut figures.same).await?;
        }
        Ok(())
    }

    async fn paced(
        &mut self,
        ends: &Ends,
        (tunnels, requests): (u32, u32),
        to: fn(&mut Figures) -> &mut Latencies,
    ) -> anyhow::Result<()> {
        let way = self.way();
        let direct = ends.tunnels(&Way::Direct, Some(tunnels)).await?;
        let (through, busy) = with_busy(ends.tunnels(&way, Some(tunnels))).await?;
        self.failed(through.failed, &through.errors);
        let latencies = to(&mut self.figures);
        latencies
            .set_up
            .push(tunnels, direct.set_up, through.set_up);
        latencies.set_up.busy(busy);
        latencies
            .echoed
            .push(tunnels, direct.echoed, through.echoed);

        let (direct, _) = ends.requests(&Way::Direct, Some(requests), true).await?;
        let sending = ends.requests(&way, Some(requests), self.keeps_connections);
        let ((through, missing), busy) = with_busy(sending).await?;
        self.unanswered(&through, missing);
        let latencies = to(&mut self.figures);
        latencies.answered.push(requests, direct.ack, through.ack);
        latencies.answered.busy(busy);
        Ok(())
    }

    fn way(&self) -> Way {
        match &self.server {
            Some(server) => server.way(),
            None => Way::Direct,
        }
    }

    /// Does something, and tells the CPU time that the proxy used for it until it was at rest.
    async fn with_cpu<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(T, Option<Duration>)> {
        let Some(server) = &self.server else {
            return Ok((work.await?, None));
        };
        let before = server.cpu_time()?;
        let done = work.await?;
        server.until_at_rest().await?;
        let used = server.cpu_time()?.saturating_sub(before);
        Ok((done, Some(used)))
    }

    fn failed(&mut self, failed: u64, errors: &BTreeMap<String, u64>) {
        self.figures.failed += failed;
        for (error, count) in errors {
            *self.figures.errors.entry(error.clone()).or_default() += count;
        }
    }

    fn unanswered(&mut self, outcome: &crate::load::Outcome, missing: u64) {
        self.figures.failed += outcome.refused_count() + outcome.failed + missing;
        for error in &outcome.errors {
            *self.figures.errors.entry(error.clone()).or_default() += 1;
        }
        if missing > 0 {
            let error = "answered, and never at the destination".to_owned();
            *self.figures.errors.entry(error).or_default() += missing;
        }
    }
}

/// Does something, and tells how busy the machine was meanwhile, whoever kept it so: 1 is all of
/// its cores.
async fn with_busy<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, f64)> {
    let (begin, before) = (Instant::now(), machine_time()?);
    let done = work.await?;
    let used = machine_time()?.saturating_sub(before);
    let cores = u32::try_from(std::thread::available_parallelism()?.get())?;
    let had = begin.elapsed() * cores;
    Ok((done, used.as_secs_f64() / had.as_secs_f64().max(1e-9)))
}

/// Waits until it forwards; whether it keeps connections.
async fn until_ready(server: &mut Server, ends: &Ends) -> anyhow::Result<bool> {
    let due = Instant::now() + READY_TIMEOUT;
    loop {
        server.check_alive()?;
        match keeps_connections(server, ends).await {
            Ok(keeps) => return Ok(keeps),
            Err(error) if Instant::now() >= due => {
                return Err(error.context(format!("not ready in {} s", READY_TIMEOUT.as_secs())));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Whether it takes a second request on the connection of the first one. An error while it does
/// not forward at all.
async fn keeps_connections(server: &Server, ends: &Ends) -> anyhow::Result<bool> {
    let way = server.way();
    tunnel::echo(&mut tunnel::open(&way, &ends.echo, 0).await?).await?;
    let mut connection = Connection::open(server.address).await?;
    let status = ends.probe(&way, &mut connection).await?;
    if !status.is_success() {
        bail!("it answers a request with {status}");
    }
    // What closes does so at once, but not at the same moment.
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(ends.probe(&way, &mut connection).await.is_ok())
}
