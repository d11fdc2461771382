//! Receivers that are no web servers: each attempt ends by its limits, with the class of what
//! went wrong, is tried again, and others are served meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::harness::{
    Api, Callers, DEADLINE, Endpoint, OUTGOING, Receiver, Resources, Setup, Witness, uid, until,
};

const SECRET: &str = "shared-with-the-customer";

/// How a receiver is rude.
#[derive(Debug, Clone, Copy)]
enum Manners {
    /// Takes the connection and never reads from it.
    NeverReads,
    /// Reads, and then sends this and closes.
    Says(&'static [u8]),
    /// Reads, and then sends this for as long as anybody takes it.
    RepeatsForEver(&'static [u8], &'static [u8]),
    /// Reads, and then sends a byte of this at a time, and never an end.
    Drips(&'static [u8]),
}

/// A listener with these manners; it ends when dropped.
struct Rude {
    address: SocketAddr,
    task: JoinHandle<()>,
    _witness: Witness,
}

impl Rude {
    fn start(manners: Manners) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that a large body does not fit in what the system takes on its behalf.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(64).unwrap();
        let witness = Witness::default();
        Self {
            address: listener.local_addr().unwrap(),
            task: tokio::spawn(accept(listener, manners, witness.callers())),
            _witness: witness,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/rude", self.address)
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, manners: Manners, callers: Callers) {
    let mut connections = JoinSet::new(); // aborts them when this task is aborted
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        callers.saw(peer);
        connections.spawn(serve(stream, manners));
    }
}

/// Errors are ends of the connection by the other side, which is what is waited for.
async fn serve(mut stream: TcpStream, manners: Manners) {
    if !matches!(manners, Manners::NeverReads) {
        let mut request = [0; 64 * 1024];
        let _ = stream.read(&mut request).await;
    }
    match manners {
        Manners::NeverReads => std::future::pending().await,
        Manners::Says(text) => {
            let _ = stream.write_all(text).await;
            let _ = stream.shutdown().await;
            // Until the other side closes: what it still sends would turn the answer into a reset.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
        Manners::RepeatsForEver(first, more) => {
            if stream.write_all(first).await.is_ok() {
                while stream.write_all(more).await.is_ok() {}
            }
        }
        Manners::Drips(text) => {
            for byte in text.iter().cycle() {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// An event for a receiver with these manners fails twice with this outcome and waits for its
/// next attempt, and the API shows why; an event for another receiver arrives.
async fn assert_tried_again(manners: Manners, outcome: &str) {
    let (rude, polite) = (Rude::start(manners), Receiver::start().await);
    let endpoints = [
        Endpoint::new(1, &rude.url(), SECRET),
        Endpoint::new(2, &polite.url("/polite"), SECRET),
    ];
    let resources = Resources::outgoing(&endpoints).config("max_payload_read_size", 8 << 20);
    let outrider = Setup::new(&resources).small_segments().start().await;
    let mut client = outrider.client();
    let filling = match manners {
        // More than the system takes on the receiver's behalf.
        Manners::NeverReads => 4 << 20,
        _ => 100,
    };
    let data = json!({"filling": "x".repeat(filling)});
    let event = client.publish_to(&uid(1), "a", data).await.unwrap();
    let event = event.event_uid();
    let label = format!("outcome=\"{outcome}\"");
    let attempts = "outrider_delivery_attempts_total";
    outrider
        .wait_for_metric(attempts, &[&label], 2.0, DEADLINE)
        .await;
    let good = client.publish_to(&uid(2), "a", json!({})).await.unwrap();
    let received = polite.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].webhook_id(), good.event_uid());

    let mut project = Api::of_project(outrider.public(), OUTGOING, &outrider.admin_key());
    let path = format!("/eventdeliveries?eventId={event}");
    let delivery = until("the delivery is listed", DEADLINE, async || {
        project.rows(&path).await.pop()
    })
    .await;
    let status = delivery["status"].as_str().unwrap();
    assert!(
        ["Retry", "Processing", "Scheduled"].contains(&status),
        "{status}"
    );
    let path = format!(
        "/eventdeliveries/{}/deliveryattempts",
        delivery["uid"].as_str().unwrap()
    );
    let first = project.get(&path).await.data(200)[0].clone();
    assert_eq!(first["error"], outcome.replace('_', " "), "{first}");
}

#[tokio::test]
async fn a_receiver_that_never_reads_is_given_up_after_its_timeout() {
    assert_tried_again(Manners::NeverReads, "response_timeout").await;
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_failed_attempt() {
    let manners = Manners::Says(b"220 mail.customer.example ESMTP\r\n");
    assert_tried_again(manners, "protocol_error").await;
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_a_failed_attempt() {
    assert_tried_again(Manners::Says(b""), "connect_reset").await;
}

#[tokio::test]
async fn an_answer_cut_short_is_a_failed_attempt() {
    let manners = Manners::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    assert_tried_again(manners, "connect_reset").await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up_at_its_limit() {
    let manners = Manners::RepeatsForEver(
        b"HTTP/1.1 200 OK\r\n",
        b"X-More: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
    );
    assert_tried_again(manners, "protocol_error").await;
}

#[tokio::test]
async fn a_head_that_drips_is_given_up_after_its_timeout() {
    let manners = Manners::Drips(b"HTTP/1.1 200 OK\r\nX-Slow: a");
    assert_tried_again(manners, "response_timeout").await;
}
