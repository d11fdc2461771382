//! How a source tells a repeat: Convoy's `idempotency_keys` or the provider's own id of a
//! delivery, and for how long.

use outrider_webhook::selector::Selector;
use outrider_webhook::verify::Verifier;

use super::check::{Checks, Range, Reason};
use super::field::{NOTE_BYTES_MAX, at_most, given};
use super::project::{Project, RETENTION_DEFAULT};
use super::source_spec::SourceSpec;

/// Selectors that make one key.
const SELECTORS_MAX: usize = 16;
/// Nothing is remembered for longer than events are kept at most (RULINGS 7).
pub(super) const WINDOW_S: Range = Range {
    min: 1,
    max: RETENTION_DEFAULT.as_secs(),
    unit: "seconds",
};

/// What makes two requests the same event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deduplication {
    selectors: Box<[Selector]>,
    is_by_provider: bool,
    window_s: Option<u64>,
}

impl Deduplication {
    pub(super) fn compile(
        checks: &mut Checks,
        spec: &SourceSpec,
        verifier: Option<&Verifier>,
    ) -> Self {
        let texts = spec.idempotency_keys.as_deref().unwrap_or_default();
        let window_s = spec.idempotency_window_s.filter(|window_s| *window_s != 0);
        if let Some(window_s) = window_s {
            checks.number("idempotency_window_s", Some(window_s), window_s, WINDOW_S);
        }
        Self {
            selectors: selectors(checks, texts).into(),
            is_by_provider: is_by_provider(checks, spec, verifier),
            window_s,
        }
    }

    /// The places whose values make the key, in order; none when repeats are not told.
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// Whether the preset says where the key is.
    #[must_use]
    pub fn is_by_provider(&self) -> bool {
        self.is_by_provider
    }

    /// How long a key is remembered, milliseconds: as the source says, else as its project.
    #[must_use]
    pub fn window_ms(&self, project: &Project) -> i64 {
        let own_ms = self.window_s.map(|window_s| window_s.saturating_mul(1000));
        own_ms.map_or(project.idempotency_window_ms(), |ms| {
            i64::try_from(ms).unwrap_or(i64::MAX)
        })
    }
}

fn is_by_provider(checks: &mut Checks, spec: &SourceSpec, verifier: Option<&Verifier>) -> bool {
    match given(spec.deduplicate.as_deref()) {
        None => return false,
        Some("provider") => {}
        Some(_) => checks.fail("deduplicate", Reason::NotOneOf(&["provider"])),
    }
    if spec
        .idempotency_keys
        .as_ref()
        .is_some_and(|keys| !keys.is_empty())
    {
        checks.fail("deduplicate", Reason::Conflict("idempotency_keys"));
    }
    if verifier.is_some_and(|verifier| !verifier.has_delivery_id()) {
        let say = "needs a preset that knows where the provider's id of a delivery is";
        checks.fail("deduplicate", Reason::Rule(say.to_owned()));
    }
    true
}

fn selectors(checks: &mut Checks, texts: &[String]) -> Vec<Selector> {
    if texts.len() > SELECTORS_MAX {
        let range = Reason::OutOfRange {
            min: 0,
            max: SELECTORS_MAX as u64,
            unit: "selectors",
        };
        checks.fail("idempotency_keys", range);
        return Vec::new();
    }
    let parse = |(index, text): (usize, &String)| {
        let field = format!("idempotency_keys[{index}]");
        at_most(checks, &field, Some(text), NOTE_BYTES_MAX);
        checks.take(&field, Selector::parse(text).map_err(Reason::refused))
    };
    texts.iter().enumerate().filter_map(parse).collect()
}
