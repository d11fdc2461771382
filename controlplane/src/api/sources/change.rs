//! Specifications of sources out of what clients send.

use outrider_config::resource::{FieldError, PresetChoice, Reason, SourceSpec};

use super::super::endpoints::keep;

/// Files may leave the type out; Convoy's API demands it.
pub(super) fn missing_type(spec: &SourceSpec) -> Option<FieldError> {
    let is_missing = spec.kind.as_deref().is_none_or(str::is_empty);
    is_missing.then(|| FieldError {
        field: "type".to_owned(),
        reason: Reason::Missing,
    })
}

/// The source with what is given of it. What this version does not act on is left in, to be
/// refused by the check. Name and type have to be given.
pub(super) fn merged(old: SourceSpec, mut given: SourceSpec) -> SourceSpec {
    given.mask_id = old.mask_id;
    keep(&mut given.public_url, old.public_url);
    keep(&mut given.deny_headers, old.deny_headers);
    keep(&mut given.event_type_location, old.event_type_location);
    keep(&mut given.idempotency_keys, old.idempotency_keys);
    keep(&mut given.idempotency_window_s, old.idempotency_window_s);
    keep(&mut given.deduplicate, old.deduplicate);
    keep(&mut given.event_format, old.event_format);
    keep(&mut given.alerts, old.alerts);
    keep(&mut given.custom_response, old.custom_response);
    keep(&mut given.is_disabled, old.is_disabled);
    keep(&mut given.allow_cidrs, old.allow_cidrs);
    keep(&mut given.deny_cidrs, old.deny_cidrs);
    keep(&mut given.rate_limit, old.rate_limit);
    keep(&mut given.client_certificate, old.client_certificate);
    keep(&mut given.forward_headers, old.forward_headers);
    // The verification is said in one of two ways; to say it in the other ends the first.
    let has_preset = given.preset.as_ref().is_some_and(PresetChoice::is_given);
    let has_verifier = given.verifier.is_some() || is_given(&given.provider);
    if !has_preset {
        keep(&mut given.provider, old.provider);
        keep(&mut given.verifier, old.verifier);
    }
    if !has_verifier {
        keep(&mut given.preset, old.preset);
        keep(&mut given.secrets, old.secrets);
        keep(&mut given.params, old.params);
    }
    given
}

fn is_given(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_config::resource::from_json;
    use serde_json::{Value, json};

    fn spec(json: Value) -> SourceSpec {
        from_json(json).spec.unwrap()
    }

    #[test]
    fn a_verification_is_replaced_as_a_whole_and_the_rest_field_by_field() {
        let provider =
            json!({"provider": "github", "verifier": {"hmac": {"secret": "a"}}, "mask_id": "m"});
        let preset = json!({"preset": "stripe", "secrets": ["a"], "params": {"x": "y"}});
        for (old, given, expected) in [
            (&provider, json!({}), provider.clone()),
            (&preset, json!({"verifier": null}), preset.clone()),
            (
                &provider,
                json!({"verifier": {"hmac": {"secret": "b"}}, "mask_id": ""}),
                json!({"provider": "github", "verifier": {"hmac": {"secret": "b"}}, "mask_id": "m"}),
            ),
            (
                &provider,
                json!({"provider": "", "verifier": {"type": "noop"}}),
                json!({"provider": "", "verifier": {"type": "noop"}, "mask_id": "m"}),
            ),
            (
                &provider,
                json!({"preset": "stripe", "secrets": ["b"]}),
                json!({"preset": "stripe", "secrets": ["b"], "mask_id": "m"}),
            ),
            (
                &preset,
                json!({"verifier": {"type": "noop"}}),
                json!({"verifier": {"type": "noop"}}),
            ),
            (
                &preset,
                json!({"secrets": ["b"], "is_disabled": true}),
                json!({"preset": "stripe", "secrets": ["b"], "params": {"x": "y"}, "is_disabled": true}),
            ),
        ] {
            assert_eq!(
                merged(spec(old.clone()), spec(given.clone())),
                spec(expected),
                "{given}"
            );
        }
    }
}
