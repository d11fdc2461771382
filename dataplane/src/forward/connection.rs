//! A client's connection from its acceptance to its end: request after request, or one tunnel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::PROXY_AUTHORIZATION;
use outrider_webhook::address::{Authority, Denied, Scheme, TargetUrl};
use outrider_webhook::http1::{Framing, HeadError};
use tokio::time::sleep;

use super::client::{Client, Head, NoHead};
use super::exchange::{Answered, Done, Outgoing, exchange};
use super::head::Ask;
use super::identity::{Caller, Named, Shown, Tenant, Unknown};
use super::pulse;
use super::record::Record;
use super::refusal::Refusal;
use super::tunnel::{self, Lasting};
use super::{Forward, HEAD_TIMEOUT, KEEPALIVE};
use crate::egress::via::{
    CERTIFICATE, DEST_IP, ENDPOINT, PULSE, SOURCE_IP, TENANT, TIMEOUT, TIMING, TLS,
};
use crate::egress::{Purpose, Upstream, Wish};

/// To the head of an answer, and to its end, unless the client says otherwise (`egress`
/// section 9).
const ANSWER_LIMITS: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(30)];
/// Most that a client may say (RULINGS section E).
const TIMEOUT_MAX_S: u64 = 120;
/// Connections that were found closed when they were to be used again, for one request.
const STALE_MAX: usize = 3;
/// A reset takes back what is still on its way to who gets it: so long that has to arrive.
const RESET_PAUSE: Duration = Duration::from_millis(200);

/// A refusal with words for people.
pub(super) type Refused = (Refusal, String);

/// What happens to a connection after a request.
pub(super) enum After {
    Next,
    Close,
    /// Nobody is there any more.
    Gone,
    /// It is no connection for requests any more.
    Pulse,
}

impl Forward {
    /// Serves a client until its connection ends.
    pub(super) async fn serve(self: &Arc<Self>, mut client: Client) {
        let mut idle = HEAD_TIMEOUT;
        loop {
            let head = tokio::select! {
                biased; // a request that is there is answered
                head = client.head(&self.limits.head, idle, HEAD_TIMEOUT) => head,
                () = self.draining.cancelled(), if idle == KEEPALIVE => return,
            };
            idle = KEEPALIVE;
            let after = match head {
                Ok(head) => self.request(&mut client, &head).await,
                Err(NoHead::Gone) => return,
                Err(NoHead::Late) => {
                    let words = format!("no whole request head within {HEAD_TIMEOUT:?}");
                    self.refuse(&mut client, (Refusal::BadRequest, words)).await
                }
                Err(NoHead::Bad(error)) => {
                    let refusal = match error {
                        HeadError::TooLarge { .. } | HeadError::LineTooLong { .. } => {
                            Refusal::HeadTooLarge
                        }
                        _ => Refusal::BadRequest,
                    };
                    self.refuse(&mut client, (refusal, error.to_string())).await
                }
            };
            match after {
                After::Next => {}
                After::Close => return client.close().await,
                After::Gone => return,
                After::Pulse => {
                    self.pulses.spawn(pulse::beat(client, self.cut.clone()));
                    return;
                }
            }
        }
    }

    /// A client that has as many connections as it may is told so, where it can be. It may take its
    /// time to hear it, so it is told to few at once.
    pub(super) async fn turn_away(&self, client: Option<Client>) {
        self.metrics.crowded();
        let (Some(mut client), Ok(_one)) = (client, self.turned_away.try_acquire()) else {
            return;
        };
        let words =
            "too many connections from this address (setting `egress.connections_per_address_max`)";
        let after = self.refuse(&mut client, (Refusal::Limit, words.to_owned()));
        if matches!(after.await, After::Close) {
            client.close().await;
        }
    }

    async fn request(self: &Arc<Self>, client: &mut Client, head: &Head) -> After {
        let Some(ask) = Ask::read(&head.bytes) else {
            let words = "the request line is not `METHOD target HTTP/1.1`".to_owned();
            return self.refuse(client, (Refusal::BadRequest, words)).await;
        };
        let mut record = Record::begin(client.address);
        let served = match ask.line.method {
            b"CONNECT" if head.framing != Framing::Empty => {
                let words = "CONNECT has no body: what follows its head is for the destination";
                Err((Refusal::BadRequest, words.to_owned()))
            }
            b"CONNECT" => self.connect(client, &ask, &mut record).await,
            b"OPTIONS" if ask.line.target == b"*" && ask.value(&PULSE).is_some() => {
                self.pulse(client, &ask, &mut record).await
            }
            _ => self.forward(client, head, &ask, &mut record).await,
        };
        let after = match served {
            Ok(after) => after,
            Err(refused) => {
                record.refused(refused.0);
                self.refuse_by(client, refused, record.policy()).await
            }
        };
        self.note(&record, &ask);
        after
    }

    /// Tells a client why not. What it sends after that is not looked at: what it wanted to send
    /// with the request cannot be told from the next one.
    async fn refuse(&self, client: &mut Client, refused: Refused) -> After {
        self.refuse_by(client, refused, None).await
    }

    /// The same, with the policy of the configuration that denies.
    async fn refuse_by(
        &self,
        client: &mut Client,
        (refusal, words): Refused,
        policy: Option<&str>,
    ) -> After {
        self.metrics.refused(refusal);
        match client.reply(&refusal.reply(&words, policy, true)).await {
            Ok(()) => After::Close,
            Err(_) => After::Gone,
        }
    }

    async fn connect(
        &self,
        client: &mut Client,
        ask: &Ask<'_>,
        record: &mut Record,
    ) -> Result<After, Refused> {
        let tenant = self.tenant(client, ask, record)?;
        let target = text(ask.line.target)?;
        let authority = Authority::parse(target).map_err(denied)?;
        record.wants("connect", &authority.host, authority.port);
        let wish = Wish {
            project: tenant.project(),
            host: &authority.host,
            port: authority.port,
            purpose: Purpose::Tunnel,
            leave: tenant.leave.clone(),
        };
        let limits = limits(ask)?;
        let mut upstream = self.open(&wish, record).await?;
        let reply = format!("HTTP/1.1 200 OK\r\n{}\r\n", own_lines(&upstream));
        if client.reply(reply.as_bytes()).await.is_err() {
            record.end = "client_gone";
            return Ok(After::Gone);
        }
        let lasting = Lasting {
            idle: limits.map_or(self.limits.tunnel_idle, |[_, whole]| {
                whole.max(self.limits.tunnel_idle)
            }),
            life: self.limits.tunnel_life,
        };
        let open = self.metrics.tunnel_opened();
        let carried = tunnel::carry(client, &mut upstream, lasting, self.cut.cancelled()).await;
        drop(open);
        record.heard(carried.first_byte);
        if carried.is_reset {
            if carried.up + carried.down > 0 {
                sleep(RESET_PAUSE).await;
            }
            client.reset();
            upstream.reset();
        }
        self.metrics.carried(carried.up, carried.down);
        record.carried(carried.up, carried.down, carried.end);
        Ok(After::Gone)
    }

    async fn forward(
        &self,
        client: &mut Client,
        head: &Head,
        ask: &Ask<'_>,
        record: &mut Record,
    ) -> Result<After, Refused> {
        if ask.line.target.starts_with(b"/") || ask.line.target == b"*" {
            let words = "this is a forward proxy: the target must be a whole URL, or a host and port with CONNECT";
            return Err((Refusal::BadRequest, words.to_owned()));
        }
        let tenant = self.tenant(client, ask, record)?;
        let target = text(ask.line.target)?;
        let url = TargetUrl::parse(target).map_err(denied)?;
        record.wants("forward", url.host(), url.port());
        let purpose = purpose(ask, &url)?;
        let limits = limits(ask)?.unwrap_or(ANSWER_LIMITS);
        let wish = Wish {
            project: tenant.project(),
            host: url.host(),
            port: url.port(),
            purpose,
            leave: tenant.leave.clone(),
        };
        let is_chunked = head.framing == Framing::Chunked;
        let mut sent = ask.for_destination(&url, is_chunked);
        for _ in 0..STALE_MAX {
            let mut upstream = self.open(&wish, record).await?;
            let own = own_lines(&upstream);
            let outgoing = Outgoing {
                head: sent,
                framing: head.framing,
                is_head: ask.line.method == b"HEAD",
                is_old: ask.is_old,
                closes: !ask.is_persistent || self.draining.is_cancelled(),
                own: &own,
                limits,
            };
            let exchanged = exchange(client, &mut upstream, outgoing).await;
            record.heard(exchanged.first_byte);
            match exchanged.done {
                Done::Answered(answered) => return Ok(self.answered(upstream, &answered, record)),
                Done::Failed(failure, words) => {
                    return Err((Refusal::Failed(failure), words.to_owned()));
                }
                Done::Malformed => {
                    let words = "the chunks of the request are malformed";
                    return Err((Refusal::BadRequest, words.to_owned()));
                }
                Done::Broken {
                    end,
                    status,
                    looks_whole,
                } => {
                    record.answered(status);
                    record.end = end;
                    if looks_whole {
                        sleep(RESET_PAUSE).await;
                        client.reset();
                    }
                    return Ok(After::Gone);
                }
                Done::Stale(unsent) => sent = unsent,
            }
        }
        let words = "the destination closed its connections before a request was sent";
        let failure = outrider_webhook::retry::Failure::ConnectReset;
        Err((Refusal::Failed(failure), words.to_owned()))
    }

    fn answered(&self, upstream: Upstream, answered: &Answered, record: &mut Record) -> After {
        if answered.is_upstream_reusable {
            self.egress.give_back(upstream);
        }
        self.metrics.carried(answered.up, answered.down);
        record.answered(answered.status);
        record.carried(answered.up, answered.down, "closed");
        match answered.is_client_reusable {
            true => After::Next,
            false => After::Close,
        }
    }

    async fn open(&self, wish: &Wish<'_>, record: &mut Record) -> Result<Upstream, Refused> {
        if self.draining.is_cancelled() {
            return Err((Refusal::Draining, "this proxy is being stopped".to_owned()));
        }
        let project = wish.project.id;
        let may_open = || self.opens.take(project, &self.limits.opens, 1).is_ok();
        let opened = self.egress.open(wish, may_open, &mut record.answers).await;
        let upstream = opened.map_err(|(why, words)| {
            record.unopened(&why);
            (Refusal::from(why), words)
        })?;
        record.opened(&upstream);
        Ok(upstream)
    }

    /// Who asks, and for which project.
    fn tenant(
        &self,
        client: &Client,
        ask: &Ask<'_>,
        record: &mut Record,
    ) -> Result<Tenant, Refused> {
        for name in [&PROXY_AUTHORIZATION, &TENANT, &ENDPOINT] {
            if ask.is_repeated(name) {
                return Err((
                    Refusal::BadRequest,
                    format!("`{name}` is there more than once"),
                ));
            }
        }
        let shown = Shown::read(ask.value(&PROXY_AUTHORIZATION));
        let caller = self.caller(client, &shown)?;
        record.identity = caller.name().into();
        let named = Named {
            header: ask.value(&TENANT).map(text).transpose()?,
            user: shown.user(),
            endpoint: ask.value(&ENDPOINT).map(text).transpose()?,
        };
        let snapshot = self.table.load();
        let tenant = caller.tenant(named, &snapshot);
        let tenant = tenant.map_err(|reason| {
            let words = "the project is named by its uid (`project` or `project.pool`), as the user or in `x-outrider-tenant`, and must be one that this identity may act for; an endpoint or pool that is named must be one of the project";
            (Refusal::Denied(reason), words.to_owned())
        })?;
        record.is_for(&tenant);
        Ok(tenant)
    }

    pub(super) fn caller(&self, client: &Client, shown: &Shown) -> Result<Caller<'_>, Refused> {
        // Who is known by a certificate is not kept out by what others try from there.
        let of_certificate = self.identities.find(&Shown::Nothing, &client.names);
        if let Ok(caller) = of_certificate {
            return Ok(caller);
        }
        let address = client.address.ip().to_canonical();
        if !matches!(shown, Shown::Nothing)
            && self.failures.is_exhausted(address, &self.limits.failures)
        {
            let words = "too many wrong passwords from this address: wait a minute";
            return Err((Refusal::Limit, words.to_owned()));
        }
        self.identities
            .find(shown, &client.names)
            .map_err(|unknown| {
                if unknown == Unknown::Wrong {
                    self.metrics.auth_failed();
                    let _ = self.failures.take(address, &self.limits.failures, 1); // none left is none left
                }
                let words = "a password is needed: `Proxy-Authorization: Basic`, or a certificate";
                (Refusal::AuthRequired, words.to_owned())
            })
    }
}

fn denied(denied: Denied) -> Refused {
    (Refusal::Denied(denied.code()), denied.to_string())
}

/// What is no UTF-8 is no URL and no name.
fn text(bytes: &[u8]) -> Result<&str, Refused> {
    std::str::from_utf8(bytes).map_err(|_| denied(Denied::InvalidUrl))
}

/// TLS is made here only when it is asked for: whoever sends `https` in clear text by mistake
/// is told so.
fn purpose<'h>(ask: &Ask<'h>, url: &TargetUrl) -> Result<Purpose<'h>, Refused> {
    let refuse = |words: &str| Err((Refusal::BadRequest, words.to_owned()));
    let certificate = ask.value(&CERTIFICATE).map(text).transpose()?;
    match (ask.value(&TLS), certificate, url.scheme()) {
        (None, None, Scheme::Http) => Ok(Purpose::Requests),
        (Some(b"1"), None, _) => Ok(Purpose::RequestsOverTls),
        (Some(b"1"), Some(name), _) => Ok(Purpose::RequestsAs(name)),
        (None, Some(_), _) => refuse("`x-outrider-client-certificate` needs `x-outrider-tls: 1`"),
        (None, None, Scheme::Https) => {
            refuse("`https` goes through CONNECT, or with `x-outrider-tls: 1`")
        }
        (Some(_), _, _) => refuse("`x-outrider-tls` must be 1"),
    }
}

/// The time that the client gives, to the head of the answer and to its end.
fn limits(ask: &Ask<'_>) -> Result<Option<[Duration; 2]>, Refused> {
    let Some(value) = ask.value(&TIMEOUT) else {
        return Ok(None);
    };
    let seconds = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok());
    match seconds {
        Some(seconds @ 1..=TIMEOUT_MAX_S) => Ok(Some([Duration::from_secs(seconds); 2])),
        _ => {
            let words = format!("`x-outrider-timeout` must be 1 to {TIMEOUT_MAX_S}, in seconds");
            Err((Refusal::BadRequest, words))
        }
    }
}

/// What the client learns about the connection.
fn own_lines(upstream: &Upstream) -> String {
    let ip = |address: SocketAddr| address.ip().to_canonical();
    let timing = upstream.timing;
    format!(
        "{SOURCE_IP}: {}\r\n{DEST_IP}: {}\r\n{TIMING}: dns={},connect={},tls={}\r\n",
        ip(upstream.local),
        ip(upstream.remote),
        timing.dns_us,
        timing.connect_us,
        timing.tls_us,
    )
}
