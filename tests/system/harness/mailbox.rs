//! A server that takes mails (RFC 5321), with TLS and a login where a test wants them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::authority::Identity;
use super::outrider::Setup;
use super::wait::DEADLINE;

/// When its connections are protected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// From the first byte.
    AtOnce,
    /// When the client says `STARTTLS`.
    WhenAsked,
}

/// How clients show who they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    /// RFC 4616.
    Plain,
    /// Name and password one after the other.
    Login,
}

/// How it treats its clients.
#[derive(Default)]
pub(crate) struct Rules {
    /// So many connections are closed at once.
    pub(crate) refused: usize,
    /// Its certificate.
    pub(crate) tls: Option<(Begin, Identity)>,
    /// Who may leave mails: name and password.
    pub(crate) login: Option<(Login, &'static str, &'static str)>,
}

/// What it saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Mails that it took: envelope and text.
    pub(crate) mails: Vec<String>,
    /// Names that its clients gave, each with whether that was right.
    pub(crate) logins: Vec<(String, bool)>,
    pub(crate) connections: usize,
    /// Connections that ended before they were protected.
    pub(crate) handshakes_failed: usize,
}

/// A running server; it ends when dropped.
pub(crate) struct Mailbox {
    address: SocketAddr,
    seen: Arc<watch::Sender<Seen>>,
    task: JoinHandle<()>,
}

impl Mailbox {
    /// Takes all mails, in clear.
    pub(crate) async fn start() -> Self {
        Self::with(Rules::default()).await
    }

    pub(crate) async fn with(rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(watch::Sender::new(Seen::default()));
        let acceptor = rules.tls.as_ref().map(|(_, identity)| identity.acceptor());
        let server = Server {
            rules,
            acceptor,
            seen: Arc::clone(&seen),
        };
        let task = tokio::spawn(accept(listener, Arc::new(server)));
        Self {
            address,
            seen,
            task,
        }
    }

    /// A gateway that hands its mails over here.
    pub(crate) fn setup(&self, security: &str) -> Setup {
        Setup::through_api()
            .env("OUTRIDER__SMTP__HOST", "127.0.0.1")
            .env("OUTRIDER__SMTP__PORT", &self.address.port().to_string())
            .env("OUTRIDER__SMTP__SECURITY", security)
            .env("OUTRIDER__SMTP__FROM", "hooks@outrider.example")
    }

    /// Waits for this many mails; all there are then.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<String> {
        let what = format!("{count} mails");
        let seen = self.wait_until(&what, |seen| seen.mails.len() >= count);
        seen.await.mails
    }

    /// Waits until what it saw meets a condition.
    pub(crate) async fn wait_until(&self, what: &str, is_met: impl Fn(&Seen) -> bool) -> Seen {
        let mut watch = self.seen.subscribe();
        match timeout(DEADLINE, watch.wait_for(|seen| is_met(seen))).await {
            Ok(seen) => seen.unwrap().clone(),
            Err(_) => panic!("not in time: {what}; {:?}", self.seen()),
        }
    }

    /// What it saw up to now.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Server {
    rules: Rules,
    acceptor: Option<TlsAcceptor>,
    seen: Arc<watch::Sender<Seen>>,
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    for number in 0.. {
        let (socket, _) = listener.accept().await.unwrap();
        server.seen.send_modify(|seen| seen.connections += 1);
        let server = Arc::clone(&server);
        if number >= server.rules.refused {
            // A client that goes away is no fault of the test.
            tokio::spawn(async move { server.serve(socket).await });
        }
    }
}

impl Server {
    async fn serve(&self, socket: TcpStream) -> io::Result<()> {
        let (begin, acceptor) = match (&self.rules.tls, &self.acceptor) {
            (Some((begin, _)), Some(acceptor)) => (*begin, acceptor),
            _ => return self.converse(socket, true, false).await.map(drop),
        };
        let socket = match begin {
            Begin::AtOnce => Some(socket),
            Begin::WhenAsked => self.converse(socket, true, true).await?,
        };
        let Some(socket) = socket else {
            return Ok(()); // it did not ask
        };
        let protected = acceptor.accept(socket).await.inspect_err(|_| {
            self.seen.send_modify(|seen| seen.handshakes_failed += 1);
        })?;
        let greets = begin == Begin::AtOnce;
        self.converse(protected, greets, false).await.map(drop)
    }

    /// Until the client goes, or asks for TLS where that may be had.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        greets: bool,
        offers_tls: bool,
    ) -> io::Result<Option<S>> {
        let mut stream = BufReader::new(stream);
        if greets {
            say(&mut stream, "220 mailbox").await?;
        }
        let mut is_known = self.rules.login.is_none();
        let mut mail = String::new();
        loop {
            let Some(line) = hear(&mut stream).await? else {
                return Ok(None);
            };
            let words: Vec<&str> = line.split_whitespace().collect();
            let reply = match words[..] {
                ["EHLO", ..] => self.extensions(offers_tls),
                ["STARTTLS"] if offers_tls => {
                    say(&mut stream, "220 go on").await?;
                    assert!(stream.buffer().is_empty(), "sent before TLS began");
                    return Ok(Some(stream.into_inner()));
                }
                ["AUTH", ..] if !offers_tls => {
                    let given = self.credentials(&mut stream, &words[1..]).await?;
                    is_known = self.knows(&given);
                    match is_known {
                        true => "235 welcome",
                        false => "535 5.7.8 nobody I know",
                    }
                }
                ["MAIL", ..] if !is_known => "530 5.7.0 who is it?",
                ["MAIL" | "RCPT", ..] => {
                    mail += &format!("{line}\n");
                    "250 ok"
                }
                ["DATA"] => {
                    say(&mut stream, "354 go on").await?;
                    while let Some(line) = hear(&mut stream).await?
                        && line != "."
                    {
                        mail += &format!("{line}\n");
                    }
                    let whole = std::mem::take(&mut mail);
                    self.seen.send_modify(|seen| seen.mails.push(whole));
                    "250 taken"
                }
                ["QUIT"] => "221 bye",
                _ => "502 what?",
            };
            say(&mut stream, reply).await?;
        }
    }

    fn extensions(&self, offers_tls: bool) -> &'static str {
        match self.rules.login {
            _ if offers_tls => "250-mailbox\r\n250 STARTTLS",
            None => "250 mailbox",
            Some((Login::Plain, ..)) => "250-mailbox\r\n250 AUTH PLAIN",
            Some((Login::Login, ..)) => "250-mailbox\r\n250 AUTH LOGIN",
        }
    }

    async fn credentials<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut BufReader<S>,
        words: &[&str],
    ) -> io::Result<(String, String)> {
        let text = |coded: &str| String::from_utf8(STANDARD.decode(coded).unwrap()).unwrap();
        match *words {
            ["PLAIN", coded] => {
                let both = text(coded);
                let mut parts = both.split('\0').skip(1).map(str::to_owned);
                Ok((parts.next().unwrap(), parts.next().unwrap()))
            }
            ["LOGIN"] => {
                let mut given = Vec::new();
                for asked in ["Username:", "Password:"] {
                    say(stream, &format!("334 {}", STANDARD.encode(asked))).await?;
                    given.push(text(&hear(stream).await?.unwrap_or_default()));
                }
                let password = given.pop().unwrap();
                Ok((given.pop().unwrap(), password))
            }
            _ => panic!("a login that was not offered: {words:?}"),
        }
    }

    fn knows(&self, (name, password): &(String, String)) -> bool {
        let is_right = self.rules.login.is_some_and(|(_, its_name, its_password)| {
            (its_name, its_password) == (name, password)
        });
        self.seen
            .send_modify(|seen| seen.logins.push((name.clone(), is_right)));
        is_right
    }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    reply: &str,
) -> io::Result<()> {
    stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
    stream.flush().await
}

/// A line without its end; `None` when the client has gone.
async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
) -> io::Result<Option<String>> {
    let mut line = String::new();
    let count = stream.read_line(&mut line).await?;
    Ok((count > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
}
