//! The presets that come with this version, one file each.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::PresetSpec;

/// Names and texts of the files, in order of their names.
macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../presets/", $name, ".json")))),+]
    };
}

/// All of them.
pub(in crate::verify) const BUILTIN: &[(&str, &str)] = presets![
    "adyen",
    "adyen_platform",
    "api_key",
    "api_key_query",
    "aws_sns",
    "basic_auth",
    "bearer",
    "bitbucket",
    "braintree",
    "calendly",
    "cloudevents",
    "discord",
    "discord_events",
    "docusign",
    "dropbox",
    "flutterwave_v3",
    "flutterwave_v4",
    "github",
    "github_sha1_legacy",
    "gitlab",
    "gitlab_signing",
    "hmac",
    "hubspot_v1",
    "hubspot_v2",
    "hubspot_v3",
    "intercom",
    "linear",
    "mailgun",
    "mailgun_form",
    "meta",
    "mono",
    "none",
    "pagerduty",
    "paypal",
    "paystack",
    "sendgrid",
    "sentry",
    "shopify",
    "slack",
    "square",
    "standardwebhooks",
    "stripe",
    "svix",
    "telegram",
    "twilio",
    "twilio_sharedkey",
    "twitter",
    "typeform",
    "vercel",
    "woocommerce",
    "xero",
    "zendesk",
    "zoom",
];

/// A file that could not be read would be missing here and its name unknown; a test reads all.
static PARSED: LazyLock<BTreeMap<&'static str, PresetSpec>> = LazyLock::new(|| {
    let parse =
        |(name, text): &(&'static str, &str)| Some((*name, serde_json::from_str(text).ok()?));
    BUILTIN.iter().filter_map(parse).collect()
});

/// The built-in preset of this name.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static PresetSpec> {
    PARSED.get(name)
}

/// The names of all built-in presets, sorted.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}
