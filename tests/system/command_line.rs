//! Start and end of the process: what is wrong is said at once, with the code of its kind.

use std::net::TcpListener;

use super::harness::{DEADLINE, Receiver, Resources, Setup, check, free_port, until};

/// Two mistakes and a misspelt key, on lines 4, 9 and 12.
const WITH_PROBLEMS: &str = "\
projects:
  - name: shop
    type: outgoing
    uid: not-a-uid
    endpoints:
      - name: customer
        url: https://customer.example/hook
        secret: shared
        http_timout: 5
    subscriptions:
      - name: everything
        endpoint_id: nobody
        filter_config: {event_types: [\"*\"]}
";

const GOOD: &str = "\
projects:
  - name: shop
    type: outgoing
    endpoints:
      - name: customer
        url: https://customer.example/hook
        secret: shared
    subscriptions:
      - name: everything
        endpoint_id: customer
        filter_config: {event_types: [\"*\"]}
";

const UNAVAILABLE: Option<i32> = Some(69);
const CONFIGURATION: Option<i32> = Some(78);

fn no_events() -> Resources {
    Resources::outgoing(&[])
}

#[tokio::test]
async fn check_reports_every_problem_of_a_file_with_its_place_and_exits_78() {
    let ended = check(WITH_PROBLEMS).await;
    assert_eq!(ended.code, CONFIGURATION, "{}", ended.output);
    for says in [
        "line 4: projects[0].uid: must be a uid",
        "line 9: projects[0].endpoints[0].http_timout: unknown field; did you mean `http_timeout`?",
        "line 12: projects[0].subscriptions[0].endpoint_id: ",
        "`nobody`",
        "3 problem(s)",
    ] {
        assert!(
            ended.output.contains(says),
            "{says} is not in:\n{}",
            ended.output
        );
    }
    for text in ["projects: [", "projects: 7", "- a\n- b", "\u{0}"] {
        let ended = check(text).await;
        assert_eq!(ended.code, CONFIGURATION, "{text:?}: {}", ended.output);
        assert!(
            !ended.output.contains("panicked"),
            "{text:?}: {}",
            ended.output
        );
    }
}

#[tokio::test]
async fn check_of_a_good_file_exits_0() {
    let ended = check(GOOD).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
}

#[tokio::test]
async fn a_wrong_resource_file_stops_the_start_before_a_port_is_bound() {
    let bad = no_events()
        .config("no_such_setting", 1)
        .config("strategy", "never");
    let ended = Setup::new(&bad).run_to_end().await;
    assert_eq!(ended.code, CONFIGURATION, "{}", ended.output);
    for says in [
        "projects[0].config.no_such_setting: unknown field",
        "projects[0].config.strategy: ",
        "2 problem(s), nothing was started",
    ] {
        assert!(
            ended.output.contains(says),
            "{says} is not in:\n{}",
            ended.output
        );
    }
}

#[tokio::test]
async fn a_wrong_bootstrap_is_told_whole_and_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("outrider.yaml");
    std::fs::write(&file, "intake:\n  body_timeout: 5\nstore:\n  node: 5000\n").unwrap();
    let ended = Setup::new(&no_events())
        .flag("--config", file.to_str().unwrap())
        .env("OUTRIDER__DELIVERY__IN_FLIGHT_MAX", "many")
        .run_to_end()
        .await;
    assert_eq!(ended.code, CONFIGURATION, "{}", ended.output);
    for says in [
        "line 2: intake.body_timeout: unknown field; did you mean `body_timeout_ms`?",
        "line 4: store.node: must be from 0 to 1023",
        "OUTRIDER__DELIVERY__IN_FLIGHT_MAX: a whole number",
        "3 problem(s), nothing was started",
    ] {
        assert!(
            ended.output.contains(says),
            "{says} is not in:\n{}",
            ended.output
        );
    }
}

#[tokio::test]
async fn a_second_process_on_one_data_directory_exits_69_and_the_first_serves_on() {
    let receiver = Receiver::start().await;
    let first = Setup::new(&Resources::outgoing_to(&receiver, "secret"))
        .start()
        .await;
    let ended = Setup::new(&no_events())
        .run_to_end_on(&first.data_dir())
        .await;
    assert_eq!(ended.code, UNAVAILABLE, "{}", ended.output);
    let says = format!(
        "cannot open the event log in {0}: {0} is in use by another process",
        first.data_dir().join("log").display()
    );
    assert!(ended.output.contains(&says), "{}", ended.output);
    let mut client = first.client();
    assert_eq!(
        client
            .publish_to(&super::harness::uid(1), "a", 1.into())
            .await
            .unwrap()
            .status,
        201
    );
    receiver.wait_for(1, DEADLINE).await;
}

#[tokio::test]
async fn a_port_in_use_exits_69() {
    let taken = free_port();
    let _listener = TcpListener::bind(taken).unwrap();
    for setup in [
        Setup::new(&no_events()).public(taken),
        Setup::new(&no_events()).admin(taken),
    ] {
        let ended = setup.run_to_end().await;
        assert_eq!(ended.code, UNAVAILABLE, "{}", ended.output);
        assert!(
            ended.output.contains(&taken.to_string()),
            "{}",
            ended.output
        );
    }
}

#[tokio::test]
async fn switches_for_tests_are_refused_with_a_public_listener_that_is_not_on_loopback() {
    let open = ([0, 0, 0, 0], free_port().port()).into();
    let ended = Setup::new(&no_events()).public(open).run_to_end().await;
    assert_eq!(ended.code, Some(64), "{}", ended.output);
}

#[tokio::test]
async fn a_changed_resource_file_is_in_force_after_a_restart() {
    let receiver = Receiver::start().await;
    let mut outrider = Setup::new(&no_events()).start().await;
    let mut client = outrider.client();
    let first = super::harness::uid(1);
    assert_eq!(
        client
            .publish_to(&first, "a", 1.into())
            .await
            .unwrap()
            .status,
        404
    );
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    outrider.replace_resources(&Resources::outgoing_to(&receiver, "secret"));
    outrider.start().await;
    until("the endpoint is known", DEADLINE, async || {
        let reply = outrider
            .client()
            .publish_to(&first, "a", 1.into())
            .await
            .unwrap();
        (reply.status == 201).then_some(())
    })
    .await;
    receiver.wait_for(1, DEADLINE).await;
}

#[tokio::test]
async fn variables_that_are_not_text_are_nobodys_business_unless_they_are_ours() {
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    let run = |name: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_outrider"));
        let args = ["serve", "--resources", "/nonexistent.yaml"];
        let output = command.args(args).env(name, odd).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, text) = run("SOMEBODY_ELSES");
    assert_eq!(code, Some(78), "{text}");
    assert!(
        text.contains("/nonexistent.yaml") && !text.contains("panicked"),
        "{text}"
    );
    let (code, text) = run("OUTRIDER__LOG__LEVEL");
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("OUTRIDER__LOG__LEVEL is not UTF-8"), "{text}");
}
