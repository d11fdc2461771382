//! What is left of a rate, as replies say it: the RateLimit fields (draft 11) and Convoy's
//! headers (contract 2.3).

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use outrider_webhook::rate::{Exhausted, Rate, Taken};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");
const CONVOY: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// What is left of a rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ingest) struct Quota {
    /// Whose rate it is; also the metric's label.
    pub(super) name: &'static str,
    count: u32,
    window_s: u64,
    remaining: u32,
    reset_s: u64,
    pub(super) is_exhausted: bool,
    /// When to come again.
    pub(super) wait_s: u32,
}

impl Quota {
    pub(super) fn of(name: &'static str, rate: &Rate, taken: Result<Taken, Exhausted>) -> Self {
        let (remaining, reset, wait) = match taken {
            Ok(taken) => (taken.remaining, taken.reset, Duration::ZERO),
            Err(none) => (0, none.reset, none.wait.unwrap_or(none.reset)),
        };
        Self {
            name,
            count: rate.count(),
            window_s: rate.window().as_secs(),
            remaining,
            reset_s: whole_seconds(reset),
            is_exhausted: taken.is_err(),
            wait_s: u32::try_from(whole_seconds(wait)).unwrap_or(u32::MAX),
        }
    }

    /// Whether it has less left, in parts of the whole.
    pub(super) fn is_tighter_than(&self, other: &Self) -> bool {
        let part = |one: &Self, of: &Self| u64::from(one.remaining) * u64::from(of.count);
        self.is_exhausted || part(self, other) < part(other, self)
    }

    /// The headers that say it. Who is known by his address only is not told how much there is.
    pub(in crate::ingest) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let name = self.name;
        let left = format!("\"{name}\";r={};t={}", self.remaining, self.reset_s);
        let policy = format!("\"{name}\";q={};w={}", self.count, self.window_s);
        let numbers = [
            u64::from(self.count),
            u64::from(self.remaining),
            self.reset_s,
        ];
        let known = name != "address";
        let text = |text: String| HeaderValue::try_from(text).ok();
        let convoy = CONVOY.into_iter().zip(numbers.map(HeaderValue::from));
        let fields = [
            (LEFT, text(left)),
            (POLICY, known.then(|| text(policy)).flatten()),
        ];
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .chain(convoy.filter(move |_| known))
    }
}

/// Rounded up, and at least one: who comes at the time told must not be early.
fn whole_seconds(duration: Duration) -> u64 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    seconds.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(quota: &Quota) -> Vec<(String, String)> {
        let text = |(name, value): (HeaderName, HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        quota.headers().map(text).collect()
    }

    #[test]
    fn the_fields_say_what_is_left_and_an_address_is_told_little() {
        let rate = Rate::new(2, 60).unwrap();
        let taken = rate.take(0, 1, 1);
        let quota = Quota::of("source", &rate, taken);
        let expected = [
            ("ratelimit", "\"source\";r=1;t=30"),
            ("ratelimit-policy", "\"source\";q=2;w=60"),
            ("x-ratelimit-limit", "2"),
            ("x-ratelimit-remaining", "1"),
            ("x-ratelimit-reset", "30"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers(&quota), expected);
        let used = rate.take(0, 1, 2).unwrap().full_at_ns;
        let quota = Quota::of("address", &rate, rate.take(used, 1, 1));
        assert!(quota.is_exhausted && quota.wait_s == 30);
        assert_eq!(headers(&quota)[0].1, "\"address\";r=0;t=60");
        assert_eq!(headers(&quota).len(), 1);
    }

    #[test]
    fn the_tightest_is_the_one_with_the_least_part_left() {
        let wide = Rate::new(1000, 60).unwrap();
        let small = Rate::new(10, 1).unwrap();
        let most = Quota::of("project", &wide, wide.take(0, 1, 500));
        let less = Quota::of("source", &small, small.take(0, 1, 1));
        assert!(most.is_tighter_than(&less) && !less.is_tighter_than(&most));
        let none = Quota::of("source", &small, small.take(0, 1, 11));
        assert!(none.is_tighter_than(&most) && none.is_exhausted);
    }
}
