//! The preset of a source: one of ours by its name, or one written in the source itself.

use std::fmt;

use outrider_webhook::verify::PresetSpec;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::check::{Checks, Range};

/// Longest preset of a source's own, bytes of its JSON.
pub const PRESET_BYTES_MAX: usize = 64 * 1024;

/// A preset, by name or as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PresetChoice {
    /// The name of one that comes with this version; empty for none.
    Named(String),
    /// One of the source's own.
    Own(Box<PresetSpec>),
}

impl PresetChoice {
    /// Whether it says anything: clients send an empty name for none.
    #[must_use]
    pub fn is_given(&self) -> bool {
        !matches!(self, Self::Named(name) if name.is_empty())
    }

    /// What is kept is kept in every revision and sent to every data plane.
    pub(super) fn refuse_long(&self, checks: &mut Checks) {
        let bytes = match self {
            Self::Named(name) => name.len(),
            Self::Own(preset) => {
                serde_json::to_string(preset).map_or(usize::MAX, |json| json.len())
            }
        };
        let range = Range {
            min: 0,
            max: PRESET_BYTES_MAX as u64,
            unit: "bytes",
        };
        checks.number("preset", Some(bytes as u64), 0, range);
    }
}

impl From<&str> for PresetChoice {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

/// By hand: an untagged enum would not say which field of a preset is wrong.
impl<'de> Deserialize<'de> for PresetChoice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = PresetChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a preset, or a preset")
            }

            fn visit_str<E>(self, name: &str) -> Result<PresetChoice, E> {
                Ok(PresetChoice::Named(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PresetChoice, A::Error> {
                let preset = PresetSpec::deserialize(MapAccessDeserializer::new(map))?;
                Ok(PresetChoice::Own(Box::new(preset)))
            }
        }

        from.deserialize_any(Either)
    }
}
