//! The story: what is sent, what comes back, what the receiver sees, and how to go on.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::ensure;
use hmac::{Hmac, KeyInit, Mac};
use outrider_config::bootstrap::Bootstrap;
use sha2::Sha256;
use tokio::sync::mpsc;

use super::Quickstart;
use super::http::post;
use super::receiver::{Receiver, Seen};
use super::seed::{INCOMING, OUTGOING, Seed};

/// A push as GitHub sends it.
const PUSH: &str = include_str!("push.json");
/// How long the story waits for a delivery before it says that something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints the story, then every further delivery, until dropped.
pub(super) async fn tell(quickstart: Quickstart, bootstrap: Bootstrap) {
    let Quickstart {
        seed,
        receiver,
        receiver_address,
        resource_file,
    } = quickstart;
    let (seen, mut deliveries) = mpsc::channel(64);
    let customer = Receiver {
        secrets: vec![
            ("/from-github", seed.endpoint_secret(INCOMING)),
            ("/customer", seed.endpoint_secret(OUTGOING)),
        ],
        has_failed_once: AtomicBool::new(false),
        seen,
    };
    let public = bootstrap.public_listen;
    println!("Outrider {} is up.\n", env!("CARGO_PKG_VERSION"));
    println!(
        "  events, API   http://{public}   (the API alone: http://{})",
        bootstrap.api_listen
    );
    println!(
        "  admin         http://{}/ready   /config_dump   /stats/prometheus",
        bootstrap.admin_listen
    );
    println!(
        "  receiver      http://{receiver_address}   (opened to the two projects of this example, nobody else)"
    );
    println!("  data          {}", bootstrap.data_dir.display());
    println!(
        "  admin key     {}   (opens the whole API)",
        bootstrap.data_dir.join("admin-key").display()
    );
    println!("  resources     {}\n", resource_file.display());
    let story = async {
        if let Err(error) = act(&seed, public, &mut deliveries).await {
            println!("\nThe example did not work: {error:#}");
        }
        go_on(&seed, public);
        while let Some(delivery) = deliveries.recv().await {
            println!("{}", line(&delivery));
        }
    };
    tokio::join!(customer.serve(receiver), story);
}

async fn act(
    seed: &Seed,
    public: SocketAddr,
    deliveries: &mut mpsc::Receiver<Seen>,
) -> anyhow::Result<()> {
    let push = PUSH.trim_end();
    println!(
        "1. GitHub sends a `push` to /ingest/{}, signed with the source's secret.",
        seed.mask()
    );
    let signature = github_signature(seed, push);
    let headers = [
        ("x-github-event", "push"),
        ("x-github-delivery", "8d4f1c2e-0000-4000-8000-7a6b5c4d3e2f"),
        ("x-hub-signature-256", &signature),
    ];
    let (status, answer) =
        post(public, &format!("/ingest/{}", seed.mask()), &headers, push).await?;
    println!("   Outrider   {status}  {answer}");
    ensure!(status.is_success(), "the push was not accepted");
    println!("              verified, and on disk before this answer");
    until_delivered(deliveries).await?;

    println!("\n2. Your service publishes `invoice.paid` for customer-1's endpoint.");
    let authorization = format!("Bearer {}", seed.api_key());
    let body = invoice(seed);
    let path = format!("/api/v1/projects/{}/events", seed.project());
    let (status, answer) = post(public, &path, &[("authorization", &authorization)], &body).await?;
    println!("   Outrider   {status}  {answer}");
    ensure!(status.is_success(), "the event was not accepted");
    until_delivered(deliveries).await?;
    println!(
        "\nBoth events were verified or authenticated, made durable, routed, signed and delivered."
    );
    Ok(())
}

/// Prints deliveries up to the first that the receiver was happy with.
async fn until_delivered(deliveries: &mut mpsc::Receiver<Seen>) -> anyhow::Result<()> {
    loop {
        let delivery = tokio::time::timeout(PATIENCE, deliveries.recv())
            .await
            .map_err(|_| anyhow::anyhow!("nothing was delivered within {PATIENCE:?}"))?
            .ok_or_else(|| anyhow::anyhow!("the receiver is gone"))?;
        println!("{}", line(&delivery));
        ensure!(
            delivery.is_signature_valid,
            "the receiver could not verify the signature"
        );
        if delivery.answer.is_success() {
            return Ok(());
        }
        println!(
            "              it fails its first invoice on purpose; Outrider tries again in 1 s"
        );
    }
}

fn line(delivery: &Seen) -> String {
    let signature = if delivery.is_signature_valid {
        "signature valid"
    } else {
        "SIGNATURE NOT VALID"
    };
    let what = delivery
        .event_type
        .as_deref()
        .map_or_else(String::new, |name| format!(" ({name})"));
    format!(
        "   Receiver   {}  {}{what}  event {}  {} bytes  {signature}",
        delivery.answer, delivery.path, delivery.event_id, delivery.body_bytes
    )
}

fn go_on(seed: &Seed, public: SocketAddr) {
    let hello = r#"{"zen":"Keep it logically awesome."}"#;
    println!("\nGo on by hand (deliveries are printed below; Ctrl-C drains and stops):\n");
    println!(
        "  curl -i http://{public}/api/v1/projects/{}/events \\",
        seed.project()
    );
    println!(
        "    -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' \\",
        seed.api_key()
    );
    println!("    -d '{}'\n", invoice(seed));
    println!("  what became of it:");
    println!(
        "  curl 'http://{public}/api/v1/projects/{}/eventdeliveries?perPage=1' \\",
        seed.project()
    );
    println!("    -H 'Authorization: Bearer {}'\n", seed.api_key());
    println!("  curl -i http://{public}/ingest/{} \\", seed.mask());
    println!("    -H 'X-GitHub-Event: ping' -H 'Content-Type: application/json' \\");
    println!(
        "    -H 'X-Hub-Signature-256: {}' \\",
        github_signature(seed, hello)
    );
    println!("    -d '{hello}'\n");
}

fn invoice(seed: &Seed) -> String {
    format!(
        r#"{{"endpoint_id":"{}","event_type":"invoice.paid","data":{{"invoice":"INV-1001","amount":1250,"currency":"EUR"}}}}"#,
        seed.endpoint()
    )
}

fn github_signature(seed: &Seed, body: &str) -> String {
    // HMAC takes keys of any length, so the other arm cannot be reached.
    match Hmac::<Sha256>::new_from_slice(seed.github_secret().as_bytes()) {
        Ok(mut mac) => {
            mac.update(body.as_bytes());
            format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
        }
        Err(_) => String::new(),
    }
}
