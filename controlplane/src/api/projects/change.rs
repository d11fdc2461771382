//! Changing a project: only what is given changes, down to the single setting (contract 3.1).

use outrider_config::resource::{
    BreakerSpec, ConfigSpec, FailureRateAlertSpec, MessageSignatureSpec, MetaEventSpec,
    ProjectSpec, RateLimitSpec, SignatureSpec, SslSpec, StrategySpec,
};

use super::super::endpoints::keep;

/// The project with what is given of it. What this version does not act on is left in, to be
/// refused by the check.
pub(super) fn merged(old: ProjectSpec, mut given: ProjectSpec) -> ProjectSpec {
    keep(&mut given.kind, old.kind);
    keep(&mut given.logo_url, old.logo_url);
    keep(&mut given.egress_pool, old.egress_pool);
    given.config = both(old.config, given.config, config);
    given
}

/// What is given over what was there, if there are both.
fn both<T>(old: Option<T>, given: Option<T>, merge: impl FnOnce(T, T) -> T) -> Option<T> {
    match (old, given) {
        (Some(old), Some(given)) => Some(merge(old, given)),
        (old, given) => given.or(old),
    }
}

fn config(old: ConfigSpec, mut given: ConfigSpec) -> ConfigSpec {
    keep(&mut given.max_payload_read_size, old.max_payload_read_size);
    keep(
        &mut given.replay_attacks_prevention_enabled,
        old.replay_attacks_prevention_enabled,
    );
    keep(
        &mut given.add_event_id_trace_headers,
        old.add_event_id_trace_headers,
    );
    keep(
        &mut given.multiple_endpoint_subscriptions,
        old.multiple_endpoint_subscriptions,
    );
    keep(&mut given.disable_endpoint, old.disable_endpoint);
    keep(&mut given.verify_dynamic_events, old.verify_dynamic_events);
    keep(
        &mut given.allow_unmatched_dynamic_urls,
        old.allow_unmatched_dynamic_urls,
    );
    keep(&mut given.request_id_header, old.request_id_header);
    keep(&mut given.idempotency_window_s, old.idempotency_window_s);
    keep(&mut given.schema_enforcement, old.schema_enforcement);
    keep(&mut given.unknown_event_types, old.unknown_event_types);
    keep(&mut given.ingest_allow_cidrs, old.ingest_allow_cidrs);
    keep(&mut given.ingest_deny_cidrs, old.ingest_deny_cidrs);
    keep(&mut given.ingest_rate_limit, old.ingest_rate_limit);
    given.meta_event = both(old.meta_event, given.meta_event, meta_event);
    given.ssl = both(old.ssl, given.ssl, ssl);
    given.ratelimit = both(old.ratelimit, given.ratelimit, ratelimit);
    given.strategy = both(old.strategy, given.strategy, strategy);
    given.signature = both(old.signature, given.signature, signature);
    given.circuit_breaker = both(old.circuit_breaker, given.circuit_breaker, breaker);
    given.failure_rate_alert = both(old.failure_rate_alert, given.failure_rate_alert, rate_alert);
    given
}

fn meta_event(old: MetaEventSpec, mut given: MetaEventSpec) -> MetaEventSpec {
    keep(&mut given.is_enabled, old.is_enabled);
    keep(&mut given.kind, old.kind);
    keep(&mut given.event_type, old.event_type);
    keep(&mut given.url, old.url);
    keep(&mut given.secret, old.secret);
    given
}

fn ssl(old: SslSpec, mut given: SslSpec) -> SslSpec {
    keep(
        &mut given.enforce_secure_endpoints,
        old.enforce_secure_endpoints,
    );
    given
}

fn ratelimit(old: RateLimitSpec, mut given: RateLimitSpec) -> RateLimitSpec {
    keep(&mut given.count, old.count);
    keep(&mut given.duration, old.duration);
    given
}

fn strategy(old: StrategySpec, mut given: StrategySpec) -> StrategySpec {
    keep(&mut given.kind, old.kind);
    keep(&mut given.duration, old.duration);
    keep(&mut given.retry_count, old.retry_count);
    keep(&mut given.jitter, old.jitter);
    if given.kind.as_deref() == Some("list") {
        keep(&mut given.intervals, old.intervals); // another kind would be refused with them
    }
    keep(&mut given.max_age_s, old.max_age_s);
    keep(&mut given.success_statuses, old.success_statuses);
    keep(&mut given.permanent_statuses, old.permanent_statuses);
    given
}

fn breaker(old: BreakerSpec, mut given: BreakerSpec) -> BreakerSpec {
    keep(&mut given.is_enabled, old.is_enabled);
    keep(&mut given.sample_rate, old.sample_rate);
    keep(&mut given.error_timeout, old.error_timeout);
    keep(&mut given.failure_threshold, old.failure_threshold);
    keep(&mut given.success_threshold, old.success_threshold);
    keep(&mut given.observability_window, old.observability_window);
    keep(&mut given.minimum_request_count, old.minimum_request_count);
    keep(
        &mut given.consecutive_failure_threshold,
        old.consecutive_failure_threshold,
    );
    keep(&mut given.probes, old.probes);
    given
}

fn rate_alert(old: FailureRateAlertSpec, mut given: FailureRateAlertSpec) -> FailureRateAlertSpec {
    keep(&mut given.failure_threshold, old.failure_threshold);
    keep(&mut given.minimum_request_count, old.minimum_request_count);
    given
}

fn signature(old: SignatureSpec, mut given: SignatureSpec) -> SignatureSpec {
    keep(&mut given.header, old.header);
    keep(&mut given.versions, old.versions);
    keep(&mut given.format, old.format);
    keep(&mut given.input, old.input);
    keep(&mut given.secret_type, old.secret_type);
    keep(&mut given.headers, old.headers);
    given.message_signature = both(
        old.message_signature,
        given.message_signature,
        message_signature,
    );
    given
}

fn message_signature(
    old: MessageSignatureSpec,
    mut given: MessageSignatureSpec,
) -> MessageSignatureSpec {
    keep(&mut given.is_enabled, old.is_enabled);
    keep(&mut given.components, old.components);
    keep(&mut given.expires_in_s, old.expires_in_s);
    keep(&mut given.tag, old.tag);
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_config::resource::from_json;
    use serde_json::{Value, json};

    fn spec(json: Value) -> ProjectSpec {
        from_json(json).spec.unwrap()
    }

    #[test]
    fn only_what_is_given_changes() {
        let old = json!({"name": "n", "type": "outgoing", "logo_url": "l", "config": {
            "ssl": {"enforce_secure_endpoints": true},
            "strategy": {"type": "linear", "duration": 7, "retry_count": 3},
        }});
        for (given, expected) in [
            (json!({"name": "n"}), old.clone()),
            (json!({"name": "n", "config": null}), old.clone()),
            (
                json!({"name": "n", "config": {"ssl": null, "strategy": {}}}),
                old.clone(),
            ),
            (
                json!({"name": "m", "logo_url": "", "config": {"strategy": {"retry_count": 9}, "signature": {"header": "X"}}}),
                json!({"name": "m", "type": "outgoing", "logo_url": "", "config": {
                    "ssl": {"enforce_secure_endpoints": true},
                    "strategy": {"type": "linear", "duration": 7, "retry_count": 9},
                    "signature": {"header": "X"},
                }}),
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
