//! The resources: what people write of each (`..Spec`, in Convoy's JSON shapes), and the checked
//! type it becomes.
//!
//! A specification is read without judging and checked in one place, so that every problem of it
//! is found at once. The same specification types serve files, REST, the journal and the wire.
//! What a checked type needs of other resources is checked by the snapshot.

mod activation;
mod alert_config;
mod alerts;
mod api_key;
mod authentication;
mod breaker_spec;
mod check;
mod client_certificate;
mod deduplication;
mod egress_policy;
mod egress_policy_spec;
mod egress_pool;
mod egress_pool_spec;
mod endpoint;
mod endpoint_spec;
mod endpoint_tls;
mod event_type;
mod failure_rate_alert;
mod field;
mod filter_spec;
mod hook;
mod interest;
mod meta_event;
mod oauth2;
mod oauth2_trial;
mod order_key;
mod preset_choice;
mod project;
mod project_spec;
mod protection;
mod signature_spec;
mod source;
mod source_spec;
mod spec;
mod strategy;
mod subscription;
mod type_policy;
mod verification;

pub use alert_config::{AlertConfigSpec, FailureAlert};
pub use alerts::{AlertsSpec, Thresholds};
pub use api_key::{ApiKey, ApiKeySpec};
pub use authentication::{AuthenticationSpec, REDACTED};
pub use breaker_spec::{BreakerSpec, CircuitBreaker};
pub use check::{FieldError, Reason};
pub use client_certificate::ClientCertificateSpec;
pub use deduplication::Deduplication;
pub use egress_policy::{EGRESS_POLICIES_MAX, EgressPolicy};
pub use egress_policy_spec::EgressPolicySpec;
pub use egress_pool::{AddressState, EgressPool, PoolAddress, PoolMode, PoolSelection};
pub use egress_pool_spec::{DEFAULT_POOL, EgressPoolSpec, HOST_ROUTE, PoolAddressSpec};
pub(crate) use egress_pool_spec::{is_pool_name, rfc3339};
pub use endpoint::{Endpoint, EndpointStatus};
pub use endpoint_spec::{EndpointSecretSpec, EndpointSpec};
pub use endpoint_tls::{ClientCertSpec, EndpointTlsSpec};
pub use event_type::{EventType, EventTypeSpec, SchemaSpec};
pub use failure_rate_alert::{FailureRateAlert, FailureRateAlertSpec};
pub use filter_spec::{ConditionsSpec, FilterRowSpec, FilterSpec, Scoped};
pub use hook::{Hook, HookKind};
pub use meta_event::{MetaEventSpec, MetaEvents, MetaKind};
pub use oauth2::{FieldMappingSpec, OAuth2Spec, SigningKeySpec};
pub use order_key::{Order, OrderKey, OrderSpec, line};
pub use preset_choice::{PRESET_BYTES_MAX, PresetChoice};
pub use project::{
    BODY_BYTES_CEILING, BODY_BYTES_DEFAULT, Project, ProjectKind, RETENTION_DEFAULT,
};
pub use project_spec::{ConfigSpec, ProjectSpec, RateLimitSpec, SslSpec};
pub use protection::{Protection, RateSpec};
pub use signature_spec::{
    MessageSignatureSpec, SignatureHeaderSpec, SignatureSpec, SignatureVersionSpec,
};
pub use source::{GITHUB_BODY_BYTES_DEFAULT, Source};
pub use source_spec::{
    ApiKeyVerifierSpec, BasicAuthSpec, CustomResponseSpec, HmacSpec, SourceSpec, VerifierSpec,
    mask_of,
};
pub use spec::{
    MISFITS_MAX, Reading, SpecError, Unsupported, from_document, from_json, to_document,
};
pub use strategy::{RetryStrategy, StrategySpec};
pub use subscription::{FilterConfigSpec, Subscription, SubscriptionSpec};
pub use type_policy::{Enforcement, TypePolicy};
