//! The instance-admin key: made once, shown once, its owner's alone.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use super::harness::{Api, Setup, free_port};

const FILE: &str = "admin-key";

#[tokio::test]
async fn a_file_that_holds_no_key_stops_the_start_with_a_message_and_is_kept() {
    let long = [b'a'; 5000];
    let contents: [&[u8]; 5] = [
        b"",
        b"hunter2-planted\n",
        b"CO.short.short",
        &[0xff; 84],
        &long,
    ];
    for content in contents {
        let setup = Setup::through_api();
        let path = setup.data_dir().join(FILE);
        fs::create_dir(setup.data_dir()).unwrap();
        fs::write(&path, content).unwrap();
        let ended = setup.run_to_end().await;
        let says = &ended.output;
        assert!(
            matches!(ended.code, Some(74 | 78)),
            "{:?}: {says}",
            ended.code
        );
        for word in [FILE, "no admin key", "restore"] {
            assert!(says.contains(word), "{word} is not in:\n{says}");
        }
        assert!(
            !says.contains("hunter2-planted") && !says.contains("panicked"),
            "{says}"
        );
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn the_port_of_the_api_in_use_exits_69() {
    let taken = free_port();
    let _listener = TcpListener::bind(taken).unwrap();
    let ended = Setup::through_api().api(taken).run_to_end().await;
    assert_eq!(ended.code, Some(69), "{}", ended.output);
    assert!(
        ended.output.contains(&taken.to_string()),
        "{}",
        ended.output
    );
}

#[tokio::test]
async fn the_key_is_made_and_shown_at_the_first_start_alone_and_is_in_nothing_else() {
    let mut outrider = Setup::through_api()
        .env("OUTRIDER__LOG__LEVEL", "debug")
        .start()
        .await;
    let key = outrider.admin_key();
    let path = outrider.data_dir().join(FILE);
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    assert!(
        key.starts_with("CO.") && key.len() == 84,
        "{} bytes",
        key.len()
    );
    let shown = |text: &str| text.matches(&key).count();
    assert_eq!(shown(&outrider.stderr()), 1);

    let mut admin = outrider.admin_api();
    admin.get("/api/v1/projects").await.data(200);
    let mut wrong = Api::new(outrider.api(), &format!("{key}x"));
    wrong.get("/api/v1/projects").await.refusal(401);
    for page in [
        "/config_dump",
        "/stats/prometheus",
        "/server_info",
        "/ready",
    ] {
        assert_eq!(shown(&outrider.admin_page(page).await), 0, "{page}");
    }

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    outrider.start().await;
    assert_eq!(outrider.admin_key(), key);
    assert_eq!(mode(), 0o600);
    outrider.admin_api().get("/api/v1/projects").await.data(200);
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    let log = outrider.stderr();
    assert!(
        log.contains("DEBUG"),
        "not as talkative as this test needs it:\n{log}"
    );
    assert_eq!(shown(&log), 1, "shown again, or logged");
}

#[tokio::test]
async fn a_removed_key_is_replaced_and_the_old_one_is_worth_nothing() {
    let mut outrider = Setup::through_api().start().await;
    let old = outrider.admin_key();
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    fs::remove_file(outrider.data_dir().join(FILE)).unwrap();
    outrider.start().await;
    assert_ne!(outrider.admin_key(), old);
    outrider.admin_api().get("/api/v1/projects").await.data(200);
    let mut late = Api::new(outrider.public(), &old);
    late.get("/api/v1/projects").await.refusal(401);
}
