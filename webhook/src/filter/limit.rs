//! What a filter may be at most. Each limit is an error with a name of its own when a filter is
//! configured, and none of them is near what a person would write.

/// JSON text of one scope, bytes.
pub const SCOPE_BYTES_MAX: usize = 64 * 1024;
/// Conditions of one filter, over all its scopes.
pub const LEAVES_MAX: usize = 256;
/// Objects and lists inside each other.
pub const DEPTH_MAX: usize = 16;
/// Bytes of a path, dots included.
pub const PATH_BYTES_MAX: usize = 1024;
/// Names in a path.
pub const SEGMENTS_MAX: usize = 32;
/// Wildcards in a path (contract 8.3).
pub const WILDCARDS_MAX: usize = 3;
/// Values of `$in` and `$nin`, of a list to be equal to, and filters of `$or` and `$and`.
pub const LIST_MAX: usize = 1000;
/// Bytes of a regular expression.
pub const REGEX_BYTES_MAX: usize = 1024;
/// Regular expressions of one filter.
pub const REGEXES_MAX: usize = 16;
/// Bytes of a compiled regular expression, and of the states it may remember while it searches.
/// What does not fit is refused: `(a{1000}){1000}` is 17 characters and a gigabyte.
pub const REGEX_PROGRAM_BYTES_MAX: usize = 256 * 1024;
/// Steps one filter may take for one event: values looked at, and 32 bytes of a text searched.
/// Some milliseconds at worst.
pub const STEPS_PER_FILTER: u32 = 250_000;
/// Steps all filters together may take for one event.
pub const STEPS_PER_EVENT: u32 = 2_500_000;
