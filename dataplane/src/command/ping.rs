//! Whether an endpoint takes requests from each address that it may be called from: so that a
//! customer sees what their firewall does before a delivery meets it. Nothing is kept; neither the
//! breaker nor the rate of the endpoint is concerned.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::HeaderValue;
use outrider_config::snapshot::{AddressState, Endpoint, PoolAddress, ProjectTable};
use outrider_webhook::address::ProjectRef;
use outrider_webhook::authentication::Authentication;
use outrider_webhook::form;
use outrider_webhook::id::{EndpointId, ProjectId, Uid};
use outrider_webhook::retry::{Failure, Outcome as Answer, error_class};
use outrider_webhook::sign::{self, Outgoing, SignedRequest};
use outrider_xds::Outcome;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Executor;
use super::question::{answered, refused};
use crate::deliver::{Asker, try_out};
use crate::egress::{Exchange, Leave, Terms};
use crate::meta::rfc3339;

/// Addresses that are tried, the first of the pool.
const ADDRESSES_MAX: usize = 32;
/// At a time: what an endpoint gets unless it says otherwise.
const AT_ONCE: usize = 16;
/// An endpoint has as long as for a delivery, and no longer than this: a person waits.
const TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// What an endpoint is sent from one address.
struct Ping<'a> {
    id: Uid,
    /// Which it is, from 0.
    number: u32,
    table: &'a ProjectTable,
    endpoint: &'a Endpoint,
    token: Option<&'a HeaderValue>,
    way: Way,
    now_ms: i64,
}

/// Where it leaves from.
struct Way {
    /// Where that is known before.
    address: Option<PoolAddress>,
    leave: Leave,
}

impl Executor {
    /// Needs no turn: nothing changes.
    pub(super) async fn ping(&self, id: Uid, project: ProjectId, endpoint: EndpointId) -> Outcome {
        let Ok(_slot) = self.trials.pings.take(project) else {
            return refused(
                "commands_busy",
                "too many endpoints are being pinged, try again",
            );
        };
        let snapshot = self.table.load();
        let table = snapshot.project(project);
        let found = table.and_then(|table| Some((table, table.endpoint(endpoint)?)));
        let Some((table, endpoint)) = found else {
            return refused(
                "config_behind",
                "this data plane does not have the endpoint yet",
            );
        };
        let leave = Leave::of(&snapshot, table, Some(endpoint));
        let token = self.token_of(table, endpoint, &leave).await;
        let (ways, left_out) = self.ways(leave);
        let pings = ways.into_iter().zip(0..).map(|(way, number)| Ping {
            id,
            number,
            table,
            endpoint,
            token: token.as_ref().ok().and_then(Option::as_ref),
            way,
            now_ms: self.trials.clock.now_ms(),
        });
        let pings: Vec<_> = pings.collect();
        let results = match &token {
            Ok(_) => self.send_pings(&pings).await,
            // As a delivery: never without what the endpoint knows us by.
            Err(reason) => {
                let unsent = Exchange::unsent(Failure::AuthUnavailable, reason);
                Ok(pings.iter().map(|ping| ping.shown(&unsent)).collect())
            }
        };
        match results {
            Ok(shown) => {
                tracing::info!(project_id = %project, endpoint_id = %endpoint.id(), count = shown.len(), "endpoint pinged");
                answered(&json!({"pings": shown, "left_out": left_out}))
            }
            Err(reason) => refused("no_request", &reason),
        }
    }

    async fn send_pings(&self, pings: &[Ping<'_>]) -> Result<Vec<Value>, String> {
        let mut shown = Vec::with_capacity(pings.len());
        for some in pings.chunks(AT_ONCE) {
            let mut sent = Vec::with_capacity(some.len());
            for ping in some {
                sent.push(self.send_ping(ping));
            }
            for one in join_all(sent).await {
                shown.push(one?);
            }
        }
        Ok(shown)
    }

    /// One for each address; for the one that is used, where there is no choice to be made here.
    fn ways(&self, leave: Leave) -> (Vec<Way>, usize) {
        let Leave::Pool { pool, caller, .. } = &leave else {
            return (
                vec![Way {
                    address: None,
                    leave,
                }],
                0,
            );
        };
        if self.trials.egress.has_proxy() {
            return (
                vec![Way {
                    address: None,
                    leave,
                }],
                0,
            ); // the choice is the proxy's
        }
        let is_used = |one: &&PoolAddress| {
            use AddressState::{Active, Draining, Warming};
            matches!(one.state, Active | Warming | Draining)
        };
        let all = pool.addresses().iter().filter(is_used);
        let left_out = all.clone().count().saturating_sub(ADDRESSES_MAX);
        let ways = all.take(ADDRESSES_MAX).map(|address| Way {
            address: Some(*address),
            leave: Leave::Pool {
                pool: Arc::clone(pool),
                fallback: None,
                caller: *caller,
                only: Some(address.address),
            },
        });
        (ways.collect(), left_out)
    }

    /// Of the endpoint, where it knows us by one.
    async fn token_of(
        &self,
        table: &ProjectTable,
        endpoint: &Endpoint,
        leave: &Leave,
    ) -> Result<Option<HeaderValue>, String> {
        let Some(Authentication::OAuth2(client)) = endpoint.authentication() else {
            return Ok(None);
        };
        let trials = &self.trials;
        let asker = Asker {
            egress: &trials.egress,
            chance: &trials.chance,
            project: project_ref(table),
            leave,
            now_s: trials.clock.now_ms() / 1_000,
            deadline: Instant::now() + TIMEOUT_MAX,
        };
        let token = try_out(client, asker).await;
        let token = token.map_err(|unavailable| unavailable.reason.to_string())?;
        Ok(Some(token.value))
    }

    async fn send_ping(&self, ping: &Ping<'_>) -> Result<Value, String> {
        let endpoint = ping.endpoint;
        let request = ping.signed()?;
        let terms = Terms {
            timeout: endpoint.timeout().min(TIMEOUT_MAX),
            excerpt_max: 0,
            connect_timeout: endpoint.connect_timeout(),
            tls: endpoint.tls().cloned(),
            certificate: endpoint.certificate().cloned(),
            leave: ping.way.leave.clone(),
        };
        let project = project_ref(ping.table);
        let exchange = self.trials.egress.send(&project, request, terms).await;
        Ok(ping.shown(&exchange))
    }
}

impl Ping<'_> {
    /// As a delivery is.
    fn signed(&self) -> Result<SignedRequest, String> {
        let endpoint = self.endpoint;
        let target = endpoint.url().resolve(None);
        let target = target.ok_or("its URL is a template, and a ping has no data for it")?;
        let address = self.way.address.map(|one| one.address);
        let json = Bytes::from(body(address, self.now_ms).to_string());
        let form = endpoint.takes_forms().then(|| form::from_json(&json));
        let form = form.transpose().map_err(|error| error.to_string())?;
        let authentication = match (endpoint.authentication(), self.token) {
            (Some(Authentication::Fixed(fixed)), _) => Some((fixed.name(), fixed.value())),
            (Some(how @ Authentication::OAuth2(_)), Some(token)) => Some((how.header(), token)),
            (Some(Authentication::OAuth2(_)), None) => return Err("it has no token".to_owned()),
            (None, _) => None,
        };
        let outgoing = Outgoing {
            event_uid: self.id,
            delivery_uid: self.id,
            ordinal: self.number,
            replay: None,
            repeat: self.number > 0, // receivers that take each id once take each
            target: &target,
            query: "",
            event_headers: &Vec::new(),
            content_type: endpoint.content_type().clone(),
            body: form.as_ref().unwrap_or(&json),
            json: form.as_ref().map(|_| &json),
            authentication,
            idempotency: None,
            more: &[],
        };
        let signature = self.table.project().signature();
        let (mode, keys) = (endpoint.mode(), endpoint.keys());
        sign::sign(&outgoing, signature, mode, keys, self.now_ms / 1_000)
            .map_err(|error| format!("it cannot be signed: {}", error.code()))
    }

    fn shown(&self, exchange: &Exchange) -> Value {
        let address = self.way.address;
        let seen = exchange.local.map(|local| local.ip().to_canonical());
        let (status, failure) = match exchange.outcome {
            Answer::Answered { status } => (Some(status), None),
            Answer::Failed(failure) => (None, Some(failure.code())),
        };
        let answers = &self.endpoint.strategy(self.table.project()).answers;
        let is_success = status.is_some_and(|status| answers.success.contains(status));
        let timing = exchange.timing;
        json!({
            "source_ip": address.map(|one| one.address).or(seen),
            "state": address.map(|one| one.state.as_str()),
            "destination_address": exchange.remote,
            "success": is_success,
            "status": status,
            "denied": exchange.denial.as_ref().map(|denial| json!({"reason": denial.reason, "policy": denial.policy.as_deref()})),
            "error_class": (!is_success).then(|| error_class(status, failure)),
            "detail": exchange.detail.as_ref().filter(|_| is_of_destination(exchange)),
            "timings_us": {
                "dns": timing.dns_us,
                "connect": timing.connect_us,
                "tls": timing.tls_us,
                "first_byte": timing.first_byte_us,
                "total": timing.total_us,
            },
        })
    }
}

/// What is wrong on our side is the operator's: it may name addresses of the inside.
fn is_of_destination(exchange: &Exchange) -> bool {
    use Failure::{
        AuthUnavailable, ConnectRefused, ConnectReset, ConnectTimeout, ConnectUnreachable,
        ProtocolError, ResponseTimeout, TlsFailure,
    };
    let of_destination = [
        AuthUnavailable,
        ConnectRefused,
        ConnectReset,
        ConnectTimeout,
        ConnectUnreachable,
        ProtocolError,
        ResponseTimeout,
        TlsFailure,
    ];
    let is_named = |failure| of_destination.contains(failure);
    matches!(&exchange.outcome, Answer::Failed(failure) if is_named(failure))
}

/// Flat, so that it can be a form.
fn body(address: Option<IpAddr>, now_ms: i64) -> Value {
    let mut body = json!({"type": "outrider.ping", "timestamp": rfc3339(now_ms)});
    if let Some(address) = address {
        body["source_ip"] = json!(address);
    }
    body
}

fn project_ref(table: &ProjectTable) -> ProjectRef<'_> {
    let project = table.project();
    ProjectRef {
        id: project.id(),
        name: project.name(),
    }
}
