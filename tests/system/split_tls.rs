//! Configuration beyond loopback: over mutual TLS or not at all.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::harness::{Authority, DEADLINE, DataPlane, Planes, Receiver, Resources, uid, until};

const SECRET: &str = "shared-with-the-customer";

/// Writes a certificate of `ours` and its key, and the root of `trusted`.
fn write(ours: &Authority, dir: &Path, trusted: &Authority) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("ca.pem"), trusted.root()).unwrap();
    let identity = ours.identity(&["localhost"]);
    fs::write(dir.join("certificate.pem"), identity.certificate).unwrap();
    fs::write(dir.join("key.pem"), identity.key).unwrap();
}

/// The settings of one side's files.
fn files(section: &str, dir: &Path) -> Vec<(String, String)> {
    let file = |key: &str, name: &str| {
        let value = dir.join(name).display().to_string();
        (format!("OUTRIDER__{section}__TLS__{key}"), value)
    };
    vec![
        file("CA", "ca.pem"),
        file("CERTIFICATE", "certificate.pem"),
        file("KEY", "key.pem"),
    ]
}

fn data_plane(planes: &Planes, name: &str, number: u16, tls: &Path) -> DataPlane {
    let mut data = planes.data_plane(name, number);
    let xds = format!("https://localhost:{}", planes.control.xds().port());
    data.process.set("OUTRIDER__CONTROL_PLANE__XDS", &xds);
    for (name, value) in files("CONTROL_PLANE", tls) {
        data.process.set(&name, &value);
    }
    data
}

#[tokio::test]
async fn only_a_data_plane_with_a_certificate_of_the_right_root_is_served_beyond_loopback() {
    let receiver = Receiver::start().await;
    let mut planes = Planes::new(Some(&Resources::outgoing_to(&receiver, SECRET)));
    let open = format!("0.0.0.0:{}", planes.control.xds().port());
    planes.control.process.change_flag("--xds-listen", &open);
    let ended = planes.control.process.run_to_end().await;
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    let says = format!("on loopback only, not on {open}: give it `xds.tls`");
    assert!(ended.output.contains(&says), "{}", ended.output);
    assert!(!planes.control.process.data_dir().exists());

    let (ours, theirs) = (Authority::new(), Authority::new());
    let (served, good, bad) = (
        planes.dir().join("served"),
        planes.dir().join("good"),
        planes.dir().join("bad"),
    );
    write(&ours, &served, &ours);
    write(&ours, &good, &ours);
    write(&theirs, &bad, &ours);
    for (name, value) in files("XDS", &served) {
        planes.control.process.set(&name, &value);
    }
    let ended = planes.control.process.run_to_end().await;
    assert_eq!(ended.code, Some(64), "{}", ended.output);
    let says = "unsafe_egress_allow is for tests";
    assert!(ended.output.contains(says), "{}", ended.output);
    planes.control.process.drop_flag("--unsafe-egress-allow");
    planes.control.start().await;
    let mut stranger = data_plane(&planes, "stranger", 1, &bad);
    stranger.process.launch();
    let mut plain = planes.data_plane("plain", 2);
    plain.process.launch();
    let mut data = data_plane(&planes, "data", 0, &good);
    data.start().await;
    let reply = data.client().publish_to(&uid(1), "a", json!({})).await;
    reply.unwrap().event_uid();
    receiver.wait_for(1, DEADLINE).await;
    for refused in [&stranger, &plain] {
        until("the refused one says so", DEADLINE, async || {
            let said = refused.process.stderr();
            said.contains("the configuration stream broke")
                .then_some(())
        })
        .await;
        assert!(!refused.is_ready().await);
    }
    let all = planes.control.dataplanes().await;
    assert_eq!(all.len(), 1, "{all:?}");
}

#[tokio::test]
async fn tls_files_that_are_none_are_named_at_the_start() {
    let mut planes = Planes::new(None);
    let missing = planes.dir().join("missing");
    for (name, value) in files("XDS", &missing) {
        planes.control.process.set(&name, &value);
    }
    let ended = planes.control.process.run_to_end().await;
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    assert!(ended.output.contains("missing/ca.pem"), "{}", ended.output);
    fs::create_dir(&missing).unwrap();
    for name in ["ca.pem", "certificate.pem", "key.pem"] {
        fs::write(missing.join(name), "nothing").unwrap();
    }
    let ended = planes.control.process.run_to_end().await;
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    let mut data = data_plane(&planes, "data", 0, &missing);
    let ended = data.process.run_to_end().await;
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    assert!(
        ended.output.contains("control_plane.xds"),
        "{}",
        ended.output
    );
}
