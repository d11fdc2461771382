//! The preset model: how a provider signs, as data.
//!
//! The shape is the whole model, including what this version cannot do yet: a preset is either
//! read and understood or refused by name, never half understood. Texts marked as templates may
//! hold `{param:name}`.

mod builtin;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

#[cfg(test)]
pub(super) use self::builtin::BUILTIN;
pub use self::builtin::{builtin, builtin_names};

use super::challenge::ChallengeSpec;

/// How one provider's requests are verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetSpec {
    /// Name of the preset; empty when made for one source.
    #[serde(default)]
    pub name: String,
    /// What a person should know before choosing it.
    #[serde(default)]
    pub description: String,
    /// Where the event's type is: the first place that has a value counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<PlacesSpec>,
    /// Where the provider's own id of a delivery is: the values of all these places together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idempotency: Vec<SourceSpec>,
    /// Parameters and their defaults; a source may override them and must give those whose
    /// default is `null`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Option<ParamSpec>>,
    /// JSON pointer to an array whose every element must verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// The signature. `null` is no verification, and has to be written: a preset that forgot
    /// its signature must not let everybody in.
    #[serde(deserialize_with = "nullable")]
    pub signature: Option<SignatureSpec>,
    /// The signed time; `None` is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampSpec>,
    /// Templates of the signed text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedSpec>,
    /// Further assertions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckSpec>,
    /// Handshake responders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub challenges: Vec<ChallengeSpec>,
    /// Status of a refused request, 400 to 499; `None` is [`super::REJECT_STATUS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject_status: Option<u16>,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ParamSpec {
    /// One value.
    Text(String),
    /// A list, for checks that look a value up.
    List(Vec<String>),
}

/// By hand: what serde says of an untagged enum helps nobody.
impl<'de> Deserialize<'de> for ParamSpec {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = ParamSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<ParamSpec, E> {
                Ok(ParamSpec::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ParamSpec, A::Error> {
                let list = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(ParamSpec::List(list))
            }
        }

        from.deserialize_any(Either)
    }
}

/// One place or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PlacesSpec {
    /// One.
    One(SourceSpec),
    /// Several, in the order in which they are tried.
    Any(Vec<SourceSpec>),
}

impl PlacesSpec {
    /// The places.
    #[must_use]
    pub fn as_slice(&self) -> &[SourceSpec] {
        match self {
            Self::One(place) => std::slice::from_ref(place),
            Self::Any(places) => places,
        }
    }
}

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceSpec {
    /// A request header.
    Header {
        /// Its name, a template.
        name: String,
    },
    /// All headers named this and a number.
    HeaderPrefix {
        /// The name without the number, a template.
        name: String,
    },
    /// A query parameter.
    Query {
        /// Its name, a template.
        name: String,
    },
    /// A field of a form body.
    Form {
        /// Its name, a template.
        name: String,
    },
    /// A value in a JSON body.
    Json {
        /// Its JSON pointer.
        pointer: String,
    },
    /// A pair inside the signature.
    Pair {
        /// Its key, a template.
        name: String,
    },
}

/// Where the signature is and how it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureSpec {
    /// Where it is.
    pub source: SourceSpec,
    /// How it is written.
    pub format: FormatSpec,
    /// What it begins with, a template; with `prefixed` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Character between pairs; with `pairs` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair_separator: Option<String>,
    /// Character between the key and the value of a pair; with `pairs` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_separator: Option<String>,
    /// Where the label is, when it is not in the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_from: Option<SourceSpec>,
    /// Accepted ways to sign; any may match.
    pub schemes: Vec<SchemeSpec>,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatSpec {
    /// The whole value.
    Plain,
    /// A prefix and the value.
    Prefixed,
    /// Labelled values.
    Pairs,
    /// Any word, one space, and the value.
    SecondWord,
}

/// One way to sign. The names are texts because they may come from parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemeSpec {
    /// Key of the pairs it applies to, a template; with `pairs` or `label_from` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `hmac-sha256`, `equal`, ...; a template.
    pub algorithm: String,
    /// `hex`, `base64` or `text`; a template.
    pub encoding: String,
    /// How a secret becomes a key: `utf8`, `hex`, `whsec`, ...; a template.
    pub key: String,
    /// Where the address of the certificate is; with the key `x509_url` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_source: Option<SourceSpec>,
    /// What makes the certificate at that address trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateSpec>,
}

/// What makes a fetched certificate trusted beside the address it came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateSpec {
    /// What is checked.
    #[serde(default)]
    pub trust: TrustSpec,
    /// Names it may be for, `*.` in front stands for any label; any name when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// How far a fetched certificate is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustSpec {
    /// It must chain to a public root; the document may hold the certificates in between.
    #[default]
    Chain,
    /// The host it was fetched from over TLS vouches for it. For providers that publish the
    /// certificate alone, without those in between.
    Host,
}

/// The signed time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampSpec {
    /// Where it is.
    pub source: SourceSpec,
    /// How it is written.
    pub format: TimestampFormat,
    /// Tolerance towards the past, seconds; `null` is not bounded.
    #[serde(deserialize_with = "nullable")]
    pub past: Option<u32>,
    /// Tolerance towards the future, seconds; `null` is not bounded.
    #[serde(deserialize_with = "nullable")]
    pub future: Option<u32>,
}

/// How a timestamp is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampFormat {
    /// 1 to 12 digits, seconds since the Unix epoch.
    Unix,
    /// 1 to 15 digits, milliseconds since the Unix epoch.
    UnixMs,
    /// RFC 3339 with an offset.
    Rfc3339,
}

/// Templates of the signed text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SignedSpec {
    /// One.
    One(String),
    /// Any of several.
    Any(Vec<String>),
}

/// An assertion beside the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum CheckSpec {
    /// A header has a value.
    HeaderEquals {
        /// Name of the header, a template.
        header: String,
        /// The value, a template.
        value: String,
    },
    /// A query parameter, if present, is the hex digest of the body.
    QueryBodyDigest {
        /// Name of the parameter, a template.
        query: String,
        /// `sha1`, `sha256` or `sha512`; a template.
        algorithm: String,
    },
    /// A value is a URL of one of these hosts.
    UrlAllowed {
        /// Where the URL is.
        source: SourceSpec,
        /// Scheme it must have.
        scheme: String,
        /// Hosts it may name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hosts: Vec<String>,
        /// Expression its host must match.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host_regex: Option<String>,
        /// What its path must end with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path_suffix: Option<String>,
    },
    /// A value of the body is in a list parameter.
    JsonIn {
        /// JSON pointer to the value.
        pointer: String,
        /// Name of the list parameter.
        param: String,
    },
}

/// A field that may be null but must be written.
fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

impl PresetSpec {
    /// HMAC of the body, alone in one header: Convoy's `hmac` verifier. The hash is `SHA1`,
    /// `SHA256`, `SHA384` or `SHA512` in either case, the encoding `hex` or `base64`; other
    /// names are refused when the preset is compiled.
    #[must_use]
    pub fn generic_hmac(header: &str, hash: &str, encoding: &str) -> Self {
        let scheme = SchemeSpec {
            label: None,
            algorithm: format!("hmac-{}", hash.to_ascii_lowercase()),
            encoding: encoding.to_owned(),
            key: "utf8".to_owned(),
            key_source: None,
            certificate: None,
        };
        let source = SourceSpec::Header {
            name: header.to_owned(),
        };
        Self::of_signature(
            SignatureSpec::unlabelled(source, FormatSpec::Plain, scheme),
            Some("{body}"),
        )
    }

    /// The same preset with a fixed text before the signature, `sha256=` for example. For
    /// presets of format `plain` or `prefixed`; an empty text changes nothing.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        if let Some(signature) = &mut self.signature
            && !prefix.is_empty()
        {
            signature.format = FormatSpec::Prefixed;
            signature.prefix = Some(prefix.to_owned());
        }
        self
    }

    /// A static token in a header: Convoy's `api_key` verifier. Without a name, the second
    /// word of `Authorization`.
    #[must_use]
    pub fn api_key_header(name: &str) -> Self {
        let (name, format) = match name {
            "" => ("Authorization", FormatSpec::SecondWord),
            name => (name, FormatSpec::Plain),
        };
        let scheme = SchemeSpec {
            label: None,
            algorithm: "equal".to_owned(),
            encoding: "text".to_owned(),
            key: "utf8".to_owned(),
            key_source: None,
            certificate: None,
        };
        let source = SourceSpec::Header {
            name: name.to_owned(),
        };
        Self::of_signature(SignatureSpec::unlabelled(source, format, scheme), None)
    }

    fn of_signature(signature: SignatureSpec, signed: Option<&str>) -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            event_type: None,
            idempotency: Vec::new(),
            params: BTreeMap::new(),
            each: None,
            signature: Some(signature),
            timestamp: None,
            signed: signed.map(|text| SignedSpec::One(text.to_owned())),
            checks: Vec::new(),
            challenges: Vec::new(),
            reject_status: None,
        }
    }
}

impl SignatureSpec {
    fn unlabelled(source: SourceSpec, format: FormatSpec, scheme: SchemeSpec) -> Self {
        Self {
            source,
            format,
            prefix: None,
            pair_separator: None,
            key_separator: None,
            label_from: None,
            schemes: vec![scheme],
        }
    }
}
