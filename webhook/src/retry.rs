//! Stage 9, decide: policy, attempts and outcome give what follows. Pure: time and chance come in.
//!
//! `retry_count` means attempts in total, everywhere (RULINGS 24).
//!
//! - `policy`: how long to wait, how often, and how long at all
//! - `answers`: which statuses are a success, and which end a delivery
//! - `outcome`: how one attempt ended
//! - `retry_after`: when the receiver asked to be called again
//! - `flags`: what an attempt met, for people
//! - `decide`: all of that gives the next step

mod answers;
mod decide;
mod flags;
mod outcome;
mod policy;
mod retry_after;

pub use answers::{Answers, BadStatuses, Statuses};
pub use decide::{GiveUp, Made, Step, hold, is_free, load, next_step};
pub use flags::{ResponseFlag, ResponseFlags};
pub use outcome::{Failure, Outcome, denial_of, error_class, error_of};
pub use policy::{
    AGE_MAX, Backoff, INTERVALS_MAX, Jitter, Policy, PolicyError, STANDARD_WEBHOOKS, WAIT_MAX,
};
pub use retry_after::{BadRetryAfter, RETRY_AFTER_MAX, retry_after};
