//! The proxy's addresses and its pulse, with sockets that a test answers on.

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const UP: &str = "HTTP/1.1 200 OK\r\nx-outrider-pulse: 1\r\n\r\n";

fn proxy(addresses: &[SocketAddr]) -> (Arc<Proxy>, CancellationToken) {
    let settings = ProxySettings {
        host: "proxy.example".to_owned(),
        port: 3128,
        tls: None,
        authorization: None,
    };
    let stop = CancellationToken::new();
    let proxy = Proxy::new(settings, TaskTracker::new(), stop.clone());
    *proxy.lock() = Some((Instant::now(), addresses.to_vec()));
    (proxy, stop)
}

/// Answers the request of one connection with `head`, and then so many questions; it ends at the next one.
fn answering(listener: TcpListener, head: &'static str, questions: usize) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        }
        assert!(seen.starts_with(b"OPTIONS * HTTP/1.1\r\n"), "{seen:?}");
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..questions {
            stream.read_exact(&mut [0; 1]).await.unwrap();
            stream.write_all(b".").await.unwrap();
        }
        let _ = stream.read(&mut [0; 1]).await; // one more has no answer
    })
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(reached.is_ok(), "never happened: {what}");
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn an_address_that_was_not_reached_comes_last_until_it_is() {
    let ((_here, here), (listener, away)) = (listen().await, listen().await);
    drop(listener);
    let (proxy, stop) = proxy(&[away, here]);
    let order = async || proxy.addresses().await.unwrap();
    assert_eq!(order().await, [away, here]);
    proxy.pulses.used(&proxy, away, false);
    assert_eq!(order().await, [here, away]);
    proxy.pulses.used(&proxy, away, true);
    assert_eq!(order().await, [away, here]);
    // Nobody uses it meanwhile: that it is back is found out all the same. An earlier version
    // does not know the question.
    proxy.pulses.used(&proxy, away, false);
    let listener = TcpListener::bind(away).await.unwrap();
    let serving = answering(listener, "HTTP/1.1 400 Bad Request\r\n\r\n", 0);
    until("it is the first again", async || {
        order().await == [away, here]
    })
    .await;
    stop.cancel();
    serving.abort();
}

#[tokio::test]
async fn a_proxy_that_answers_lives_and_one_that_ends_is_lost() {
    let (listener, address) = listen().await;
    let (proxy, stop) = proxy(&[address]);
    let before = Instant::now();
    assert!(!proxy.pulses.is_lost(address, before).await, "not known");
    let serving = answering(listener, UP, 2);
    proxy.pulses.used(&proxy, address, true);
    // It waits for what is about to stand.
    assert!(!proxy.pulses.is_lost(address, before).await);
    assert!(!proxy.pulses.is_lost(address, before).await);
    assert!(
        proxy.pulses.is_lost(address, before).await,
        "no third answer"
    );
    assert!(proxy.pulses.is_lost(address, before).await, "it stays lost");
    let after = Instant::now();
    assert!(
        !proxy.pulses.is_lost(address, after).await,
        "another one by now"
    );
    stop.cancel();
    serving.abort();
}

#[tokio::test]
async fn one_without_a_pulse_is_never_lost() {
    let (listener, address) = listen().await;
    let (proxy, stop) = proxy(&[address]);
    let serving = answering(listener, "HTTP/1.1 200 OK\r\n\r\n", 0);
    let before = Instant::now();
    proxy.pulses.used(&proxy, address, true);
    assert!(!proxy.pulses.is_lost(address, before).await);
    stop.cancel();
    serving.abort();
}
