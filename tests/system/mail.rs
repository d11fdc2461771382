//! Mails by SMTP: over TLS, with a login, and to nobody who is not who he says.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use super::harness::{
    Authority, Begin, DEADLINE, Fault, Login, Mailbox, Outrider, Receiver, Rules, Setup,
};

const NAME: &str = "outrider";
const PASSWORD: &str = "hunter2 \u{fc}";

/// A file with the certificate of an authority, as long as it is held.
struct Ca {
    path: PathBuf,
    _dir: TempDir,
}

impl Ca {
    fn of(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        fs::write(&path, text).unwrap();
        Self { path, _dir: dir }
    }

    fn of_authority(authority: &Authority) -> Self {
        Self::of(authority.root())
    }
}

fn trusting(setup: Setup, ca: &Ca) -> Setup {
    setup.env("OUTRIDER__SMTP__CA", &ca.path.display().to_string())
}

fn with_login(setup: Setup, password: &str) -> Setup {
    setup
        .env("OUTRIDER__SMTP__USERNAME", NAME)
        .env("OUTRIDER__SMTP__PASSWORD", password)
}

/// An endpoint is switched off, of which somebody is to hear by mail.
async fn trouble(outrider: &Outrider) {
    let gone = Receiver::with(|_| Fault::Status(410)).await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let more = json!({"support_email": "ops@customer.example"});
    let endpoint = project.make_endpoint("till", &gone.url("/in"), &more).await;
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    project.delivery(&event, "Failure").await;
}

async fn wait_for_result(outrider: &Outrider, result: &str) {
    let result = format!("result=\"{result}\"");
    let labels = ["channel=\"mail\"", result.as_str()];
    outrider
        .wait_for_metric("outrider_notifications_total", &labels, 1.0, DEADLINE)
        .await;
}

#[tokio::test]
async fn roots_that_cannot_be_used_are_refused_at_the_start() {
    let mailbox = Mailbox::start().await;
    let empty = Ca::of("no certificate at all\n");
    let broken = Ca::of("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let missing = Ca {
        path: PathBuf::from("/nowhere/ca.pem"),
        ..Ca::of("")
    };
    for (security, ca, says) in [
        ("none", &empty, "OUTRIDER__SMTP__CA: is for TLS"),
        ("tls", &empty, "has no certificate"),
        ("starttls", &missing, "/nowhere/ca.pem"),
        ("tls", &broken, "`smtp.ca`"),
    ] {
        let bad = trusting(mailbox.setup(security), ca).run_to_end().await;
        assert_eq!(bad.code, Some(78), "{says}: {}", bad.output);
        assert!(bad.output.contains(says), "{says}: {}", bad.output);
    }
}

#[tokio::test]
async fn a_mail_is_left_over_tls_with_a_login() {
    let authority = Authority::new();
    let ca = Ca::of_authority(&authority);
    for (begin, security, login) in [
        (Begin::AtOnce, "tls", Login::Plain),
        (Begin::WhenAsked, "starttls", Login::Login),
    ] {
        let mailbox = Mailbox::with(Rules {
            tls: Some((begin, authority.identity(&["127.0.0.1"]))),
            login: Some((login, NAME, PASSWORD)),
            ..Rules::default()
        })
        .await;
        let setup = with_login(trusting(mailbox.setup(security), &ca), PASSWORD);
        let outrider = setup.start().await;
        trouble(&outrider).await;
        let mails = mailbox.wait_for(1).await;
        for part in [
            "MAIL FROM:<hooks@outrider.example>",
            "RCPT TO:<ops@customer.example>",
            "Subject: shop: endpoint till was switched off",
        ] {
            assert!(mails[0].contains(part), "{security}, {part}: {}", mails[0]);
        }
        wait_for_result(&outrider, "sent").await;
        let seen = mailbox.seen();
        assert_eq!((seen.mails.len(), seen.handshakes_failed), (1, 0));
        assert_eq!(seen.logins, [(NAME.to_owned(), true)]);
        assert!(!outrider.stderr().contains("hunter2"));
    }
}

#[tokio::test]
async fn a_wrong_login_is_given_up_at_once_and_leaves_no_mail() {
    let authority = Authority::new();
    let ca = Ca::of_authority(&authority);
    let mailbox = Mailbox::with(Rules {
        tls: Some((Begin::WhenAsked, authority.identity(&["127.0.0.1"]))),
        login: Some((Login::Plain, NAME, PASSWORD)),
        ..Rules::default()
    })
    .await;
    let setup = with_login(trusting(mailbox.setup("starttls"), &ca), "another");
    let outrider = setup.start().await;
    trouble(&outrider).await;
    wait_for_result(&outrider, "failed").await;
    let seen = mailbox.seen();
    assert_eq!(seen.logins, [(NAME.to_owned(), false)]);
    assert_eq!((seen.mails.len(), seen.connections), (0, 1));
    let log = outrider.stderr();
    assert!(log.contains("a mail is refused"), "{log}");
    assert!(!log.contains("another"), "{log}");
}

#[tokio::test]
async fn who_cannot_show_who_he_is_gets_neither_password_nor_mail() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let ca = Ca::of_authority(&ours);
    let here = |authority: &Authority| authority.identity(&["127.0.0.1"]);
    for (what, tls, security, has_ca) in [
        (
            "nobody vouches for him",
            (Begin::AtOnce, here(&ours)),
            "tls",
            false,
        ),
        (
            "another vouches",
            (Begin::AtOnce, here(&theirs)),
            "tls",
            true,
        ),
        (
            "he is somebody else",
            (Begin::AtOnce, ours.identity(&["mail.example"])),
            "tls",
            true,
        ),
        (
            "another vouches, when asked",
            (Begin::WhenAsked, here(&theirs)),
            "starttls",
            true,
        ),
    ] {
        let mailbox = Mailbox::with(Rules {
            tls: Some(tls),
            login: Some((Login::Plain, NAME, PASSWORD)),
            ..Rules::default()
        })
        .await;
        let setup = with_login(mailbox.setup(security), PASSWORD);
        let setup = if has_ca { trusting(setup, &ca) } else { setup };
        let outrider = setup.start().await;
        trouble(&outrider).await;
        // Certificates are renewed: it is tried again.
        let is_met = |seen: &super::harness::Seen| seen.handshakes_failed >= 2;
        let seen = mailbox.wait_until(what, is_met).await;
        assert_eq!((seen.mails.len(), seen.logins.len()), (0, 0), "{what}");
    }
}

#[tokio::test]
async fn nothing_is_left_in_clear_where_tls_was_wanted() {
    let mailbox = Mailbox::start().await;
    let outrider = with_login(mailbox.setup("starttls"), PASSWORD)
        .start()
        .await;
    trouble(&outrider).await;
    let seen = mailbox
        .wait_until("it is tried again", |seen| seen.connections >= 2)
        .await;
    assert_eq!((seen.mails.len(), seen.logins.len()), (0, 0));
}
