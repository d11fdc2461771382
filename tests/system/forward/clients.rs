//! The proxy as real clients use it: curl, OpenSSL, Python's requests and httpx, Node's undici.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::harness::{Authority, DEADLINE, OUTGOING, Resources, Setup, until};
use super::super::sdk;
use super::destination::Destination;
use super::support::Proxy;

const USER: &str = "shop";
const PASSWORD: &str = "the-password-in-use-0";
const WRONG: &str = "the-password-in-use-1";
/// A name that is not in any zone: the proxy finds it, so the proxy is what resolves it.
const NAME: &str = "hooks.customer.example";

/// A proxy in clear, the same with TLS, and a destination.
struct Stage {
    plain: Proxy,
    secured: Proxy,
    _destination: Destination,
    at: SocketAddr,
    dir: TempDir,
}

impl Stage {
    async fn start() -> Self {
        let (destination, at) = Destination::start().await;
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let identity = authority.identity(&["127.0.0.1"]);
        let known = authority.identity(&["shop.clients.example"]);
        known.write(dir.path(), "client");
        let ca = dir.path().join("ca.pem");
        fs::write(&ca, authority.root()).unwrap();
        let files = identity.write(dir.path(), "proxy");
        let tls = files.replace('}', &format!(", client_ca: {}}}", ca.display()));
        let roots = format!("{}{}", authority.root(), destination.root());
        fs::write(dir.path().join("roots.pem"), roots).unwrap();
        let with_password = json!({"name": USER, "passwords": [PASSWORD], "projects": [OUTGOING]});
        let with_certificate =
            json!({"name": "known", "certificate": "shop.clients.example", "projects": [OUTGOING]});
        let start = async |settings: &[(&str, &str)]| {
            let setup = Setup::new(&Resources::outgoing(&[]))
                .flag("--unsafe-resolve", &format!("{NAME}={at}"));
            Proxy::of(setup, settings).await
        };
        let one = json!([with_password]).to_string();
        let both = json!([with_password, with_certificate]).to_string();
        Self {
            plain: start(&[("IDENTITIES", &one)]).await,
            secured: start(&[("IDENTITIES", &both), ("TLS", &tls)]).await,
            _destination: destination,
            at,
            dir,
        }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{NAME}:{}/hook", self.at.port())
    }

    /// What the scripts of clients are given.
    fn given(&self) -> Value {
        json!({
            "plain": format!("http://{}", self.plain.address),
            "secured": format!("https://{}", self.secured.address),
            "http": self.url("http"),
            "https": self.url("https"),
            "roots": self.file("roots.pem"),
            "user": USER,
            "password": PASSWORD,
            "wrong": WRONG,
        })
    }

    /// Runs a client on this input to its end: its exit code and what it wrote.
    async fn run(&self, program: &str, arguments: &[&str], input: &str) -> (i32, String) {
        fs::write(self.file("input"), input).unwrap();
        let output = fs::File::create(self.file("output")).unwrap();
        let errors = output.try_clone().unwrap();
        let mut command = Command::new(program);
        for name in [
            "http_proxy",
            "https_proxy",
            "HTTPS_PROXY",
            "all_proxy",
            "ALL_PROXY",
            "no_proxy",
            "NO_PROXY",
        ] {
            command.env_remove(name);
        }
        let mut child = command
            .args(arguments)
            .stdin(Stdio::from(fs::File::open(self.file("input")).unwrap()))
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}: run `make http-clients`"));
        let status = until(&format!("{program} ends"), DEADLINE, async || {
            child.try_wait().unwrap()
        })
        .await;
        let said = fs::read(self.file("output")).unwrap();
        let said = String::from_utf8_lossy(&said).into_owned();
        (status.code().unwrap(), said)
    }

    /// `curl` with these arguments, through the proxy in clear.
    async fn curl(&self, password: &str, arguments: &[&str]) -> (i32, String) {
        let (proxy, user) = (self.plain.address.to_string(), format!("{USER}:{password}"));
        let roots = self.file("roots.pem");
        let own = ["-sS", "-x", &proxy, "-U", &user, "--cacert", &roots];
        self.run("curl", &[&own, arguments].concat(), "").await
    }

    /// `curl` with these arguments, through the proxy with TLS.
    async fn curl_secured(&self, arguments: &[&str]) -> (i32, String) {
        let proxy = format!("https://{}", self.secured.address);
        let (roots, proxy_roots) = (self.file("roots.pem"), self.file("ca.pem"));
        let own = [
            "-sS",
            "-x",
            &proxy,
            "--cacert",
            &roots,
            "--proxy-cacert",
            &proxy_roots,
        ];
        self.run("curl", &[&own, arguments].concat(), "").await
    }
}

#[tokio::test]
async fn curl_reaches_both_kinds_of_urls() {
    let stage = Stage::start().await;
    let (http, https) = (stage.url("http"), stage.url("https"));
    let large = stage.file("large");
    fs::write(&large, vec![b'x'; 2_000_000]).unwrap();
    let body = format!("@{large}");
    for (arguments, expected) in [
        (vec![&http[..]], "HTTP/1.1 GET /hook 0"),
        (vec!["-p", &http], "HTTP/1.1 GET /hook 0"),
        (vec!["--http1.0", &http], "HTTP/1.0 GET /hook 0"),
        (vec!["--http1.1", &https], "HTTP/1.1 GET /hook 0"),
        (
            vec!["--proxy1.0", &stage.plain.address.to_string(), &https],
            "HTTP/2.0 GET /hook 0",
        ),
        // End to end inside of CONNECT.
        (vec!["--http2", &https], "HTTP/2.0 GET /hook 0"),
        (
            vec!["--http2", "--data-binary", &body, &https],
            "HTTP/2.0 POST /hook 2000000",
        ),
        (
            vec!["--http2-prior-knowledge", "-p", &http],
            "HTTP/2.0 GET /hook 0",
        ),
        (
            vec!["--data-binary", &body, &http],
            "HTTP/1.1 POST /hook 2000000",
        ),
        (
            vec![
                "-H",
                "Transfer-Encoding: chunked",
                "--data-binary",
                &body,
                &http,
            ],
            "HTTP/1.1 POST /hook 2000000",
        ),
        (
            vec!["--http1.1", "--data-binary", &body, &https],
            "HTTP/1.1 POST /hook 2000000",
        ),
        // On one connection to the proxy.
        (
            vec!["-d", "a", &http, "-d", "b", &http],
            "HTTP/1.1 POST /hook 3HTTP/1.1 POST /hook 3",
        ),
    ] {
        assert_eq!(
            stage.curl(PASSWORD, &arguments).await,
            (0, expected.to_owned()),
            "{arguments:?}"
        );
    }
    let (code, head) = stage.curl(PASSWORD, &["-I", &http]).await;
    assert!(
        code == 0 && head.starts_with("HTTP/1.1 200 OK\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn curl_tells_a_refusal_from_an_answer() {
    let stage = Stage::start().await;
    let (http, https) = (stage.url("http"), stage.url("https"));
    let (code, said) = stage.curl(WRONG, &["-w", "%{http_code}", &http]).await;
    assert!(code == 0 && said.ends_with("407"), "{said}");
    let (code, said) = stage.curl(WRONG, &[&https]).await;
    assert!(code == 56 && said.contains("407"), "{code} {said}");
    let (code, said) = stage.curl(PASSWORD, &["https://10.0.0.1/"]).await;
    assert!(code == 56 && said.contains("403"), "{code} {said}");
    let (code, said) = stage.curl(PASSWORD, &["-i", "http://10.0.0.1/"]).await;
    let error = "x-outrider-egress-error: denied:address_denied\r\n";
    assert!(code == 0 && said.contains(error), "{code} {said}");
}

#[tokio::test]
async fn curl_speaks_tls_to_the_proxy_with_a_password_or_a_certificate() {
    let stage = Stage::start().await;
    let (http, https) = (stage.url("http"), stage.url("https"));
    let user = format!("{USER}:{PASSWORD}");
    let (certificate, key) = (stage.file("client.pem"), stage.file("client.key"));
    let by_certificate = ["--proxy-cert", &certificate, "--proxy-key", &key];
    for identity in [&["-U", &user][..], &by_certificate] {
        for (url, expected) in [
            (&http, "HTTP/1.1 GET /hook 0"),
            (&https, "HTTP/2.0 GET /hook 0"),
        ] {
            let told = stage.curl_secured(&[identity, &[&url[..]]].concat()).await;
            assert_eq!(told, (0, expected.to_owned()), "{identity:?} {url}");
        }
    }
    let (code, said) = stage.curl_secured(&[&https]).await;
    assert!(code == 56 && said.contains("407"), "{code} {said}");
}

#[tokio::test]
async fn openssl_makes_its_handshake_through_a_tunnel() {
    let stage = Stage::start().await;
    let (proxy, roots) = (stage.plain.address.to_string(), stage.file("roots.pem"));
    let to = format!("{NAME}:{}", stage.at.port());
    let arguments = |password: &str| {
        let given = [
            "s_client",
            "-proxy",
            &proxy,
            "-proxy_user",
            USER,
            "-proxy_pass",
            password,
            "-connect",
            &to,
            "-servername",
            NAME,
            "-verify_hostname",
            NAME,
            "-CAfile",
            &roots,
            "-verify_return_error",
            "-ign_eof",
        ];
        given.map(str::to_owned)
    };
    let input = "GET /hook HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let right = arguments(&format!("pass:{PASSWORD}"));
    let right = right.each_ref().map(String::as_str);
    let (code, said) = stage.run("openssl", &right, input).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    assert!(said.contains("HTTP/1.1 GET /hook 0"), "{said}");
    let wrong = arguments(&format!("pass:{WRONG}"));
    let wrong = wrong.each_ref().map(String::as_str);
    let (code, said) = stage.run("openssl", &wrong, input).await;
    assert!(code != 0 && said.contains("407"), "{code} {said}");
}

#[tokio::test]
async fn python_clients_work() {
    let stage = Stage::start().await;
    let line = sdk::run("proxied.py", &stage.given()).await;
    let told: Value = serde_json::from_str(&line).unwrap();
    for client in ["requests", "httpx"] {
        for proxy in ["plain", "secured"] {
            for (url, refused) in [("http", "407 a password i"), ("https", "ProxyError 407")] {
                let key = format!("{client} {proxy} {url}");
                let got = |more: &str| told[format!("{key}{more}")].as_str().unwrap();
                assert_eq!(got(""), "200 HTTP/1.1 POST /hook 4", "{key}");
                assert_eq!(got(" large"), "200 HTTP/1.1 POST /hook 2000000", "{key}");
                assert_eq!(got(" wrong"), refused, "{key}");
            }
        }
    }
    assert_eq!(told["requests chunks"], "200 HTTP/1.1 POST /hook 7");
}

#[tokio::test]
async fn undici_works() {
    let stage = Stage::start().await;
    let line = sdk::run("undici.mjs", &stage.given()).await;
    let told: Value = serde_json::from_str(&line).unwrap();
    for proxy in ["plain", "secured"] {
        for url in ["http", "https"] {
            let key = format!("{proxy} {url}");
            let got = |more: &str| told[format!("{key}{more}")].as_str().unwrap();
            assert_eq!(got(""), "200 HTTP/1.1 POST /hook 4", "{key}");
            assert_eq!(got(" large"), "200 HTTP/1.1 POST /hook 2000000", "{key}");
            assert_eq!(got(" wrong"), "refused 407", "{key}");
        }
    }
    assert_eq!(told["plain http forwarded"], "200 HTTP/1.1 POST /hook 4");
}
