//! What is wrong with a file, where, and in which words.

use std::fmt;

/// One thing wrong with what a person wrote. Never carries a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `projects[0].endpoints[3].http_timeout`; empty for the whole text.
    pub path: String,
    /// Line in the file, from 1; `None` when the value did not come from a file.
    pub line: Option<u32>,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}
