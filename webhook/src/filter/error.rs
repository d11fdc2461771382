//! What can be wrong with a filter.

use super::limit::{
    DEPTH_MAX, LEAVES_MAX, LIST_MAX, PATH_BYTES_MAX, REGEX_BYTES_MAX, REGEX_PROGRAM_BYTES_MAX,
    REGEXES_MAX, SCOPE_BYTES_MAX, SEGMENTS_MAX, WILDCARDS_MAX,
};

/// A part of a filter that cannot be used, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}`: {problem}")]
pub struct CompileError {
    /// Where it is: `body.amount.$foo`.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a part of a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A filter, or a part of `$or` or `$and`, that is no object.
    #[error("must be an object of conditions")]
    NoObject,
    /// An operator nobody knows.
    #[error(
        "is no operator; known are $eq, $neq, $gt, $gte, $lt, $lte, $in, $nin, $regex, $exist, $or, $and"
    )]
    UnknownOperator,
    /// An operator in the middle of a dotted name.
    #[error("an operator cannot be part of a dotted name: write it as an object below the path")]
    OperatorInPath,
    /// A comparison that is not below any path.
    #[error("needs a path: a comparison stands below the field it looks at")]
    NoPath,
    /// A wildcard that nothing follows.
    #[error("a wildcard must be followed by a field")]
    TrailingWildcard,
    /// More wildcards than are allowed.
    #[error("has more than {WILDCARDS_MAX} wildcards")]
    Wildcards,
    /// A path that is too long.
    #[error("a path has at most {PATH_BYTES_MAX} bytes and {SEGMENTS_MAX} names")]
    PathTooLong,
    /// The operator wants a number.
    #[error("must be a number, or a text that is one")]
    NoNumber,
    /// The operator wants a list of texts, numbers, booleans and nulls.
    #[error("must be a list of texts, numbers, booleans or nulls")]
    NoList,
    /// The operator wants true or false.
    #[error("must be true or false")]
    NoBool,
    /// The operator wants a text.
    #[error("must be a text")]
    NoText,
    /// A list that holds both objects and other values, or lists.
    #[error("a list to compare with holds objects only, or none, and no lists")]
    MixedList,
    /// A value `$eq` cannot be compared with.
    #[error("must be a text, a number, a boolean, null, or a list of those")]
    NoScalar,
    /// `$or` or `$and` without a list of filters.
    #[error("must be a list of at least one filter")]
    NoFilters,
    /// A list that is too long.
    #[error("has more than {LIST_MAX} entries")]
    ListTooLong,
    /// A regular expression that is none. The text is the first line of what the parser says.
    #[error("is no regular expression: {0}")]
    BadRegex(String),
    /// A regular expression that is too long.
    #[error("has more than {REGEX_BYTES_MAX} bytes")]
    RegexTooLong,
    /// A regular expression that would take too much memory.
    #[error("would take more than {REGEX_PROGRAM_BYTES_MAX} bytes of memory")]
    RegexTooLarge,
    /// Too many regular expressions.
    #[error("is one regular expression too many: a filter has at most {REGEXES_MAX}")]
    Regexes,
    /// Too many conditions.
    #[error("is one condition too many: a filter has at most {LEAVES_MAX}")]
    Leaves,
    /// Too deep.
    #[error("is nested deeper than {DEPTH_MAX} levels")]
    Depth,
    /// Too much text.
    #[error("has more than {SCOPE_BYTES_MAX} bytes as JSON")]
    ScopeTooLong,
}

impl Problem {
    /// Stable code for API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoObject => "filter_no_object",
            Self::UnknownOperator => "filter_unknown_operator",
            Self::OperatorInPath => "filter_operator_in_path",
            Self::NoPath => "filter_no_path",
            Self::TrailingWildcard => "filter_trailing_wildcard",
            Self::Wildcards => "filter_wildcards",
            Self::PathTooLong => "filter_path_too_long",
            Self::NoNumber => "filter_no_number",
            Self::NoList => "filter_no_list",
            Self::NoBool => "filter_no_bool",
            Self::NoText => "filter_no_text",
            Self::MixedList => "filter_mixed_list",
            Self::NoScalar => "filter_no_scalar",
            Self::NoFilters => "filter_no_filters",
            Self::ListTooLong => "filter_list_too_long",
            Self::BadRegex(_) => "filter_bad_regex",
            Self::RegexTooLong => "filter_regex_too_long",
            Self::RegexTooLarge => "filter_regex_too_large",
            Self::Regexes => "filter_regexes",
            Self::Leaves => "filter_leaves",
            Self::Depth => "filter_depth",
            Self::ScopeTooLong => "filter_scope_too_long",
        }
    }
}
