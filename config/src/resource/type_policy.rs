//! What a project's catalogue of event types decides at intake.

use super::check::{Checks, Reason};
use super::field::given;
use super::project_spec::ConfigSpec;

/// What is done with an event that is not as the schema of its type wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// Nobody looks, as in Convoy.
    #[default]
    Off,
    /// It is accepted and carries a mark.
    Flag,
    /// It is refused.
    Reject,
}

impl Enforcement {
    /// The word for it in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Flag => "flag",
            Self::Reject => "reject",
        }
    }
}

/// What the catalogue decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TypePolicy {
    /// Of events of a type with a schema.
    pub enforcement: Enforcement,
    /// Whether an event whose type is not in the catalogue is refused. `*` is no wildcard here.
    pub refuses_unknown: bool,
}

impl TypePolicy {
    pub(super) fn compile(config: &ConfigSpec, checks: &mut Checks) -> Option<Self> {
        let words = [Enforcement::Off, Enforcement::Flag, Enforcement::Reject];
        let enforcement = match given(config.schema_enforcement.as_deref()) {
            None => Some(Enforcement::default()),
            Some(text) => {
                let found = words.into_iter().find(|one| one.as_str() == text);
                let found = found.ok_or(Reason::NotOneOf(&["off", "flag", "reject"]));
                checks.take("config.schema_enforcement", found)
            }
        };
        let refuses_unknown = match given(config.unknown_event_types.as_deref()) {
            None | Some("accept") => Some(false),
            Some("reject") => Some(true),
            Some(_) => {
                let reason = Reason::NotOneOf(&["accept", "reject"]);
                checks.fail("config.unknown_event_types", reason);
                None
            }
        };
        Some(Self {
            enforcement: enforcement?,
            refuses_unknown: refuses_unknown?,
        })
    }

    pub(super) const fn unknown_word(self) -> &'static str {
        if self.refuses_unknown {
            "reject"
        } else {
            "accept"
        }
    }

    /// Whether it decides anything, so that others need not look further.
    #[must_use]
    pub const fn is_idle(self) -> bool {
        matches!(self.enforcement, Enforcement::Off) && !self.refuses_unknown
    }
}
