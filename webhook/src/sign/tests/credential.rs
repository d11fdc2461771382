//! A credential beside the signature, and a body that is a form.

use super::*;

#[test]
fn a_credential_comes_before_the_event_and_never_takes_the_place_of_a_header_of_ours() {
    let (target, body) = (target(), Bytes::from_static(b"{}"));
    let headers = vec![named("authorization", "Bearer of-the-event")];
    let (name, credential) = (header::AUTHORIZATION, HeaderValue::from_static("Bearer t"));
    let out = Outgoing {
        authentication: Some((&name, &credential)),
        ..outgoing(&target, &headers, &body)
    };
    let signed =
        |out: &Outgoing<'_>, scheme: &Scheme| sign(out, scheme, Mode::Simple, &[key("k")], 1);
    let sent = signed(&out, &Scheme::default()).unwrap();
    let all: Vec<_> = sent.headers().get_all(&name).iter().collect();
    assert_eq!(all, ["Bearer t"]);
    // Without one the event's goes out.
    let sent = signed(&outgoing(&target, &headers, &body), &Scheme::default()).unwrap();
    assert_eq!(sent.headers()[&name], "Bearer of-the-event");
    let own = Scheme::try_from(Settings {
        header: header::AUTHORIZATION,
        ..Settings::default()
    });
    let refused = signed(&out, &own.unwrap()).unwrap_err();
    assert_eq!(refused.code(), "reserved_header");
    let keyed = Outgoing {
        idempotency: Some((&name, "key")),
        ..out
    };
    let refused = signed(&keyed, &Scheme::default()).unwrap_err();
    assert_eq!(refused.code(), "reserved_header");
}

#[test]
fn a_form_is_what_is_signed_but_in_convoys_header() {
    let target = target();
    let (json, form) = (Bytes::from_static(b"{\"a\":1}"), Bytes::from_static(b"a=1"));
    let out = Outgoing {
        json: Some(&json),
        ..outgoing(&target, const { &Vec::new() }, &form)
    };
    let secret = [key("whsec_AyE2dHsU04VDyb+kOk+nURH+yHeB/6Aa")];
    let both = of_format(Format::Both);
    let sent = sign(&out, &both, Mode::Simple, &secret, 7).unwrap();
    assert_eq!(sent.body(), &form);
    let id = sent.headers()["webhook-id"].to_str().unwrap();
    let standard = standard_webhooks(secret.iter(), id, 7, &form).unwrap();
    assert_eq!(sent.headers()["webhook-signature"], standard);
    let of_json = convoy(&both, Mode::Simple, &secret, &json, 7).unwrap();
    assert_eq!(sent.headers()["x-convoy-signature"], of_json);
}

#[test]
fn a_scheme_takes_a_header_from_others_when_it_begins_to_write_it() {
    let scheme = |header: &'static str| {
        let header = HeaderName::from_static(header);
        let settings = Settings {
            header,
            ..Settings::default()
        };
        Scheme::try_from(settings).unwrap()
    };
    let (a, b) = (scheme("x-a"), scheme("x-b"));
    assert!(a.takes_more_than(&b) && !a.takes_more_than(&a));
}
