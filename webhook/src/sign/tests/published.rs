//! What the authors of the families publish.

use super::*;

/// The values that Convoy's clients publish among their shared cases, and the worked examples that
/// two of its verifiers confirmed (contract section 6).
#[test]
fn the_published_values_of_convoys_clients_are_exact() {
    let of = |pairs: &[(Hash, Encoding)]| {
        let versions = pairs.iter().map(|(hash, encoding)| Version {
            hash: *hash,
            encoding: *encoding,
        });
        Scheme::try_from(Settings {
            versions: versions.collect(),
            input: Input::CompactJson,
            ..Settings::default()
        })
        .unwrap()
    };
    let hex = of(&[(Hash::Sha256, Encoding::Hex)]);
    let two = of(&[
        (Hash::Sha256, Encoding::Hex),
        (Hash::Sha512, Encoding::Base64),
    ]);
    let charge = r#"{"event":"charge.success","amount":1000,"currency":"NGN"}"#;
    let published = ["convoy-webhook-secret"];
    let demo = r#"{"amount":1250,"currency":"NGN","customer":{"id":"cus_01","tags":["vip","ng"]}}"#;
    let note = r#"{"event":"invoice.paid","data":{"note":"a<b & c>d","café":"✓"}}"#;
    let rotated = ["old-secret-2025", "new-secret-2026"];
    type Case<'a> = (&'a Scheme, Mode, &'a [&'a str], &'a str, i64, &'a str);
    let cases: [Case<'_>; 7] = [
        (
            &hex,
            Mode::Simple,
            &published,
            charge,
            0,
            "244449b7f48cbc2709060c9dcdc2b3aa47a78f540430579015c579fb12defbb4",
        ),
        (
            &hex,
            Mode::Advanced,
            &published,
            charge,
            1_700_000_000,
            "t=1700000000,v1=77b8b9269f25a199846a55a2bd25b3fba151c70fdae60bb1dcd87fbbc943c55c",
        ),
        (
            &hex,
            Mode::Advanced,
            &["whsec_outrider_demo_1"],
            demo,
            1_767_225_600,
            "t=1767225600,v1=0d88a20d0b9cf6e9f6a1444764490463e04b40ad68768818800f78142086ac6b",
        ),
        (
            &hex,
            Mode::Simple,
            &["whsec_outrider_demo_1"],
            demo,
            0,
            "20e974107a97f12a267513c29ff7297da987f38e328956b6f6ff02a1c6defc3a",
        ),
        (
            &two,
            Mode::Advanced,
            &rotated,
            note,
            1_767_229_200,
            "t=1767229200,v1=23ab1b0c6f59fcd0855db705a83ee0c594f3c7786cac8827321a2adf7375ee5a,v1=1f785bdc6bec385434b6fd70e8b01b89f5dbae1f2dd49209358bdb44267a3689,v2=CVsjZ3Q/vFQRhEKdkQWBk1CSLWED8BTsSARpHqVSMLc7TdZaFh9+xE6ImtuAk/5edNtcA5oUY+91gwEwvz1h8w==,v2=IIhG+XMyPFXcOW1M24tEUJhZdZqo9NUoKvk04KMKxW563ogcD3vcIHC1YUv2NMgf8KkzA23afNpX0R1ntSnCgw==",
        ),
        (
            &two,
            Mode::Simple,
            &rotated,
            note,
            0,
            "eAptHfHGBvN2QML0AWMAog7hK5NrGAmhreCdDh3zW7ruvIGHsdmWqpam0+Fow3Q9rPKXv0oFkPB55uh/q5OkEw==",
        ),
        (
            &hex,
            Mode::Advanced,
            &["k3"],
            "{ \"a\": 1,\n  \"b\": [ 1, 2 ] }",
            1_700_000_000,
            "t=1700000000,v1=2c2c4338e449e8f855bf7a2972ca6a36db8277bc0586cf40a664d481a192ec65",
        ),
    ];
    for (scheme, mode, secrets, body, now_s, expected) in cases {
        let keys: Vec<_> = secrets.iter().map(|secret| key(secret)).collect();
        let body = Bytes::copy_from_slice(body.as_bytes());
        assert_eq!(convoy(scheme, mode, &keys, &body, now_s).unwrap(), expected);
    }
}
